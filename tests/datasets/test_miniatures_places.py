"""Every data set of place recognition, in its genuine form on disk, from its files to a record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import datasets
from bench.scoring import scores
from tests.support.checkout import ROOT
from tests.support.miniatures_places import VARIANTS, WRITERS, at_folders

pytestmark = pytest.mark.slow

SAME_WAY = {"nclt.open-place-recognition", "amstertime.old-to-new", "msls.val-official-40deg",
            "pitts30k.val", "svox.night", "sf-xl.occlusion"}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in VARIANTS if name not in SAME_WAY])
def test_from_files_to_a_verified_record(name: str, cli: Callable, workspace) -> None:
    WRITERS[name.partition(".")[0]](workspace.data)
    method = "gem.untrained" if name == "st-lucia" else "random-unit"
    result = cli("run", "--method", method, "--dataset", name)
    assert result.status == 0, result.err
    record = json.loads(Path(result.out.splitlines()[-1]).read_text(encoding="utf-8"))
    content = record["card"]["dataset"]
    assert content["name"] == name
    assert (content["database"], content["queries"]) == VARIANTS[name]
    assert content["rules"]
    verified = cli("verify", workspace.records()[0])
    assert verified.status == 0, verified
    assert "match" in verified.out


def test_every_variant_of_every_data_set_has_a_miniature() -> None:
    plug_ins = set(WRITERS)
    named = {
        f"{name}.{variant}" for name in plug_ins for variant in datasets.entry_of(name).variants
    } | {name for name in plug_ins if not datasets.entry_of(name).variants}
    left = {f"svox.{kind}" for kind in ("overcast", "rain", "snow", "sun")}
    assert named - left - {"sf-xl.v2", "sf-xl.night"} == set(VARIANTS)


# What is right in each miniature, worked out by hand; None: a query that is not asked.
FIRST = list(range(12))
SECOND = list(range(12, 24))
TRUTH: dict[str, list[list[int] | None]] = {
    "tokyo247.full all": [FIRST, FIRST, FIRST, SECOND, SECOND, SECOND],
    "tokyo247.full sunset": [None, FIRST, None, None, SECOND, None],
    "tokyo247.suppressed night": [None, None, FIRST, None, None, SECOND],
    "pitts30k.test all": [[0, 1], []],
    "msls.val-official all": [[0, 1], [2, 3], [5, 6], [5, 6]],
    "msls.val-official cph": [[0, 1], [2, 3], None, None],
    "msls.val-official-40deg sf": [None, None, [5], [5]],
    "msls.val-patch-netvlad all": [[0, 1], [2, 3], [5, 6], [5, 6]],
    "msls.val-gsv-cities all": [[0, 1], [5, 6], [7]],
    "msls.val-gmberton all": [[0, 1], [0, 1], [2, 3], [5, 6], [5, 6]],
    "msls.test athens": [None, None, [4, 5], None, None, None, None],
    "nordland.vpr-bench all": [[0, 1], [9, 10, 11], [19, 20, 21]],
    "gldv2 private": [[0, 3], None],
    "gldv2 public": [None, [5]],
    "amstertime.vpr all": [[0], [1], [2]],
    "amstertime.new-to-old all": [[0], [1], [2]],
    "sped all": [[0], [1], [2]],
    "nclt.bevplace 2012-02-04": [[0], [1], [2], *[None] * 15],
    "nclt.bevplace 2012-03-17": [*[None] * 3, [0, 1], [0, 1, 2], [1, 2], *[None] * 12],
    "ilias all": [[0, 1], [2, 3]],
    "st-lucia all": [[0, 1], []],
    "svox.all all": [[0, 1], []],
    "svox.night all": [[], [0, 1]],
    "sf-xl.v2 all": [[], [0, 1]],
}


@pytest.mark.parametrize("name", list(TRUTH))
def test_what_is_right_in_each_miniature(name: str, workspace) -> None:
    full, protocol = name.split()
    WRITERS[full.partition(".")[0]](workspace.data)
    dataset = datasets.load(full)
    [content] = (p for p in dataset.protocols if p.name == protocol)
    asked = scores.asked(content)
    got = [
        t.positive.tolist() if item else None for t, item in zip(content.truth, asked, strict=True)
    ]
    assert got == TRUTH[name]


def test_pairs_of_sessions_and_the_regions_of_adafusion(workspace) -> None:
    """Seven sessions of three poses: the last lies outside of all regions, and is asked only."""
    WRITERS["nclt"](workspace.data)
    every, some = (datasets.load(f"nclt.{v}") for v in ("open-place-recognition", "adafusion"))
    assert len(every.queries) == 7 * 6 * 3
    assert len(some.queries) == 6 * 5 * 3 + 6 * 3
    sessions = [image.file.split("/")[0] for image in every.database]
    for dataset in (every, some):
        for query, area in zip(dataset.queries, dataset.areas.queries, strict=True):
            assert query.file.split("/")[0] != sessions[3 * area], "no session asks itself"
    near = some.protocols[0].truth[0].positive
    assert near.tolist() == [0], "within the 3 m that protocol.json states"
    rules = some.rules
    assert (rules["threshold_m"], rules["comparison"], rules["region_m"]) == (3.0, "<=", 100.0)
    assert datasets.load("nclt.bevplace").rules["comparison"] == "<"


def test_the_names_in_the_lists_are_those_of_the_official_lists(workspace) -> None:
    for name in ("tokyo247", "msls", "ilias", "gldv2"):
        WRITERS[name](workspace.data)
    tokyo = datasets.load("tokyo247")
    assert tokyo.name == "tokyo247.full"
    assert tokyo.database[0].file.endswith("_012_0.jpg"), "whatever lies on the disk"
    official = datasets.load("msls")
    assert official.queries[2].file == "train_val/sf/query/images/sfq0-_KEY.jpg"
    assert official.name == "msls.val-official"
    assert official.protocols[0].empty == "skip"
    assert datasets.load("msls.val-gmberton").protocols[0].empty == "miss"
    assert datasets.load("ilias").queries[0].box == (5, 6, 35, 26)
    assert datasets.load("gldv2").database[3].file == "index/3/3/3/3330000000000003.jpg"


def test_gmberton_s_own_folders_of_mapillary_come_first(workspace) -> None:
    WRITERS["msls"](workspace.data)
    at_folders(workspace.data / "msls" / "images" / "val", "database", ["queries"])
    dataset = datasets.load("msls.val-gmberton")
    assert (len(dataset.database), len(dataset.queries)) == (5, 2)


def test_part_of_a_data_set_by_city_can_be_run(cli: Callable, workspace) -> None:
    WRITERS["msls"](workspace.data)
    for path in sorted((workspace.data / "msls").glob("train_val/cph/database/images/*.jpg")):
        path.unlink()
    arguments = ("run", "--method", "random-unit", "--dataset", "msls.val-official")
    assert cli(*arguments).status == 1
    result = cli(*arguments, "--allow-partial")
    assert result.status == 0, result.err
    content = json.loads(Path(result.out.splitlines()[-1]).read_text(encoding="utf-8"))
    assert content["card"]["absent"] == {"database": 5, "queries": 2}, "their city has no images"
    assert content["card"]["areas"]["count"] == 1
    assert cli("verify", result.out.splitlines()[-1]).status == 0


def test_a_data_set_with_positions_in_its_names_is_a_short_file() -> None:
    for name in ("eynsham", "st_lucia"):
        text = (ROOT / "datasets" / f"{name}.py").read_text(encoding="utf-8")
        assert len(text.splitlines()) < 20
