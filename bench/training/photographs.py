"""Photographs with labels: folders of classes, any folder, or GLDv2's train_clean.csv.

Labels are numbers from 0 in the order of sorted class names. What determines a training set is
hashed: class, path and content of every file; for a CSV with a million files, class and path.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.data import listing, raw
from bench.errors import BenchError, first_few
from bench.images import decode
from bench.store import file_hashes
from bench.system.hashing import sha256_lines
from bench.system.notes import note
from bench.system.paths import cache_root
from bench.training.augment import Augmentation, augmented, generator
from bench.training.options import Classes
from bench.types import Preprocess

COLUMNS = ("landmark_id", "images")
FAULTS = 10  # photographs in a row that cannot be decoded: then something else is wrong
RULE = Preprocess(channels="rgb", orientation="apply", max_side_px=None)


@dataclass(frozen=True)
class Photographs:
    """Files below a folder, and the class of each: `labels` (n,) int64 in 0..len(classes) - 1.

    `sha256` is that of the whole; `licence` is what a file LICENCE.txt or LICENSE beside them
    states in its first line, or "not stated".
    """

    folder: Path
    files: tuple[str, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    sha256: str
    licence: str
    name: str


def read(data: Path, classes: Classes = "folder") -> Photographs:
    """Return the photographs that `--data` names: a folder, or a CSV as that of GLDv2."""
    if data.is_dir():
        return _folder(data, classes)
    if not data.is_file():
        raise BenchError(f"--data {data}: this folder or file does not exist; check the path.")
    if classes != "folder":
        raise BenchError(
            f"--classes {classes} needs a folder; {data} defines the classes itself. Remove "
            "--classes."
        )
    return _csv(data)


def _folder(folder: Path, classes: Classes) -> Photographs:
    listed = listing.images(folder)
    found = list(listed.files)
    if not found:
        raise BenchError(f"{folder} contains no photographs ({', '.join(listing.IMAGES)}).")
    for text in listed.notes:
        note(f"{folder}: {text}")
    loose = [file for file in found if "/" not in file]
    if classes == "folder" and loose:
        raise BenchError(
            f"{len(loose)} photographs are in {folder} itself, outside any folder of a class: "
            f"{first_few(loose)}; put them into folders, or use --classes photograph."
        )
    of_file = [file.split("/")[0] if classes == "folder" else file for file in found]
    prints = file_hashes.of_files([folder / file for file in found], cache_root())
    gone = [file for file, digest in zip(found, prints, strict=True) if digest is None]
    if gone:
        raise BenchError(f"{len(gone)} photographs in {folder} cannot be read: {first_few(gone)}.")
    return _made(folder, found, of_file, [str(digest) for digest in prints])


def _csv(path: Path) -> Photographs:
    """Return GLDv2's layout: landmark_id,images, the ids of images separated by spaces.

    The image 0123abcd… is 0/1/2/0123abcd….jpg below the CSV's folder, or below `train` in it.
    """
    files, of_file, faults = [], [], []
    content = raw.read(path)
    columns = raw.columns(content, path)
    if not set(COLUMNS) <= set(columns):
        raise BenchError(
            f"{path} has the columns {first_few(columns or ['none'])}; write those of GLDv2's "
            f"train_clean.csv, {' and '.join(COLUMNS)}."
        )
    for line, row in raw.table(content, path, ()):
        for name in (row["images"] or "").split():
            if not re.fullmatch(r"\w{3,64}", name, re.ASCII) or not row["landmark_id"]:
                faults.append(f"line {line}: {name!r}")
            files.append(f"{name[0]}/{name[1:2]}/{name[2:3]}/{name}.jpg")
            of_file.append(row["landmark_id"])
    if faults:
        raise BenchError(f"{path} names images that are not ids of GLDv2: {first_few(faults)}.")
    if not files:
        raise BenchError(f"{path} names no images.")
    folder = path.parent / "train" if (path.parent / "train").is_dir() else path.parent
    there: dict[str, set[str]] = {}
    for inner in {file.rpartition("/")[0] for file in files}:
        place = folder / inner
        there[inner] = {path.name for path in place.iterdir()} if place.is_dir() else set()
    gone = [f for f in files if f.rpartition("/")[2] not in there[f.rpartition("/")[0]]]
    if gone:
        raise BenchError(
            f"{len(gone)} of the {len(files)} images in {path} do not exist below {folder}: "
            f"{first_few(gone)}."
        )
    return _made(folder, files, of_file, None, path)


def _made(
    folder: Path,
    files: list[str],
    of_file: list[str],
    prints: list[str] | None,
    listed: Path | None = None,
) -> Photographs:
    whole = all(name.isdecimal() for name in of_file)  # landmark ids of GLDv2 sort as numbers
    names = sorted(set(of_file), key=lambda name: (int(name) if whole else 0, name))
    if len(names) < 2:
        raise BenchError(
            f"{listed or folder} contains one class ({names[0]}, {len(files)} photographs); "
            "training needs at least two."
        )
    number = {name: at for at, name in enumerate(names)}
    labels = np.array([number[name] for name in of_file], dtype=np.int64)
    known = prints or ["" for _ in files]
    lines = (f"{c}\t{f}\t{p}" for c, f, p in zip(of_file, files, known, strict=True))
    return Photographs(
        folder, tuple(files), labels, tuple(names), sha256_lines(list(lines)), _licence(folder),
        (listed or folder).name,
    )  # fmt: skip


def _licence(folder: Path) -> str:
    for name in ("LICENCE.txt", "LICENSE.txt", "LICENCE", "LICENSE"):
        if (folder / name).is_file():
            lines = (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
            return next((line.strip() for line in lines if line.strip()), "not stated")
    return "not stated"


def about(photographs: Photographs) -> str:
    """Return a line: how many photographs and classes, and how many classes have just one."""
    counts = Counter(photographs.labels.tolist())
    single = sum(count == 1 for count in counts.values())
    alone = f", {single} of them with one photograph" if single else ""
    return (
        f"{photographs.name}: {len(photographs.files)} photographs of {len(counts)} classes{alone}"
    )


def without(photographs: Photographs, path: Path) -> tuple[Photographs, NDArray[np.int64]]:
    """Return the photographs that are left, and their places (n,) among all.

    A line of the file `path` is a class, or the name of a photograph whose classes are NAME-0 to
    NAME-3. A line that names no class is refused.
    """
    lines = {line.strip() for line in raw.read(path).decode().splitlines()} - {""}
    known = set(photographs.classes)
    named = known | {name.rpartition("-")[0] for name in known}
    if unknown := sorted(lines - named):
        raise BenchError(
            f"{path} leaves out what is no class of {photographs.name}: {first_few(unknown)}."
        )
    out = [name in lines or name.rpartition("-")[0] in lines for name in photographs.classes]
    rows = np.flatnonzero(~np.array(out)[photographs.labels])
    left = [photographs.classes[label] for label in photographs.labels[rows]]
    if len(set(left)) < 2:
        raise BenchError(f"{path} leaves {len(set(left))} classes; training needs two at least.")
    names = tuple(name for name, gone in zip(photographs.classes, out, strict=True) if not gone)
    number = {name: at for at, name in enumerate(names)}
    made = replace(
        photographs,
        files=tuple(photographs.files[row] for row in rows),
        labels=np.array([number[name] for name in left], dtype=np.int64),
        classes=names,
        sha256=sha256_lines([photographs.sha256, *sorted(lines)]),
    )
    return made, rows


Sample = tuple[torch.Tensor, torch.Tensor, int, list[str]]


class Augmented(torch.utils.data.Dataset[Sample]):
    """Photographs as samples, asked for by (epoch, index)."""

    def __init__(
        self, photographs: Photographs, how: Augmentation, side: int, seed: int, channels: str
    ) -> None:
        """Take what a recipe says, and the order of channels that the network wants."""
        self.photographs, self.how, self.side, self.seed = photographs, how, side, seed
        self.order = [0, 1, 2] if channels == "rgb" else [2, 1, 0]

    def __getitem__(self, at: Any) -> Sample:
        """Return uint8 pixels (3, side, side), shifts of channels (3,), label, and faults.

        The photograph after one that cannot be decoded takes its place, with its own label.
        """
        epoch, index = at
        faults: list[str] = []
        while True:
            path = self.photographs.folder / self.photographs.files[index]
            try:
                pixels = decode.load(path, None, RULE)
                break
            except BenchError as error:
                faults.append(str(error))
                if len(faults) == FAULTS:
                    raise
            index = (index + 1) % len(self.photographs.files)
        draw = generator(self.seed, epoch, index)
        made, shift = augmented(pixels, self.how, self.side, draw)
        planes = np.ascontiguousarray(made.transpose(2, 0, 1)[self.order])
        label = int(self.photographs.labels[index])
        return torch.from_numpy(planes), torch.from_numpy(shift[self.order]), label, faults


@dataclass(frozen=True)
class Steps:
    """The samples of steps first..last - 1 for one of the processes: lists of (epoch, index).

    An epoch is a permutation of 0..count - 1 that follows from seed and epoch; what is left of it
    after whole batches is not used in that epoch.
    """

    count: int
    batch: int
    seed: int
    first: int
    last: int
    rank: int = 0
    processes: int = 1

    def __len__(self) -> int:
        """Return the number of steps."""
        return self.last - self.first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield the samples of each step."""
        at_epoch, order = -1, np.empty(0, dtype=np.int64)
        for step in range(self.first, self.last):
            epoch, position = divmod(step, self.count // self.batch)
            if epoch != at_epoch:
                at_epoch = epoch
                order = np.random.default_rng((self.seed, epoch)).permutation(self.count)
            chosen = order[position * self.batch : (position + 1) * self.batch]
            yield [(epoch, int(index)) for index in chosen[self.rank :: self.processes]]
