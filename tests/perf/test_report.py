"""Reading and tabulating many records stays cheap: in proportion to their number, and to JSON."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.records import rows
from bench.report.tables import main, markdown
from tests.support.reports import make_card, make_record, store

MANY, FEW, QUERIES = 400, 100, 70


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of records of four data sets, each with the scores of 70 queries."""
    folder = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    for number in range(MANY):
        data = {"name": f"set{number % 4}", "variant": "v", "revision": "9" * 64,
                "database": 4993, "queries": QUERIES}  # fmt: skip
        card = make_card(dataset=data, **{"preprocess.max_side_px": 100 + number % 7})
        record = make_record(f"m{number}", card=card, number=number % 60)
        for table in record["scores"].values():
            for score in table.values():
                score["per_query"] = rng.random(QUERIES).round(6).tolist()
        store(folder, record)
    return folder


def report(chosen: list[Any]) -> None:
    for name in sorted({run.dataset for run in chosen}):
        markdown.table(main.board([run for run in chosen if run.dataset == name], name))


def seconds(act: Any) -> float:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        act()
        times.append(time.perf_counter() - start)
    return min(times)


def ratio_of(benchmark: Any, reference_s: float, figure: str, reference: str, most: float) -> float:
    """Return how many times the reference was taken, and keep it with the words for the table."""
    ratio: float = benchmark.stats["min"] / reference_s
    benchmark.extra_info |= {
        "figure": figure,
        "reference": reference,
        "times_the_reference": round(ratio, 2),
        "at_most": most,
    }
    return ratio


def test_reading_a_record_costs_little_more_than_its_json(benchmark: Any, results: Path) -> None:
    files = sorted(results.glob("runs/*/*/*.json"))[:FEW]
    plain = seconds(lambda: [json.loads(file.read_text(encoding="utf-8")) for file in files])

    def read() -> None:
        for file in files:
            rows.parse(rows.records.read(file), rows.PurePosixPath("x"))

    benchmark.pedantic(read, rounds=3)
    words = f"reading and checking {FEW} records", "json.loads of the same files"
    ratio = ratio_of(benchmark, plain, *words, 40.0)
    assert ratio < 40, f"{ratio:.0f} times as long as json.loads"


def test_tables_of_four_times_the_records_take_about_four_times_as_long(
    benchmark: Any, results: Path
) -> None:
    every, left_out = rows.load(results)
    assert not left_out
    item = seconds(lambda: report(every[:FEW]))
    benchmark.pedantic(lambda: report(every), rounds=3)
    words = f"tables of {MANY} records", f"tables of {FEW} of them"
    ratio = ratio_of(benchmark, item, *words, 10.0)
    assert ratio < 4 * 2.5, f"{MANY // FEW} times the records take {ratio:.1f} times as long"
