"""The run folder: what identifies a training, its checkpoint, its log, its final weights.

config.json         recipe, method, data, seed, …: what a resumed run must agree with
checkpoint.pt       network, optimiser, running mean, step; replaced whole, never half; its checksum
                    in checkpoint.pt.sha256
log.csv             a row per step
final.safetensors   the weights, with what made them as metadata
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from bench.errors import BenchError, first_few
from bench.system import checksums, reading
from bench.system.hashing import plain
from bench.system.notes import note
from bench.system.paths import complete_or_absent, write_bytes


def begin(folder: Path, config: Mapping[str, Any]) -> None:
    """Write the configuration, or compare it with the one that is there.

    A folder of another training is refused, with the fields that differ.
    """
    path, wanted = folder / "config.json", plain(config)
    if not path.is_file():
        write_bytes(path, (json.dumps(wanted, indent=1, sort_keys=True) + "\n").encode())
        return
    try:
        there = reading.json_file(path)
    except (ValueError, OSError) as error:
        raise BenchError(
            f"{path} cannot be read ({error}); choose another folder with --out."
        ) from error
    was, now = dict(_leaves(there)), dict(_leaves(wanted))
    differing = sorted(key for key in {*was, *now} if was.get(key) != now.get(key))
    if differing:
        changes = (f"{key} was {was.get(key)!r}, is {now.get(key)!r}" for key in differing)
        raise BenchError(
            f"{folder} contains a different training ({first_few(changes)}). Choose another "
            "folder with --out, or remove this folder."
        )


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of everything inside a configuration."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else key)
    else:
        yield name, value


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Replace the checkpoint."""
    with complete_or_absent(folder / "checkpoint.pt") as file:
        torch.save(dict(content), file)
        file.flush()
        checksums.keep(folder / "checkpoint.pt", checksums.of(Path(file.name)))


def read(folder: Path, device: str) -> dict[str, Any] | None:
    """Return the checkpoint, or None if there is none yet."""
    path = folder / "checkpoint.pt"
    if not path.is_file():
        return None
    right = checksums.right(path)
    if right is False:
        raise BenchError(
            f"the checkpoint {path} is damaged: its sha256 differs; remove it to start again."
        )
    if right is None:
        note(f"{path} has no checksum file and is used unchecked.")
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch's reader raises nearly every type there is
        raise BenchError(
            f"the checkpoint {path} is damaged and cannot be read ({type(error).__name__}); "
            "remove it to start again."
        ) from error
    return state


def write_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write weights with metadata; the same weights and metadata give the same bytes."""
    arrays = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    packed = save(arrays, dict(metadata))
    end = 8 + int.from_bytes(packed[:8], "little")  # of the header, in which entries have no order
    header = json.dumps(json.loads(packed[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    write_bytes(path, len(header).to_bytes(8, "little") + header + packed[end:])


class Log:
    """The rows of log.csv, whose steps count from 1."""

    def __init__(self, folder: Path, columns: Sequence[str], step: int) -> None:
        """Open the log of a run whose next row is that of `step`: later rows are dropped."""
        self.path, self.columns = folder / "log.csv", list(columns)
        kept = []
        if step > 1 and self.path.is_file():
            with self.path.open(encoding="utf-8", newline="") as text:
                kept = [row for row in csv.DictReader(text) if _before(row, step)]
        packed = io.StringIO()
        writer = csv.DictWriter(packed, self.columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
        write_bytes(self.path, packed.getvalue().encode())

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row; columns that it lacks stay empty."""
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self.columns, lineterminator="\n").writerow(dict(row))


def _before(row: Mapping[str, str | None], step: int) -> bool:
    """Tell whether a row of a log, perhaps cut off, is of a step before this one."""
    number = row.get("step") or ""
    return number.isdecimal() and int(number) < step and None not in row.values()
