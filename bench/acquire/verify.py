"""`data verify`: whether the files of a data set are what its lists, its truth and its facts say.

Every check gives findings: what holds, what is merely worth knowing, and problems. Sources of what
must hold: the FACTS of the data set.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench import datasets, plugins
from bench.acquire import downloads
from bench.data import boxes, copies, listing, locate, published
from bench.datasets import Entry
from bench.errors import BenchError, MissingDataError, first_few
from bench.facts import Expected, Facts
from bench.images import decode, inspect
from bench.system.paths import data_root
from bench.system.progress import Progress
from bench.types import Dataset, Image

State = Literal["ok", "note", "PROBLEM"]
Finding = tuple[State, str]
TINY_PX = 256  # the longest side of a well-known re-pack


@dataclass
class Looked:
    """Findings about images: their places, sizes and faults, by file."""

    found: dict[str, Path] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Return one line per image that is missing or cannot be used."""
        broken = [f"broken {file}: {fault}" for file, fault in sorted(self.faults.items())]
        return [*(f"missing {file}" for file in self.missing), *broken]


def ok(text: str) -> Finding:
    """Return a finding: this holds."""
    return "ok", text


def note(text: str) -> Finding:
    """Return a finding: worth knowing."""
    return "note", text


def problem(text: str) -> Finding:
    """Return a finding: this must be fixed."""
    return "PROBLEM", text


def check(name: str, looked: Looked, *, quick: bool) -> Iterator[Finding]:
    """Check the data set `name`; all its variants, unless `name` has one. Fills `looked`."""
    loaded: list[Dataset] = []
    absent: list[str] = []
    if datasets.is_own(name):
        loaded = [datasets.load(name)]
        entry, asked = Entry(loaded[0].name, None, {}, None), []
        yield from _lists(loaded[0], Expected())
    else:
        entry, variant = datasets.find(name)
        alone = plugins.resolve(datasets.KIND, name).variant is not None
        asked = [variant] if variant and alone else [*entry.variants] or [""]
    for form in asked:
        full = f"{entry.name}.{form}" if form else entry.name
        try:
            dataset = datasets.load_variant(entry, form)
        except MissingDataError as error:  # a user seldom has the files of all variants
            absent.append(f"{full}: {error}")
            continue
        except BenchError as error:
            yield problem(f"{full}: {error}")
            continue
        loaded.append(dataset)
        yield from _lists(dataset, entry.expected(form))
    for finding in absent:
        yield note(finding) if loaded else problem(finding)
    if entry.facts is not None:
        yield from _texts(entry, entry.facts)
    if loaded:
        yield from _presence(entry, loaded, looked)
        yield from _contents(looked, quick=quick)
        for dataset in loaded:
            yield from _queries(dataset, looked, quick=quick)
        yield from _sizes(entry.facts, loaded[0].database, looked)
    else:
        yield from _without_lists(entry)
    if entry.facts is not None:
        yield from _known(entry, entry.facts, looked)


def _lists(dataset: Dataset, expected: Expected) -> Iterator[Finding]:
    """Compare counts and hashes of the lists, and the sums of the truth."""
    yield note(f"{dataset.name}: {dataset.variant}")
    for text in dataset.notes:
        yield note(f"{dataset.name}: {text}")
    states: dict[str, State] = {"same": "ok", "other": "PROBLEM", "unknown": "note"}
    for comparison in published.comparisons(dataset, expected):
        yield states[comparison.state], f"{dataset.name}: {comparison.text}"


def _compare(label: str, found: int, wanted: int, unit: str) -> Finding:
    if found == wanted:
        return ok(f"{label}: {found} {unit}, as published")
    return problem(f"{label}: {found} {unit} instead of {wanted}")


def _texts(entry: Entry, facts: Facts) -> Iterator[Finding]:
    """Compare the original text files of a ground truth, where there are any."""
    if facts.texts is None:
        return
    kinds = ("_query.txt", "_good.txt", "_ok.txt", "_junk.txt")
    folder, names = next(
        ((f, n) for f, n in listing.walk(entry.places()) if any(x.endswith(kinds[0]) for x in n)),
        (None, []),
    )
    if folder is None:
        return
    digest, paths = hashlib.sha256(), [folder / x for x in sorted(names) if x.endswith(kinds)]
    for path in paths:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    count, wanted = facts.texts
    if (len(paths), digest.hexdigest()) == (count, wanted):
        yield ok(f"{folder}: {count} text files with the known sha256")
    else:
        yield problem(
            f"{folder}: {len(paths)} text files with sha256 {digest.hexdigest()} instead of "
            f"{count} files with {wanted}",
        )


