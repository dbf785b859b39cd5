"""The command `data`: what data sets there are, getting them, and where their files lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path
from typing import Any

from bench import datasets, plugins
from bench.acquire.get import get as get_one
from bench.acquire.verify import Finding, Looked, check
from bench.commands import data_make
from bench.commands.parser import Command, Nothing
from bench.commands.shared import say_error
from bench.data import listing, locate
from bench.datasets import Entry
from bench.errors import BenchError, MissingDataError
from bench.option import option, required
from bench.system.notes import one_line
from bench.system.paths import data_root, write_bytes

UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


@dataclass(frozen=True, kw_only=True)
class Where:
    """The options of `data where`."""

    name: tuple[str, ...] = required("a data set", metavar="NAME", positional=True)


@dataclass(frozen=True, kw_only=True)
class Get:
    """The options of `data get`."""

    name: tuple[str, ...] = required("a data set", metavar="NAME", positional=True)
    accept_licence: bool = option(False, "agree to the terms, which are shown")
    own: Path | None = option(
        None,
        "your own copy: a folder, which is used where it is, an archive, or a file",
        flag="from",
        metavar="PATH",
    )
    archives: str | None = option(
        None,
        "only these of the archives of photographs, counted from 1",
        metavar="FIRST-LAST",
    )
    keep_archives: bool = option(False, "keep archives when they are unpacked")
    force: bool = option(False, "download again what was there before")


@dataclass(frozen=True, kw_only=True)
class Verify:
    """The options of `data verify`."""

    name: tuple[str, ...] = required("a data set", metavar="NAME", positional=True)
    quick: bool = option(False, "read the header of every image, not its pixels")
    list: Path | None = option(None, "write every missing or broken image to FILE", metavar="FILE")
    method: str | None = option(
        None,
        "also name the images whose size this method does not take",
        metavar="NAME[.VARIANT]",
    )
    weights: str | None = option(None, "weights of that method instead of its own", metavar="PATH")


@dataclass(frozen=True)
class Presence:
    """What is on this machine of a data set; `fault` is why that cannot be told in full.

    It is complete where the lists are the published ones (`unlike` says in what they are not), as
    far as these are known, and all images are there.
    """

    found: int
    wanted: int | None
    fault: str | None = None
    unlike: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it in words."""
        if self.wanted is None:
            if self.fault is not None:
                return f"broken: {self.fault}"
            lists = "lists and ground truth are missing"
            return f"partial, {self.found} images; {lists}" if self.found else f"absent; {lists}"
        if self.unlike:
            of = "" if self.found == self.wanted else f"{self.found} of "
            return (
                f"partial, {of}{self.wanted} images: not the published list: "
                f"{'; '.join(self.unlike)}"
            )
        if self.found == self.wanted:
            return f"complete, {self.wanted} images"
        if self.found == 0:
            return f"absent, 0 of {self.wanted} images; lists and ground truth are here"
        return f"partial, {self.found} of {self.wanted} images"


def presence(entry: Entry) -> Presence:
    """Look for the images of the first variant by name; nothing is decoded."""
    try:
        dataset, missing = datasets.placed(datasets.load_variant(entry))
    except MissingDataError:
        files = (name for _, names in listing.walk(entry.places()) for name in names)
        return Presence(sum(locate.stem(name) != name for name in files), None)
    except BenchError as error:
        return Presence(0, None, str(error))
    count = len({image.file for image in (*dataset.database, *dataset.queries)})
    return Presence(count - len(missing), count, unlike=dataset.unlike)


def lines() -> list[str]:
    """Return the listing of all data sets: facts, what is here, variants; broken ones say why."""
    out = []
    for summary in plugins.summaries(datasets.KIND):
        if summary.error is not None:
            out.append(f"  {summary.name}: {summary.error}")
            continue
        try:
            entry = datasets.entry_of(summary.name)
        except BenchError as error:
            out.append(f"  {summary.name}: {error}")
            continue
        out.append(f"  {entry.name}: {summary.description}")
        facts = entry.facts
        if facts is not None:
            takes = facts.size_bytes
            about = "size not stated" if takes is None else f"about {size(takes)}"
            out.append(f"    tier {facts.tier}, {about}")
            out.append(f"    headline: {facts.headline}")
            out.append(f"    licence: {facts.licence}")
        out.append(f"    here: {presence(entry)}")
        out += [f"    {entry.name}.{variant}: {text}" for variant, text in entry.variants.items()]
    return out


def get(given: Get) -> int:
    """Get data sets, or take the user's own copy; print what is here then; return the status."""
    if given.own is not None and len(given.name) > 1:
        raise BenchError("--from is for one data set at a time.")
    span = None if given.archives is None else _span(given.archives)
    failed = 0
    for name in given.name:
        try:
            get_one(
                name,
                accept=given.accept_licence,
                own=given.own,
                span=span,
                keep_archives=given.keep_archives,
                force=given.force,
            )
        except BenchError as error:
            failed = say_error(error)
            continue
        entry, _ = datasets.find(name)
        print(
            f"{entry.name}: {presence(entry)}; `data verify {entry.name}` looks closer", flush=True
        )
    return failed


