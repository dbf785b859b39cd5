"""Folders listed: the image files below a folder, their order, and what a list leaves out.

Every list that is made from a disk is made here. Links to folders are followed, each folder once,
and never to a folder above; hidden files and folders (`.` first) hold no images, as macOS keeps
other things beside photographs under their names.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from bench.errors import BenchError, first_few

# Endings of the formats that `bench.images.decode` decodes.
IMAGES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".tif", ".tiff", ".bmp", ".gif",
    ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx",
)  # fmt: skip
# Endings of photographs and drawings in formats that it does not decode.
OTHERS = (
    ".heic", ".heif", ".hif", ".avif", ".jxl", ".svg", ".psd", ".tga", ".exr", ".hdr", ".ico",
    ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".mpo", ".dib", ".eps", ".pfm",
)  # fmt: skip
SYSTEM = ("__MACOSX", "@eaDir", "$RECYCLE.BIN")  # folders that programs make beside photographs


@dataclass
class Aside:
    """What a walk leaves out: paths in the order they are met."""

    hidden: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Listing:
    """Image files relative to a folder, in the order of their names, and notes on what is not."""

    files: tuple[str, ...]
    notes: tuple[str, ...]


def images(folder: Path, inner: str = "") -> Listing:
    """Return the image files at any depth below `folder / inner`, relative to `folder`.

    The notes say which image files are left out, and how many: hidden, in a format that is not
    decoded, without an ending, or behind a link that leads to a folder listed already.
    """
    aside = Aside()
    found: list[str] = []
    others: list[str] = []
    bare: list[str] = []
    start = folder / inner
    for place, names in walk([start], aside):
        above = place.relative_to(folder).as_posix()
        above = "" if above == "." else f"{above}/"
        for name in names:
            ending = os.path.splitext(name)[1].lower()
            kind = found if ending in IMAGES else others if ending in OTHERS else bare
            if kind is not bare or not ending:
                kind.append(f"{above}{name}")
    where = f"{inner.rstrip('/')}: " if inner.strip("./") else ""
    hidden = [file for file in aside.hidden if file.lower().endswith((*IMAGES, *OTHERS))]
    left_out = (
        (hidden, "hidden files (names that begin with `.`) are skipped"),
        (aside.folders, "hidden or system folders are skipped"),
        (
            [str(folder / file) for file in others],
            "image files have formats that cannot be decoded",
        ),
        ([str(folder / file) for file in bare], "files without a suffix are skipped"),
        (aside.links, "links are skipped: their targets are listed already, or do not exist"),
    )
    notes = tuple(
        f"{where}{len(paths)} {what}: "
        f"{first_few(sorted(os.path.relpath(path, folder) for path in paths), 3)}"
        for paths, what in left_out
        if paths
    )
    return Listing(tuple(sorted(found)), notes)


def walk(places: Iterable[Path], aside: Aside | None = None) -> Iterator[tuple[Path, list[str]]]:
    """Yield (folder, names of its files) below the places, in sorted order, nothing hidden.

    A folder that is below two of the places comes once, under its own path rather than that of a
    link; links are followed after all else, except to a folder above the link or above the place.
    """
    aside = Aside() if aside is None else aside
    seen: set[str] = set()
    for place in places:
        top, waiting = os.path.realpath(place), [os.fspath(place)]
        while waiting:
            links: list[str] = []
            for start in waiting:
                for folder, inner, names in os.walk(start):
                    real = os.path.realpath(folder)
                    if real in seen:
                        inner[:] = []
                        if os.path.islink(folder):
                            aside.links.append(folder)
                        continue
                    seen.add(real)
                    aside.folders += [os.path.join(folder, n) for n in inner if _is_closed(n)]
                    aside.hidden += [os.path.join(folder, n) for n in names if n.startswith(".")]
                    inner[:] = sorted(name for name in inner if not _is_closed(name))
                    for name in inner:
                        link = os.path.join(folder, name)
                        if os.path.islink(link):
                            kept = aside.links if _is_above(link, (real, top)) else links
                            kept.append(link)
                    yield Path(folder), sorted(name for name in names if not name.startswith("."))
            waiting = links


def holding(places: Iterable[Path], *choices: Sequence[str]) -> tuple[Path, int] | None:
    """Return the folder, at any depth below the places, that has all paths of a choice in it.

    Paths are relative, of files and folders. Returned is the number of the choice as well: the
    first choice that any folder has. A place itself comes before what is below any.
    """
    there = list(places)

    def first(folders: Iterable[Path]) -> tuple[Path, int] | None:
        best: tuple[Path, int] | None = None
        for folder in folders:
            for number, wanted in enumerate(choices if best is None else choices[: best[1]]):
                if all((folder / path).exists() for path in wanted):
                    best = folder, number
                    break
            if best is not None and best[1] == 0:
                break
        return best

    direct = (first([place]) for place in there)
    return next(filter(None, direct), None) or first(folder for folder, _ in walk(there))


def by_numbers(files: Iterable[str], *, strict: bool = True) -> list[str]:
    """Return names in the order of the numbers in them: 2.jpg before 10.jpg.

    Where the numbers are padded to one length that is the order of the names. Where `strict`, it
    raises BenchError for two names with the same numbers, 1.jpg and 01.jpg, whose order is
    ambiguous; else these are in the order of their names.
    """

    def key(file: str) -> list[tuple[int, str]]:
        text = str(PurePosixPath(file).with_suffix(""))
        pieces = re.split(r"([0-9]+)", text)
        return [(int(p), "") if i % 2 else (0, p) for i, p in enumerate(pieces)]

    keyed = sorted((key(file), file) for file in files)
    for (number, file), (other, next_file) in itertools.pairwise(keyed):
        if strict and number == other:
            raise BenchError(
                f"{file} and {next_file} have the same number, so the order of the list is "
                "ambiguous; keep one of them."
            )
    return [file for _, file in keyed]


def _is_closed(name: str) -> bool:
    return name.startswith(".") or name in SYSTEM


def _is_above(link: str, folders: Sequence[str]) -> bool:
    """Tell whether a link leads to one of the folders, or to a folder above one of them."""
    real = os.path.realpath(link)
    return any(folder == real or folder.startswith(real.rstrip("/") + "/") for folder in folders)
