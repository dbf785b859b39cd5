"""Queries not asked, areas and suppression: what compare, pictures and sheets make of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench import datasets
from bench.data import dataset_json
from bench.errors import BenchError
from bench.records import compare, record
from bench.report.figures import figures
from bench.scoring import metrics
from bench.sheets import content, html
from bench.types import LabelledRanks, Shortlist
from tests.support.places import PLACES, score_places

R2 = "recall@2.any-hit.junk-removed"


def test_a_value_counts_as_the_protocol_says() -> None:
    values = np.array([1.0, np.nan, np.nan, 0.5])
    asked = (True, True, False, True)
    for empty, stated, expected in (
        ("skip", None, [1, np.nan, np.nan, 0.5]),
        ("miss", None, [1, 0, 0, 0.5]),
        ("miss", asked, [1, 0, np.nan, 0.5]),
        ("skip", asked, [1, np.nan, np.nan, 0.5]),
    ):
        found = metrics.counted(values, empty, stated)
        assert np.array_equal(found, expected, equal_nan=True)
        chosen = values if stated is None else values[list(stated)]
        assert metrics.mean_over_queries(found, "skip") == metrics.mean_over_queries(chosen, empty)


def spoilt(path: Path, folder: Path) -> Path:
    """Return a copy of a record that gives every query the score 0, of another method."""
    document = record.read(path)
    arrays = record.read_arrays(path, document)
    for table in document["scores"].values():
        for score in table.values():
            score["per_query"] = [None if v is None else 0.0 for v in score["per_query"]]
            score["mean"] = 0.0
    document["method"]["variant"] = "spoilt"
    for entry in ("schema", "card_sha256", "card_id", "ranks", "sha256"):
        del document[entry]
    return record.write(folder, document, arrays)


def test_compare_leaves_out_what_a_protocol_does_not_ask(
    cli: Callable[..., Any], workspace: Any, brought: tuple[Path, Path]
) -> None:
    path = score_places(cli, workspace, brought, metrics=[R2])
    document = record.read(path)
    entries = compare.load([path, spoilt(path, workspace.results)])
    for pair in compare.compare(entries):
        mean = document["scores"][pair["protocol"]][R2]["mean"]
        assert pair["difference"] == pytest.approx(-mean)
        assert pair["queries"] == {"all": 3, "night": 2}[pair["protocol"]]


def test_pictures_count_the_queries_that_are_asked_and_go_no_further_than_is_exact(
    cli: Callable[..., Any], workspace: Any, brought: tuple[Path, Path]
) -> None:
    path = score_places(cli, workspace, brought, metrics=[R2])
    document = record.read(path)
    run = SimpleNamespace(file=PurePosixPath(path.relative_to(workspace.results).as_posix()))
    for name, curve in figures.recall_curves(workspace.results, run).items():
        assert curve[1] == document["scores"][name][R2]["mean"]
        assert np.isnan(curve[2:]).all(), "a suppressed list is exact to the largest k alone"
        values = figures._per_query(path, document, name)
        assert np.nanmean(values) == document["scores"][name][R2]["mean"]
    path.with_suffix(".npz").unlink()
    assert np.isnan(figures._per_query(path, document, "night")[0])


def line_of(**changes: Any) -> content.Line:
    """Return the line of the only query of a sheet: rows 3 and 1 found, row 0 not."""
    data = {**PLACES, "queries": [{"file": "q.png"}], "protocols": {"all": [{"positive": [0, 1]}]}}
    del data["areas"], data["groups"]
    dataset = dataset_json.parse(data, "x", Path())
    far = np.iinfo(np.int64).max
    opened = SimpleNamespace(
        name="m.v", labelled=True, protocol=dataset.protocols[0], inliers=[{}],
        values=np.array([0.5]),
        ranks=LabelledRanks(
            np.array([0, 2]), np.array([0, 1]), np.array([far, 1]), np.zeros(2), np.zeros(2)
        ),
        **{"rows": [np.array([3, 1])], "row_scores": [np.array([0.5, 0.25])], **changes},
    )  # fmt: skip
    return content._line(dataset, 0, opened, 5)  # type: ignore[arg-type]


def test_a_sheet_says_what_the_list_lacks() -> None:
    line = line_of()
    assert (line.places, line.missed) == ((2,), 1)
    section, entry = SimpleNamespace(metric="mAP", labelled=True), SimpleNamespace(lines=[line])
    text = html.facts(section, entry, line)  # type: ignore[arg-type]
    assert text == "AP 50.00, 2 positives at 2, 1 not in the list"


def test_a_sheet_shows_no_filling_and_nothing_that_is_suppressed_or_missing() -> None:
    """An end of NO_ROW is not the last image of the database."""
    listed = Shortlist(
        np.array([[4, 5, 1, -1, -1], [0, 1, 2, 3, 4]]),
        np.array([[0.9, 0.8, 0.7, -9.0, -9.0], [-2.0, -3.0, -4.0, -5.0, -6.0]]),
    )
    groups = np.array([0, 0, 1, 1, 2, 2])
    missing = {"database": [1], "queries": [1]}

    def rows(*arguments: Any) -> list[list[int]]:
        return [rows.tolist() for rows, _ in content._scored(listed, *arguments)]

    assert rows(None, None) == [[4, 5, 1], [0, 1, 2, 3, 4]]
    assert rows(groups, None) == [[4, 1], [0, 2, 4]]
    assert rows(None, missing) == [[4, 5], []]
    assert content._scored(listed, groups, missing)[0][1].tolist() == [0.9]


@pytest.mark.parametrize("limit", [1, 3])
def test_a_part_without_any_query_is_refused(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "dataset.json"
    areas = {"database": [0] * 4 + [1] * 4, "queries": [1, 1, 1]}
    path.write_text(json.dumps({**PLACES, "areas": areas}))
    with pytest.raises(BenchError, match="leaves no query of places"):
        datasets.limited(datasets.load(str(path)), limit, "first-rows")
    assert len(datasets.limited(datasets.load(str(path)), 5).queries) == 3
