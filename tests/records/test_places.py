"""The rules of place recognition in a record: the card names them, and verify follows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.data.dataset_json import parse
from bench.records import record
from bench.scoring import card
from bench.types import NO_ROW
from tests.support.places import PLACES, R5, score_places


def test_rules_stand_in_the_card_and_verify_follows_them(
    cli: Callable, workspace, brought: tuple[Path, Path]
) -> None:
    path = score_places(cli, workspace, brought)
    content = record.read(path)
    assert content["card"]["dataset"]["rules"] == PLACES["rules"]
    assert content["card"]["areas"]["count"] == 2
    assert content["card"]["suppression"]["groups"] == 4
    assert content["card"]["protocols"]["night"]["not_asked"] == 1
    result = cli("verify", path)
    assert result.status == 0, result
    shorts = {content["card_sha256"]}
    for change in (
        {"areas": {**PLACES["areas"], "queries": [0, 1, 1]}, "protocols": {
            "all": [{"positive": [1]}, {"positive": [5]}, {"positive": [6]}]}},
        {"groups": [0, 0, 1, 1, 2, 2, 3, 4]},
        {"rules": {"threshold_m": 25, "comparison": "<"}},
    ):  # fmt: skip
        other = record.read(score_places(cli, workspace, brought, **change))
        shorts.add(other["card_sha256"])
    assert len(shorts) == 4, "each rule is another card"


@pytest.mark.parametrize("key", ["groups", "areas"])
def test_groups_and_areas_are_in_the_revision(key: str) -> None:
    other = {k: v for k, v in PLACES.items() if k != key}
    first, without = (parse(data, "x", Path()) for data in (PLACES, other))
    assert card.revision(first) != card.revision(without)


def test_a_small_area_does_not_shorten_the_lists_of_the_others(
    cli: Callable, workspace, brought: tuple[Path, Path]
) -> None:
    """Six cut-outs of one panorama need a list of all seven; the other area has one row."""
    change = {
        "areas": {"database": [0] + [1] * 7, "queries": [1, 0, 1]},
        "groups": [2, 1, *[0] * 6],
        "protocols": {"all": [{"positive": [1]}, {"positive": [0]}, {"positive": [*range(2, 8)]}]},
        "metrics": [R5],
    }
    path = score_places(cli, workspace, brought, **change)
    content = record.read(path)
    rows = record.read_arrays(path, content)["shortlist_row"]
    assert rows.shape == (3, 7)
    assert rows[1].tolist() == [0, *[NO_ROW] * 6]
    assert content["scores"]["all"][R5]["per_query"] == [1.0, 1.0, 1.0]
    assert cli("verify", path).status == 0


@pytest.mark.parametrize(
    ("array", "spoil", "message"),
    [
        ("database_group", lambda a: a + 1, "the stored groups differ from the card's"),
        (
            "database_group",
            lambda a: a[1:],
            "the stored groups and the card's have different numbers of images",
        ),
        ("database_group", None, "the card names a suppression, but no groups are stored"),
        ("database_area", lambda a: a[::-1].copy(), "the stored areas differ from the card's"),
        ("query_area", lambda a: 1 - a, "the stored areas differ from the card's"),
        ("query_area", None, "the card names areas, but no areas are stored"),
        (
            "truth_night_asked",
            lambda a: ~a,
            "the stored ground truth of night differs from the card's",
        ),
    ],
)
def test_a_record_that_breaks_its_rules_is_caught(
    array: str, spoil: Callable | None, message: str, cli: Callable, workspace, brought
) -> None:
    path = score_places(cli, workspace, brought)
    content = record.read(path)
    arrays = record.read_arrays(path, content)
    if spoil is None:
        del arrays[array]
    else:
        arrays[array] = spoil(arrays[array])
    keys = ("schema", "card_sha256", "card_id", "ranks", "sha256")
    rest = {key: value for key, value in content.items() if key not in keys}
    again = record.write(workspace.folder / "again", rest, arrays)
    got = cli("verify", again)
    assert got.status == 1
    assert message in got.out + got.err


def test_a_record_whose_list_leaves_its_area_or_is_too_short_is_caught(
    cli: Callable, workspace, brought: tuple[Path, Path]
) -> None:
    path = score_places(cli, workspace, brought)
    content = record.read(path)
    arrays = record.read_arrays(path, content)
    keys = ("schema", "card_sha256", "card_id", "ranks", "sha256")
    rest = {key: value for key, value in content.items() if key not in keys}
    strange = {**arrays, "shortlist_row": arrays["shortlist_row"].copy()}
    labelled = set(arrays["labelled_row"][:1].tolist())
    at = next(i for i, row in enumerate(strange["shortlist_row"][0]) if row not in labelled)
    strange["shortlist_row"][0, at] = 7
    got = cli("verify", record.write(workspace.folder / "strange", rest, strange))
    assert "the list of query 0 has images outside its area" in got.out + got.err
    short = {
        **arrays,
        **{f"shortlist_{k}": arrays[f"shortlist_{k}"][:, :1] for k in ("row", "score")},
    }
    got = cli("verify", record.write(workspace.folder / "short", rest, short))
    assert "the shortlist is too short for its suppression" in got.out + got.err


@pytest.fixture
def along_a_route(
    cli: Callable, workspace: Any, brought: tuple[Path, Path]
) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """Return the record of 60 queries along a route, its content and its arrays."""
    rng = np.random.default_rng(0)
    right = np.repeat(rng.random(20) < 0.6, 3)
    rows, database = np.arange(60) % 8, np.eye(8)
    queries = database[np.where(right, rows, (rows + 1) % 8)]
    np.save(brought[0], database.astype(np.float32))
    np.save(brought[1], queries.astype(np.float32))
    change = {
        "queries": [{"file": f"q{i}.png"} for i in range(60)],
        "protocols": {"all": [{"positive": [int(row)]} for row in rows]},
        "order": [[0, i] for i in range(60)],
    }
    bare = {"areas": {"database": [0] * 8, "queries": [0] * 60}, "groups": [*range(8)]}
    path = score_places(cli, workspace, brought, **change, **bare)
    content = record.read(path)
    return path, content, record.read_arrays(path, content)


def test_a_record_names_its_blocks_and_verify_makes_them_again(
    along_a_route: Any, cli: Callable, workspace: Any
) -> None:
    path, stored, arrays = along_a_route
    stated = stored["intervals"]
    assert stated["rule"] == "order"
    assert stated["blocks"] == len(np.unique(arrays["query_block"])) >= 6
    assert 0 < stated["seen"] <= 1
    own = workspace.folder / "places" / "dataset.json"
    assert cli("verify", path, "--dataset", own).status == 0
    keys = ("schema", "card_sha256", "card_id", "ranks", "sha256")
    rest = {key: value for key, value in stored.items() if key not in keys}
    turned = {**arrays, "query_block": arrays["query_block"][::-1].copy()}
    for content, of, item in (
        (rest, {**arrays, "query_block": arrays["query_block"][1:]}, "query_block"),
        (rest | {"intervals": stated | {"blocks": 59}}, arrays, "the record states 59"),
        (rest | {"intervals": stated | {"seen": 0.5}}, arrays, "scores.all"),
    ):
        got = cli("verify", record.write(workspace.folder / "again", content, of))
        assert got.status == 1
        assert item in got.out + got.err
    got = cli("verify", record.write(workspace.folder / "turned", rest, turned), "--dataset", own)
    assert got.status == 1