def verify(given: Verify) -> int:
    """Check data sets and print what was found; return 1 if there is any problem.

    Every image that is missing or broken is named in the file of `--list`, if one is given.
    """
    failed, named = 0, []
    for name in given.name:
        looked, problems = Looked(), 0
        try:
            found = check(name, looked, quick=given.quick)
            for state, text in chain(found, _unfit(name, given)):
                print(f"{state:>7}  {one_line(text)}", flush=True)
                problems += state == "PROBLEM"
        except BenchError as error:
            failed = say_error(error)
            continue
        print(f"{name}: {f'{problems} problems' if problems else 'good'}", flush=True)
        failed = failed or int(problems > 0)
        named += looked.lines()
    if given.list is not None:
        text = "".join(f"{one_line(line)}\n" for line in named)
        write_bytes(given.list, text.encode("utf-8"))
        print(f"{len(named)} images are named in {given.list}")
    return failed


def _unfit(name: str, given: Verify) -> Iterator[Finding]:
    """Yield what the method of the options does not take of a data set; nothing without one."""
    if given.method is None:
        return
    from bench.describe import fitting, loading

    loaded = loading.load(given.method, given.weights, "cpu")
    dataset, _ = datasets.placed(datasets.load(name))
    texts = fitting.unfit(loaded, dataset.folder, (*dataset.database, *dataset.queries))
    for text in texts:
        yield "PROBLEM", text
    if not texts:
        yield "ok", f"{given.method} takes the sizes of all images that are there"


def where(name: str) -> list[str]:
    """Return the folders and files that a data set would use, found or not, one per line."""
    entry, _ = datasets.find(name)
    out = [f"{entry.name}: RETRIEVAL_BENCH_DATA is {data_root()}"]
    places, facts = entry.places(), entry.facts
    own = locate.own_copy(data_root() / entry.name)
    for place in places:
        there = "found" if place.is_dir() else "not found"
        given = " (given with --from)" if place == own else ""
        out.append(f"folder {place}{given}: {there}")
    for pattern in () if facts is None else facts.truth:
        found = [
            folder / file
            for folder, files in listing.walk(places)
            for file in files
            if fnmatch(file, pattern)
        ]
        where_to = str(found[0]) if found else f"not found; it would go to {places[0] / pattern}"
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        out.append(f"ground truth {pattern}: {where_to}{more}")
    out += _image_folders(entry)
    return out


def _image_folders(entry: Entry) -> list[str]:
    """Return one line per folder that holds images of the data set, with their number."""
    try:
        dataset, missing = datasets.placed(datasets.load_variant(entry))
    except MissingDataError as error:
        return [f"images: not known without ground truth: {error}"]
    folders: dict[Path, set[str]] = {}
    gone = set(missing)
    for image in (*dataset.database, *dataset.queries):
        if image.file in gone:
            continue
        path = dataset.folder / image.path
        folders.setdefault(path.parent, set()).add(image.file)
    found = [f"images in {folder}: {len(files)}" for folder, files in sorted(folders.items())]
    if len(found) > 20:
        found = [*found[:20], f"and {len(found) - 20} more folders"]
    if missing:
        found.append(f"images not found: {len(missing)}; they would go to {dataset.folder}")
    return found


def size(count: int) -> str:
    """Return a number of bytes in words.

    >>> size(2_000_000_000), size(450_000_000_000), size(800)
    ('2 GB', '450 GB', '800 bytes')
    """
    for unit, name in UNITS:
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count} bytes"


def _span(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if not first.isdecimal() or not (last or first).isdecimal():
        raise BenchError(f"--archives {text} is not FIRST-LAST, for instance 1-10.")
    return int(first), int(last or first)


def _print(out: Sequence[str]) -> int:
    print("\n".join(out))
    return 0


ACTIONS: dict[str, Command[Any]] = {
    "list": Command(
        Nothing,
        lambda _: _print(lines()),
        "List data sets: tier, size, licence, headline, what is on this machine.",
    ),
    "get": Command(Get, get, "Download data sets, or take your own copy of one."),
    "verify": Command(
        Verify,
        verify,
        "Check files, lists and ground truth of data sets; status 1 for any problem.",
    ),
    "make": Command(
        data_make.Make,
        data_make.make_one,
        "Make a dataset.json of photographs: folders of classes, a table, positions.",
    ),
    "names": Command(
        data_make.Names,
        data_make.names,
        "List the images of a data set in the order in which descriptors are brought.",
    ),
    "where": Command(
        Where,
        lambda given: _print([line for name in given.name for line in where(name)]),
        "List the folders and files that a data set uses, found or not.",
    ),
}
