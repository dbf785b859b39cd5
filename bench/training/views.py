"""Views: what the frozen part of a network makes of photographs, computed once and kept.

Where most of a network is frozen, most of the time goes into computing the same again. With N
views a photograph is augmented in N ways only, one per epoch in turn, and the outputs are files in
the cache that every training with the same photographs, augmentation and frozen part shares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.errors import BenchError
from bench.images import decode
from bench.store.room import Need, check_room
from bench.system import checksums
from bench.system.array_files import map_npy
from bench.system.hashing import plain, sha256_json
from bench.system.paths import cache_root, complete_or_absent
from bench.system.progress import Progress
from bench.training import augment, loop, parallel
from bench.training.photographs import RULE
from bench.weights import state_sha256

BATCH = 16


@dataclass(frozen=True)
class Part:
    """Rows of a view, as an array of their own."""

    view: NDArray[np.float16]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.rows)

    def __getitem__(self, index: Any) -> NDArray[np.float16]:
        """Return a row, or rows, of the part."""
        found: NDArray[np.float16] = self.view[self.rows[index]]
        return found


class Views:
    """Files of the outputs, one per view: (photographs, …) float16, in order of photographs.

    With `placings` (views, photographs, 9) batches are pairs of views, as `bench.types.Trainable`
    says of `pairs`.
    """

    def __init__(
        self, files: list[Path], labels: Any, placings: NDArray[np.float32] | None = None
    ) -> None:
        """Take the files and the labels (n,), and where pixels of the views are from."""
        self.maps: list[Any] = [map_npy(file) for file in files]
        self.labels = torch.from_numpy(labels)
        self.placings = placings

    def part(self, rows: NDArray[np.int64], labels: Any) -> Views:
        """Return the views of the photographs `rows` (n,), whose own labels are `labels` (n,)."""
        made = Views([], labels, None if self.placings is None else self.placings[:, rows])
        made.maps = [Part(view, rows) for view in self.maps]
        return made

    def first(self, count: int) -> Iterator[Tensor]:
        """Yield the float32 outputs of the first views of all photographs, in order."""
        for view in self.maps[:count]:
            for low in range(0, len(view), BATCH):
                yield torch.from_numpy(view[low : low + BATCH].astype(np.float32))

    def batches(self, steps: Any) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield float32 outputs and labels of each step; epoch e has view e modulo their number.

        Of a pair the other view is the next one that is mirrored if the first is, and in the next
        round of epochs the one after that.
        """
        count = len(self.maps)
        for chosen in steps:
            turn, view = divmod(chosen[0][0], count)
            rows = np.array([index for _, index in chosen], dtype=np.int64)
            outputs = self.maps[view][rows].astype(np.float32)
            if self.placings is not None:
                others = [self.like(view, int(row), turn) for row in rows]
                seconds = [self.maps[o][row] for o, row in zip(others, rows, strict=True)]
                placings = np.concatenate([self.placings[view, rows], self.placings[others, rows]])
                outputs = np.concatenate([outputs, np.stack(seconds).astype(np.float32)])
                outputs = np.hstack([outputs, placings])
            yield torch.from_numpy(outputs), self.labels[rows]

    def like(self, view: int, row: int, turn: int) -> int:
        """Return another view of a photograph, of those mirrored as this one if there are any."""
        assert self.placings is not None
        count = len(self.maps)
        after = [(view + step) % count for step in range(1, count)]
        mirrored = np.linalg.det(self.placings[:, row].reshape(-1, 3, 3)) < 0
        alike = [other for other in after if mirrored[other] == mirrored[view]] or after
        return alike[turn % len(alike)]


