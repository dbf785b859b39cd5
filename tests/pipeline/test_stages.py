"""Stages: α-query expansion as the official program has it, chains, replay."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import BenchError
from bench.records import record
from bench.records.verify import verify
from bench.types import Image
from tests.support.checkout import ROOT
from tests.support.reports import text_of
from tests.support.signed import sign
from tests.support.town import path_of, unit

pytestmark = pytest.mark.slow

README = (ROOT / "bench" / "rerank" / "README.md").read_text(encoding="utf-8")


def expanded(database: Any, queries: Any, k: int, alpha: float) -> np.ndarray:
    """Return the expanded queries, by loops."""
    out = []
    for query in queries.astype(np.float64):
        scores = database.astype(np.float64) @ query
        total = query.copy()
        for row in sorted(range(len(database)), key=lambda row: (-scores[row], row))[:k]:
            total = total + scores[row] ** alpha * database[row]
        out.append(total / (k + 1) / np.linalg.norm(total / (k + 1)))
    return np.array(out)


@pytest.mark.parametrize(("name", "k", "alpha"), [("aqe_k10_a3", 10, 3), ("aqe_k5_a1", 5, 1)])
def test_expanded_queries_are_those_of_the_official_program(
    cli, official, tmp_path: Path, name: str, k: int, alpha: int
) -> None:
    arguments, answers = official
    result = cli(*arguments, "--stage", f"aqe:{k},alpha={alpha}", "--export", tmp_path / "out.npz")
    assert verify(path_of(result))[0] == []
    out = np.load(tmp_path / "out.npz")
    assert np.abs(out["stage0_queries"] - answers[name]).max() < 2e-5


@pytest.mark.parametrize("alpha", [0, 1, 2.5, 3])
def test_lists_are_those_of_a_search_with_the_mean(cli, town, tmp_path: Path, alpha: float) -> None:
    arguments = town(1)
    database, queries = (np.abs(np.load(tmp_path / f"{name}.npy")) for name in ("db", "q"))
    for name, rows in (("db", database), ("q", queries)):  # no negative similarity
        np.save(tmp_path / f"{name}.npy", rows)
    result = cli(*arguments, "--stage", f"aqe:4,alpha={alpha}", "--export", tmp_path / "out.npz")
    content = record.read(path_of(result))
    assert content["card"]["stages"] == [{"stage": "aqe", "k": 4, "alpha": float(alpha)}]
    assert f"(α-query expansion, K 4, α {alpha:g})" in result.out
    means = expanded(database, queries, 4, alpha)
    scores = means @ database.astype(np.float64).T
    out = np.load(tmp_path / "out.npz")
    assert np.allclose(out["stage0_queries"], means, atol=1e-12)
    assert (
        out["stage0_rows"].tolist() == np.argsort(-scores, axis=1, kind="stable")[:, :100].tolist()
    )
    assert np.allclose(np.take_along_axis(scores, out["stage0_rows"], 1), out["stage0_scores"])
    assert out["stages"].tolist() == ["aqe"]


def test_the_card_moves_with_the_stage_and_with_nothing_else(cli, town) -> None:
    arguments = town(2)
    plain, again, first, other = (
        record.read(path_of(cli(*arguments, *stage)))["card_id"]
        for stage in ((), (), ("--stage", "aqe:4,alpha=3"), ("--stage", "aqe:5,alpha=3"))
    )
    assert plain == again
    assert len({plain, first, other}) == 3


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("aqe", "write aqe:K,alpha=A"),
        ("aqe:0,alpha=1", "write aqe:K,alpha=A"),
        ("aqe:3", "write aqe:K,alpha=A"),
        ("aqe:3,alpha=-1", "must be a number from 0"),
        ("aqe:3,alpha=nan", "must be a number from 0"),
        ("aqe:3,beta=1", "write aqe:K,alpha=A"),
        ("aqe:3,alpha=1,alpha=2", "repeats a key"),
        ("aqe:500,alpha=1", "searches only 120 rows"),
        ("aqee:3,alpha=1", "aqe"),
        ("rerank", "stage"),
        ("nowhere.py:3", "does not exist"),
    ],
)
def test_what_cannot_work_is_one_sentence(cli, refused, town, stage: str, words: str) -> None:
    assert words in refused(cli(*town(3), "--stage", stage))


def test_a_fractional_power_of_a_negative_similarity_is_refused(cli, refused, town) -> None:
    arguments = town(4)
    assert "whose power 0.5 is undefined" in refused(
        cli(*arguments, "--stage", "aqe:120,alpha=0.5")
    )
    assert cli(*arguments, "--stage", "aqe:120,alpha=3").status == 0


def test_a_query_stays_in_its_area(cli, town, tmp_path: Path) -> None:
    areas = {"database": [0] * 70 + [1] * 50, "queries": [0, 1, 0, 1, 0, 1]}
    truth = [{"positive": [row for row in range(120) if areas["database"][row] == area][:4]}
             for area in areas["queries"]]  # fmt: skip
    arguments = town(5, areas=areas, protocols={"all": truth})
    result = cli(*arguments, "--stage", "aqe:6,alpha=1", "--export", tmp_path / "out.npz")
    assert verify(path_of(result))[0] == []
    database, queries = (np.load(tmp_path / f"{name}.npy") for name in ("db", "q"))
    out = np.load(tmp_path / "out.npz")
    for query, area in enumerate(areas["queries"]):
        rows = np.flatnonzero(np.array(areas["database"]) == area)
        mean = expanded(database[rows], queries[query : query + 1], 6, 1)
        order = rows[np.argsort(-(database[rows].astype(np.float64) @ mean[0]), kind="stable")]
        listed = out["stage0_rows"][query]
        assert listed[listed >= 0].tolist() == order[:100].tolist()


def test_distractors_an_index_and_codes_go_with_it(cli, town, tmp_path: Path) -> None:
    arguments = town(6)
    np.save(tmp_path / "more.npy", unit(np.random.default_rng(9).standard_normal((60, 12))))
    for more in (
        ("--distractors", tmp_path / "more.npy"),
        ("--search", "hnsw8,ef64,k120"),
        ("--search", "ivf4,nprobe4", "--distractors", tmp_path / "more.npy"),
        ("--compression", "pq4x4"),
    ):
        path = path_of(cli(*arguments, *more, "--stage", "aqe:5,alpha=3"))
        faults, notes = verify(path)
        assert faults == []
        assert "stage aqe: strengths as stated" in notes


def test_chains_are_applied_in_order(cli, town, tmp_path: Path) -> None:
    arguments = town(7)
    both = ("--stage", "aqe:5,alpha=3", "--stage", "aqe:3,alpha=1")
    path = path_of(cli(*arguments, *both, "--export", tmp_path / "out.npz"))
    assert verify(path)[0] == []
    database, queries = (np.load(tmp_path / f"{name}.npy") for name in ("db", "q"))
    out = np.load(tmp_path / "out.npz")
    once = expanded(database, queries, 5, 3)
    assert np.allclose(out["stage0_queries"], once, atol=1e-12)
    first = out["stage0_rows"][0, :3]
    mean = queries[0].astype(np.float64)
    weights = database[first].astype(np.float64) @ mean
    total = mean + weights @ database[first].astype(np.float64)
    assert np.allclose(out["stage1_queries"][0], total / np.linalg.norm(total), atol=1e-12)
    other = record.read(path_of(cli(*arguments, *both[2:], *both[:2])))
    assert other["card_id"] != record.read(path)["card_id"]


def forged(change: Callable[[Any, Any], None], path: Path, tmp_path: Path) -> list[str]:
    """Return what is found in a record after a change, with every checksum right."""
    content = record.read(path)
    arrays = {key: value.copy() for key, value in record.read_arrays(path, content).items()}
    change(content, arrays)
    try:
        return verify(sign(content, arrays, tmp_path / "forged.json"))[0]
    except BenchError as error:
        return [str(error)]


def longer(content: Any, arrays: Any) -> None:
    content["card"]["stages"][0]["k"] = 101


def another(content: Any, arrays: Any) -> None:
    content["card"]["stages"].append({"stage": "aqe", "k": 3, "alpha": 1})


def none(content: Any, arrays: Any) -> None:
    content["card"]["stages"] = []


def worse(content: Any, arrays: Any) -> None:
    arrays["stage0_labelled_rank"][0] += 1


def another_row(content: Any, arrays: Any) -> None:
    arrays["stage0_shortlist_row"][0, 0] = arrays["stage0_shortlist_row"][0, 1]


def lacking(content: Any, arrays: Any) -> None:
    del arrays["stage0_labelled_tied"]


def shorter(content: Any, arrays: Any) -> None:
    arrays["stage0_labelled_rank"] = arrays["stage0_labelled_rank"][:-1]


@pytest.mark.parametrize(
    "change",
    [longer, another, none, worse, another_row, lacking, shorter],
    ids=lambda f: f.__name__,
)
def test_a_forged_stage_is_found(cli, town, tmp_path: Path, change: Any) -> None:
    path = path_of(cli(*town(8), "--stage", "aqe:5,alpha=3"))
    assert forged(lambda content, arrays: None, path, tmp_path) == []
    assert forged(change, path, tmp_path)


# --- in a run -----------------------------------------------------------------------------------


def test_a_run_with_a_stage_says_so_everywhere(cli, workspace) -> None:
    arguments = ("run", "--method", "gem.lite0", "--stage", "aqe:3,alpha=3")
    planned = cli(*arguments, "--dry-run")
    assert "stages: α-query expansion, K 3, α 3" in planned.out
    path = path_of(cli(*arguments))
    assert verify(path)[0] == []
    assert "describe database: 49" not in cli(*arguments).err, "stored descriptors are used"
    from bench.report.build import build

    build(workspace.results)
    text = text_of(workspace.results)
    assert "α-query expansion, K 3, α 3" in text


def test_re_ranking_is_a_stage(cli, workspace) -> None:
    arguments = ("run", "--method", "delg.untrained", "--limit", "6")
    option, stage = (
        path_of(cli(*arguments, *how)) for how in (("--rerank",), ("--stage", "rerank:deployable"))
    )
    first, other = record.read(option), record.read(stage)
    assert first["card_id"] == other["card_id"]
    assert "rerank" in first
    assert record.same(first["scores"], other["scores"])
    arrays = [record.read_arrays(path, item) for path, item in ((option, first), (stage, other))]
    for key, value in arrays[0].items():
        assert np.array_equal(value, arrays[1][key]), key


@pytest.mark.parametrize("rule", ["deployable", "official"])
def test_re_ranking_in_a_chain_is_replayed(cli, workspace, tmp_path: Path, rule: str) -> None:
    result = cli("run", "--method", "delg.untrained", "--limit", "6", "--stage", "aqe:2,alpha=1",
               f"--rerank={rule}")  # fmt: skip
    path = path_of(result)
    document = record.read(path)
    assert [entry["stage"] for entry in document["card"]["stages"]] == ["aqe", "rerank"]
    assert document["card"]["candidates_rule"] == "in-stages"
    assert verify(path)[0] == []

    def fewer(content: Any, arrays: Any) -> None:
        arrays["stage1_inliers"] = arrays["stage1_inliers"][:, :-1]

    def more(content: Any, arrays: Any) -> None:
        for key in arrays:
            if key.startswith("stage1_inliers"):
                arrays[key][:] = 10**6

    def nonsense(content: Any, arrays: Any) -> None:
        content["card"]["stages"][0]["k"] = "two"

    for change in (fewer, more, nonsense):
        assert forged(change, path, tmp_path)


def test_a_search_after_lists_that_differ_by_protocol_is_refused(cli, refused) -> None:
    result = cli("run", "--method", "delg.untrained", "--limit", "6", "--stage", "rerank:official",
               "--stage", "aqe:2,alpha=1")  # fmt: skip
    assert "needs one list for all protocols" in refused(result)


def test_both_spellings_of_re_ranking_are_refused_together(cli, refused) -> None:
    result = cli("run", "--method", "delg.untrained", "--stage", "rerank", "--rerank")
    assert "give one of them" in refused(result)


def test_missing_images_take_no_part(cli, tiny: Path) -> None:
    arguments = ("run", "--method", tiny / "halves.py", "--dataset", tiny)
    (tiny / "jpg" / "007.png").write_bytes(b"no image")
    (tiny / "jpg" / "002.png").write_bytes(b"no image")  # a query as well
    path = path_of(cli(*arguments, "--stage", "aqe:5,alpha=3", "--allow-missing"))
    assert verify(path)[0] == []
    arrays = record.read_arrays(path, record.read(path))
    assert not np.any(np.isin(arrays["stage0_shortlist_row"][0], [2, 7]))


@pytest.mark.parametrize(
    "how", [(), ("--stage", "aqe:3,alpha=3"), ("--stage", "aqe:2,alpha=1", "--rerank=official")]
)
def test_a_record_is_made_again_from_stored_descriptors(
    cli, workspace, tmp_path: Path, how: tuple[str, ...]
) -> None:
    method = "delg.untrained" if "--rerank=official" in how else "random-unit"
    path = path_of(cli("run", "--method", method, "--limit", "8", *how))
    result = cli("verify", "--descriptors", path)
    assert result.status == 0, result.out + result.err
    assert "recomputed from stored descriptors" in result.out

    content = record.read(path)
    arrays = record.read_arrays(path, content)
    stage = "stage0_" if how else ""
    name = f"{stage}shortlist_score"
    low, high = arrays["labelled_offsets"][:2]
    labels = arrays["labelled_row"][low:high]
    bare = ~np.isin(arrays[f"{stage}shortlist_row"][0], labels)  # ranks have scores of labels too
    assert bare.any()
    arrays[name] = arrays[name].copy()
    arrays[name][0, bare] *= 1 - 1e-12  # the same order, and not the same bits
    target = tmp_path / path.name
    result = cli("verify", "--descriptors", sign(content, arrays, target))
    assert f"{name} differs from that of the stored descriptors" in result.out

    shutil.rmtree(workspace.cache / "descriptors")
    result = cli("verify", "--descriptors", path)
    assert result.status == 1
    assert "are not stored; compute them with" in result.err
    assert not list((workspace.cache / "descriptors").glob("*/shard-*.npy")), "nothing is described"


def test_an_edited_parameter_is_found_from_descriptors(cli, workspace, tmp_path: Path) -> None:
    path = path_of(cli("run", "--method", "random-unit", "--stage", "aqe:3,alpha=3"))
    content = record.read(path)
    arrays = record.read_arrays(path, content)
    content["card"]["stages"][0]["k"] = 4
    forged = sign(content, arrays, tmp_path / "forged.json")
    assert verify(forged)[0] == [], "the stored ranks and scores agree"
    assert "DIFFERS: stage0_" in cli("verify", "--descriptors", forged).out


def test_brought_descriptors_are_in_no_store(cli, refused, town) -> None:
    path = path_of(cli(*town(12)))
    assert "was not made by `run`" in refused(cli("verify", "--descriptors", path))


def test_codes_and_an_index_are_made_again(cli, workspace) -> None:
    arguments = (
        "run",
        "--method",
        "random-unit",
        "--compression",
        "pq4x4",
        "--search",
        "ivf4,nprobe4",
    )
    path = path_of(cli(*arguments, "--stage", "aqe:2,alpha=1"))
    result = cli("verify", "--descriptors", path)
    assert result.status == 0, result.out + result.err


@pytest.mark.parametrize(
    "command", ["python -m bench run --help", 'python -m bench run "', "rm -rf /", "", "--version"]
)
def test_a_hostile_command_is_one_sentence(cli, refused, tmp_path: Path, command: str) -> None:
    path = path_of(cli("run", "--method", "random-unit"))
    content = record.read(path)
    content["command"] = command
    forged = sign(content, record.read_arrays(path, content), tmp_path / "forged.json")
    result = cli("verify", "--descriptors", forged)
    refused(result)
    assert "usage" not in result.out


def test_a_list_of_a_stage_that_leaves_its_area_is_found(cli, town, tmp_path: Path) -> None:
    areas = {"database": [0] * 60 + [1] * 60, "queries": [0, 1, 0, 1, 0, 1]}
    truth = [{"positive": [60 * area, 60 * area + 5]} for area in areas["queries"]]
    path = path_of(cli(*town(13, areas=areas, protocols={"all": truth}),
                       "--stage", "aqe:4,alpha=1"))  # fmt: skip

    def elsewhere(content: Any, arrays: Any) -> None:
        listed = set(arrays["stage0_shortlist_row"][0].tolist())
        other = next(row for row in range(119, 60, -1) if row not in listed)
        last = np.flatnonzero(arrays["stage0_shortlist_row"][0] >= 0)[-1]
        labelled = {int(row) for row in arrays["labelled_row"]}
        assert int(arrays["stage0_shortlist_row"][0, last]) not in labelled
        arrays["stage0_shortlist_row"][0, last] = other

    assert any(
        "has images outside its area" in fault for fault in forged(elsewhere, path, tmp_path)
    )


def test_protocols_whose_names_end_alike_are_replayed(cli, tmp_path: Path) -> None:
    from bench.ranking import one_list
    from bench.records import replay
    from bench.types import GroundTruth, LabelledRanks, Protocol, Ranking, Shortlist

    nothing = np.zeros(0, dtype=np.int64)
    truth = (GroundTruth(nothing, nothing),)
    protocols = [Protocol(name, truth, ("map.trapezoid.junk-removed",)) for name in ("a", "b_a")]
    ranks = LabelledRanks(np.zeros(2, np.int64), nothing, nothing, np.zeros(0), nothing)
    listed = Shortlist(np.array([[1, 0]]), np.array([[0.5, 0.4]]))
    before = Ranking((ranks, ranks), (listed, listed), (0, 1))
    arrays = {"stage1_inliers_a": np.array([[1, 2]]), "stage1_inliers_b_a": np.array([[3, 4]])}
    kept = replay.of_stage(1, arrays, before, protocols)
    assert [array.tolist() for array in kept["inliers"]] == [[[1, 2]], [[3, 4]]]
    assert one_list(ranks, listed, 2).of == (0, 0)


# --- what a stage sees of images without a descriptor -------------------------------------------


def test_ground_truth_is_numbered_without_what_is_missing() -> None:
    from bench.search import missing
    from bench.types import GroundTruth, Protocol

    truth = tuple(GroundTruth(np.array(p), np.array(i)) for p, i in (([1, 4], [2]), ([0], [3])))
    whole = Protocol("all", truth, ("map.trapezoid.junk-removed",), asked=(True, False))
    gone = missing.Missing({1: "broken", 3: "broken"}, {})
    (left,) = missing.protocols_without([whole], gone, 5)  # 0 2 4 become 0 1 2
    assert [t.positive.tolist() for t in left.truth] == [[2], [0]]
    assert [t.ignored.tolist() for t in left.truth] == [[1], []]
    (left,) = missing.protocols_without([whole], missing.Missing({}, {0: "broken"}), 5)
    assert [t.positive.tolist() for t in left.truth] == [[0]]
    assert left.asked == (False,)


def test_local_features_are_those_of_the_images_of_the_data_set() -> None:
    from bench.pipeline.ground import Ground
    from bench.pipeline.lists import Lists
    from bench.pipeline.space import SearchSpace
    from bench.search import missing
    from bench.stage import Local
    from bench.store.matrix import from_array
    from bench.types import Dataset

    asked: list[list[int]] = []

    def features(queries: np.ndarray, rows: np.ndarray) -> Local:
        asked.extend([queries.tolist(), rows.tolist()])
        return Local(lambda query: ("query", query), lambda row: ("row", row), 1.0, 1.0)

    rows = [from_array(np.eye(3, dtype=np.float32), "x")]
    gone = missing.Missing({1: "broken", 3: "broken"}, {0: "broken", 2: "broken"})
    image = Image("x", "x.jpg")
    dataset = Dataset("x", "x", Path(), (image,) * 5, (image,) * 4, (), "", "")
    space = SearchSpace(Lists(rows, rows), Ground(dataset, 5, gone), features=features)
    local = space.local(np.array([1]), np.array([0, 2]))
    assert asked == [[3], [0, 4]]
    assert (local.of_query(1), local.of_row(1)) == (("query", 3), ("row", 2))
