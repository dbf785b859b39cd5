"""The run record: one JSON object and one .npz beside it, complete or absent, checked when read.

`results/runs/<data set>/<method>/<card8>-<run id>.json` (the first digits of `card_id`, in older
records of `card_sha256`) holds scores, card, method, machine; the
.npz of the same name holds what the scores are computed from: ranks, shortlist, ground truth.
The schema is published in `results/record.schema.json`.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import math
import re
import secrets
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.scoring.card import Card, card_id, current, short
from bench.scoring.scores import Score, Scores
from bench.store import remembered
from bench.system import array_files, reading
from bench.system.hashing import canonical_json, sha256_json
from bench.system.paths import clear_leftovers, complete_or_absent, write_bytes
from bench.types import Dataset, GroundTruth, LabelledRanks, Protocol, Shortlist

SCHEMA = 1
LARGE_BYTES = 8 << 20  # of arrays: packing them as small as may be would take seconds
_STEM = re.compile(r"[0-9a-f]{8}-[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}")
Arrays = dict[str, NDArray[Any]]


def new_run_id() -> str:
    """Return an id that sorts by time and is not given twice: UTC second and six hex digits."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def scores_to_json(scores: Scores) -> dict[str, Any]:
    """Return scores as JSON values; NaN becomes null."""
    return {
        protocol: {metric_id: _score_to_json(score) for metric_id, score in table.items()}
        for protocol, table in scores.items()
    }


def _score_to_json(score: Score) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return None if math.isnan(value) else value

    return {
        "mean": number(score.mean),
        "interval": None if score.interval is None else list(score.interval),
        "per_query": [number(float(value)) for value in score.per_query],
    }


def arrays_of(
    ranks: LabelledRanks,
    shortlist: Shortlist,
    dataset: Dataset,
) -> Arrays:
    """Return what the .npz holds; every ragged list is a flat array and an array of offsets.

    Ranks and shortlist are those of the search; what stages made of them `bench.records.replay`
    adds. Areas and groups of the data set are there if it has them.
    """
    arrays: Arrays = {
        "labelled_offsets": ranks.offsets,
        "labelled_row": ranks.row,
        "labelled_rank": ranks.rank,
        "labelled_score": ranks.score,
        "labelled_tied": ranks.tied,
        "shortlist_row": shortlist.row,
        "shortlist_score": shortlist.score,
    }
    if dataset.areas is not None:
        arrays["database_area"], arrays["query_area"] = (
            dataset.areas.database,
            dataset.areas.queries,
        )
    if dataset.groups is not None:
        arrays["database_group"] = dataset.groups
    for protocol in dataset.protocols:
        if protocol.asked is not None:
            arrays[f"truth_{protocol.name}_asked"] = np.array(protocol.asked, dtype=np.bool_)
        for kind in ("positive", "ignored"):
            lists = [getattr(truth, kind) for truth in protocol.truth]
            arrays[f"truth_{protocol.name}_{kind}_offsets"] = np.cumsum(
                [0, *map(len, lists)], dtype=np.int64
            )
            arrays[f"truth_{protocol.name}_{kind}"] = np.concatenate(lists).astype(np.int64)
    return arrays


def ranks_of(arrays: Arrays) -> tuple[LabelledRanks, Shortlist]:
    """Return the ranks and the shortlist of a record's arrays; KeyError where one is missing."""
    labelled = [arrays[f"labelled_{key}"] for key in ("offsets", "row", "rank", "score", "tied")]
    return LabelledRanks(*labelled), Shortlist(arrays["shortlist_row"], arrays["shortlist_score"])


def protocols_of(arrays: Arrays, card: Card) -> tuple[Protocol, ...]:
    """Return the protocols as the record's arrays and card state them."""

    def lists(name: str, kind: str) -> list[NDArray[np.int64]]:
        flat, offsets = arrays[f"truth_{name}_{kind}"], arrays[f"truth_{name}_{kind}_offsets"]
        return [flat[a:b] for a, b in itertools.pairwise(offsets)]

    return tuple(
        Protocol(
            name,
            tuple(
                GroundTruth(*pair)
                for pair in zip(lists(name, "positive"), lists(name, "ignored"), strict=True)
            ),
            tuple(card["metrics"]),
            entry["empty"],
            tuple(arrays[f"truth_{name}_asked"].tolist()) if "not_asked" in entry else None,
        )
        for name, entry in card["protocols"].items()
    )


def write(results: Path, record: dict[str, Any], arrays: Arrays) -> Path:
    """Write a record and its arrays below `results`; return the path of the JSON file.

    `record` is everything but the fields added here: schema, card_sha256, card_id, ranks and
    sha256; those of a record that was read are replaced. The arrays are written first, so that a
    JSON file never stands alone.
    """
    method = f"{record['method']['name']}.{record['method']['variant']}"
    stem = f"{short(record['card'])}-{record['run_id']}"
    folder: Path = results / "runs" / record["card"]["dataset"]["name"] / method
    content = _packed(arrays)
    full = {
        "schema": SCHEMA,
        **{key: value for key, value in record.items() if key != "sha256"},
        "card_sha256": sha256_json(record["card"]),
        "card_id": card_id(record["card"]),
        "ranks": {"file": f"{stem}.npz", "sha256": hashlib.sha256(content).hexdigest()},
    }
    full["sha256"] = sha256_json(full)
    check(full, "the new record")
    text = json.dumps(full, indent=1, ensure_ascii=True, allow_nan=False)
    folder.mkdir(parents=True, exist_ok=True)
    clear_leftovers(folder)
    remembered.clear_killed()
    _clear_arrays(folder)
    with complete_or_absent(folder / f"{stem}.json") as file:  # held while the arrays stand alone
        file.write(f"{text}\n".encode("ascii"))
        file.flush()
        write_bytes(folder / f"{stem}.npz", content)
    return folder / f"{stem}.json"


