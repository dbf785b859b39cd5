"""Where the files of a data set lie on this machine: found by name in any sensible layout.

People keep the same photographs flat, nested by landmark, under the name of another data set, as
.jpg or as .png. So a file is found by its base name without the ending, below the folders that may
belong to the data set; where several files share that, the one whose path agrees longest with the
wanted one, read from the end, is meant; where that does not decide either, it is said.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bench.errors import BenchError
from bench.system.paths import write_bytes

OWN_COPY = "own-copy.json"  # beside the data set: the folder that `data get --from` was given
ENDINGS = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Match:
    """Where wanted files lie: `found` by wanted name; `ambiguous` ones lie in several places."""

    found: dict[str, Path]
    missing: list[str]
    ambiguous: dict[str, list[Path]]


def folders(root: Path, name: str, others: Sequence[str] = ()) -> tuple[Path, ...]:
    """Return the folders that may hold a data set, the likeliest first, existing or not.

    `<root>/<name>`, the user's own copy as `data get --from` recorded it, `<root>/<other>` for the
    other names.
    """
    first = root / name
    own = own_copy(first)
    places = [first, *([own] if own is not None else []), *(root / other for other in others)]
    return tuple(dict.fromkeys(places))


def own_copy(folder: Path) -> Path | None:
    """Return the folder that `data get --from` was given for the data set in `folder`."""
    note = folder / OWN_COPY
    try:
        return Path(json.loads(note.read_text(encoding="utf-8"))["folder"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(
            f"{note} cannot be read; delete it, and run `data get --from` again."
        ) from error


def remember_own_copy(folder: Path, given: Path) -> None:
    """Record that the files of the data set in `folder` lie in the folder `given`."""
    text = json.dumps({"folder": str(given.absolute())}, indent=1)
    write_bytes(folder / OWN_COPY, f"{text}\n".encode())


def find(places: Iterable[Path], file: str) -> Path | None:
    """Return the file called `file` in the first of `places` that has it at any depth, or None.

    A file at the top of a place is found without a search.
    """
    there = list(places)
    for place in there:
        if (place / file).is_file():
            return place / file
    for place in there:
        for folder, names in walk([place]):
            if file in names:
                return folder / file
    return None


def match(places: Iterable[Path], files: Iterable[str]) -> Match:
    """Find the wanted files, relative paths with forward slashes, below `places`."""
    wanted = list(files)
    index: dict[str, list[Path]] = {stem(file): [] for file in wanted}
    for folder, names in walk(places):
        for name in names:
            if (there := index.get(stem(name))) is not None:
                there.append(folder / name)
    result = Match({}, [], {})
    for file in wanted:
        best = _nearest(file, index[stem(file)])
        if not best:
            result.missing.append(file)
        elif len(best) == 1 or _same_bytes(best):
            result.found[file] = best[0]
        else:
            result.ambiguous[file] = best
    return result


def walk(places: Iterable[Path]) -> Iterator[tuple[Path, list[str]]]:
    """Yield (folder, names of its files) below the places, in sorted order, nothing hidden.

    A folder that lies below two of the places comes once; links to folders are followed.
    """
    seen: set[str] = set()
    for place in places:
        for folder, inner, names in os.walk(place, followlinks=True):
            real = os.path.realpath(folder)
            inner[:] = sorted(name for name in inner if not name.startswith("."))
            if real in seen:
                inner[:] = []
                continue
            seen.add(real)
            yield Path(folder), sorted(name for name in names if not name.startswith("."))


def stem(file: str) -> str:
    """Return the base name without the ending of an image; other endings stay."""
    name = PurePosixPath(file).name
    base, ending = os.path.splitext(name)
    return base if ending.lower() in ENDINGS else name


def _nearest(file: str, candidates: list[Path]) -> list[Path]:
    """Return the candidates that agree longest with the wanted path, from its end."""
    if len(candidates) < 2:
        return candidates
    parts = PurePosixPath(file).parts

    def agreement(path: Path) -> tuple[int, bool]:
        length = 0
        for one, other in zip(reversed(parts[:-1]), reversed(path.parent.parts), strict=False):
            if one != other:
                break
            length += 1
        return length, path.name == parts[-1]

    best = max(map(agreement, candidates))
    return sorted(path for path in candidates if agreement(path) == best)


def _same_bytes(paths: list[Path]) -> bool:
    if len({path.stat().st_size for path in paths}) > 1:
        return False
    first = paths[0].read_bytes()
    return all(path.read_bytes() == first for path in paths[1:])
