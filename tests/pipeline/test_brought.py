"""Descriptors that users bring: three file formats, checked against the lists, damaged files."""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from safetensors.torch import save_file

from bench.errors import BenchError
from bench.pipeline import brought
from bench.store.matrix import from_array
from bench.types import Image
from tests.support.traps import Trap

ROWS = np.arange(1.0, 16.0, dtype=np.float32).reshape(5, 3)
IMAGES = tuple(Image(f"i{n}", f"{n % 2}/i{n}.jpg") for n in range(5))


def saved(path: Path, **arrays: Any) -> Path:
    """Write .npz or .mat."""
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        scipy.io.savemat(path, arrays)
    return path


# --- the three formats --------------------------------------------------------------------------


@pytest.mark.parametrize("stored", ["f2", "f4", "f8", ">f4"])
def test_npy_is_mapped_and_read_as_it_is_stored(tmp_path: Path, stored: str) -> None:
    np.save(tmp_path / "x.npy", ROWS.astype(stored))
    matrix = brought.read(tmp_path / "x.npy", "database")
    opened = matrix.open()
    assert isinstance(opened, np.memmap)
    assert opened.dtype == np.dtype(stored)
    assert np.array_equal(opened, ROWS)
    assert matrix.shape == (5, 3)
    assert matrix.label == str(tmp_path / "x.npy")


def test_npy_in_columns_is_read_right(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.asfortranarray(ROWS))
    assert np.array_equal(brought.read(tmp_path / "x.npy", "queries").open(), ROWS)


@pytest.mark.parametrize("part", ["database", "queries", "distractors"])
def test_npz_by_the_names_of_its_arrays(tmp_path: Path, part: Any) -> None:
    other = ROWS + 100
    path = saved(tmp_path / "a.npz", vectors=ROWS, X=other, Q=other)
    assert np.array_equal(brought.read(path, part).open(), ROWS), "`vectors` comes first"
    path = saved(tmp_path / "b.npz", X=ROWS, Q=other)
    assert np.array_equal(brought.read(path, part).open(), other if part == "queries" else ROWS)
    path = saved(tmp_path / "c.npz", whatever=ROWS)
    assert np.array_equal(brought.read(path, part).open(), ROWS), "the only one"


