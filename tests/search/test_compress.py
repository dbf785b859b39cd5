"""Compressed descriptors: what is scored is what codes decode to; codes are kept and checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from bench.data import copies
from bench.errors import BenchError
from bench.records import record
from bench.records.verify import verify
from bench.records.words import say
from bench.scoring import card as cards
from bench.search import compress
from bench.store import derived
from bench.store.matrix import Matrix, content_sha256, from_array, read, take


def unit(n: int, dim: int, seed: int = 0) -> np.ndarray:
    """Return rows of unit norm, float32."""
    rows = np.random.default_rng(seed).standard_normal((n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def parts_of(rows: np.ndarray, *cuts: int) -> list[Matrix]:
    return [from_array(part, f"p{i}") for i, part in enumerate(np.split(rows, cuts))]


def pq_by_hand(rows: np.ndarray, codes: np.ndarray, bits: int, sub_vectors: int) -> np.ndarray:
    """Decode packed codes, first sub-vector in the lowest bits, with means of equal codes."""
    flat = np.unpackbits(codes, axis=1, bitorder="little")[:, : bits * sub_vectors]
    numbers = flat.reshape(len(rows), sub_vectors, bits) @ (1 << np.arange(bits))
    pieces = rows.reshape(len(rows), sub_vectors, -1)
    out = np.empty_like(pieces)
    for m in range(sub_vectors):
        for number in np.unique(numbers[:, m]):
            same = numbers[:, m] == number
            out[same, m] = pieces[same, m].mean(axis=0)
    return out.reshape(rows.shape)


def stored(parts: list[Matrix]) -> np.ndarray:
    return np.concatenate([part.stored() for part in parts])


# --- names --------------------------------------------------------------------------------------


def test_names_and_bytes() -> None:
    assert compress.parse("none") is None
    for name, dim, size in (
        ("float16", 2048, 4096),
        ("pq64x8", 2048, 64),
        ("pq16x4", 512, 8),
        ("pq3x5", 6, 2),
    ):
        choice = compress.parse(name)
        assert choice is not None
        assert compress.bytes_per_row(choice, dim) == size
        coded = compress.code(choice, dim, 99_999)
        assert (coded["name"], coded["bytes"]) == (name, size)
        assert f"{size} bytes per image" in say("compression", coded, {})
    assert compress.code(None, 8, 9) == "none (float32)"
    assert compress.code(None, 8, 9, "float64") == "none (float64)"


@pytest.mark.parametrize(
    "name", ["", "fp16", "pq", "pq8", "pq0x8", "pq8x0", "pq8x9", "pq8x16", "pq8x8,"]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(BenchError, match=r"none, float16, int8, binary, codes, or pqMxB"):
        compress.parse(name)


def test_what_does_not_fit_is_refused() -> None:
    choice = compress.parse("pq5x4")
    with pytest.raises(BenchError, match=r"12 dimensions cannot be divided .* 2, 3, 4, 6 parts"):
        compress.code(choice, 12, 99)
    with pytest.raises(BenchError, match=r"needs at least 256 database rows .* has 255"):
        compress.code(compress.parse("pq4x8"), 12, 255)


# --- the rows -----------------------------------------------------------------------------------


def test_float16_rounds_and_nothing_else(workspace: Any) -> None:
    rows = unit(300, 12)
    halved = compress.compress(parts_of(rows, 100), compress.parse("float16"))
    assert stored(halved).dtype == np.float16
    assert np.array_equal(stored(halved), rows.astype(np.float16))
    assert halved[0].row_bytes() == 24


@pytest.mark.parametrize(
    ("name", "bits", "sub_vectors"), [("pq4x4", 4, 4), ("pq2x8", 8, 2), ("pq3x3", 3, 3)]
)
def test_codes_decode_to_centroids_that_are_means(
    workspace: Any, monkeypatch: pytest.MonkeyPatch, name: str, bits: int, sub_vectors: int
) -> None:
    """Few different rows: k-means reaches its end, where each centroid is the mean of its own."""
    monkeypatch.setattr(derived, "ROWS_PER_FILE", 128)
    rows = unit(300, 12)
    parts = compress.compress(parts_of(rows, 250), compress.parse(name))
    assert [part.shape for part in parts] == [(128, 12), (128, 12), (44, 12)]
    codes = stored(parts)
    assert codes.dtype == np.uint8
    assert codes.shape == (300, -(-bits * sub_vectors // 8))
    decoded = read(parts, 0, 300)
    assert decoded.dtype == np.float32
    assert decoded == pytest.approx(pq_by_hand(rows, codes, bits, sub_vectors), abs=0.02)
    assert np.linalg.norm(decoded - rows) < 0.8 * np.linalg.norm(rows)
    wanted = np.array([299, 5, 128, 5])
    assert np.array_equal(take(parts, wanted), decoded[wanted].astype(np.float64))
    quantiser = faiss.ProductQuantizer(12, sub_vectors, bits)
    folder = next((workspace.cache / "compressed").iterdir())
    faiss.copy_array_to_vector(np.load(folder / "centroids.npy"), quantiser.centroids)
    assert np.array_equal(quantiser.compute_codes(rows), codes)


def test_codes_are_made_once_and_a_flipped_byte_is_found(
    workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(derived, "ROWS_PER_FILE", 100)
    parts, choice = parts_of(unit(300, 12)), compress.parse("pq4x4")
    made: list[int] = []
    encode = compress._encode
    monkeypatch.setattr(
        compress, "_encode", lambda *arguments: made.append(arguments[1]) or encode(*arguments)
    )
    first = stored(compress.compress(parts, choice))
    assert made == [0, 100, 200]
    files = sorted((workspace.cache / "compressed").glob("*/part-*.npy"))
    content = bytearray(files[1].read_bytes())
    content[-1] ^= 1
    files[1].write_bytes(content)
    again = stored(compress.compress(parts, choice))
    assert made == [0, 100, 200, 100], "only the damaged file"
    assert np.array_equal(first, again)
    compress.compress(parts, choice, force=True)
    assert made[4:] == [0, 100, 200]
    centroids = next((workspace.cache / "compressed").glob("*/centroids.npy"))
    centroids.write_bytes(b"")
    assert np.array_equal(stored(compress.compress(parts, choice)), first), "trained again, alike"


def test_other_rows_another_compression_another_key(workspace: Any) -> None:
    rows = unit(40, 8)
    keys = []
    for parts in (
        parts_of(rows),
        parts_of(unit(40, 8, 1)),
        parts_of(rows.astype(np.float64)),
        [Matrix("a", (40, 8), array=rows, key="x")],
        [Matrix("a", (40, 8), array=rows, key="y")],
        [Matrix("a", (20, 8), array=rows[:20], key="x")],
    ):
        keys += [compress._key(parts, compress.parse(name)) for name in ("float16", "pq2x4")]
    assert len({json.dumps(key, sort_keys=True) for key in keys}) == len(keys)
    cut = [Matrix("a", (n, 8), array=rows[:n], key="x") for n in (30, 10)]
    assert compress._key(cut, compress.parse("float16")) == keys[6], "a store in two shards is one"
    assert keys[1]["faiss"] == faiss.__version__


def test_the_content_of_a_file_is_that_of_the_array(tmp_path: Path) -> None:
    rows = unit(50, 6)
    np.save(tmp_path / "a.npy", rows)
    np.save(tmp_path / "b.npy", np.asfortranarray(rows))
    np.save(tmp_path / "c.npy", rows.astype(">f4"))
    whole = content_sha256(from_array(rows, "rows"))
    for name in "abc":
        assert content_sha256(Matrix(name, (50, 6), path=tmp_path / f"{name}.npy")) == whole
    assert content_sha256(from_array(rows[:49], "fewer")) != whole


def test_rows_float16_cannot_hold_are_refused(workspace: Any) -> None:
    rows = unit(10, 4)
    rows[7] *= 1e6
    with pytest.raises(BenchError, match=r"row 7 of the database has .* which exceeds float16"):
        compress.compress(parts_of(rows, 5), compress.parse("float16"))
    rows[7] = 1e-9
    with pytest.raises(BenchError, match="row 7 of the database has 1e-09"):
        compress.compress(parts_of(rows, 5), compress.parse("float16"))
    rows[7] = np.nan
    for name in ("float16", "pq2x2"):
        with pytest.raises(BenchError, match="row 2 of p1 contains NaN"):
            compress.compress(parts_of(rows, 5), compress.parse(name))


# --- records ------------------------------------------------------------------------------------


@pytest.fixture
def larger(tmp_path: Path, small: dict[str, Any]) -> tuple[Path, Path, Path]:
    """Return dataset.json, database and queries: the small data set with 300 rows of 12 numbers."""
    small["database"] = [f"d{i}.png" for i in range(300)]
    (tmp_path / "dataset.json").write_text(json.dumps(small), encoding="utf-8")
    np.save(tmp_path / "db.npy", unit(300, 12))
    np.save(tmp_path / "q.npy", unit(3, 12, 1))
    return tmp_path / "dataset.json", tmp_path / "db.npy", tmp_path / "q.npy"


@pytest.mark.parametrize(("name", "size"), [("none", 48), ("float16", 24), ("pq4x4", 2)])
def test_scores_are_those_of_the_decoded_rows(
    cli: Callable[..., Any], oracle: Any, small: dict[str, Any], larger: Any, workspace: Any,
    name: str, size: int,
) -> None:  # fmt: skip
    dataset, database, queries = larger
    extra = workspace.folder / "more.npy"
    np.save(extra, unit(50, 12, 2))
    result = cli("evaluate", "--dataset", dataset, "--database", database, "--queries", queries,
               "--distractors", extra, "--compression", name)  # fmt: skip
    assert result.status == 0, result.err
    path = Path(result.out.splitlines()[-1])
    content = record.read(path)
    assert content["bytes_per_image"] == size
    assert cards.name_of(content["card"]["compression"]).split(" ")[0] == name
    marked = f"(compressed: {name})" in result.out
    assert marked == (name != "none")
    parts = [from_array(np.load(file), "x") for file in (database, extra)]
    choice = compress.parse(name)
    whole = read(compress.compress(parts, choice) if choice else parts, 0, 350)
    for protocol, entries in small["protocols"].items():
        for metric_id, got in content["scores"][protocol].items():
            for query, entry, value in zip(
                np.load(queries), entries, got["per_query"], strict=True
            ):
                listed = oracle.ranking(oracle.scores(whole, query))
                wanted = oracle.value(
                    metric_id, listed, entry["positive"], entry.get("ignored", [])
                )
                assert (np.nan if value is None else value) == pytest.approx(wanted, nan_ok=True)
    assert verify(path)[0] == []


def test_a_run_reuses_the_codes_of_its_store(cli: Callable[..., Any], workspace: Any) -> None:
    arguments = ("run", "--method", "random-unit", "--compression", "pq4x4")
    first, second = cli(*arguments), cli(*arguments)
    assert "(compressed: pq4x4)" in first.out
    assert "train pq4x4" in first.err
    assert "train pq4x4" not in second.err
    left, two = (record.read(path) for path in workspace.records())
    assert record.same(left["scores"], two["scores"])
    coded = left["card"]["compression"]
    assert (coded["trained_rows"], coded["rows"]) == (49, 49)
    (sidecar,) = (workspace.cache / "compressed").glob("*/key.json")
    base = json.loads(sidecar.read_text(encoding="utf-8"))["base"]
    assert [[(workspace.cache / "descriptors" / base[0][0]).is_dir(), base[0][1]]] == [[True, 49]]


@pytest.mark.parametrize("verb", ["run", "evaluate"])
def test_what_does_not_fit_is_refused_before_anything_is_done(
    cli: Callable[..., Any], refused: Callable[..., str], larger: Any, workspace: Any, verb: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """No image is hashed: of a million on a disk far away that would take hours."""
    dataset, database, queries = larger
    monkeypatch.setattr(copies, "prints_of", None)
    options = {
        "run": ["run", "--method", "random-unit"],
        "evaluate": [
            "evaluate",
            "--dataset",
            dataset,
            "--database",
            database,
            "--queries",
            queries,
        ],
    }[verb]
    for name, words in (("pq5x4", "divides a descriptor into 5"), ("pq2x9", "is unknown")):
        assert words in refused(cli(*options, "--compression", name))
    if verb == "run":
        assert "needs at least 256 database rows" in refused(
            cli(*options, "--compression", "pq4x8")
        )
    left = {path.name for path in workspace.cache.glob("*")}
    # What the plug-in states of itself is remembered under the hashes of its source files.
    assert left == ({"fingerprints.sqlite", "stated", "torch.json"} if verb == "run" else set())