def _presence(entry: Entry, loaded: list[Dataset], looked: Looked) -> Iterator[Finding]:
    """Say which images are there, which are not, which are too many; per prefix where known.

    Each variant is looked up by itself, as a run does; a file that several name is there once.
    """
    wanted: dict[str, None] = {}
    missing: dict[str, None] = {}
    ambiguous: dict[str, list[Path]] = {}
    shared: dict[str, Path] = {}
    for dataset in loaded:
        match = datasets.lookup(dataset)
        files = dict.fromkeys(image.file for image in (*dataset.database, *dataset.queries))
        wanted |= files
        missing |= dict.fromkeys(match.missing)
        ambiguous |= match.ambiguous
        shared |= match.shared
        for file in files:
            if file not in missing and file not in ambiguous:
                looked.found[file] = match.found.get(file, dataset.folder / file)
    looked.missing = list(missing)
    for file, paths in list(ambiguous.items())[:5]:
        yield problem(
            f"{file} exists in several folders with different content: {first_few(paths)}"
        )
    if len(ambiguous) > 5:
        yield problem(f"and {len(ambiguous) - 5} more such images")
    if shared:
        file, path = next(iter(shared.items()))
        yield problem(
            f"{len(shared)} images are missing although files with their base names exist, "
            f"because a base name belongs to several entries of the lists: {file} and {path}"
        )
    if missing:
        yield problem(
            f"{len(missing)} of {len(wanted)} images are missing: {first_few(looked.missing)}",
        )
    else:
        yield ok(f"all {len(wanted)} images are present")
    prefixes = {} if entry.facts is None else entry.facts.prefixes
    here = Counter(prefix_of(file, prefixes) for file in looked.found)
    for prefix, count in prefixes.items():
        state: State = "ok" if here[prefix] == count else "PROBLEM"
        yield state, f"{prefix}: {here[prefix]} of {count} images"
    yield from _extra(entry, {locate.stem(file) for file in wanted}, looked)


def prefix_of(file: str, prefixes: Mapping[str, int]) -> str | None:
    """Return the longest of the prefixes that, with an underscore, begins the name of a file."""
    name = locate.stem(file)
    return max((p for p in prefixes if name.startswith(f"{p}_")), key=len, default=None)


def _extra(entry: Entry, wanted: set[str], looked: Looked) -> Iterator[Finding]:
    """Name images that no list names, below places that hold images of the data set."""
    known = set() if entry.facts is None else set(entry.facts.not_images)
    holding = [
        place
        for i, place in enumerate(entry.places())
        if i == 0 or any(path.is_relative_to(place) for path in looked.found.values())
    ]
    extra, odd = [], []
    for folder, names in listing.walk(holding):
        for name in names:
            stem = locate.stem(name)
            if stem != name and stem in known:
                odd.append(folder / name)
            elif stem != name and stem not in wanted:
                extra.append(folder / name)
    if extra:
        yield note(f"{len(extra)} image files are in no list: {first_few(extra)}")
    if odd:
        pages = sum(inspect.is_web_page(path) for path in odd)
        yield note(
            f"{len(odd)} of the {len(known)} extra files of the original archive, which are in "
            f"no list and are not photographs, are present; {pages} of them are web pages saved "
            f"as .jpg: {first_few((path.stem for path in odd), 20)}"
        )


def _contents(looked: Looked, *, quick: bool) -> Iterator[Finding]:
    """Open every image: its header, and unless `quick` all of its pixels."""
    if not looked.found:
        return
    files, aside = list(looked.found), 0

    def look(path: Path) -> tuple[inspect.Seen, bool]:
        seen = inspect.header(path) if quick else inspect.decode(path)
        return seen, not isinstance(seen, str) and decode.orientation(path) in range(2, 9)

    with (
        Progress("read headers" if quick else "decode", len(files)) as progress,
        ThreadPoolExecutor(os.cpu_count() or 1) as pool,
    ):
        for file, (result, turned) in zip(files, _mapped(pool, look, looked, files), strict=True):
            aside += turned
            if isinstance(result, str):
                looked.faults[file] = result
            else:
                looked.sizes[file] = result
            progress.advance()
    kinds = Counter(fault.split(":")[0] for fault in looked.faults.values())
    for kind, count in kinds.most_common():
        named = [file for file, fault in looked.faults.items() if fault.startswith(kind)]
        yield problem(f"{count} files: {kind}: {first_few(named)}")
    if not kinds:
        done = "have a right header" if quick else "can be decoded"
        yield ok(f"all {len(files)} images found {done}")
    if aside:
        yield note(
            f"{aside} of {len(files)} photographs have an EXIF orientation; boxes refer to the "
            "stored pixels"
        )


def _queries(dataset: Dataset, looked: Looked, *, quick: bool) -> Iterator[Finding]:
    """Name boxes that a run refuses, queries in the database, and images that are there twice.

    If `quick` no content is read, and images are the same by name alone.
    """
    placed = datasets.with_places(dataset, {f: str(path) for f, path in looked.found.items()})
    found = boxes.check(placed)
    for fault in found.faults:
        yield problem(f"{dataset.name}: {fault}")
    for line in found.lines():
        yield note(f"{dataset.name}: {line}")
    prints = {} if quick else copies.prints_of(placed)
    wrong, right = copies.lines(copies.queries_in_database(dataset, prints))
    for line in wrong:
        yield problem(f"{dataset.name}: {line}")
    for line in right:
        yield note(f"{dataset.name}: {line}")
    twice = copies.repeated(dataset.database, prints)
    if twice:
        named = first_few([f"{file} is {other}" for file, other in twice])
        yield note(f"{dataset.name}: {len(twice)} database images are copies of others: {named}")


