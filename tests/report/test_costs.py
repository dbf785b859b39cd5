"""Costs in the report: never two machines in one table, and pictures that say what they show."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from bench.records import costs
from bench.records import record as records
from bench.records import rows as runs_of
from bench.report.build import build
from bench.report.figures import cost_plot, plot
from bench.report.tables import cost
from tests.support import reports as made
from tests.support.checkout import ROOT

Record = dict[str, Any]


def timed(p50: float, reach: float = 0.1) -> dict[str, Any]:
    """Return p50, p95 and an interval of a tenth to both sides."""
    ends = [p50 * (1 - reach), p50 * (1 + reach)]
    return {"p50": p50, "p95": 2 * p50, "p50_interval": ends, "n": 45, "rounds": 5}


def measured(record: Record, describe: float = 100.0, **machine: Any) -> Record:
    """Return a record with everything that is measured now."""
    full = copy.deepcopy(record)
    full["timing"]["latency"] = {
        "measure": "sample", "batch": 1, "images": 9, "warm_up": 11, "image_px": [640, 480],
        "precision": machine.pop("precision", "float32"), "threads": machine.pop("threads", 2),
        "load_average": 0.5,
        "decode_ms": timed(5.0), "preprocess_ms": timed(0.1 * describe),
        "network_ms": timed(0.9 * describe), "describe_ms": timed(describe),
        "scales": [{"scale": 1.0, "network_ms": timed(0.9 * describe)}],
        "throughput": {"images_per_s": 1500 / describe, "batch": 8, "stopped": "no gain",
                       "tried": [{"batch": 1, "images_per_s": 1000 / describe}]},
        "flops_per_image": 2_350_000_000,
    }  # fmt: skip
    full["timing"]["definitions"] = 2
    full["timing"]["search"] = {
        "measure": "sample", "rows": 60, "dim": 256, "shortlist": 60, "queries": 9, "warm_up": 1,
        "ms_per_query": timed(2.0),
    }  # fmt: skip
    content = {
        "empty_bytes": 5 * 10**8,
        "weights_bytes": 13 * 10**6,
        "activations_bytes": 5 * 10**7,
    }
    full["memory"] = {
        "peak_resident_bytes": 9 * 10**8, "peak_device_bytes": None,
        "peak_device_reserved_bytes": None, "parameters": 3_371_000, "parameter_bytes": 13_484_000,
        "networks": [{"method": "gem.lite0", "resident": content, "device": None}],
        "index_rows": 60, "index_bytes": 61440,
    }  # fmt: skip
    full["machine"] |= machine
    return full


def run_of(record: Record) -> Any:
    return runs_of.parse(made.hashed(record), PurePosixPath(f"runs/{record['run_id']}.json"))


def test_the_costs_of_a_record_are_read_and_older_ones_have_gaps() -> None:
    record = measured(made.make_record(), describe=80.0)
    now = costs.of_record(record)
    assert now.machine == "a processor, processor not known, 2 cores, 2 threads, float32"
    assert now.query_ms.p50 == 80.0 + 5.0 + 2.0
    assert now.query_ms.interval == pytest.approx((0.9 * 87, 1.1 * 87))
    record["rerank"] = {"ms_per_query": {"p50": 300.0, "p95": 400.0}}
    assert costs.of_record(record).query_ms.p50 == 387.0
    del record["timing"]["definitions"]
    assert costs.of_record(record).machine == f"{now.machine}, {costs.FIRST}"
    assert (now.images_per_s, now.batch) == (18.75, 8)
    assert (now.flops, now.parameters) == (2_350_000_000, 3_371_000)
    assert (now.weights, now.activations, now.resident_bytes) == (13 * 10**6, 5 * 10**7, 9 * 10**8)
    old = costs.of_record(made.make_record())
    assert old.describe == costs.Timed(12.34, 23.45)
    assert old.query_ms is old.images_per_s is old.flops is old.batch_1_bytes is None
    assert list(old.phases) == ["decode"]
    nothing = made.make_record()
    nothing["timing"]["latency"] = None
    assert costs.of_record(nothing).describe is None


def query_of(record: Record, *parts: dict[str, Any], busy: tuple[str, ...] = ()) -> Record:
    """Add the time of a query: what is measured of the method and the search, and `parts`."""
    latency, search = record["timing"]["latency"], record["timing"]["search"]
    own = [{"part": phase, "ms": latency[f"{phase}_ms"]} for phase in ("decode", "describe")]
    all_parts = [*own, {"part": "search", "ms": search["ms_per_query"]}, *parts]
    record["timing"]["query"] = {
        "parts": all_parts, "busy": list(busy),
        "ms": {"p50": sum(all_part["ms"]["p50"] for all_part in all_parts), "p95": 1000.0,
               "p50_interval": [1.0, 2.0]},
    }  # fmt: skip
    return record


def test_the_time_of_a_query_has_every_part_of_it() -> None:
    bare = query_of(measured(made.make_record(), describe=80.0))
    more = query_of(
        measured(made.make_record(), describe=80.0),
        {"part": "decode", "of": "token.lite0", "ms": timed(5.0)},
        {"part": "describe", "of": "token.lite0", "ms": timed(40.0)},
        {"part": "stage", "of": "fuse", "ms": timed(0.5)},
        {"part": "encode", "ms": timed(0.25)},
        {"part": "local features", "ms": timed(60.0)},
        {"part": "stage", "of": "rerank", "ms": timed(300.0)},
        {"part": "stage", "of": "aqe", "ms": timed(4.0)},
    )
    assert costs.of_record(bare).query_ms.p50 == 87.0
    of = costs.of_record(more)
    assert of.query_ms == costs.Timed(496.75, 1000.0, (1.0, 2.0))
    assert {phase: timed.p50 for phase, timed in of.phases.items()} == {
        "decode": 10.0, "preprocess": 8.0, "network": 72.0, "second network": 40.0, "search": 2.0,
        "local features": 60.0, "stages": 4.75, "re-rank": 300.0,
    }  # fmt: skip
    assert sum(timed.p50 for timed in of.phases.values()) == of.query_ms.p50
    shown = cost_plot.phases([run_of(bare), run_of(more)])["svg"].decode()
    assert ">local features</text>" in shown
    head, _, *rows = cost_table([run_of(bare), run_of(more)])
    for words in ("second network, ms", "local features, ms", "stages, ms", "re-rank, ms"):
        assert words in head
    assert "| 497 <sub>1.00–2.00</sub> |" in made.printed("".join(rows))


def cost_table(runs: list[Any]) -> list[str]:
    return cost.table(runs).splitlines()


@pytest.mark.parametrize("where", ["latency", "search", "query"])
def test_a_figure_of_a_busy_machine_is_no_figure(where: str) -> None:
    record = query_of(measured(made.make_record()), busy=("waited",))
    if where != "query":
        record["timing"][where]["busy"] = ["waited"]
    now = costs.of_record(record)
    assert now.query_ms is None
    assert now.busy == ("waited",)
    assert (now.describe is None) == (where == "latency")
    assert ("search" in now.phases) == (where != "search")
    run = run_of(record)
    assert (run.describe_ms is None) == (where == "latency")
    cells = [cell.strip() for cell in cost.table([run]).splitlines()[2].split("|")]
    assert cells.count("busy") == (2 if where == "latency" else 1)
    assert cost_plot.quality([run, run]).keys() <= {"png", "svg", "pdf"}


def test_searches_at_stated_sizes_and_the_memory_of_a_process_of_its_own_are_shown() -> None:
    record = measured(made.make_record())
    record["timing"]["search"]["at"] = [
        {"rows": 10_000, "ms_per_query": timed(1.5), "busy": []},
        {"rows": 100_000, "ms_per_query": timed(12.0), "busy": ["load"]},
        {"rows": 1_000_000, "ms_per_query": None, "reason": "memory"},
    ]
    now = costs.of_record(record)
    assert now.search_at == {10_000: 1.5}
    text = made.printed(cost.table([run_of(record)]))
    assert "| at 10⁴, 10⁵, 10⁶ rows |" in text
    assert "| 1.50, –, – |" in text
    assert "| 63.0 <sub>13.0 + 50.0</sub> |" in text
    second = {"empty_bytes": 0, "weights_bytes": 10**6, "activations_bytes": 9 * 10**7}
    record["memory"]["networks"].append({"method": "x.y", "resident": second, "device": None})
    both = costs.of_record(record)
    assert (both.weights, both.activations) == (14 * 10**6, 9 * 10**7)
    record["memory"]["networks"][1]["resident"] = None
    assert costs.of_record(record).weights is None


def test_costs_by_other_definitions_are_never_in_one_table() -> None:
    new, old = measured(made.make_record(number=1)), measured(made.make_record("delg", number=2))
    del old["timing"]["definitions"], old["memory"]["networks"]
    blocks, _ = cost.section([run_of(new), run_of(old)], "mini")
    tables = [block for block in blocks if block.startswith("| method")]
    assert len(tables) == 2
    assert sum(costs.FIRST in block for block in blocks if block.startswith("## Costs")) == 1
    assert blocks.count(cost.OLDER) == 1
    assert run_of(old).cost.query_ms == run_of(new).cost.query_ms is not None
    assert run_of(old).cost.row_ms is None, "a row beside others has no time by other definitions"
    assert run_of(new).cost.row_ms == run_of(new).cost.query_ms


def test_on_a_gpu_the_memory_of_the_device_is_shown() -> None:
    record = measured(made.make_record(), device="cuda", device_name="a card")
    del record["memory"]["networks"]
    record["memory"] |= {"peak_device_bytes": 2 * 10**9, "peak_device_reserved_bytes": 3 * 10**9}
    assert "| 2,000&nbsp;<sub>3,000</sub> |" in cost.table([run_of(record)])
    now = measured(made.make_record(), device="cuda", device_name="a card")
    now["memory"]["networks"][0]["device"] = {
        "empty_bytes": 0, "weights_bytes": 10**9, "activations_bytes": 10**9,
        "reserved_bytes": 3 * 10**9,
    }  # fmt: skip
    assert "| 2,000&nbsp;<sub>1,000 + 1,000</sub> |" in cost.table([run_of(now)])


@pytest.mark.parametrize(
    "other",
    [
        {"device_name": "another processor"},
        {"processor": "another"},
        {"threads": 1},
        {"precision": "bf16"},
        {"cores": 64},
        {"tf32": True, "device": "cuda:0"},
    ],
)
def test_timings_of_two_machines_are_never_in_one_table(other: dict[str, Any]) -> None:
    item = run_of(measured(made.make_record(number=1), describe=11.1))
    two = run_of(measured(made.make_record("delg", number=2), describe=77.7, **other))
    blocks, drawn = cost.section([item, two], "mini")
    tables = [block for block in blocks if block.startswith("| method")]
    assert len(tables) == sum(block.startswith("## Costs") for block in blocks) == 2
    for table in tables:
        assert ("11.1" in table) != ("77.7" in table)
    assert [picture.stem for picture in drawn] == ["mini-phases-1", "mini-phases-2"]


def test_a_table_has_the_costs_of_every_method_with_their_spread() -> None:
    fast = run_of(measured(made.make_record("gem", number=1), describe=20.0))
    slow = run_of(measured(made.make_record("delg", number=2, means=(0.9, 0.7, 0.5)), 4000.0))
    head, _, first, second = cost.table([slow, fast]).splitlines()
    assert head.startswith("| method | mAP M, % | query, ms | describe, ms | p95 | images/s | sea")
    assert "re-rank" not in head
    assert "device" not in head
    cells = [made.printed(cell.strip()) for cell in first.split("|")[1:]]
    assert made.name_of(cells[0]) == "gem.lite0"
    assert cells[1:] == [
        "60.0", "27.0 <sub>24.3–29.7</sub>", "20.0 <sub>18.0–22.0</sub>", "40.0",
        "75.0 <sub>8</sub>", "2.00", "63.0 <sub>13.0 + 50.0</sub>", "3.37", "2.35", "",
    ]  # fmt: skip
    assert "4,000 <sub>3,600–4,400</sub>" in made.printed(second)
    assert "| 0.375 <sub>8</sub> |" in made.printed(second)


def test_operations_that_could_not_be_counted_are_not_a_gap() -> None:
    unknown = measured(made.make_record(number=1))
    unknown["timing"]["latency"]["flops_per_image"] = None
    older = made.make_record("delg", number=2)  # counted nothing
    rows = cost.table([run_of(unknown), run_of(older)]).splitlines()
    place = [cell.strip() for cell in rows[0].split("|")].index("GFLOPs")
    cells = {
        made.name_of(row.split("|")[1].strip()): row.split("|")[place].strip() for row in rows[2:]
    }
    assert cells == {"gem.lite0": "not counted", "delg.lite0": "–"}


def test_a_run_without_scores_or_without_timings_is_shown_as_such() -> None:
    unscored = run_of(measured(made.make_record("fast", means=(None,) * 3, number=1)))
    untimed = made.make_record("none", number=2)
    untimed["timing"]["latency"] = None
    blocks, drawn = cost.section([unscored, run_of(untimed)], "mini")
    (table,) = [block for block in blocks if block.startswith("| method")]
    assert "%" not in table  # no score in the table: no such column
    assert "| 100 <sub>90.0–110</sub> |" in made.printed(table)
    assert "none.lite0" not in table
    assert not any("-cost" in picture.stem for picture in drawn)
    assert cost.section([run_of(untimed)], "mini") == ([], [])


def test_the_front_is_what_nothing_beats() -> None:
    assert cost_plot.front([]) == []
    assert cost_plot.front([(1, 1), (1, 2), (2, 2), (3, 1), (3, 3)]) == [(1, 2), (3, 3)]


def test_rivals_differ_in_what_is_their_own_and_in_nothing_else() -> None:
    def rule(**changes: Any) -> str:
        return cost_plot.rules_of(run_of(made.make_record(card=made.make_card(**changes))))

    same = {"compression": "pq64", "search": "approximate", "preprocess.max_side_px": 480}
    for key, value in same.items():
        assert rule(**{key: value}) == rule()
    deployable = {"candidates_rule": "deployable", "rerank": {"candidates": "deployable"}}
    assert rule(**deployable) == rule()
    official = {"candidates_rule": "official", "rerank": {"candidates": "official"}}
    assert rule(**official) != rule()
    for key, value in (
        ("crop_rule", "whole"),
        ("limit", 5),
        ("dataset.revision", "9" * 64),
        ("distractors.count", 10),
        ("junk_rule", "none"),
    ):
        assert rule(**{key: value}) != rule()


def pictures(count: int, **changes: Any) -> dict[str, bytes]:
    cards = [made.make_card(), made.make_card(crop_rule="whole")]
    chosen = [
        run_of(
            measured(
                made.make_record(
                    f"m{i}<$&>", number=i + 1, means=(0.5, 0.3 + 0.6 * i / count, 0.2),
                    card=cards[i % 2], **changes,
                ),
                describe=10.0 * (1 + (7 * i) % count),
            )
        )
        for i in range(count)
    ]  # fmt: skip
    drawn = cost_plot.quality(chosen)
    return {**drawn, **{f"phases-{k}": v for k, v in cost_plot.phases(chosen).items()}}


@pytest.mark.slow
def test_pictures_are_the_same_bytes_each_time_and_name_what_they_show() -> None:
    first, two = pictures(5), pictures(5)
    assert first == two
    assert set(first) == {*plot.FORMATS, *(f"phases-{kind}" for kind in plot.FORMATS)}
    assert first["png"].startswith(b"\x89PNG")
    text = first["svg"].decode()
    for words in ("time of a query, ms", "bytes per image", "whole"):
        assert words in text
    assert "m4&lt;$&amp;&gt;.lite0" in text
    assert "<date>" not in text
    assert "mathdefault" not in text
    for phase in ("decode", "preprocess", "network", "search"):
        assert f">{phase}</text>" in first["phases-svg"].decode()


@pytest.mark.slow
def test_many_runs_are_drawn_and_the_best_of_them_named() -> None:
    few, many = (pictures(count)["svg"].decode() for count in (5, 30))
    names = [set(re.findall(r"m\d+&lt;[^<]*lite0", text)) for text in (few, many)]
    assert len(names[0]) == 5, "all have room"
    assert 5 < len(names[1]) <= 30
    assert any(name.startswith("m29&") for name in names[1]), "the best is named first"


@pytest.mark.slow
def test_what_was_not_learned_is_on_no_front_and_hollow(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    true = cost_plot.front

    def watched(points: Any) -> Any:
        asked.append(len(points))
        return true(points)

    monkeypatch.setattr(cost_plot, "front", watched)
    pictures(4)
    assert asked == [2, 2, 2, 2]  # two panels, two rules
    asked.clear()
    hollow = pictures(4, trained=False)["svg"].decode()
    assert asked == [0, 0, 0, 0]
    assert "#ffffff" in hollow
    assert "(untrained)" in hollow


def test_partial_runs_and_single_runs_give_no_picture_of_quality() -> None:
    card = made.make_card(limit=5)
    part = [run_of(measured(made.make_record(card=card, number=i, partial=True))) for i in (1, 2)]
    assert cost_plot.quality(part) == {}
    assert cost_plot.quality([run_of(measured(made.make_record()))]) == {}


@pytest.mark.slow
def test_the_report_has_the_costs_and_is_the_same_each_time(tmp_path: Path) -> None:
    for i, name in enumerate(("gem", "delg"), start=1):
        path = made.store(tmp_path, measured(made.make_record(name, number=i), describe=50.0 * i))
        records.read(path)  # the schema takes what is measured
    first = {path: path.read_bytes() for path in build(tmp_path)}
    assert {path: path.read_bytes() for path in build(tmp_path)} == first
    report = (tmp_path / "report" / "mini.md").read_text(encoding="utf-8")
    assert "## Costs on a processor" in report
    targets = re.findall(r"\]\((\.\./[^)#]+)\)", report)
    assert len(targets) > 9
    for target in targets:
        if not target.endswith("README.md"):
            assert (tmp_path / "report" / target).is_file(), target
    for kind in plot.FORMATS:
        assert f"](../figures/mini-cost.{kind})" in report
        assert f"](../figures/mini-phases.{kind})" in report


# --- the keys and their definitions -------------------------------------------------------------


def leaves(node: Any, definitions: Any, path: str = "") -> set[str]:
    """Return the dotted keys of a part of the schema; values in milliseconds are leaves."""
    if "$ref" in node:
        name = node["$ref"].removeprefix("#/$defs/")
        return {path} if name == "Percentiles" else leaves(definitions[name], definitions, path)
    if "anyOf" in node:
        return set().union(*(leaves(item, definitions, path) for item in node["anyOf"]))
    if "$ref" in node.get("items", {}):
        return leaves(node["items"], definitions, f"{path}[]")
    if "properties" in node:
        return set().union(
            *(
                leaves(part, definitions, f"{path}.{key}".removeprefix("."))
                for key, part in node["properties"].items()
            )
        )
    return set() if node.get("type") == "null" else {path}


def test_every_key_of_costs_is_documented_and_no_other() -> None:
    schema = json.loads((ROOT / "results" / "record.schema.json").read_text(encoding="utf-8"))
    there = set()
    for section in ("timing", "memory", "rerank"):
        there |= leaves(schema["properties"][section], schema["$defs"], section)
    there |= {f"<times>.{key}" for key in schema["$defs"]["Percentiles"]["properties"]}
    readme = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    text = readme.split("## Costs")[1].split("\n## ")[0]
    documented = set(re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE))
    machine = {name for name in documented if name.startswith("machine.")}
    assert documented - machine - {"bytes_per_image"} == there
    from bench.system.machine import describe

    nodes = {name for name in machine if name.startswith("machine.nodes")}
    assert nodes  # of a cluster only: what a run on one keeps is tested with it
    assert machine - nodes == {f"machine.{key}" for key in describe("cpu")}
