"""What a query of a run takes: every network and every stage, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.pipeline import query_cost
from bench.records import costs, record
from tests.support import coded


def test_times_are_added_and_what_is_not_known_is_not() -> None:
    item = {"p50": 1.0, "p95": 2.0, "p50_interval": [0.5, 2.0], "n": 3, "rounds": 3}
    two = {"p50": 3.0, "p95": 3.5, "p50_interval": None}
    assert query_cost.added([item, two]) == {
        "p50": 4.0, "p95": 5.5, "p50_interval": [3.5, 5.0],
    }  # fmt: skip
    assert query_cost.added([item, None]) is None
    assert query_cost.added([]) is None


@pytest.fixture
def views(tmp_path: Path) -> Path:
    """Return a data set of six photographs and two queries."""
    folder = tmp_path / "views"
    (folder / "jpg").mkdir(parents=True)
    draw = np.random.default_rng(3)
    for name in (*"012345", "q", "r"):
        small = Image.fromarray(draw.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        small.resize((96, 72)).save(folder / "jpg" / f"{name}.png")
    data = {"name": "views", "images": "jpg", "database": [f"{i}.png" for i in range(6)],
            "queries": [{"file": "q.png"}, {"file": "r.png"}],
            "protocols": {"p": [{"positive": [2]}, {"positive": [1]}]}}  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(data))
    return folder


def parts(content: dict[str, Any]) -> list[tuple[str, str | None]]:
    return [(item["part"], item.get("of")) for item in content["timing"]["query"]["parts"]]


OWN = [("decode", None), ("describe", None)]


@pytest.mark.slow
def test_a_row_with_and_without_re_ranking_differs_by_the_stages_of_it(
    workspace, cli, views: Path, quick_costs
) -> None:
    arguments = ("run", "--method", "delg.untrained", "--dataset", views, "--measure", "sample")
    assert cli(*arguments).status == 0
    assert cli(*arguments, "--rerank").status == 0
    assert [of.local for of in quick_costs] == ["none", "too"]
    contents = [record.read(path) for path in workspace.records()]
    (plain,) = [content for content in contents if "rerank" not in content]
    (more,) = [content for content in contents if "rerank" in content]
    assert parts(plain) == [*OWN, ("search", None)]
    assert parts(more) == [*OWN, ("search", None), ("local features", None), ("stage", "rerank")]
    times = {place: item["ms"]["p50"] for place, item in
             zip(parts(more), more["timing"]["query"]["parts"], strict=True)}  # fmt: skip
    added = more["timing"]["query"]["ms"]["p50"] - plain["timing"]["query"]["ms"]["p50"]
    assert added == pytest.approx(times["local features", None] + times["stage", "rerank"])
    assert times["stage", "rerank"] == more["rerank"]["ms_per_query"]["p50"]
    assert times["local features", None] > 0
    for item in (plain, more):
        total = costs.of_record(item).query_ms
        assert total is not None
        assert total.p50 == item["timing"]["query"]["ms"]["p50"]
        (network,) = item["memory"]["networks"]
        assert network["method"] == "delg.untrained"


@pytest.mark.slow
def test_local_features_of_another_method_are_its_own_network(
    workspace, cli, views: Path, quick_costs
) -> None:
    done = cli("run", "--method", "random-unit", "--dataset", views, "--measure", "sample",
               "--rerank", "--local", "delg.untrained")  # fmt: skip
    assert done.status == 0, done.err
    content = record.read(workspace.records()[0])
    other = "delg.untrained"
    assert parts(content) == [*OWN, ("search", None), ("local features", other),
                              ("stage", "rerank")]  # fmt: skip
    networks = [item["method"] for item in content["memory"]["networks"]]
    assert networks == ["random-unit.seed0", other]
    assert [(of.method, of.local) for of in quick_costs] == [
        ("random-unit", "none"), (other, "only"),
    ]  # fmt: skip


@pytest.mark.slow
def test_a_chain_has_its_second_network_and_all_its_stages(
    workspace, cli, views: Path, quick_costs, tmp_path: Path
) -> None:
    stages = ("fuse:random-unit,weight=0.5", "truncate:40", "binary", "rescore:3")
    arguments = [word for stage in stages for word in ("--stage", stage)]
    done = cli("run", "--method", coded.written(tmp_path), "--dataset", views, "--measure",
               "sample", *arguments)  # fmt: skip
    assert done.status == 0, done.err
    content = record.read(workspace.records()[0])
    second = "random-unit.seed0"
    assert parts(content) == [
        *OWN, ("decode", second), ("describe", second), ("stage", "fuse"), ("stage", "truncate"),
        ("encode", None), ("search", None), ("stage", "rescore"),
    ]  # fmt: skip
    query = content["timing"]["query"]
    assert all(item["ms"]["p50"] >= 0 for item in query["parts"])
    assert query["ms"]["p50"] == pytest.approx(sum(item["ms"]["p50"] for item in query["parts"]))
    assert [item["method"] for item in content["memory"]["networks"]] == ["coded.plain", second]
    assert [of.method for of in quick_costs] == [str(tmp_path / "coded.py"), "random-unit"]


@pytest.mark.slow
def test_codes_of_a_method_are_no_second_network(
    workspace, cli, views: Path, quick_costs, tmp_path: Path
) -> None:
    done = cli("run", "--method", coded.written(tmp_path), "--dataset", views, "--measure",
               "sample", "--stage", "codes", "--stage", "rescore:3")  # fmt: skip
    assert done.status == 0, done.err
    content = record.read(workspace.records()[0])
    assert parts(content) == [*OWN, ("encode", None), ("search", None), ("stage", "rescore")]
    assert [item["method"] for item in content["memory"]["networks"]] == ["coded.plain"]
