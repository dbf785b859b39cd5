"""Descriptors in HDF5 by the name of the image: hloc's form, its relatives, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bench
from bench.errors import BenchError
from bench.pipeline import brought
from bench.records import record
from tests.support.town import path_of

h5py = pytest.importorskip("h5py", reason="h5py is an optional extra")
DRAW = np.random.default_rng(3)
ROWS = DRAW.standard_normal((4, 3)).astype(np.float32)
NAMES = ["db/1.jpg", "query/night/a b.png", "3.jpg", "db/0.jpg"]


def of_hloc(path: Path, rows: Any, names: Any, kind: type = np.float16) -> Path:
    """Write as hloc's extract_features does: a group per image, with half floats."""
    with h5py.File(path, "w") as file:
        for name, row in zip(names, rows, strict=True):
            group = file.create_group(name)
            group.create_dataset("global_descriptor", data=row.astype(kind))
            group.create_dataset("image_size", data=np.array([640, 480]))
    return path


def test_a_group_per_image_as_hloc_writes_it(tmp_path: Path) -> None:
    matrix = brought.read(of_hloc(tmp_path / "a.h5", ROWS, NAMES), "database")
    assert matrix.ids == tuple(sorted(NAMES))
    for name, row in zip(NAMES, ROWS, strict=True):
        assert matrix.open()[matrix.ids.index(name)].tolist() == row.astype(np.float16).tolist()


def test_a_dataset_per_image_and_one_for_all(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        for name, row in zip(NAMES, ROWS, strict=True):
            file[name] = row
    matrix = brought.read(tmp_path / "a.hdf5", "queries")
    assert matrix.ids == tuple(sorted(NAMES))
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["vectors"] = ROWS
        file["ids"] = NAMES
    matrix = brought.read(tmp_path / "b.h5", "queries")
    assert matrix.ids == tuple(NAMES)
    assert np.array_equal(matrix.open(), ROWS)
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file.create_dataset("any", data=ROWS, compression="gzip")
    assert brought.read(tmp_path / "c.h5", "queries").ids is None


def test_one_file_of_both_lists_gives_the_scores_of_arrays(cli, town, tmp_path: Path) -> None:
    arguments = town(21)
    written = record.read(path_of(cli(*arguments)))
    rows = np.concatenate([np.load(tmp_path / f"{name}.npy") for name in ("db", "q")])
    names = [*(f"d{i}.png" for i in range(120)), *(f"q{i}.png" for i in range(6))]
    file = of_hloc(tmp_path / "all.h5", rows, names, np.float32)
    result = cli("evaluate", "--dataset", tmp_path / "town.json", "--database", file, "--queries",
               file)  # fmt: skip
    assert record.read(path_of(result))["scores"] == written["scores"]
    assert f"{file}: 6 rows of other images are ignored" in result.err
    found = bench.evaluate(tmp_path / "town.json", database=file, queries=file)
    assert found.content["scores"] == written["scores"]


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (lambda f: f.create_dataset("a/keypoints", data=ROWS), "keypoints"),
        (lambda f: None, "nothing"),
        (lambda f: [f.create_dataset(str(n), data=ROWS[0, :n]) for n in (2, 3)], "2 and 3"),
        (lambda f: f.__setitem__("a", h5py.ExternalLink("other.h5", "/x")), "nothing"),
        (lambda f: f.create_dataset("vectors", (4, 3), "f4", external="other.bin"), "another file"),
        (lambda f: f.create_dataset("vectors", (1 << 30, 512), "f4", chunks=True), "unpack"),
        (lambda f: f.create_dataset("vectors", data=["a", "b"]), "vectors|matrix|dtype|object"),
    ],
)
def test_other_files_are_one_sentence(tmp_path: Path, make: Any, value: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        make(file)
    with pytest.raises(BenchError, match=value):
        brought.read(tmp_path / "a.h5", "database")


def test_a_damaged_file_and_a_package_that_is_absent(tmp_path: Path, monkeypatch) -> None:
    whole = of_hloc(tmp_path / "a.h5", ROWS, NAMES).read_bytes()
    (tmp_path / "b.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BenchError, match=r"b\.h5"):
        brought.read(tmp_path / "b.h5", "database")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(BenchError, match=r"pip install h5py"):
        brought.read(tmp_path / "a.h5", "database")
