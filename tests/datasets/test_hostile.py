"""Files that are missing, damaged, wrong or hostile: one sentence each, and nothing is run."""

from __future__ import annotations

import csv
import os
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bench import datasets
from bench.datasets._readers import numpy_files
from bench.errors import BenchError, MissingDataError
from tests.support.miniatures_places import WRITERS, db_struct, objects

TOKYO, PITTS, MSLS = "tokyo247/tokyo247.mat", "pitts30k/pitts30k_test.mat", "msls/train_val/cph"


def sentence(name: str, root: Path) -> str:
    """Return what loading says, on one line and without this machine's folders."""
    with pytest.raises(BenchError) as caught:
        datasets.load(name)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text.replace(str(root), "")


@pytest.mark.parametrize("name", list(WRITERS))
def test_what_is_missing_is_said_with_where_to_get_it(name: str, workspace) -> None:
    for full in [f"{name}.{v}" for v in datasets.entry_of(name).variants] or [name]:
        with pytest.raises(MissingDataError) as caught:
            datasets.load(full)
        assert "missing" in str(caught.value)
        assert str(workspace.data) in str(caught.value)
        if full != "msls.test":
            facts = datasets.entry_of(name).facts
            assert (facts.ask if facts.ask else f"`data get {name}`") in str(caught.value)


# --- dbStruct -----------------------------------------------------------------------------------


def change_mat(path: Path, **change: object) -> None:
    """Write a small dbStruct with some of its fields changed."""
    names = [f"000/{i:06}.jpg" for i in range(3)]
    asked, db = ["queries_real/a.jpg"], np.arange(6.0).reshape(3, 2)
    db_struct(path, names, db, asked, np.zeros((1, 2)), **change)


NAN = np.array([[np.nan, 0, 0], [0.0, 0, 0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"posDistThr": 10.0}, "posDistThr is [10.0], but positives of this data set are"),
        ({"posDistThr": "far"}, "posDistThr is ['far']"),
        ({"utmDb": NAN}, "utmDb: position 0 is [nan, 0.0], not finite."),
        ({"utmDb": np.zeros((3, 3))}, "utmDb must contain 3 pairs of numbers, but has (3, 3)."),
        ({"utmQ": np.zeros((2, 5))}, "utmQ must contain 1 pairs of numbers, but has (5, 2)."),
        ({"utmQ": np.full((2, 1), "x", dtype=object)}, "utmQ must be numbers"),
        ({"qImageFns": np.zeros((0, 0)), "utmQ": np.zeros((2, 0))}, "the list of queries is empty"),
    ],
)  # fmt: skip
def test_a_db_struct_with_a_wrong_field(change: dict, message: str, workspace) -> None:
    change_mat(workspace.data / PITTS, **change)
    assert message in sentence("pitts30k", workspace.data)


def test_a_db_struct_without_a_field_or_another_file(workspace) -> None:
    from scipy.io import savemat

    path = workspace.data / PITTS
    path.parent.mkdir(parents=True)
    savemat(path, {"dbStruct": {"dbImageFns": 1.0}})
    text = sentence("pitts30k", workspace.data)
    assert text.startswith("/pitts30k/pitts30k_test.mat is not a dbStruct of NetVLAD: it must have")
    savemat(path, {"other": 1.0})
    assert "is not a dbStruct of NetVLAD" in sentence("pitts30k", workspace.data)


def test_a_truncated_mat_at_every_length(workspace) -> None:
    path = workspace.data / PITTS
    change_mat(path)
    whole = path.read_bytes()
    for length in (0, 1, 100, 128, 140, len(whole) // 2, len(whole) - 7):
        path.write_bytes(whole[:length])
        text = sentence("pitts30k", workspace.data)
        assert text.startswith("/pitts30k/pitts30k_test.mat "), length
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"MATLAB 7.3 MAT-file".ljust(600))
    assert "cannot be read as a MATLAB 5 file" in sentence("pitts30k", workspace.data)


def test_a_name_that_stands_twice_and_one_that_leads_out(workspace) -> None:
    names = np.array([["a.jpg"], ["b.jpg"], ["a.jpg"]], dtype=object)
    change_mat(workspace.data / PITTS, dbImageFns=names)
    assert "database[2] repeats 'a.jpg'" in sentence("pitts30k", workspace.data)
    names[2, 0] = "../../etc/passwd"
    change_mat(workspace.data / PITTS, dbImageFns=names)
    assert "must be a file name inside the folder" in sentence("pitts30k", workspace.data)