def _packed(arrays: Arrays) -> bytes:
    """Return the arrays as the bytes of an .npz; large ones are packed fast rather than small."""
    large = sum(array.nbytes for array in arrays.values()) > LARGE_BYTES
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1 if large else 6) as out:
        for name, array in arrays.items():
            with out.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)
    return packed.getvalue()


def _clear_arrays(folder: Path) -> None:
    """Remove the arrays of records that killed runs did not finish."""
    for path in folder.glob("*.npz"):
        begun = folder.glob(f".{path.stem}.json.*.tmp")
        ours = _STEM.fullmatch(path.stem) and not path.with_suffix(".json").exists()
        if ours and not any(begun) and not path.with_suffix(".json").exists():
            path.unlink(missing_ok=True)


def find(results: Path) -> list[Path]:
    """Return the paths of all records below `results`, sorted."""
    return sorted((results / "runs").glob("*/*/*.json"))


def read(path: Path) -> dict[str, Any]:
    """Return a record whose form and checksums are right; else raise what is wrong with it.

    Its card is as this version writes cards (`bench.scoring.card.current`), and `card_id` is there,
    also where the record is older. Whether its scores follow from its ranks is the business of
    `bench.records.verify`.
    """
    try:
        record: dict[str, Any] = reading.json_file(path)
    except FileNotFoundError:
        raise BenchError(f"the record {path} does not exist; check the path.") from None
    except (OSError, ValueError) as error:
        raise BenchError(f"{path} is not a record: {reading.line(error)}.") from None
    schema = record.get("schema") if isinstance(record, dict) else None
    if schema != SCHEMA:
        raise BenchError(
            f"{path} has record schema {schema!r}, but this version reads {SCHEMA}; use the "
            "version that wrote it, or run its command again."
        )
    try:
        return _checked(record, path)
    except (RecursionError, ValueError) as error:
        raise BenchError(f"{path} is not a record: {reading.line(error)}.") from None


def _checked(record: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a record whose checksums are right, its card as this version writes cards."""
    check(record, str(path))
    rest = {key: value for key, value in record.items() if key != "sha256"}
    if sha256_json(rest) != record["sha256"]:
        raise BenchError(
            f"{path} was changed after it was written: its sha256 differs; restore it, or run "
            "its command again."
        )
    if sha256_json(record["card"]) != record["card_sha256"]:
        raise BenchError(
            f"{path} was changed after it was written: the sha256 of its card differs; restore "
            "it, or run its command again."
        )
    identified = card_id(record["card"])
    if record.get("card_id", identified) != identified:
        raise BenchError(
            f"{path} was changed after it was written: the card_id of its card differs; restore "
            "it, or run its command again."
        )
    return {**record, "card": current(record["card"]), "card_id": identified}


def read_arrays(path: Path, record: dict[str, Any]) -> Arrays:
    """Return the arrays of the record at `path`, checked against the checksum in it."""
    with _faults_of_arrays(path, record):
        return array_files.npz(array_bytes(path, record))


def check_arrays(path: Path, record: dict[str, Any]) -> None:
    """Refuse what `read_arrays` refuses, without making arrays."""
    content = array_bytes(path, record)
    with _faults_of_arrays(path, record):
        array_files.Archive(io.BytesIO(content), len(content)).check()


@contextmanager
def _faults_of_arrays(path: Path, record: dict[str, Any]) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        file = path.with_name(record["ranks"]["file"])
        raise BenchError(f"{file} cannot be read as .npz: {reading.line(error)}.") from error


def array_bytes(path: Path, record: dict[str, Any]) -> bytes:
    """Return the file of the arrays of a record, which must be the one it was written with."""
    file = path.with_name(record["ranks"]["file"])
    try:
        content = reading.content(file)
    except (OSError, ValueError) as error:
        fault = error.strerror if isinstance(error, OSError) else reading.line(error)
        raise BenchError(
            f"the ranks {file} of {path.name} cannot be read: {fault}; restore them, or run the "
            "command again."
        ) from error
    if hashlib.sha256(content).hexdigest() != record["ranks"]["sha256"]:
        raise BenchError(
            f"{file} is not the file that was written with {path.name}: its sha256 differs; "
            "restore it, or run the command again."
        )
    return content


def check(record: dict[str, Any], where: str) -> None:
    """Refuse a record that is not of the type `bench.records.model.Record`."""
    from bench.records.model import Record
    from bench.system import typed

    _, fault = typed.checked(Record, record)
    if fault:
        raise BenchError(f"{where} does not fit results/record.schema.json: {fault}.")


def same(left: Any, other: Any) -> bool:
    """Return whether two JSON values are equal to the last digit."""
    return canonical_json(left) == canonical_json(other)
