"""Chains of stages: codes and re-scoring, graphs, fusion, areas, missing images, costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.pipeline import stage_costs
from bench.records import record
from bench.records.verify import verify
from bench.search import dense
from tests.support.signed import sign
from tests.support.town import path_of, unit

pytestmark = pytest.mark.slow

GRAPHS = ["k-reciprocal:8,k2=3", "diffusion:joint,n=40,kd=8", "diffusion:paper,n=40,kd=8,kq=3"]


def rows(tmp_path: Path) -> tuple[np.ndarray, np.ndarray]:
    return np.load(tmp_path / "db.npy"), np.load(tmp_path / "q.npy")


def test_signs_are_compared_by_hamming_distance(cli, town, tmp_path: Path) -> None:
    arguments = town(20, dim=19)
    result = cli(*arguments, "--stage", "binary", "--export", tmp_path / "out.npz")
    content = record.read(path_of(result))
    database, queries = rows(tmp_path)
    mean = database.mean(axis=0, dtype=np.float64).astype(np.float32)
    distance = ((queries >= mean)[:, None] != (database >= mean)).sum(axis=2)
    out = np.load(tmp_path / "out.npz")
    for query, row in enumerate(out["search_rows"]):
        order = sorted(range(120), key=lambda r: (distance[query, r], r))
        assert row.tolist() == order[:100]
        assert out["search_scores"][query].tolist() == [19 - 2 * distance[query, r] for r in row]
    assert content["bytes_per_image"] == 3
    assert content["card"]["compression"] == {"name": "binary", "bytes": 3, "rows": 120}
    assert "stages" not in content["card"] or not content["card"]["stages"]
    again = record.read(path_of(cli(*arguments, "--compression", "binary")))
    assert again["card_id"] == content["card_id"]


def test_whole_numbers_are_near_the_rows(cli, town, tmp_path: Path) -> None:
    arguments = town(21)
    cli(*arguments, "--stage", "int8", "--export", tmp_path / "out.npz", "--shortlist", 120)
    database, queries = rows(tmp_path)
    scale = np.abs(database).max(axis=0) / np.float32(127)
    coded = np.rint(database / scale) * scale
    out = np.load(tmp_path / "out.npz")
    expected = np.take_along_axis(queries @ coded.T, out["search_rows"], axis=1)
    assert np.abs(out["search_scores"] - expected).max() < 1e-6


@pytest.mark.parametrize("codes", ["binary", "int8", "pq4x4"])
def test_full_rows_behind_codes_give_the_exact_list(cli, town, tmp_path, codes: str) -> None:
    arguments = town(22)
    result = cli(*arguments, "--compression", codes, "--stage", "rescore:120",
               "--export", tmp_path / "out.npz")  # fmt: skip
    path = path_of(result)
    assert verify(path)[0] == []
    content = record.read(path)
    assert content["stages"][0]["bytes_per_image"] == 48
    database, queries = (part.astype(np.float64) for part in rows(tmp_path))
    order = np.argsort(-(queries @ database.T), axis=1, kind="stable")
    out = np.load(tmp_path / "out.npz")
    assert np.array_equal(out["stage0_rows"], order)


@pytest.mark.parametrize("stage", [*GRAPHS, "superglobal:30,k=4", "dba:3,alpha=2"])
@pytest.mark.parametrize("scope", ["all", "list"])
def test_a_query_stays_in_its_area(cli, town, tmp_path: Path, stage: str, scope: str) -> None:
    if scope == "list" and stage not in GRAPHS:
        pytest.skip("it has no scope")
    areas = {"database": [i // 60 for i in range(120)], "queries": [0, 0, 1, 1, 0, 1]}
    truth = [{"positive": [3 + 60 * area]} for area in areas["queries"]]
    arguments = town(23, areas=areas, protocols={"all": truth})
    text = f"{stage},scope={scope}" if stage in GRAPHS else stage
    out = tmp_path / "out.npz"
    path = path_of(cli(*arguments, "--stage", text, "--export", out))
    assert verify(path)[0] == []
    whole = np.load(out)
    listed = whole["search_rows" if stage.startswith("dba") else "stage0_rows"]
    for query, area in enumerate(areas["queries"]):
        seen = listed[query][listed[query] >= 0]
        assert np.all(seen // 60 == area)
    # The list of an area is that of its rows alone.
    database, queries = rows(tmp_path)
    np.save(tmp_path / "db.npy", database[:60])
    np.save(tmp_path / "q.npy", queries[[0, 1, 4]])
    data = json.loads((tmp_path / "town.json").read_text(encoding="utf-8"))
    del data["areas"]
    data |= {"database": data["database"][:60], "queries": [data["queries"][i] for i in (0, 1, 4)],
             "protocols": {"all": [{"positive": [3]}] * 3}}  # fmt: skip
    (tmp_path / "town.json").write_text(json.dumps(data), encoding="utf-8")
    path_of(cli(*arguments, "--stage", text, "--export", tmp_path / "alone.npz"))
    alone = np.load(tmp_path / "alone.npz")
    name = "search_rows" if stage.startswith("dba") else "stage0_rows"
    assert np.array_equal(alone[name], listed[[0, 1, 4]][:, : alone[name].shape[1]])


@pytest.mark.parametrize("stage", GRAPHS)
def test_a_graph_of_the_list_alone_is_another_card(cli, town, tmp_path: Path, stage: str) -> None:
    arguments = [*town(24), "--shortlist", 30]
    whole, part = (
        record.read(path_of(cli(*arguments, "--stage", f"{stage},scope={scope}")))
        for scope in ("all", "list")
    )
    assert whole["card_id"] != part["card_id"]
    assert whole["card"]["stages"][0]["uses"][0] == "database"
    assert "uses" not in part["card"]["stages"][0]


def test_a_chain_of_four_is_verified_and_a_forgery_found(cli, workspace, tmp_path: Path) -> None:
    chain = [word for stage in ("pca-whiten:6", "dba:2,alpha=1", "int8", "rescore:20",
                                "superglobal:15,k=3") for word in ("--stage", stage)]  # fmt: skip
    path = path_of(cli("run", "--method", "random-unit", *chain))
    assert verify(path)[0] == []
    result = cli("verify", "--descriptors", path)
    assert result.status == 0, result.out + result.err
    content = record.read(path)
    arrays = record.read_arrays(path, content)
    arrays["stage2_strength"][0, :15] = arrays["stage2_strength"][0, :15][::-1]
    assert verify(sign(content, arrays, tmp_path / "one.json"))[0] != []
    content["card"]["stages"][3]["k"] = 4
    forged = sign(content, record.read_arrays(path, record.read(path)), tmp_path / "two.json")
    assert "DIFFERS: stage3_strength" in cli("verify", "--descriptors", forged).out


@pytest.mark.parametrize(
    "stage", [*GRAPHS, "dba:3,alpha=2", "superglobal:20,k=3", "fuse:random-unit"]
)
def test_missing_images_take_no_part(cli, tiny: Path, stage: str) -> None:
    (tiny / "jpg" / "007.png").write_bytes(b"no image")
    (tiny / "jpg" / "002.png").write_bytes(b"no image")  # a query as well
    arguments = ("run", "--method", tiny / "halves.py", "--dataset", tiny, "--allow-missing")
    text = stage.replace("n=40", "n=12").replace("k-reciprocal:8", "k-reciprocal:4")
    path = path_of(cli(*arguments, "--stage", text))
    assert verify(path)[0] == []
    arrays = record.read_arrays(path, record.read(path))
    name = "stage0_shortlist_row" if stage in GRAPHS else "shortlist_row"
    assert not np.any(np.isin(arrays[name][0], [2, 7])), "they are behind all others"


def test_two_methods_are_fused(cli, town, tmp_path: Path) -> None:
    arguments = town(25)
    draw = np.random.default_rng(7)
    other = [unit(draw.standard_normal((n, 5))) for n in (120, 6)]
    for name, part in zip(("db2", "q2"), other, strict=True):
        np.save(tmp_path / f"{name}.npy", part)
    text = f"fuse:{tmp_path / 'db2.npy'}+{tmp_path / 'q2.npy'},weight=0.3"
    result = cli(*arguments, "--stage", text, "--export", tmp_path / "out.npz", "--shortlist", 120)
    content = record.read(path_of(result))
    database, queries = rows(tmp_path)
    expected = 0.7 * queries @ database.T + 0.3 * other[1] @ other[0].T
    out = np.load(tmp_path / "out.npz")
    assert np.abs(
        np.take_along_axis(expected, out["search_rows"], axis=1) - out["search_scores"]
    ).max() < 1e-6  # fmt: skip
    assert content["card"]["stages"][0]["second"]["dim"] == 5
    assert content["bytes_per_image"] == 4 * 17


def test_a_run_fuses_with_another_method(cli, workspace) -> None:
    path = path_of(cli("run", "--method", "random-unit", "--stage", "fuse:gem.untrained",
                       "--limit", 8))  # fmt: skip
    content = record.read(path)
    assert content["card"]["stages"][0]["second"]["method"].startswith("gem.")
    assert content["stages"][0]["method"]["name"] == "gem"
    result = cli("verify", "--descriptors", path)
    assert result.status == 0, result.out + result.err


def test_local_features_of_another_method(cli, workspace) -> None:
    arguments = (
        "run",
        "--method",
        "random-unit",
        "--rerank",
        "--local",
        "delg.untrained",
        "--limit",
        8,
    )
    path = path_of(cli(*arguments))
    content = record.read(path)
    assert content["card"]["rerank"]["by"]["method"] == "delg.untrained"
    assert verify(path)[0] == []
    result = cli("verify", "--descriptors", path)
    assert result.status == 0, result.out + result.err


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--stage", "k-reciprocal:130"], "130"),
        (["--stage", "k-reciprocal:5,scope=near"], "'near'"),
        (["--stage", "diffusion:both"], "diffusion:paper"),
        (["--stage", "diffusion:paper,kd=121"], "121"),
        (["--stage", "diffusion:paper,n=20,kd=30"], "30"),
        (["--stage", "diffusion:joint,kq=3"], "kq"),
        (["--stage", "superglobal:500"], "500"),
        (["--stage", "superglobal:10,k=10"], "10"),
        (["--stage", "rescore:20"], "--compression"),
        (["--stage", "rescore:200", "--compression", "int8"], "200"),
        (["--stage", "dba:120,alpha=1"], "120"),
        (["--stage", "dba:3"], "dba:K,alpha=A"),
        (["--stage", "lw-whiten:3"], "on=DATASET"),
        (["--stage", "lw-whiten:3,on=db.npy"], "db.npy"),
        (["--stage", "fuse:gem"], "gem"),
        (["--stage", "fuse:a.npy+b.npy,weight=1"], "weight"),
        (["--stage", "int8", "--compression", "float16"], "once"),
        (["--stage", "int8", "--stage", "truncate:3"], "int8"),
        (["--stage", "aqe:3,alpha=1", "--stage", "int8"], "int8"),
        (["--stage", "binary:4"], "no options"),
        (["--local", "delg"], "--local"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    cli, refused, town, monkeypatch, tmp_path, words: list[str], value: str
) -> None:
    arguments = town(26)
    monkeypatch.chdir(tmp_path)
    assert value in refused(cli(*arguments, *words))


def test_what_takes_too_much_is_refused_before_work(cli, refused, town, monkeypatch) -> None:
    arguments = [*town(27), "--stage", "k-reciprocal:5"]
    monkeypatch.setattr(stage_costs.machine, "available_bytes", lambda: 1000)
    assert "memory" in refused(cli(*arguments))
    monkeypatch.undo()
    monkeypatch.setattr(stage_costs, "WORTH_A_LINE", 1.0)
    monkeypatch.setattr(stage_costs, "_rate", lambda: 1.0)
    assert "--force" in refused(cli(*arguments))
    path_of(cli(*arguments, "--force"))


def test_dense_ranks_are_those_of_a_sort() -> None:
    draw = np.random.default_rng(3)
    scores = [draw.integers(0, 6, 30).astype(float) for _ in range(4)]
    numbers = [np.sort(draw.choice(50, 30, replace=False)) for _ in range(4)]
    wanted = [np.sort(draw.choice(number, 5, replace=False)) for number in numbers]
    ranks, listed = dense.ranked(scores, numbers, wanted, 12)
    for query in range(4):
        pairs: list[Any] = sorted(zip(-scores[query], numbers[query].tolist(), strict=True))
        order = [row for _, row in pairs]
        assert listed.row[query].tolist() == order[:12]
        part = ranks.of_query(query)
        assert ranks.rank[part].tolist() == [order.index(row) for row in wanted[query]]
        of = dict(zip(numbers[query].tolist(), scores[query].tolist(), strict=True))
        ties = [sum(s == of[row] for s in scores[query]) - 1 for row in wanted[query].tolist()]
        assert ranks.tied[part].tolist() == ties