def test_tokyo247_that_is_not_v2_or_not_panoramas(workspace) -> None:
    names = [f"{i:05}.jpg" for i in range(12)]
    asked, places = ["00010.jpg", "00011.jpg", "00012.jpg"], np.zeros((12, 2))
    path = workspace.data / TOKYO
    db_struct(path, names, places, asked, np.array([[0.0, 0], [0, 0], [0, 1]]))
    assert "use the queries v2." in sentence("tokyo247", workspace.data)
    db_struct(path, names, places, asked[:2], np.zeros((2, 2)))
    assert "its 2 queries are not triples" in sentence("tokyo247", workspace.data)
    places[4] = 1
    db_struct(path, names, places, asked, np.zeros((3, 2)))
    assert len(datasets.load("tokyo247.full").database) == 12
    text = sentence("tokyo247.suppressed", workspace.data)
    assert "its 12 database images are not panoramas of 12 cut-outs" in text
    db_struct(path, names[:11], np.zeros((11, 2)), asked, np.zeros((3, 2)))
    assert "its 11 database images are not" in sentence("tokyo247.suppressed", workspace.data)


# --- arrays of objects --------------------------------------------------------------------------


@dataclass
class Hostile:
    """Pickled, it asks for a command to be run."""

    marker: Path

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.marker}",)


def as_npy(content: bytes, shape: str = "(1,)") -> bytes:
    """Return a .npy of objects around a pickle."""
    header = f"{{'descr': '|O', 'fortran_order': False, 'shape': {shape}, }}"
    text = header.ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


def test_code_in_an_array_of_objects_is_never_run(workspace) -> None:
    WRITERS["nordland"](workspace.data)
    marker = workspace.folder / "was-here"
    content = np.empty(3, dtype=object)
    content[:] = [np.array([0]), Hostile(marker), np.array([2])]
    np.save(workspace.data / "nordland" / "Nordland_gt.npy", content, allow_pickle=True)
    text = sentence("nordland.vpr-bench", workspace.data)
    assert "posix.system, but data must not need code" in text
    assert not marker.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cnumpy\nndarray\n(K\x01tR.",
        b"cnumpy\ndtype\n(X\x02\x00\x00\x00V8tR.",
        b"cnumpy\ndtype\n(c_codecs\nencode\ntR.",
        b"cnumpy._core.multiarray\nscalar\n(K\x01K\x02tR.",
        b"cnumpy._core.multiarray\n_reconstruct\n(tR(K\x01(K\x02tNI00\n(ltb.",
        b"cbuiltins\neval\n(X\x01\x00\x00\x001tR.",
        b"cnumpy.core.multiarray.evil\n_reconstruct\n(tR.",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"", b".", b"N.", b"K\x05.", b"}(K\x01K\x02u.",
    ],
)  # fmt: skip
def test_strange_pickles_are_refused(content: bytes) -> None:
    for reader in (numpy_files.strings, numpy_files.rows, numpy_files.pairs):
        with pytest.raises(BenchError) as caught:
            reader(as_npy(content), "f.npy")
        assert str(caught.value).startswith("f.npy")


def test_a_list_that_holds_itself_is_refused() -> None:
    for reader in (numpy_files.strings, numpy_files.rows, numpy_files.pairs):
        with pytest.raises(BenchError, match=r"^f\.npy"):
            reader(as_npy(b"]q\x00h\x00a."), "f.npy")


def test_a_type_that_turns_bytes_into_pointers_is_refused() -> None:
    """A record with a field of objects, said to hold none: numpy itself would follow the bytes."""
    kind = np.dtype([("x", object)])
    state = pickle.dumps(np.zeros(1, dtype=kind), protocol=2)
    with pytest.raises(BenchError, match="not plain data"):
        numpy_files.rows(as_npy(state), "f.npy")


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arrays_of_every_protocol_are_read(protocol: int) -> None:
    record = objects([[3, 1], [], [7]])
    content = as_npy(pickle.dumps(record, protocol=protocol), "(3,)")
    assert numpy_files.rows(content, "f") == [[3, 1], [], [7]]
    pairs = np.empty((2, 2), dtype=object)
    pairs[0] = [0, [5, 6]]
    pairs[1] = [np.int64(1), [np.int32(2)]]
    for order in "CF":
        ordered = np.array(pairs, order=order)
        content = as_npy(pickle.dumps(ordered, protocol=protocol), "(2, 2)")
        assert numpy_files.pairs(content, "f") == [(0, [5, 6]), (1, [2])]
    names = np.array(["a/b.jpg", "ü"], dtype=object)
    assert numpy_files.strings(as_npy(pickle.dumps(names, protocol=protocol)), "f") == [
        "a/b.jpg",
        "ü",
    ]
    big = np.array([1, 258], dtype=">i4")
    assert numpy_files.rows(as_npy(pickle.dumps(objects([[1]]), protocol=protocol)), "f") == [[1]]
    item = np.empty(1, dtype=object)
    item[0] = big
    assert numpy_files.rows(as_npy(pickle.dumps(item, protocol=protocol)), "f") == [[1, 258]]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("Nordland_gt.npy", objects([[0], [1]]), "Nordland_gt.npy has 2 lists for 3 queries."),
        ("Nordland_gt.npy", objects([[0], [-1], [2]]), "must contain one list of integers from 0"),
        ("Nordland_gt.npy", np.full((3, 1), 0.5), "must contain one list of integers from 0"),
        ("Nordland_gt.npy", np.array("x"), "must contain one list of integers from 0"),
        ("Nordland_gt.npy", objects([[0], [1, 1], [2]]), "all[1].positive: row 1 is listed twice"),
        ("Nordland_gt.npy", objects([[0], [99], [2]]), "row 99 is not in the database"),
        ("Nordland_dbImages.npy", np.arange(3), "must contain a list of names, one string each."),
        ("Nordland_qImages.npy", np.array([], dtype="U4"), "has 3 lists for 0 queries."),
    ],
)
def test_lists_that_are_wrong(file: str, content: np.ndarray, message: str, workspace) -> None:
    WRITERS["nordland"](workspace.data)
    np.save(workspace.data / "nordland" / file, content, allow_pickle=True)
    assert message in sentence("nordland.vpr-bench", workspace.data)


