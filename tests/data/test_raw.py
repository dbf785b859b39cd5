"""Files of lists and truth as people have them: marks, long fields, pages and pointers."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench import datasets
from bench.data import raw
from bench.datasets._readers import numpy_files
from bench.errors import BenchError
from bench.scoring import card
from tests.support.miniatures_places import WRITERS, photographs

MARK = b"\xef\xbb\xbf"
PAGE = b"\n<!DOCTYPE html>\n<html><body>please log in</body></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 99\n"


def test_a_mark_is_skipped_and_utf_16_is_read(tmp_path: Path) -> None:
    for i, content in enumerate((MARK + b"a,\xc3\xa9", "a,é".encode("utf-16"), b"a,\xc3\xa9")):
        path = tmp_path / f"{i}.txt"
        path.write_bytes(content)
        assert raw.read(path) == b"a,\xc3\xa9"
    binary = tmp_path / "x.npy"
    np.save(binary, np.arange(3))
    assert raw.read(binary) == binary.read_bytes()


@pytest.mark.parametrize(
    ("content", "message"), [(PAGE, "web page"), (POINTER, "Git LFS pointer"), (b"", "is empty")]
)
def test_something_else_in_the_place_of_a_file(
    content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(raw.ForeignFileError, match=message):
        raw.read(tmp_path / "list.txt")


# The text files of a miniature of each data set that has any.
TEXTS = {
    "msls.val-official": "train_val/cph/query/postprocessed.csv",
    "msls.val-patch-netvlad": "mapillarycph_imageNames_index.txt",
    "nordland.patch-netvlad": "nordland_imageNames_query.txt",
    "nclt.bevplace": "poses.csv",
    "nclt.adafusion": "protocol.json",
    "gldv2": "retrieval_solution_v2.1.csv",
    "ilias": "Q0_00.txt",
    "amstertime.new-to-old": "retrieval.csv",
}
BINARY = {
    "tokyo247.full": "tokyo247.mat", "nordland.patch-netvlad": "nordland.npz",
    "sped": "ground_truth_new.npy",
}  # fmt: skip


def file_of(root: Path, name: str, end: str) -> Path:
    """Write the miniature and return its file whose path ends so."""
    base = name.partition(".")[0]
    WRITERS[base](root)
    return next(path for path in sorted((root / base).rglob("*")) if str(path).endswith(end))


@pytest.mark.parametrize("name", list(TEXTS))
def test_a_mark_changes_no_data_set(name: str, workspace) -> None:
    path = file_of(workspace.data, name, TEXTS[name])
    before = datasets.load(name)
    path.write_bytes(MARK + path.read_bytes())
    after = datasets.load(name)
    assert card.revision(after) == card.revision(before)
    assert after.rules == before.rules


@pytest.mark.parametrize("name", list(TEXTS) + [f"{name} " for name in BINARY])
@pytest.mark.parametrize("content", [PAGE, POINTER, b""])
def test_what_is_in_the_place_of_truth_is_named(name: str, content: bytes, workspace) -> None:
    ends = {**TEXTS, **{f"{item} ": end for item, end in BINARY.items()}}
    path = file_of(workspace.data, name.strip(), ends[name])
    path.write_bytes(content)
    with pytest.raises(BenchError) as caught:
        datasets.load(name.strip())
    text = str(caught.value)
    assert str(path) in text
    assert f"`data get {name.strip().partition('.')[0]}`" in text
    assert "allow_pickle" not in text
    assert "unsafely" not in text


def test_a_dataset_json_with_a_mark_has_the_same_card(workspace, cli: Callable) -> None:
    photographs(workspace.folder / "jpg", ["a.png", "b.png", "q.png"])
    made = {
        "name": "own", "images": "jpg", "database": ["a.png", "b.png"],
        "queries": [{"file": "q.png"}], "protocols": {"all": [{"positive": [1.0]}]},
    }  # fmt: skip
    path = workspace.folder / "dataset.json"
    path.write_text(json.dumps(made))
    before = card.revision(datasets.load(str(path)))
    path.write_bytes(MARK + path.read_bytes())
    assert card.revision(datasets.load(str(path))) == before
    assert cli("run", "--method", "random-unit", "--dataset", path).status == 0


def test_fields_of_any_length_leave_the_limit_as_it_was(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    long = "x" * (limit + 70_000)
    table = f"id,images,Usage\nq,{long} {long},Public\r\nr,a,Ignored\n".encode()
    rows = raw.table(table, "here", ("id", "images", "Usage"))
    assert [line for line, _ in rows] == [2, 3]
    assert rows[0][1]["images"] == f"{long} {long}"
    assert csv.field_size_limit() == limit
    with pytest.raises(BenchError, match="row 1 lacks a column; it needs id, Usage"):
        raw.table(b"id,Usage\na,b\nc\n", "here", ("id", "Usage"))


def test_long_rows_of_photographs_to_train_on(tmp_path: Path) -> None:
    from bench.training import photographs as training

    ids = [f"{i:016x}" for i in range(8_500)]
    text = "landmark_id,images\n7," + " ".join(ids) + "\n9,ffffffffffffffff\n"
    (tmp_path / "train_clean.csv").write_bytes(MARK + text.encode())
    with pytest.raises(BenchError, match="8501 of the 8501 images"):
        training.read(tmp_path / "train_clean.csv")


def objects(*values: object) -> np.ndarray:
    """Return an array of these objects."""
    out = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        out[i] = value
    return out


@pytest.mark.parametrize("kind", ["f2", "f4", ">f8", "u1", "i2", ">i4", "u8"])
def test_whole_numbers_of_any_type(kind: str, tmp_path: Path) -> None:
    wanted = [[3], [0, 5], []]
    as_arrays = objects(*(np.array(row, dtype=kind) for row in wanted))
    as_lists = objects([3], (0.0, 5), [])
    mixed = objects(np.array([3.0]), [np.float32(0), np.int8(5)], np.array([]))
    for values in (as_arrays, as_lists, mixed):
        np.save(tmp_path / "gt.npy", values, allow_pickle=True)
        assert numpy_files.rows((tmp_path / "gt.npy").read_bytes(), "gt") == wanted
    np.save(tmp_path / "gt.npy", np.array([[1, 2], [3, 4]], dtype=kind))
    assert numpy_files.rows((tmp_path / "gt.npy").read_bytes(), "gt") == [[1, 2], [3, 4]]


@pytest.mark.parametrize("value", [0.5, float("nan"), float("inf"), -1.0, True, "1", None, 1j])
def test_what_is_no_whole_number_is_refused(value: object, tmp_path: Path) -> None:
    np.save(tmp_path / "gt.npy", objects([value], [0]), allow_pickle=True)
    with pytest.raises(BenchError):
        numpy_files.rows((tmp_path / "gt.npy").read_bytes(), "gt")
