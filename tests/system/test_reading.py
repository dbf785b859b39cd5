"""Readers have bounds: what a file makes them do grows with the file, whatever it says."""

from __future__ import annotations

import io
import os
import pickle
import resource
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from bench.system import array_files, pickles, reading


def nested(depth: int, inner: str = "1") -> str:
    return "[" * depth + inner + "]" * depth


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (nested(65), "nested too deeply"),
        (nested(100_000), "nested too deeply"),
        ('{"a":' * 70 + "1" + "}" * 70, "nested too deeply"),
        ("1e400", "needs more than 64 bits"),
        (f"[{'1' * 250}e99]", "needs more than 64 bits"),
        ("[1, -1e999]", "needs more than 64 bits"),
        ("9" * 301, "301 digits"),
        ("-" + "9" * 5000, "digits"),
        ("NaN", "NaN is not a JSON number"),
        ("[Infinity]", "Infinity is not a JSON number"),
        ('{"a": 1, "b": 2, "a": 3}', "'a' occurs twice"),
        ("{", "Expecting"),
    ],
)
def test_json_that_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reading.json_value(text)


def test_json_that_is_read_as_it_stands() -> None:
    assert reading.json_value(nested(64))
    assert reading.json_value('{"a": [1.5, -2, "x", null, true], "b": {"a": 10}}') == {
        "a": [1.5, -2, "x", None, True],
        "b": {"a": 10},
    }
    assert reading.json_value("9" * 300) == int("9" * 300)


def test_twin_keys_are_found_in_one_pass() -> None:
    """The second `a0` stands at the end of 200,000 keys: no key is counted among all others."""
    keys = [f'"a{i}":1' for i in range(200_000)]
    looked = 0

    class Key(str):
        def __hash__(self) -> int:
            nonlocal looked
            looked += 1
            return super().__hash__()

    assert reading.first_twice([Key(key) for key in [*keys, keys[0]]]) == keys[0]
    assert looked <= 3 * len(keys)
    with pytest.raises(ValueError, match="'a0' occurs twice"):
        reading.json_value("{" + ",".join([*keys, keys[0]]) + "}")


def test_toml_that_is_refused() -> None:
    assert reading.toml_value("a = 1\n[b]\nc = [1, 2]") == {"a": 1, "b": {"c": [1, 2]}}
    for text in ("x = " + nested(4000), "x = " + nested(70), "x = " + "7" * 5000):
        with pytest.raises(ValueError, match=r"nested too deeply|needs more than 64 bits"):
            reading.toml_value(text)


def test_files_that_are_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ValueError, match="not a regular file"):
            reading.content(path)
    (tmp_path / "long").write_bytes(b"x" * 11)
    with pytest.raises(ValueError, match="11 bytes, more than 10"):
        reading.content(tmp_path / "long", 10)
    assert reading.content(tmp_path / "long", 11) == b"x" * 11
    (tmp_path / "bad").write_bytes(b"a\xff")
    with pytest.raises(ValueError, match="cannot be read as UTF-8 text"):
        reading.text(tmp_path / "bad")


def test_what_a_sentence_shows_of_a_value() -> None:
    assert reading.short("x" * 10**6) == "'" + "x" * 78 + "…"
    assert reading.short(10**5000) == f"a number of {(10**5000).bit_length()} bits"
    assert reading.short([[[]]]) == "a list"
    assert reading.short([1, "a"]) == "[1, 'a']"
    assert len(reading.line(ValueError("y " * 10**5))) == 200


# --- pickles ------------------------------------------------------------------------------------

FLAT: Any = {"imlist": ["a", "b"], "gnd": [{"bbx": [1.5, 2], "ok": [0], "junk": (1,)}]}


def doubling(levels: int) -> bytes:
    """Return a pickle of a list that holds another twice, and so on, `levels` deep."""
    value: Any = ["x"]
    for _ in range(levels):
        value = [value, value]
    return pickle.dumps({"imlist": value}, protocol=2)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles_of_every_protocol(protocol: int) -> None:
    assert pickles.load(pickle.dumps(FLAT, protocol)) == FLAT


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x02]r\xff\xff\xff\x0f.", "place 268435455 of the memo"),
        (b"\x80\x02}r\xff\xff\xff\x7f.", "place 2147483647 of the memo"),
        (b"]p999999999\n.", "place 999999999 of the memo"),
        (b"\x80\x05\x96\xff\xff\xff\x7f\x00\x00\x00\x00.", "bytearray8"),
        (b"\x80\x04\x95\xff\xff\xff\xff\x7f\x00\x00\x00].", "announces"),
        (b"\x80\x02\x8b\x00\x02\x00\x00" + b"\x7f" * 512 + b".", "more than 128 bits"),
        (b"I" + b"9" * 4000 + b"\n.", "more than 128 bits"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"cos\nsystem\n.", "refers to os.system"),
        (doubling(28), "too often"),
        (doubling(15), "too often"),
        (doubling(100), "too often|nested"),
        (b"(lp0\n" * 3000 + b"a" * 2999 + b".", "nested|list"),
    ],
    ids=str,
)
def test_pickles_that_are_refused(content: bytes, message: str) -> None:
    with pytest.raises((ValueError, pickle.UnpicklingError, AttributeError, IndexError),
                       match=message):  # fmt: skip
        pickles.load(content)


def test_a_list_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ValueError, match="nested too deeply"):
        pickles.load(pickle.dumps(value))