def test_truncated_lists(workspace) -> None:
    WRITERS["nordland"](workspace.data)
    for file in ("Nordland_gt.npy", "Nordland_dbImages.npy"):
        path = workspace.data / "nordland" / file
        whole = path.read_bytes()
        for length in (5, 40, len(whole) - 3):
            path.write_bytes(whole[:length])
            text = sentence("nordland.vpr-bench", workspace.data)
            assert f"{file} cannot be read as a .npy file of plain data" in text
        path.write_bytes(whole)


def test_positions_of_patch_netvlad_that_are_wrong(workspace) -> None:
    WRITERS["nordland"](workspace.data)
    path = workspace.data / "nordland" / "nordland.npz"
    place = np.zeros((24, 2))
    np.savez(path, utmDb=place, utmQ=place)
    assert "has no array 'posDistThr'; it has utmDb, utmQ." in sentence(
        "nordland.patch-netvlad", workspace.data
    )
    np.savez(path, utmDb=objects([[1]] * 24), utmQ=place, posDistThr=10)
    assert "cannot be read as .npz" in sentence("nordland.patch-netvlad", workspace.data)
    np.savez(path, utmDb=place[:5], utmQ=place, posDistThr=10)
    assert "utmDb must contain 24 pairs of numbers, but has (5, 2)" in sentence(
        "nordland.patch-netvlad", workspace.data
    )
    path.write_bytes(b"PK\x03\x04 nothing")
    assert "cannot be read as .npz" in sentence("nordland.patch-netvlad", workspace.data)
    names = workspace.data / "nordland" / "nordland_imageNames_query.txt"
    names.write_bytes(b"\xff\x00")
    assert "is not UTF-8 text" in sentence("nordland.gmberton", workspace.data)
    names.write_text("\n")
    assert "24 frames of summer, but 0 of winter" in sentence("nordland.gmberton", workspace.data)


# --- tables -------------------------------------------------------------------------------------


