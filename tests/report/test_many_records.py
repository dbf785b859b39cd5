"""Many records: what a report does grows with their number, and pictures do not grow at all."""

from __future__ import annotations

import pickle
from collections import Counter
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.records import ranking, record
from bench.report import datasets
from bench.report.build import build, load
from bench.report.figures import cost_plot, curves, kept, plot, small_multiples
from bench.system import reading
from tests.support import boards

PER_RECORD = {"parsed": 2, "checked": 1, "hashed": 1, "arrays": 1}


def counted(folder: Path, methods: int, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Build a report of so many methods on one data set; return how often the slow parts ran."""
    dataset = boards.dataset_of("roxford5k", landmarks=3, rows=30)
    for number in range(1, methods + 1):
        boards.write(folder, f"m{number}.v", dataset, number, 1 + number / methods)
    counts: Counter[str] = Counter()

    def watch(module: Any, name: str, what: str) -> None:
        genuine = getattr(module, name)

        def watched(*arguments: Any) -> Any:
            counts[what] += 1
            return genuine(*arguments)

        monkeypatch.setattr(module, name, watched)

    with monkeypatch.context() as patch:
        patch.setenv("RETRIEVAL_BENCH_CACHE", str(folder / "cache"))
        watch(reading, "json_file", "parsed")
        watch(record, "check", "checked")
        watch(record, "array_bytes", "hashed")
        watch(record, "read_arrays", "arrays")
        for module in (plot, curves, cost_plot, small_multiples):
            patch.setattr(module, "encoded", lambda _: counts.update(["drawn"]) or {"png": b""})
        build(folder, html=True)
    monkeypatch.undo()
    return counts


@pytest.mark.slow
def test_a_record_is_read_so_often_whatever_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = (counted(tmp_path / str(n), n, monkeypatch) for n in (9, 18))
    assert few["drawn"] == many["drawn"] <= 6
    for what, most in PER_RECORD.items():
        assert (many[what] - few[what]) / 9 <= most, what
    assert many["arrays"] == few["arrays"], "pictures show so many rows, and no more"


class Here(Executor):
    """A pool of processes that does what it is given at once, as another process would get it."""

    def __init__(self, *_: Any) -> None:
        """Take what a pool takes."""

    def submit(self, work: Any, *arguments: Any) -> Any:  # type: ignore[override]
        work, *arguments = pickle.loads(pickle.dumps([work, *arguments]))
        done: Future[Any] = Future()
        done.set_result(work(*arguments))
        return done


class Killed(Executor):
    """A pool of processes of which one was killed before it had its work."""

    def __init__(self, *_: Any) -> None:
        """Take what a pool takes."""

    def submit(self, *_: Any) -> Any:  # type: ignore[override]
        raise BrokenProcessPool


def one_picture(name: str) -> list[kept.Picture]:
    return [kept.Picture(name, {"png": name.encode()}, "", "")]


def test_what_was_drawn_ahead_is_found_and_not_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kept, "ProcessPoolExecutor", Here)
    monkeypatch.setattr(kept.os, "cpu_count", lambda: 2)
    jobs = [kept.Job([], name, partial(one_picture, name)) for name in "abc"]
    kept.ahead(jobs)
    assert not jobs[0].path().exists(), "few runs are drawn where they are shown"
    monkeypatch.setattr(kept, "MANY_RUNS", 0)
    kept.ahead(jobs)
    for job in jobs:
        found = kept.pictures(kept.Job([], job.about, partial(pytest.fail, "drawn again")))
        assert found == job.make()


def test_a_killed_process_leaves_its_pictures_to_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kept, "ProcessPoolExecutor", Killed)
    monkeypatch.setattr(kept.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(kept, "MANY_RUNS", 0)
    jobs = [kept.Job([], name, partial(one_picture, name)) for name in "ab"]
    kept.ahead(jobs)
    assert [kept.pictures(job) for job in jobs] == [job.make() for job in jobs]


def test_what_is_drawn_ahead_is_the_same_in_another_process(tmp_path: Path) -> None:
    for number in (1, 2):
        boards.write(tmp_path, f"m{number}.v", boards.dataset_of("mini", 3, 30), number, number)
    content = load(tmp_path)
    for job in datasets.jobs(tmp_path, "mini", content.by_dataset["mini"], content.shown):
        assert pickle.loads(pickle.dumps(job)).path() == job.path()


def test_many_methods_have_ranks_and_no_letters() -> None:
    draw = np.random.default_rng(0)
    count = ranking.MOST_LETTERS + 1
    scores = draw.random((count, 3))
    drawn = [scores[:, i, None] + 0.01 * draw.random((count, 50)) for i in range(3)]
    made = ranking.mean_ranks(scores, drawn)
    assert {item.letters for item in made} == {""}
    assert all(item.interval is not None for item in made)
    fewer = ranking.mean_ranks(scores[:-1], [item[:-1] for item in drawn])
    assert all(item.letters for item in fewer)