def grown(work: Callable[[], None]) -> int:
    """Return by how many bytes the most memory of a child grows by `work`, which must raise."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            work()
            answer = -1
        except Exception:  # noqa: BLE001 - it is told to the parent
            answer = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        os.write(write, str(answer).encode())
        os._exit(0)
    os.close(write)
    with open(read, "rb") as text:
        answer = int(text.read())
    os.waitpid(child, 0)
    assert answer >= 0, "it was not refused"
    return 1024 * answer


def test_refusals_take_no_memory(tmp_path: Path) -> None:
    """Nine bytes took 4.3 GB: one instruction made room for 2^29 places."""
    zeros = io.BytesIO()
    np.savez_compressed(zeros, vectors=np.zeros((1 << 16, 1 << 10), dtype=np.float32))  # 256 MB
    for work in (
        lambda: pickles.load(b"\x80\x02Nr\xff\xff\xff\x07."),
        lambda: pickles.load(doubling(40)),
        lambda: array_files.Archive(zeros, zeros.tell(), spare_bytes=0),
    ):
        assert grown(work) < 64 << 20


# --- arrays -------------------------------------------------------------------------------------


def npy(array: Any, version: tuple[int, int] | None = None) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asarray(array), version=version, allow_pickle=True)
    return out.getvalue()


def as_third(content: bytes) -> bytes:
    """Return a file of version 2 as version 3, which differs in the letters that names may have."""
    return content[:6] + b"\x03" + content[7:]


ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.mark.parametrize(
    "content", [npy(ROWS, (1, 0)), npy(ROWS, (2, 0)), as_third(npy(ROWS, (2, 0)))]
)
def test_every_version_of_npy_is_read(content: bytes, tmp_path: Path) -> None:
    assert np.array_equal(array_files.npy(content), ROWS)
    (tmp_path / "a.npy").write_bytes(content)
    assert np.array_equal(array_files.map_npy(tmp_path / "a.npy"), ROWS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy(ROWS)[:-1], "follow"),
        (npy(ROWS) + b"\0", "follow"),
        (npy(ROWS).replace(b"(3, 4)", b"(3, 2)"), "follow"),
        (npy(ROWS).replace(b"(3, 4)", b"(9**9)"), "."),
        (npy(ROWS).replace(b"(3, 4)", b"(-3,4)"), "shape"),
        (npy(np.array([{}, []], dtype=object)), "objects"),
        (b"\x93NUMPY\x09\x00" + npy(ROWS)[8:], "version 9.0"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f{}", "truncated"),
        (b"PK\x03\x04", "does not begin"),
        (b"", "does not begin"),
    ],
)
def test_npy_that_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    for read in (lambda: array_files.npy(content), lambda: array_files.map_npy(tmp_path / "a.npy")):
        with pytest.raises(ValueError, match=message) as caught:
            read()
        assert "allow_pickle" not in str(caught.value)


def zipped(members: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def test_npz_is_read_as_numpy_reads_it() -> None:
    out = io.BytesIO()
    np.savez_compressed(out, a=ROWS, b=np.array(["x", "yz"]), c=np.zeros((0, 3), dtype=np.int64))
    read = array_files.npz(out.getvalue())
    assert list(read) == ["a", "b", "c"]
    assert np.array_equal(read["a"], ROWS)
    assert read["b"].tolist() == ["x", "yz"]
    assert read["c"].shape == (0, 3)
    read["a"][0, 0] = 1  # an array of one's own


def damaged(content: bytes) -> bytes:
    """Return an archive whose first member has other bytes than its checksum is of."""
    at = content.index(b"NUMPY") if b"NUMPY" in content else len(content) // 3
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            zipped({"a.npy": npy(ROWS)}, zipfile.ZIP_BZIP2),
            "compressed in a way that numpy never uses",
        ),
        (
            zipped({"a.npy": npy(ROWS)}, zipfile.ZIP_LZMA),
            "compressed in a way that numpy never uses",
        ),
        (zipped({"a.npy": npy(np.zeros((1 << 14, 1 << 13), np.float32))}), "unpack to"),
        (zipped({"a.npy": npy(np.array([{}], dtype=object))}), "object"),
        (zipped({"a.txt": b"x"}), "not an array"),
        (zipped({"a.npy": npy(ROWS)[:-4]}), "follow"),
        (damaged(zipped({"a.npy": npy(ROWS)}, zipfile.ZIP_STORED)), "."),
        (b"not a zip", "."),
        (b"", "."),
    ],
)
def test_npz_that_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        array_files.npz(content)
    assert "allow_pickle" not in str(caught.value)


@pytest.mark.slow
def test_matlab_files_that_unpack_or_state_too_much() -> None:
    cells = np.empty((1, 3), dtype=object)
    cells[0] = ["a.jpg", "b.jpg", "c.jpg"]
    good = io.BytesIO()
    scipy.io.savemat(good, {"X": ROWS, "dbStruct": {"names": cells}}, do_compression=True)
    array_files.check_mat(good, len(good.getvalue()))
    assert good.tell() == 0, "the reader begins at the beginning"

    plain = io.BytesIO()
    scipy.io.savemat(plain, {"dbStruct": {"names": cells}})
    sides = struct.pack("<2i", 1, 3)
    assert sides in plain.getvalue()
    forged = plain.getvalue().replace(sides, struct.pack("<2i", 1 << 15, 1 << 15))
    with pytest.raises(ValueError, match="more items than its"):
        array_files.check_mat(io.BytesIO(forged), len(forged))

    packed = zlib.compress(bytes(256 << 20), 9)
    bomb = plain.getvalue()[:128] + struct.pack("<II", 15, len(packed)) + packed
    with pytest.raises(ValueError, match="unpack to more"):
        array_files.check_mat(io.BytesIO(bomb), len(bomb))