def spoil(path: Path, column: str, row: int, value: object) -> None:
    """Change one field of a table; without a value, drop the column."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    at = rows[0].index(column)
    if value is None:
        rows = [row[:at] + row[at + 1 :] for row in rows]
    else:
        rows[row + 1][at] = str(value)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.mark.parametrize(
    ("file", "column", "value", "message"),
    [
        ("database/raw.csv", "pano", None, "raw.csv has no column 'pano'; it has"),
        ("database/raw.csv", "pano", "maybe", "raw.csv: pano must be True or False in every row."),
        ("query/subtask_index.csv", "all", 7, "all must be True or False in every row."),
        ("query/postprocessed.csv", "easting", "nan", "position 0 is [nan, 500.0], not finite."),
        ("query/postprocessed.csv", "northing", "north", "postprocessed.csv must be numbers"),
        ("database/raw.csv", "key", "other", "the rows of its tables do not belong together."),
        ("database/postprocessed.csv", "key", None, "postprocessed.csv has no column 'key'"),
    ],
)
def test_tables_of_mapillary_that_are_wrong(
    file: str, column: str, value: object, message: str, workspace
) -> None:
    WRITERS["msls"](workspace.data)
    spoil(workspace.data / MSLS / file, column, 0, value)
    assert message in sentence("msls.val-official", workspace.data)


def test_lists_of_msls_that_do_not_fit(workspace) -> None:
    WRITERS["msls"](workspace.data)
    folder = workspace.data / "msls"
    np.save(folder / "msls_val_qIdx.npy", np.array([0, 2, 9]))
    assert "msls_val_qIdx.npy does not fit" in sentence("msls.val-gsv-cities", workspace.data)
    names = folder / "mapillarysf_imageNames_query.txt"
    names.write_text("./x/train_val/sf/query/images/strange.jpg\n")
    assert "strange.jpg is not a query in the tables of sf" in sentence(
        "msls.val-patch-netvlad", workspace.data
    )
    (folder / "mapillarysf_imageNames_index.txt").write_text("./x/a.jpg\n")
    assert "do not list the same images" in sentence("msls.val-patch-netvlad", workspace.data)
    (folder / "train_val/cph/query/raw.csv").write_bytes(b"\n")
    assert "raw.csv cannot be read as a table" in sentence("msls.val-official", workspace.data)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("x", None, "poses.csv has no column 'x'; it needs session, timestamp, x, y."),
        ("x", "inf", "position 0 is [inf, -650.0], not finite."),
        ("y", "south", "poses.csv must be numbers"),
        ("session", "", "a row lacks its session or its timestamp"),
    ],
)
def test_poses_that_are_wrong(column: str, value: object, message: str, workspace) -> None:
    WRITERS["nclt"](workspace.data)
    spoil(workspace.data / "nclt" / "poses.csv", column, 0, value)
    assert message in sentence("nclt.bevplace", workspace.data)


def test_sessions_and_thresholds_that_are_not_there(workspace) -> None:
    WRITERS["nclt"](workspace.data)
    folder = workspace.data / "nclt"
    for text, item in (
        ("{", "protocol.json must have the form"),
        ('{"adafusion": {"threshold_m": 0}}', "threshold_m is 0.0; it must be above zero."),
        ('{"adafusion": {"threshold_m": "near"}}', "protocol.json must have the form"),
        ("[]", "protocol.json must have the form"),
    ):
        (folder / "protocol.json").write_text(text)
        assert item in sentence("nclt.adafusion", workspace.data)
    (folder / "protocol.json").unlink()
    assert "the protocol adafusion states no threshold" in sentence(
        "nclt.adafusion", workspace.data
    )
    poses = (folder / "poses.csv").read_text().splitlines()
    (folder / "poses.csv").write_text("\n".join(poses[:4]))
    assert "lacks the poses of the session 2012-02-04" in sentence("nclt.bevplace", workspace.data)
    assert "has one session" in sentence("nclt.open-place-recognition", workspace.data)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("Usage", "Secret", "is 'Secret'."),
        ("Usage", None, "row 0 lacks a column; it needs id, images, Usage."),
        ("id", "../../../etc", "must be a file name inside the folder"),
    ],
)
def test_a_solution_of_gldv2_that_is_wrong(
    column: str, value: object, message: str, workspace
) -> None:
    WRITERS["gldv2"](workspace.data)
    spoil(workspace.data / "gldv2" / "retrieval_solution_v2.1.csv", column, 0, value)
    assert message in sentence("gldv2", workspace.data)


def test_pictures_without_a_counterpart_a_box_or_a_position(workspace) -> None:
    for name in ("amstertime", "ilias", "eynsham", "sped"):
        WRITERS[name](workspace.data)
    tasks = workspace.data / "amstertime" / "retrieval.csv"
    tasks.write_text(tasks.read_text().replace("old/0001.jpg,new\n", "").replace("\r", ""))
    message = sentence("amstertime.new-to-old", workspace.data)
    tasks.write_text("picture,side\nnew/0000.png,old\n")
    assert "is not a list of tasks" in sentence("amstertime.new-to-old", workspace.data)
    assert message.endswith("1 places have only one photograph: 0001.")
    box = workspace.data / "ilias/ilias_core/bold_bimp_000/query/Q0_00.txt"
    for text in ("5 6 30", "a b c d"):
        box.write_text(text)
        assert "must have the form x y w h, in pixels" in sentence("ilias", workspace.data)
    box.write_text("5 6 0 20")
    assert "is empty; write left" in sentence("ilias", workspace.data)
    images = workspace.data / "eynsham/images/test"
    (images / "queries" / "plain.jpg").touch()
    assert "'queries/plain.jpg' has no position in its name" in sentence("eynsham", workspace.data)
    (images / "queries" / "plain.jpg").rename(images / "queries" / "@inf@0@.jpg")
    assert "not finite" in sentence("eynsham", workspace.data)
    for path in (images / "queries").iterdir():
        path.unlink()
    assert "eynsham: the list of queries is empty; check the folder." in sentence(
        "eynsham", workspace.data
    )
    (workspace.data / "sped" / "query" / "0000003.jpg").touch()
    assert "counts 3 images of /sped/query, which contains 4" in sentence("sped", workspace.data)