def test_npz_with_ids(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", vectors=ROWS, ids=np.array([i.id for i in IMAGES]))
    assert brought.read(path, "database").ids == ("i0", "i1", "i2", "i3", "i4")
    assert brought.read(saved(tmp_path / "b.npz", vectors=ROWS), "database").ids is None


def test_npz_that_does_not_say_which_array(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", a=ROWS, b=ROWS)
    with pytest.raises(BenchError, match=r"a\.npz holds a, b; name the descriptors `vectors`\."):
        brought.read(path, "database")
    path = saved(tmp_path / "b.npz", ids=np.array(["a"]))
    with pytest.raises(BenchError, match=r"b\.npz holds no array; name the descriptors"):
        brought.read(path, "database")
    path = saved(tmp_path / "c.npz", vectors=ROWS, ids=np.array(["a", "b"]))
    with pytest.raises(BenchError, match=r"c\.npz has 2 ids for 5 rows\."):
        brought.read(path, "database")


@pytest.mark.parametrize("form", ["4", "5"])
def test_mat_has_a_column_per_image(tmp_path: Path, form: str) -> None:
    scipy.io.savemat(tmp_path / "f.mat", {"X": ROWS.T, "Q": ROWS[:2].T}, format=form)
    database = brought.read(tmp_path / "f.mat", "database")
    queries = brought.read(tmp_path / "f.mat", "queries")
    assert np.array_equal(database.open(), ROWS)
    assert np.array_equal(queries.open(), ROWS[:2])
    assert np.array_equal(brought.read(tmp_path / "f.mat", "distractors").open(), ROWS)


def test_mat_without_the_variable(tmp_path: Path) -> None:
    path = saved(tmp_path / "f.mat", X=ROWS, Y=ROWS)
    with pytest.raises(BenchError, match="lacks the variable Q with the queries; it has X, Y"):
        brought.read(path, "queries")


def test_mat_of_version_seven_three_says_what_to_do(tmp_path: Path) -> None:
    head = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n"
    (tmp_path / "f.mat").write_bytes(head.ljust(700, b"\0"))
    with pytest.raises(BenchError, match=r"MATLAB 7\.3 file; save it with -v6 or -v7, or as \.npy"):
        brought.read(tmp_path / "f.mat", "database")


# --- what is no matrix of floats ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.ones(3), r"must be a matrix with one row per image, but the array has shape \(3,\)"),
        (np.ones((2, 3, 4)), r"has shape \(2, 3, 4\)"),
        (np.ones((0, 3)), r"has shape \(0, 3\)"),
        (np.ones((3, 0)), r"has shape \(3, 0\)"),
        (np.ones((3, 2), bool), "must be floating-point numbers, but are bool"),
        (np.ones((3, 2), complex), "must be floating-point numbers, but are complex128"),
        (np.array([["a", "b"]]), "must be floating-point numbers, but are <U1"),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays_that_are_no_descriptors(tmp_path: Path, suffix: str, array, expected: str) -> None:
    path = tmp_path / f"x{suffix}"
    np.save(path, array) if suffix == ".npy" else np.savez(path, vectors=array)
    with pytest.raises(BenchError, match=expected) as caught:
        brought.read(path, "database")
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("name", ["x.txt", "x", "x.NPY", "x.npy.gz"])
def test_other_formats_are_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(BenchError, match=r"descriptors are read from \.npy, \.npz, \.mat"):
        brought.read(tmp_path / name, "database")


def test_absent_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "folder.npy").mkdir()
    for name in ("absent.npz", "folder.npy"):
        with pytest.raises(BenchError, match=rf"{name} does not exist"):
            brought.read(tmp_path / name, "database")


# --- damaged and hostile files ------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_objects_are_never_unpickled(tmp_path: Path, suffix: str) -> None:
    target, path = tmp_path / "touched", tmp_path / f"x{suffix}"
    array = np.array([[Trap(target)]], dtype=object)
    np.save(path, array) if suffix == ".npy" else np.savez(path, vectors=array)
    with pytest.raises(BenchError, match="cannot be read as"):
        brought.read(path, "database")
    assert not target.exists()


def test_objects_as_ids_are_never_unpickled(tmp_path: Path) -> None:
    target = tmp_path / "touched"
    np.savez(tmp_path / "x.npz", vectors=ROWS[:1], ids=np.array([Trap(target)], dtype=object))
    with pytest.raises(BenchError, match="cannot be read as"):
        brought.read(tmp_path / "x.npz", "database")
    assert not target.exists()


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".mat"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY", b"<html>", b"\0" * 300])
def test_files_of_something_else(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(BenchError, match=r"cannot be read as \.(npy|npz|mat): .*[^.]\.$"):
        brought.read(path, "database")


def test_a_format_under_the_name_of_another(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", vectors=ROWS)
    np.save(tmp_path / "b.npy", ROWS)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npz").read_bytes())
    (tmp_path / "b.npz").write_bytes((tmp_path / "b.npy").read_bytes())
    for name in ("a.npy", "b.npz"):
        with pytest.raises(BenchError, match=rf"{name} cannot be read as"):
            brought.read(tmp_path / name, "database")


HEADERS = [
    "{",
    "(" * 3000,
    "L'''",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-5, -3)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (100000000000, 300)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1180591620717411303424, 1)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (5, 3), 'x': 1}",
    "{'descr': 'O', 'fortran_order': False, 'shape': (1, 1)}",
    "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1, 1)}",
    "__import__('os').system('true')",
]


@pytest.mark.parametrize("header", HEADERS, ids=lambda text: text[-30:])
def test_npy_headers_that_lie(tmp_path: Path, header: str) -> None:
    text = header.encode() + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + b"12345678"
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(BenchError):
        brought.read(tmp_path / "x.npy", "database")


def spoil(content: bytes, draw: random.Random) -> bytes:
    """Cut the content, or change a few of its bytes, its head more often."""
    kind = draw.randrange(3)
    if kind == 0:
        return content[: draw.randrange(len(content))]
    changed = bytearray(content)
    reach = min(len(content), 300) if kind == 1 else len(content)
    for _ in range(draw.choice((1, 1, 4))):
        changed[draw.randrange(reach)] = draw.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".mat"])