def prepare(training: loop.Training) -> Views:
    """Compute the views that are not there yet, and return all."""
    recipe, photographs = training.recipe, training.data.photographs
    if getattr(training.trainable, "frozen", None) is None:
        raise BenchError(
            f"the recipe stores {recipe.views} views, but {recipe.method} has no frozen part; "
            "set views to 0."
        )
    folder = cache_root() / "training" / key_of(training)
    files = [folder / f"view-{number:03}.npy" for number in range(recipe.views)]
    missing = [number for number, file in enumerate(files) if not _whole(file)]
    if missing and training.place.first:
        sample = next(iter(outputs(training, [[(0, 0)]])))
        row_bytes = sample[0].numel() * 2
        check_room([Need(folder, row_bytes * len(photographs.files) * len(missing), "views")])
        with Progress("views", len(missing) * len(photographs.files), "photographs") as progress:
            for number in missing:
                write(training, number, files[number], tuple(sample.shape[1:]), progress)
    parallel.wait(training.place)
    pairs = getattr(training.trainable, "pairs", False)
    return Views(files, photographs.labels, placings(training) if pairs else None)


def _whole(file: Path) -> bool:
    """Tell whether a view is there with the bytes it was written with."""
    return file.is_file() and checksums.right(file) is True


def placings(training: loop.Training) -> NDArray[np.float32]:
    """Return the homography of every view of every photograph, (views, photographs, 9).

    NaN for a photograph whose header cannot be read: no place of it is known.
    """
    recipe, photographs = training.recipe, training.data.photographs
    if recipe.views < 2:
        raise BenchError(f"{recipe.method} learns from pairs of views; use 2 views or more.")
    found = np.full((recipe.views, len(photographs.files), 9), np.nan, dtype=np.float32)
    for index, file in enumerate(photographs.files):
        try:
            height, width = decode.shape(photographs.folder / file, None, RULE)
        except BenchError:
            continue
        for view in range(recipe.views):
            draw = augment.generator(training.seed, view, index)
            placed = augment.placing((width, height), recipe.augmentation, draw)
            found[view, index] = placed.flatten()
    return found


def write(
    training: loop.Training, number: int, file: Path, shape: tuple[int, ...], progress: Progress
) -> None:
    """Write one view, complete or absent, and its checksum."""
    count = len(training.data.photographs.files)
    steps = [
        [(number, index) for index in range(low, min(low + BATCH, count))]
        for low in range(0, count, BATCH)
    ]
    with complete_or_absent(file) as stream:
        header = {"descr": "<f2", "fortran_order": False, "shape": (count, *shape)}
        np.lib.format.write_array_header_1_0(stream, header)
        for made in outputs(training, steps):
            half = made.to(torch.float16)
            if not torch.isfinite(half).all():
                raise BenchError("the output of the frozen part exceeds float16; set views to 0.")
            stream.write(half.cpu().numpy().tobytes())
            progress.advance(len(made))
        stream.flush()
        checksums.keep(file, checksums.of(Path(stream.name)))


def outputs(training: loop.Training, steps: list[list[tuple[int, int]]]) -> Iterator[Tensor]:
    """Yield what the frozen part gives for lists of (view, index)."""
    for pixels, shifts, _ in loop.loaded(training, steps):
        yield loop.first_part(training, pixels, shifts)


def key_of(training: loop.Training) -> str:
    """Return a hash of all that determines the views.

    Where the frozen part is a module of its own, methods that have the same share the views.
    """
    network, recipe = training.trainable.network, training.recipe
    frozen = getattr(training.trainable, "frozen", None)
    if isinstance(frozen, torch.nn.Module):
        return _key(training, type(frozen).__qualname__, frozen.state_dict())
    trained = [name for name, p in network.named_parameters() if p.requires_grad]
    layers = {name.rpartition(".")[0] for name in trained}  # with their statistics
    fixed = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if name.rpartition(".")[0] not in layers
    }
    return _key(training, recipe.method, fixed)


def _key(training: loop.Training, name: str, fixed: Mapping[str, Tensor]) -> str:
    recipe = training.recipe
    return sha256_json(
        {
            "data": training.data.photographs.sha256,
            "augmentation": plain(recipe.augmentation),
            "side": recipe.side,
            "seed": training.seed,
            "pixels": plain(training.rule),
            "network": state_sha256(fixed),
            "method": name,
        }
    )[:24]
