"""The genuine lists and truth of Oxford5k and Paris6k, and what the four data sets share."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import datasets
from bench.acquire import verify
from bench.facts import Facts
from bench.scoring import known_answers
from bench.system.hashing import sha256_lines
from bench.types import Dataset

Finder = Callable[[str], Path]

# Of the specification: what the published files hold.
FACTS: dict[str, dict[str, Any]] = {
    "oxford5k": {
        "images": 5063, "sum": (2840, 6, 221), "junk": (1495, 2, 127),
        "sorted ends": ("all_souls_000000", "worcester_000198"),
        "sha256": "a03234b4efcedee0d4e5ab6f67fb466b1017557a2be257aed01e955a39e409bc",
        "sorted sha256": "c80b7faf64e36e51a6c92864cc811d8d68adb97213837706d54138e477e1e0bd",
        "golden": (1.110199, 1.323851, 4.976708),
    },
    "paris6k": {
        "images": 6392, "sum": (8955, 51, 289), "junk": (8245, 15, 473),
        "sorted ends": ("paris_defense_000000", "paris_triomphe_001124"),
        "sha256": "f5d5d678483a740dbe21c446b47f0eef95a63f4e69b54f785998bf0dfb565742",
        "sorted sha256": "e2b37212a8dc5f6271028a8200ed2cd060ee87d3f8792182d1f7e6825a151b15",
        "golden": (2.640757, 1.728197, 4.088454),
    },
}  # fmt: skip


@pytest.fixture
def genuine(shared: Finder, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Dataset]:
    """Return a function that loads a genuine data set."""

    def load(name: str) -> Dataset:
        plain = name.partition(".")[0]
        shared(f"data/{plain}/gnd_{plain}.pkl")
        monkeypatch.setenv("RETRIEVAL_BENCH_DATA", str(shared("data")))
        return datasets.load(name)

    return load


def facts_of(name: str) -> Facts:
    facts = datasets.entry_of(name).facts
    assert facts is not None
    return facts


def sizes(lists: Any) -> tuple[int, int, int]:
    lengths = [len(item) for item in lists]
    return sum(lengths), min(lengths), max(lengths)


@pytest.mark.parametrize("name", FACTS)
def test_lists_and_labels_are_those_of_the_specification(genuine, name: str) -> None:
    dataset, facts = genuine(name), FACTS[name]
    names = [image.id for image in dataset.database]
    assert len(names) == len(set(names)) == facts["images"]
    assert sha256_lines(names) == facts["sha256"]
    assert sha256_lines(sorted(names)) == facts["sorted sha256"]
    assert (min(names), max(names)) == facts["sorted ends"]
    assert "not the published" not in dataset.variant
    truth = dataset.protocols[0].truth
    assert len(dataset.queries) == len(truth) == 55
    assert sizes([t.positive for t in truth]) == facts["sum"]
    assert sizes([t.ignored for t in truth]) == facts["junk"]
    row = {image.id: i for i, image in enumerate(dataset.database)}
    for query, entry in zip(dataset.queries, truth, strict=True):
        assert row[query.id] in entry.positive
        assert row[query.id] not in entry.ignored


@pytest.mark.parametrize("name", FACTS)
def test_golden_scores(genuine, name: str) -> None:
    score = known_answers.permutation_scores(genuine(name))["original"][
        "map.trapezoid.junk-removed"
    ]
    found = 100 * np.array([score.mean, score.per_query[0], score.per_query[54]])
    assert found == pytest.approx(np.array(FACTS[name]["golden"]), abs=5.1e-7)


@pytest.mark.parametrize("name", FACTS)
def test_without_the_query_itself(genuine, name: str) -> None:
    official, without = genuine(name), genuine(f"{name}.query-ignored")
    row = {image.id: i for i, image in enumerate(official.database)}
    for i, query in enumerate(official.queries):
        first, other = official.protocols[0].truth[i], without.protocols[0].truth[i]
        assert set(first.positive) - set(other.positive) == {row[query.id]}
        assert set(other.ignored) - set(first.ignored) == {row[query.id]}


def test_the_text_files_say_what_the_pickle_says(genuine, shared: Finder) -> None:
    folder = shared("data/oxford5k/gt_files_170407")
    dataset = genuine("oxford5k")
    totals: Counter[str] = Counter()
    lines: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.txt")):
        lines[path.stem] = path.read_text().splitlines()
        totals[path.stem.rpartition("_")[2]] += len(lines[path.stem])
    assert totals == {"query": 55, "good": 1361, "ok": 1480, "junk": 1495}
    good_lines = [f"{stem} {x}" for stem in lines if stem.endswith("good") for x in lines[stem]]
    (twice,) = [line for line, count in Counter(good_lines).items() if count > 1]
    assert twice == "all_souls_1_good all_souls_000091"
    in_good = 0
    for i, stem in enumerate(sorted(s.removesuffix("_query") for s in lines if "query" in s)):
        name, *box = lines[f"{stem}_query"][0].removeprefix("oxc1_").split()
        assert dataset.queries[i].id == name
        assert dataset.queries[i].box == tuple(map(float, box))
        good, ok, junk = (set(lines[f"{stem}_{kind}"]) for kind in ("good", "ok", "junk"))
        assert good.isdisjoint(ok)
        assert junk.isdisjoint(good | ok)
        truth = dataset.protocols[0].truth[i]
        assert {dataset.database[r].id for r in truth.positive} == good | ok
        assert {dataset.database[r].id for r in truth.ignored} == junk
        in_good += name in good
    assert in_good == 41


def test_the_text_form_is_read_like_the_pickle(genuine, shared: Finder, workspace) -> None:
    official = genuine("oxford5k")
    folder = workspace.data / "oxford5k"
    (folder / "jpg").mkdir(parents=True)
    (folder / "gt").symlink_to(shared("data/oxford5k/gt_files_170407"))
    for image in official.database:
        (folder / "jpg" / image.file).touch()
    (folder / "jpg" / "holiday_000001.jpg").touch()  # somebody else's
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETRIEVAL_BENCH_DATA", str(workspace.data))
        texts = datasets.load("oxford5k")
    names = [image.id for image in texts.database]
    assert sha256_lines(names) == FACTS["oxford5k"]["sorted sha256"]
    assert "not the published" not in texts.variant
    assert texts.queries == official.queries
    for item, other in zip(texts.protocols[0].truth, official.protocols[0].truth, strict=True):
        assert {names[row] for row in item.positive} == {
            official.database[row].id for row in other.positive
        }


@pytest.mark.parametrize(("old", "new"), [("oxford5k", "roxford5k"), ("paris6k", "rparis6k")])
def test_how_the_revisited_sets_follow_from_the_old(genuine, old: str, new: str) -> None:
    before, after = genuine(old), genuine(new)
    assert after.queries[:55] == before.queries
    asked = {query.id for query in after.queries}
    rest = [image.id for image in before.database if image.id not in asked]
    assert rest == [image.id for image in after.database]


@pytest.mark.parametrize("name", ["oxford5k", "paris6k", "roxford5k", "rparis6k"])
def test_the_facts_hold_on_the_genuine_lists(genuine, name: str) -> None:
    dataset, facts = genuine(name), facts_of(name)
    names = {image.id for image in (*dataset.database, *dataset.queries)}
    counted = Counter(verify.prefix_of(x, facts.prefixes) for x in names)
    assert counted == facts.prefixes
    assert names.isdisjoint(facts.not_images)
    assert len(set(facts.not_images)) == (20 if "paris" in name else 0)
    for variant, expected in facts.expected.items():
        full = genuine(f"{name}.{variant}" if variant else name)
        states = {state for state, _ in verify._lists(full, expected)}
        assert states == {"note", "ok"}


@pytest.mark.parametrize(("name", "shortest"), [("roxford5k", 132), ("rparis6k", 101)])
def test_the_size_table_is_that_of_the_genuine_images(shared: Finder, name, shortest) -> None:
    lines = shared(f"data/{name}/image_sizes_gallery.txt").read_text().splitlines()
    found = [tuple(map(int, line.split(",")[2:])) for line in lines]
    table = {
        "longest": max(map(max, found)),
        "1024x768": found.count((1024, 768)),
        "768x1024": found.count((768, 1024)),
        "landscape": sum(w > h for w, h in found),
        "portrait": sum(w < h for w, h in found),
        "square": sum(w == h for w, h in found),
        "pixels": sum(w * h for w, h in found),
    }
    assert table == facts_of(name).sizes
    assert min(map(max, found)) == table["longest"]
    assert min(map(min, found)) == shortest


def test_known_photographs_are_those_with_clear_faces(shared: Finder) -> None:
    for name, sha256 in facts_of("rparis6k").unblurred.items():
        path = shared(f"data/rparis6k-part/jpg/{name}.jpg")
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def test_the_sha256_of_pickles_that_others_report(shared: Finder) -> None:
    for name in FACTS:
        digest = hashlib.sha256(shared(f"data/{name}/gnd_{name}.pkl").read_bytes()).hexdigest()
        (download,) = [d for d in facts_of(name).downloads if d.file.endswith(".pkl")]
        assert digest == download.reported


def test_the_official_program_gives_the_same_on_a_random_ranking(genuine) -> None:
    dataset = genuine("oxford5k")
    order = np.random.default_rng(0).permutation(len(dataset.database))
    truth = dataset.protocols[0].truth[3]
    place = np.argsort(order)
    junk, seen, area = set(truth.ignored), 0, 0.0
    kept = [row for row in order if row not in junk]
    before = 1.0
    for at, row in enumerate(kept):  # the official program, line by line
        seen += row in set(truth.positive)
        recall_step = (row in set(truth.positive)) / len(truth.positive)
        precision = seen / (at + 1)
        area += recall_step * (before + precision) / 2
        before = precision
    from bench.scoring import metrics

    ranks = metrics.junk_removed(np.sort(place[truth.positive]), np.sort(place[truth.ignored]))
    score = metrics.metric("map.trapezoid.junk-removed").score(ranks, len(truth.positive))
    assert score == pytest.approx(area, abs=1e-12)