def test_damaged_files_are_read_or_refused_never_a_traceback(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    if suffix == ".npy":
        np.save(path, ROWS)
    elif suffix == ".npz":
        np.savez_compressed(path, vectors=ROWS, ids=np.array(["a"] * 5))
    else:
        scipy.io.savemat(path, {"X": ROWS}, do_compression=True)
    content, draw = path.read_bytes(), random.Random(0)
    refused = 0
    for _ in range(400):
        path.write_bytes(spoil(content, draw))
        told = None
        try:
            brought.read(path, "database")
        except BenchError as error:
            told = str(error)
        if told is not None:
            assert str(path) in told
            assert "\n" not in told
            refused += 1
    assert refused > 100


def test_an_encrypted_or_oddly_packed_archive_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.npz", vectors=ROWS)
    content = bytearray(path.read_bytes())
    for at in (content.index(b"PK\x03\x04") + 6, content.index(b"PK\x01\x02") + 8):
        content[at] |= 1  # the flag of an encrypted member
    path.write_bytes(content)
    with pytest.raises(BenchError, match=r"x\.npz cannot be read as \.npz: "):
        brought.read(path, "database")
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("vectors.npy", b"nothing")
    with pytest.raises(BenchError):
        brought.read(path, "database")


# --- against the lists --------------------------------------------------------------------------


def test_rows_that_fit_the_list_pass() -> None:
    brought.ordered(from_array(ROWS, "x"), IMAGES, "database images")


@pytest.mark.parametrize(
    ("rows", "hint"),
    [(ROWS[:4], ""), (np.ones((3, 5)), " It looks transposed: rows must be images.")],
)
def test_a_wrong_number_of_rows(rows, hint: str) -> None:
    with pytest.raises(BenchError) as caught:
        brought.ordered(from_array(rows, "x.npy"), IMAGES, "queries")
    assert str(caught.value) == (
        f"x.npy has {len(rows)} rows, but the data set has 5 queries; give one row per "
        f"image, in the order of the list (`data names`).{hint}"
    )


@pytest.mark.parametrize("name", [lambda image: image.id, lambda image: image.file])
def test_ids_are_names_or_files_in_the_order_of_the_list(
    tmp_path: Path, name: Callable[[Image], str]
) -> None:
    ids = [name(image) for image in IMAGES]
    good = brought.read(saved(tmp_path / "a.npz", vectors=ROWS, ids=np.array(ids)), "database")
    assert brought.ordered(good, IMAGES, "database images") is good
    absent = saved(tmp_path / "b.npz", vectors=ROWS, ids=np.array([*ids[:4], "other"]))
    with pytest.raises(BenchError, match=r"b\.npz has no row named i4 or 0/i4\.jpg"):
        brought.ordered(brought.read(absent, "database"), IMAGES, "database images")
    double = (*IMAGES[:4], Image("other", IMAGES[0].file))
    arguments = brought.read(saved(tmp_path / "c.npz", vectors=ROWS, ids=np.array(
        [IMAGES[0].file, *(i.file for i in reversed(IMAGES[:4]))])), "database")  # fmt: skip
    with pytest.raises(BenchError, match=rf"c\.npz has several rows for {IMAGES[0].file}"):
        brought.ordered(arguments, double, "database images")


def test_rows_are_put_in_the_order_of_the_list_by_name(tmp_path: Path, capsys) -> None:
    order = [3, 0, 4, 2, 1]
    names = [IMAGES[row].file if row % 2 else IMAGES[row].id for row in order]
    path = saved(tmp_path / "a.npz", vectors=ROWS[order], ids=np.array(names))
    found = brought.ordered(brought.read(path, "database"), IMAGES, "database images")
    assert np.array_equal(found.open(), ROWS)
    assert found.ids is not None
    assert [str(name)[-1] == "g" for name in found.ids] == [False, True, False, True, False]
    assert (
        f"{path}: rows were sorted by their names, into the order of the database images"
        in capsys.readouterr().err
    )


# --- PyTorch's files ----------------------------------------------------------------------------


def of_torch(path: Path, content: Any) -> Path:
    """Write .pt or .safetensors; of the latter, `ids` are metadata."""
    if path.suffix == ".pt":
        torch.save(content, path)
        return path
    tensors = content if isinstance(content, dict) else {"whatever": content}
    ids = tensors.get("ids")
    save_file({key: value.clone() for key, value in tensors.items() if key != "ids"}, path,
              None if ids is None else {"ids": json.dumps(ids)})  # fmt: skip
    return path


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_tensors_alone_by_key_and_by_image(tmp_path: Path, suffix: str) -> None:
    path, rows = tmp_path / f"x{suffix}", torch.from_numpy(ROWS)
    for kind in (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int8):
        matrix = brought.read(of_torch(path, rows.to(kind)), "queries")
        assert np.array_equal(matrix.open(), ROWS)
        assert matrix.ids is None
    matrix = brought.read(of_torch(path, {"X": rows + 9, "Q": rows, "z": rows}), "queries")
    assert np.array_equal(matrix.open(), ROWS)
    matrix = brought.read(of_torch(path, {"vectors": rows, "X": rows + 9, "ids": list("abcde")}),
                          "database")  # fmt: skip
    assert (matrix.ids, matrix.shape) == (("a", "b", "c", "d", "e"), (5, 3))
    by_image = {IMAGES[row].file: rows[row].clone() for row in (4, 2, 0, 1, 3)}
    matrix = brought.ordered(brought.read(of_torch(path, by_image), "database"), IMAGES, "images")
    assert np.array_equal(matrix.open(), ROWS)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_tensors_that_are_no_descriptors(tmp_path: Path, suffix: str) -> None:
    path, rows = tmp_path / f"x{suffix}", torch.from_numpy(ROWS)
    for item, expected in (
        ({"a": rows, "b": rows}, "holds a, b; name the descriptors `vectors`"),
        ({"a": rows[0].clone(), "b": rows[0, :2].clone()}, "different lengths"),
        ({"vectors": rows, "ids": ["a"]}, "has 1 ids for 5 rows"),
        (torch.ones(3), r"(no tensor|holds whatever|shape \(3,\))"),
        (torch.ones(2, 2, dtype=torch.bool), "but are bool"),
    ):
        with pytest.raises(BenchError, match=expected):
            brought.read(of_torch(path, item), "database")
    whole = of_torch(path, rows).read_bytes()
    for damaged in (b"", b"x", whole[: len(whole) // 2], whole[:-20], whole[40:]):
        path.write_bytes(damaged)
        with pytest.raises(BenchError, match=f"x{suffix} cannot be read as"):
            brought.read(path, "database")


def test_files_of_torch_make_no_objects_and_no_more_than_they_hold(tmp_path: Path) -> None:
    target, path = tmp_path / "touched", tmp_path / "x.pt"
    torch.save({"vectors": torch.ones(2, 2), "more": Trap(target)}, path)
    with pytest.raises(BenchError, match="objects other than tensors"):
        brought.read(path, "database")
    assert not target.exists()
    torch.save(torch.ones(1, 1).expand(1 << 20, 1 << 20), path)
    with pytest.raises(BenchError, match=r"shape \(1048576, 1048576\)"):
        brought.read(path, "database")
    torch.save(torch.ones(2, 2), path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "y.pt", "w", 8) as packed:
        for name in old.namelist():
            packed.writestr(name, old.read(name))
    with pytest.raises(BenchError, match=r"y\.pt cannot be read as \.pt"):
        brought.read(tmp_path / "y.pt", "database")
    torch.save(torch.ones(2, 2), path, _use_new_zipfile_serialization=False)
    with pytest.raises(BenchError, match=r"torch\.save"):
        brought.read(path, "database")


def test_descriptors_of_different_dimensions() -> None:
    parts = [from_array(np.ones((2, n)), f"{n}.npy") for n in (3, 3, 4)]
    brought.check_dim(parts[:2])
    with pytest.raises(BenchError, match=r"4\.npy has 4 dimensions, but 3\.npy has 3; all"):
        brought.check_dim(parts)