def _mapped(
    pool: ThreadPoolExecutor,
    look: Callable[[Path], tuple[inspect.Seen, bool]],
    looked: Looked,
    files: list[str],
) -> Iterator[tuple[inspect.Seen, bool]]:
    """Yield the result of `look` for each file, in order, without queueing a million at once."""
    for start in range(0, len(files), 1024):
        yield from pool.map(look, [looked.found[file] for file in files[start : start + 1024]])


def _sizes(facts: Facts | None, database: tuple[Image, ...], looked: Looked) -> Iterator[Finding]:
    """Compare the sizes of the database images with the table; say which re-pack they look like."""
    sizes = [looked.sizes[image.file] for image in database if image.file in looked.sizes]
    if not sizes:
        return
    table = {} if facts is None else facts.sizes
    tiny = sum(max(size) <= TINY_PX for size in sizes)
    if tiny == len(sizes) and table.get("longest", 0) > TINY_PX:
        yield problem(
            f"all images are {TINY_PX} pixels or less: this looks like a downscaled copy (such "
            "as r-oxford-* and r-paris-* of mteb), not the original",
        )
    longest = table.get("longest")
    if longest is not None:
        off = [
            f"{image.file} ({looked.sizes[image.file][0]}x{looked.sizes[image.file][1]})"
            for image in database
            if image.file in looked.sizes and max(looked.sizes[image.file]) != longest
        ]
        if off:
            yield problem(
                f"{len(off)} database images have a longest side other than {longest} pixels: "
                f"{first_few(off)}",
            )
        else:
            yield ok(f"the longest side of all {len(sizes)} database images is {longest} pixels")
    if len(sizes) < len(database):
        return
    counts = {
        **{f"{w}x{h}": n for (w, h), n in Counter(sizes).items()},
        "landscape": sum(w > h for w, h in sizes),
        "portrait": sum(w < h for w, h in sizes),
        "square": sum(w == h for w, h in sizes),
        "pixels": sum(w * h for w, h in sizes),
    }
    for key, wanted in table.items():
        if key != "longest":
            unit = "pixels in all" if key == "pixels" else "database images"
            yield _compare(f"size table, {key}", counts.get(key, 0), wanted, unit)


def _without_lists(entry: Entry) -> Iterator[Finding]:
    """Count the image files if the lists are missing: per prefix, if prefixes are known."""
    prefixes = {} if entry.facts is None else entry.facts.prefixes
    known = set() if entry.facts is None else set(entry.facts.not_images)
    names = {
        locate.stem(name)
        for _, names in listing.walk(entry.places())
        for name in names
        if locate.stem(name) != name
    } - known
    here = Counter(prefix_of(name, prefixes) for name in names)
    yield note(f"{len(names)} image files found")
    for prefix, count in prefixes.items():
        state: State = "ok" if here[prefix] == count else "PROBLEM"
        yield state, f"{prefix}: {here[prefix]} of {count} images"


def _known(entry: Entry, facts: Facts, looked: Looked) -> Iterator[Finding]:
    """Say which edition or re-pack this looks like, and what became of the archives."""
    marked = {
        s: path for f, path in looked.found.items() if (s := locate.stem(f)) in facts.unblurred
    }
    if marked:
        same = sum(_sha256(path) == facts.unblurred[stem] for stem, path in marked.items())
        if same == len(marked):
            edition = "are the edition from before June 2022, in which faces are not obscured"
        elif same == 0:
            edition = (
                "are not the edition from before June 2022: they are from the -v1 archives with "
                "obscured faces, or were re-encoded"
            )
        else:
            edition = "have mixed origins; some are from the edition before June 2022"
        yield note(f"the photographs {edition} ({same} of {len(marked)} known files)")
    yield from _archives(entry, facts, missing=bool(looked.missing or not looked.found))
    tables = [
        f / n for f, ns in listing.walk(entry.places()[:2]) for n in ns if n.endswith(".parquet")
    ]
    if tables:
        yield problem(
            f"{len(tables)} .parquet files: this is a re-packed copy (as on Hugging Face), which "
            "cannot be read; use the image files",
        )
    for text in facts.notes:
        yield note(text)


def _archives(entry: Entry, facts: Facts, *, missing: bool) -> Iterator[Finding]:
    """Report archives that `data get` unpacked, did not unpack, or that contained empty files."""
    place = downloads.Place(entry.name, data_root() / entry.name)
    archives = [download for download in facts.downloads if download.kind == "images"]
    states = {archive.file: downloads.state(place, archive.file) for archive in archives}
    done = [file for file, state in states.items() if state.get("unpacked")]
    if done:
        yield note(f"unpacked here: {first_few(done)}")
        left = [file for file in states if file not in done]
        if left:
            text = f"{len(left)} of {len(archives)} archives not unpacked: {first_few(left)}"
            yield problem(text) if missing else note(text)
    for file in done:
        empty = states[file]["unpacked"].get("empty", [])
        if empty:
            yield problem(f"{file} contained {len(empty)} empty files: {first_few(empty)}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
