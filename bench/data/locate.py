"""Where the files of a data set are on this machine: found by name in any sensible layout.

People keep the same photographs flat, nested by landmark, under the name of another data set, as
.jpg or as .png. So a file is found by its base name without the ending, below the folders that may
belong to the data set; where several files share that, the one whose path agrees longest with the
wanted one, read from the end, is meant; where that does not decide either, it is said. One file
serves one name: a file that is itself the place of a listed name stands for no other, and a file
that several names could mean goes to the one that agrees longest, or to none.
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from bench.data.listing import IMAGES, walk
from bench.errors import BenchError
from bench.system.paths import write_bytes

OWN_COPY = "own-copy.json"  # beside the data set: the folder that `data get --from` was given


@dataclass(frozen=True)
class Match:
    """Where wanted files are: `found` by wanted name; `ambiguous` ones are in several places.

    `shared` are missing, and a file that could be meant serves several names.
    """

    found: dict[str, Path]
    missing: list[str]
    ambiguous: dict[str, list[Path]]
    shared: dict[str, Path] = field(default_factory=dict)


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


def remember_own_copy(folder: Path, copy: Path) -> None:
    """Record that the files of the data set in `folder` are in the folder `copy`."""
    text = json.dumps({"folder": str(copy.absolute())}, indent=1)
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


def match(
    places: Iterable[Path], files: Iterable[str], settled: Mapping[str, Path] | None = None
) -> Match:
    """Find the wanted files, relative paths with forward slashes, below `places`.

    `settled` are the other names of the list, with their places: those files, and others that agree
    better with these names, are not found for the wanted ones.
    """
    wanted = list(files)
    index: dict[str, list[Path]] = {stem(file): [] for file in wanted}
    rivals = {name: path for name, path in (settled or {}).items() if stem(name) in index}
    closed = {os.path.realpath(path) for path in rivals.values()}
    for folder, names in walk(places):
        for name in names:
            there = index.get(stem(name))
            if there is not None and os.path.realpath(folder / name) not in closed:
                there.append(folder / name)
    won, contested = _owners([*wanted, *rivals], index)
    result = Match({}, [], {})
    for file in wanted:
        best = _nearest(file, won[file])
        if not best:
            result.missing.append(file)
            if file in contested:
                result.shared[file] = contested[file]
        elif len(best) == 1 or _same_bytes(best):
            result.found[file] = best[0]
        else:
            result.ambiguous[file] = best
    return result


def alike(folder: Path, files: Iterable[str]) -> dict[str, Path]:
    """Return the files in `folder` whose names differ from the wanted ones in spelling alone.

    That is the Unicode form of letters (é as one character, or as e and an accent), and a backslash
    where a path has `/`. A file that two names could mean is not among them.
    """
    names: dict[Path, dict[str, list[str]]] = {}
    found: dict[str, Path] = {}
    for file in files:
        path = _respelt(folder, file, names)
        if path is not None and path.is_file():
            found[file] = path
    counts: dict[Path, int] = {}
    for path in found.values():
        counts[path] = counts.get(path, 0) + 1
    return {file: path for file, path in found.items() if counts[path] == 1}


def other_case(folder: Path, files: Iterable[str]) -> dict[str, str]:
    """Return, of wanted files, the names in `folder` that differ in the case of letters alone."""
    found = {}
    for file in files:
        place, own = folder / PurePosixPath(file).parent, PurePosixPath(file).name
        try:
            names = os.listdir(place)
        except OSError:
            continue
        # A link that leads nowhere has the wanted name itself.
        like = [name for name in names if name != own and name.casefold() == own.casefold()]
        if like:
            found[file] = str(PurePosixPath(file).with_name(like[0]))
    return found


def stem(file: str) -> str:
    """Return the base name without the ending of an image, composed; other endings stay."""
    name = unicodedata.normalize("NFC", PurePosixPath(file.replace("\\", "/")).name)
    base, ending = os.path.splitext(name)
    return base if ending.lower() in IMAGES else name


def _respelt(folder: Path, file: str, names: dict[Path, dict[str, list[str]]]) -> Path | None:
    """Return the path in `folder` of which each step is a spelling of that of `file`."""
    parts = PurePosixPath(file.replace("\\", "/")).parts
    if ".." in parts or "/" in parts:
        return None
    place = folder
    for part in parts:
        if place not in names:
            by_form: dict[str, list[str]] = {}
            for name in os.listdir(place) if place.is_dir() else ():
                by_form.setdefault(unicodedata.normalize("NFC", name), []).append(name)
            names[place] = by_form
        spellings = names[place].get(unicodedata.normalize("NFC", part), [])
        if part not in spellings and len(spellings) != 1:
            return None
        place = place / (part if part in spellings else spellings[0])
    return place


def _agreement(file: str, path: Path) -> tuple[int, bool, bool]:
    """Return how well a path agrees with a wanted file.

    Folders that are the same, counted from the end; whether those are all that `file` has; whether
    the names are the same to the ending.
    """
    parts = PurePosixPath(unicodedata.normalize("NFC", file.replace("\\", "/"))).parts
    length = 0
    for part, other in zip(reversed(parts[:-1]), reversed(path.parent.parts), strict=False):
        if part != unicodedata.normalize("NFC", other):
            break
        length += 1
    return length, length == len(parts) - 1, path.name == parts[-1]


def _owners(
    wanted: Sequence[str], index: dict[str, list[Path]]
) -> tuple[dict[str, list[Path]], dict[str, Path]]:
    """Return the files that each name may have, and a file of those that no single name may.

    Of names with the same base a file goes to the one that it agrees with best.
    """
    sharing: dict[str, list[str]] = {}
    for file in wanted:
        sharing.setdefault(stem(file), []).append(file)
    won: dict[str, list[Path]] = {file: [] for file in wanted}
    contested: dict[str, Path] = {}
    for base, files in sharing.items():
        for path in index[base]:
            if len(files) == 1:
                won[files[0]].append(path)
                continue
            marks = {file: _agreement(file, path) for file in files}
            best = max(marks.values())
            winners = [file for file in files if marks[file] == best]
            if len(winners) == 1:
                won[winners[0]].append(path)
            else:
                contested |= dict.fromkeys(winners, path)
    return won, contested


def _nearest(file: str, candidates: list[Path]) -> list[Path]:
    """Return the candidates that agree longest with the wanted path, from its end."""
    if len(candidates) < 2:
        return candidates
    best = max(_agreement(file, path) for path in candidates)
    return sorted(path for path in candidates if _agreement(file, path) == best)


def _same_bytes(paths: list[Path]) -> bool:
    if len({path.stat().st_size for path in paths}) > 1:
        return False
    first = paths[0].read_bytes()
    return all(path.read_bytes() == first for path in paths[1:])
