"""The suite from Python: the scores of the command line, quietly, and with nothing left changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import bench
from bench.records import record
from bench.scoring.card import card_id
from tests.support.checkout import ROOT
from tests.support.town import path_of


def test_importing_takes_no_torch_and_prints_nothing() -> None:
    code = "import bench, sys; bench.__version__; assert 'torch' not in sys.modules; "
    code += (
        "assert 'bench.api' not in sys.modules; bench.evaluate; assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, check=True,
                          capture_output=True)  # fmt: skip
    assert (done.stdout, done.stderr) == (b"", b"")
    assert set(bench.__all__) <= set(dir(bench))


AREAS = {"areas": {"database": [i // 60 for i in range(120)], "queries": [0, 0, 0, 1, 1, 1]}}
OWN = {"all": [{"positive": [5 + 60 * (i // 3)], "ignored": [7 + 60 * (i // 3)]} for i in range(6)]}
KINDS: dict[str, Any] = {
    "plain": ({}, {}),
    "areas": ({**AREAS, "protocols": OWN}, {}),
    "suppressed": (
        {
            "groups": [i // 2 for i in range(120)],
            "metrics": [f"recall@{k}.any-hit.junk-removed" for k in (1, 5)],
        },
        {},
    ),
    "codes and a chain": ({}, {"stages": ["pca-whiten:6", "int8", "aqe:3,alpha=1", "rescore:20"]}),
    "an index": ({}, {"search": "ivf4,flat,nprobe4", "shortlist": 20}),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["arrays", "tensors", "files"])
def test_scores_are_those_of_the_command_line(cli, town, tmp_path, kind: str, form: str) -> None:
    more, options = KINDS[kind]
    arguments = town(3, **more)
    words = [word for stage in options.get("stages", ()) for word in ("--stage", stage)]
    words += [w for k in ("search", "shortlist") if k in options for w in (f"--{k}", options[k])]
    written = record.read(path_of(cli(*arguments, *words)))
    files = tmp_path / "db.npy", tmp_path / "q.npy"
    rows: Any = files
    if form != "files":
        rows = [np.load(file) for file in files]
    if form == "tensors":
        rows = [torch.from_numpy(part).requires_grad_() for part in rows]
    data = bench.load_dataset(tmp_path / "town.json")
    result = bench.evaluate(data, database=rows[0], queries=rows[1], **options)
    assert result.content["scores"] == written["scores"]
    assert result.card_id == written["card_id"]


def test_distractors_and_other_types_of_numbers(cli, town, tmp_path: Path) -> None:
    arguments = town(4)
    extra = np.load(tmp_path / "db.npy")[:30] * np.float32(1)
    extra[:, 0] += 0.1
    np.save(tmp_path / "more.npy", extra.astype(np.float64))
    written = record.read(path_of(cli(*arguments, "--distractors", tmp_path / "more.npy")))
    database, queries = (np.load(tmp_path / f"{n}.npy") for n in ("db", "q"))
    result = bench.evaluate(tmp_path / "town.json", database=database, queries=queries,
                            distractors=[extra.astype(np.float64)])  # fmt: skip
    assert result.content["scores"] == written["scores"]
    half = bench.evaluate(tmp_path / "town.json", database=torch.tensor(database).bfloat16(),
                          queries=torch.tensor(queries).half())  # fmt: skip
    assert abs(half["all"].map - bench.evaluate(
        tmp_path / "town.json", database=database, queries=queries)["all"].map) < 0.05  # fmt: skip


def test_a_result_has_views_with_the_ids_of_images(town, tmp_path: Path) -> None:
    town(5)
    result = bench.evaluate(tmp_path / "town.json", database=tmp_path / "db.npy",
                            queries=tmp_path / "q.npy")  # fmt: skip
    item = result["all"]
    assert item.scores.index[0] == "map.trapezoid.junk-removed"
    assert item["mAP"] == item.map == pytest.approx(item.per_query("mAP").mean())
    assert list(item.per_query().index) == [f"q{i}" for i in range(6)] == result.queries
    assert list(item.intervals.columns) == ["low", "high"]
    listed = result.shortlist("q3", "all")
    assert listed.equals(result.shortlist(3))
    assert list(listed.columns) == ["row", "image", "score", "label"]
    assert listed.loc[1, "image"] == f"d{listed.loc[1, 'row']}"
    assert set(listed["label"]) == {"positive", "negative"}
    assert (listed["label"] == "positive").sum() == 6
    assert listed["score"].is_monotonic_decreasing
    assert "mAP" in repr(result)
    assert result.card_id[:8] in repr(result)
    assert result.scores.loc["all", "map.trapezoid.junk-removed"] == item.map

    path = result.save(tmp_path / "kept")
    assert bench.verify(path) == []
    again = bench.read_record(path, data=tmp_path / "town.json")
    assert again.scores.equals(result.scores)
    assert again.shortlist("q3").equals(listed)
    assert len(bench.read_records(tmp_path / "kept")) == 1
    copy = again.save(tmp_path / "copies")  # of a record that was read
    assert bench.verify(copy) == []
    assert bench.read_record(copy).card_id == result.card_id


def test_results_are_compared_written_or_not(town, tmp_path: Path) -> None:
    town(6)
    rows = {"database": tmp_path / "db.npy", "queries": tmp_path / "q.npy"}
    item = bench.evaluate(tmp_path / "town.json", **rows, name="one")
    two = bench.evaluate(tmp_path / "town.json", **rows, name="two", stages=["aqe:4,alpha=1"])
    table = bench.compare(item, two.save(tmp_path / "kept"))
    assert table.loc[0, "mean_a"] == pytest.approx(item["all"].map)
    assert {"p", "p_holm"} <= set(table.columns)


@pytest.mark.slow
def test_a_method_describes_what_a_run_describes(cli, tmp_path: Path, workspace) -> None:
    method = bench.load_method("gem.untrained", device="cpu")
    result = bench.run("gem.untrained", "mini", limit=6, device="cpu")
    assert result.path is None
    folder = ROOT / "datasets" / "mini-data" / "jpg"
    path = sorted(folder.glob("*.jpg"))[0]
    pixels = np.array(Image.open(path).convert("RGB"))
    images = [path, pixels, Image.fromarray(pixels), torch.from_numpy(pixels).permute(2, 0, 1),
              torch.from_numpy(pixels).permute(2, 0, 1) / 255]  # fmt: skip
    rows = method.describe(images)
    assert rows.shape == (5, method.dim)
    assert rows.dtype == np.float32
    assert np.abs(rows - rows[0]).max() < 1e-6
    assert np.linalg.norm(rows[0]) == pytest.approx(1, abs=1e-5)
    data = bench.load_dataset("mini")
    ran = cli("extract", "--dataset", "mini", "--which", "queries", "--method", "gem.untrained",
               "--device", "cpu", "--output", tmp_path / "q.npz")  # fmt: skip
    assert ran.status == 0, ran.err
    queries = method.describe(data.queries, data=data)
    assert np.abs(queries - np.load(tmp_path / "q.npz")["vectors"]).max() < 1e-6
    kept = bench.run("gem.untrained", "mini", limit=6, device="cpu", results=tmp_path / "kept")
    assert bench.verify(kept.path) == []
    assert kept.scores.equals(result.scores)


def test_a_network_is_validated_between_steps_of_training(town, tmp_path: Path) -> None:
    town(7)
    database, queries = (torch.from_numpy(np.load(tmp_path / f"{n}.npy")) for n in ("db", "q"))
    model = torch.nn.Sequential(torch.nn.Linear(12, 12, bias=False), torch.nn.Dropout(0.5))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(12))
    model.train()
    result = bench.validate(model, tmp_path / "town.json", database=database.split(50),
                            queries=[(part, "a label") for part in queries.split(4)])  # fmt: skip
    plain = bench.evaluate(tmp_path / "town.json", database=database, queries=queries)
    assert result["all"].map == pytest.approx(plain["all"].map)
    assert model.training


def globals_of() -> dict[str, Any]:
    return {
        "threads": torch.get_num_threads(), "tf32": torch.backends.cuda.matmul.allow_tf32,
        "grad": torch.is_grad_enabled(), "cwd": Path.cwd(), "warnings": list(warnings.filters),
        "environment": dict(os.environ), "seed": torch.initial_seed(),
        "numpy": np.random.get_state()[1].tolist(), "error": np.geterr(),
    }  # fmt: skip


def test_nothing_global_differs_after_calls(town, tmp_path: Path, capfd) -> None:
    town(8)
    before = globals_of()
    bench.evaluate(tmp_path / "town.json", database=tmp_path / "db.npy",
                   queries=tmp_path / "q.npy", stages=["k-reciprocal:5"])  # fmt: skip
    bench.run("random-unit", "mini", limit=8, device="cpu")
    assert globals_of() == before
    assert capfd.readouterr() == ("", "")
    bench.run("random-unit", "mini", limit=8, device="cpu", progress=True)
    assert "search" in capfd.readouterr().err


def test_similarity_and_whole_numbers_are_as_in_the_command(cli, town, tmp_path: Path) -> None:
    arguments = town(11)
    rows = [(100 * np.load(tmp_path / f"{name}.npy")).astype(np.int16) for name in ("db", "q")]
    for name, row in zip(("db", "q"), rows, strict=True):
        np.save(tmp_path / f"{name}.npy", row)
    for similarity in ("dot", "cosine", "euclidean"):
        written = record.read(path_of(cli(*arguments, "--similarity", similarity)))
        found = evaluated(tmp_path, database=rows[0], queries=rows[1], similarity=similarity)
        assert found.content["scores"] == written["scores"]
        assert found.card_id == card_id(written["card"])


def test_rows_may_be_lists_of_tensors_or_numbers(town, tmp_path: Path) -> None:
    town(12)
    rows = [np.load(tmp_path / f"{name}.npy") for name in ("db", "q")]
    expected = evaluated(tmp_path).content["scores"]
    for form in (list, lambda r: [torch.from_numpy(x).requires_grad_() for x in r],
                 np.ndarray.tolist):  # fmt: skip
        found = evaluated(tmp_path, database=form(rows[0]), queries=form(rows[1]))
        assert found.content["scores"] == expected
    eight = [torch.from_numpy(row).to(torch.float8_e4m3fn) for row in rows]
    found = evaluated(tmp_path, database=eight[0], queries=eight[1]).content["scores"]
    wide = [item.float() for item in eight]
    assert found == evaluated(tmp_path, database=wide[0], queries=wide[1]).content["scores"]


@pytest.mark.parametrize(
    ("call", "value"),
    [
        (lambda t: bench.load_dataset("oxford6k"), "oxford6k"),
        (lambda t: bench.load_method("dleg"), "dleg"),
        (lambda t: bench.run("random-unit", "mini", limmit=3), "limmit"),
        (lambda t: bench.run("dleg"), "dleg"),
        (lambda t: bench.read_record(t / "no.json"), "no.json"),
        (lambda t: evaluated(t, database=np.ones((3, 12), np.float32)), "3 rows"),
        (lambda t: evaluated(t, database=np.full((120, 12), 1 << 40)), "int64"),
        (lambda t: evaluated(t, database=np.ones((120, 12), bool)), "bool"),
        (lambda t: evaluated(t, database=[[1, 2], [3]]), "database"),
        (lambda t: evaluated(t, database=(row for row in range(3))), "generator"),
        (lambda t: evaluated(t, database=torch.ones(120, 12).to_sparse()), "database"),
        (lambda t: evaluated(t, database=torch.ones(120, 12, device="meta")), "database"),
        (lambda t: evaluated(t, distractors=5), "distractors"),
        (lambda t: evaluated(t, distractors="x.npy"), "distractors"),
        (lambda t: evaluated(t, name="a/b"), "a/b"),
        (lambda t: evaluated(t, limit=3), "limit"),
        (lambda t: evaluated(t, rerank="official"), "rerank"),
        (lambda t: evaluated(t, results=t / "results"), "results"),
        (lambda t: evaluated(t, shortlist="100"), "shortlist"),
        (lambda t: evaluated(t, shortlist=-3), "-3"),
        (lambda t: evaluated(t, shortlist=True), "shortlist"),
        (lambda t: evaluated(t, memory_budget_mib=0), "memory_budget_mib"),
        (lambda t: evaluated(t, compression=5), "compression"),
        (lambda t: evaluated(t, stages=[5]), "stages"),
        (lambda t: evaluated(t, device=0), "device"),
        (lambda t: evaluated(t, similarity="cosin"), "cosin"),
        (lambda t: evaluated(t, facts={"backbone": 5}), "backbone"),
        (lambda t: evaluated(t, facts={"speed": 5}), "speed"),
        (lambda t: evaluated(t, facts=t / "no.toml"), "no.toml"),
        (lambda t: evaluated(t, facts=5), "int"),
        (lambda t: bench.load_method(5), "int"),  # type: ignore[arg-type]
        (lambda t: bench.load_method("random-unit", device=5), "device"),  # type: ignore[arg-type]
        (lambda t: bench.run("random-unit", "mini", pixels=3), "pixels"),
        (lambda t: bench.run("random-unit", "mini", results=5), "int"),  # type: ignore[arg-type]
        (lambda t: bench.validate(None, t / "town.json", database=[0], queries=[0]), "NoneType"),
        (lambda t: bench.load_dataset(["mini"]), "list"),  # type: ignore[arg-type]
        (lambda t: bench.read_record(None), "NoneType"),  # type: ignore[arg-type]
        (lambda t: bench.read_records(t / "results"), "results"),
        (lambda t: bench.verify(evaluated(t)), "Result"),
        (lambda t: bench.compare([evaluated(t)], evaluated(t)), "list"),  # type: ignore[arg-type]
        (lambda t: evaluated(t).save(None), "NoneType"),
        (lambda t: evaluated(t).save(t / "town.json"), "town.json"),
        (lambda t: evaluated(t)[0], "int"),
        (lambda t: evaluated(t)["all"][0], "int"),
        (lambda t: evaluated(t).shortlist("none"), "none"),
        (lambda t: evaluated(t).shortlist(1.5), "1.5"),
        (lambda t: bench.validate(lambda b: 0, t / "town.json", database=[0], queries=[0]), "int"),
        (lambda t: evaluated(t, queries=np.full((6, 12), np.nan, np.float32)), "NaN"),
        (lambda t: evaluated(t, queries=torch.ones(6, 5)), "5"),
        (lambda t: evaluated(t, database=t / "none.npy"), "none.npy"),
        (lambda t: evaluated(t, stages=["aqe"]), "aqe"),
        (lambda t: evaluated(t)["easy"], "easy"),
        (lambda t: evaluated(t)["all"]["recall"], "recall"),
        (lambda t: evaluated(t).shortlist(9), "9"),
        (lambda t: bench.compare(evaluated(t)), "two"),
        (lambda t: bench.compare(evaluated(t), evaluated(t), metric=5), "int"),  # type: ignore[arg-type]
        (lambda t: bench.load_dataset("x" * 5000), "xxx"),
        (lambda t: bench.run("random-unit", np.ones((9, 9))), "ndarray"),  # type: ignore[arg-type]
        (lambda t: evaluated(t, progress=np.ones(3)), "progress"),
        (lambda t: evaluated(t, name=None), "NoneType"),
        (lambda t: evaluated(t, distractors=np.array(3.0)), "ndarray"),
        (lambda t: evaluated(t, stages=np.ones((9, 9))), "stages=array"),
        (lambda t: evaluated(t, queries=np.ma.masked_less(np.ones((6, 12)), 2)), "masked"),
        (lambda t: evaluated(t).save("a\0b"), "a.*b"),
        (lambda t: evaluated(t).shortlist(np.ones(3)), "array"),
        (lambda t: evaluated(t)["all"].per_query(5), "int"),
        (lambda t: validated(t, lambda b: b * 1j), "complex"),
        (lambda t: validated(t, lambda b: b, queries=[()]), "empty"),
        (lambda t: validated(t, lambda b: b, queries=np.array(3.0)), "ndarray"),
    ],
)
def test_bad_input_is_one_sentence_of_ours(town, tmp_path: Path, call: Any, value: str) -> None:
    town(9)
    with pytest.raises(bench.BenchError, match=value) as refused:
        call(tmp_path)
    assert "\n" not in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["db.npy", "q.npy", "town.json"]


def validated(folder: Path, model: Any, **changed: Any) -> Any:
    lists = {"database": [torch.ones(120, 12)], "queries": [torch.ones(6, 12)]}
    return bench.validate(model, folder / "town.json", **lists | changed)


def evaluated(folder: Path, **changed: Any) -> Any:
    options = {"database": folder / "db.npy", "queries": folder / "q.npy"}
    return bench.evaluate(folder / "town.json", **options | changed)


def test_a_data_set_that_is_not_the_records_gives_no_ids(town, tmp_path: Path) -> None:
    town(10)
    path = evaluated(tmp_path).save(tmp_path / "kept")
    data = json.loads((tmp_path / "town.json").read_text(encoding="utf-8"))
    data["queries"][0]["file"] = "other.png"
    (tmp_path / "town.json").write_text(json.dumps(data), encoding="utf-8")
    found = bench.read_record(path, data=tmp_path / "town.json")
    assert found.data is None
    assert found.queries[0] == "0"


@pytest.mark.parametrize(
    ("image", "value"),
    [
        (torch.full((3, 40, 50), torch.nan), "nan"),
        (torch.full((3, 40, 50), 255.0), "255"),
        (torch.full((3, 40, 50), -0.5), "from -0.5"),
        (torch.rand(40, 50, 3), r"\(40, 50, 3\)"),
        (torch.rand(1, 3, 40, 50), r"\(1, 3, 40, 50\)"),
        (torch.zeros(3, 40, 50, dtype=torch.int64), "int64"),
        (torch.rand(3, 40, 50, device="meta"), "meta"),
        (torch.rand(3, 0, 50), r"\(3, 0, 50\)"),
        (np.zeros((40, 50), np.uint8), r"\(40, 50\)"),
        (np.zeros((40, 50, 3), np.float32), "float32"),
        (5, "int"),
        (None, "NoneType"),
        ("no.png", "no.png"),
    ],
)
def test_images_that_are_none_are_one_sentence(tmp_path: Path, image: Any, value: str) -> None:
    method = bench.load_method("random-unit", device="cpu")
    with pytest.raises(bench.BenchError, match=value):
        method.describe([image])


def test_other_images_than_a_list_are_refused() -> None:
    method = bench.load_method("random-unit", device="cpu")
    for images, value in ((None, "NoneType"), ("a.png", "str"), (5, "int")):
        with pytest.raises(bench.BenchError, match=value):
            method.describe(images)  # type: ignore[arg-type]
    assert method.describe([]).shape == (0, method.dim)


PARTS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "limit": (["--limit", "3"], {"limit": 3}),
    "absent": (["--allow-partial"], {"allow_partial": True}),
    "broken": (["--allow-missing"], {"allow_missing": True}),
    "codes": (["--stage", "aqe:3,alpha=1", "--compression", "int8"],
              {"stages": ["aqe:3,alpha=1"], "compression": "int8"}),
}  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_a_run_has_the_scores_of_the_command_line(cli, tiny: Path, part: str) -> None:
    words, options = PARTS[part]
    if part == "absent":
        (tiny / "jpg" / "051.png").unlink()
    if part == "broken":
        (tiny / "jpg" / "052.png").write_bytes(b"no image")
    written = record.read(path_of(
        cli("run", "--method", tiny / "halves.py", "--dataset", tiny, "--device", "cpu", *words)
    ))  # fmt: skip
    found = bench.run(str(tiny / "halves.py"), tiny, device="cpu", **options)
    assert found.content["scores"] == written["scores"]
    assert found.card_id == written["card_id"]
    assert found.content["partial"] == written["partial"] == (part != "codes")


def test_a_validation_searches_once_and_in_one_product(town, tmp_path: Path, monkeypatch) -> None:
    """It costs what the search costs: 1.1 times one product in float64 of 10,000 rows by 500."""
    from bench.search import exact

    town(13)
    calls = []
    searched = exact.search
    monkeypatch.setattr(
        exact, "search", lambda *a, **k: (calls.append(len(a)), searched(*a, **k))[1]
    )
    database, queries = (torch.from_numpy(np.load(tmp_path / f"{n}.npy")) for n in ("db", "q"))
    seen: list[int] = []

    def network(batch: torch.Tensor) -> torch.Tensor:
        seen.append(len(batch))
        return batch

    result = bench.validate(network, tmp_path / "town.json", database=database.split(50),
                            queries=queries.split(4))  # fmt: skip
    assert seen == [50, 50, 20, 4, 2], "every image once"
    assert len(calls) == 1
    assert result.path is None
    assert {path.name for path in tmp_path.iterdir()} == {"db.npy", "q.npy", "town.json"}
