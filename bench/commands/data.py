"""The command `data`: list data sets, get and check them, and name the folders of their files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path
from typing import Any

from bench import datasets
from bench.acquire.get import get as get_one
from bench.acquire.verify import Finding, Looked, check
from bench.commands import columns, data_list, data_make
from bench.commands.parser import Command
from bench.commands.shared import say_error
from bench.data import listing, locate
from bench.datasets import Entry
from bench.errors import BenchError, MissingDataError
from bench.option import option, required
from bench.system.notes import one_line
from bench.system.paths import data_root, write_bytes


@dataclass(frozen=True, kw_only=True)
class Names:
    """The options of `data list`."""

    name: tuple[str, ...] = option(
        (), "a data set: show its variants, licence and files", metavar="NAME", positional=True,
        many="any",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Where:
    """The options of `data where`."""

    name: tuple[str, ...] = required("a data set", metavar="NAME", positional=True)


@dataclass(frozen=True, kw_only=True)
class Get:
    """The options of `data get`."""

    name: tuple[str, ...] = required("a data set", metavar="NAME", positional=True)
    accept_licence: bool = option(False, "accept the terms, which are printed")
    own: Path | None = option(
        None,
        "import your own copy: a folder, which is used in place, an archive, or a file",
        flag="from",
        metavar="PATH",
    )
    archives: str | None = option(
        None,
        "download only these archives of photographs, counted from 1",
        metavar="FIRST-LAST",
    )
    keep_archives: bool = option(False, "keep archives after unpacking them")
    force: bool = option(False, "download files again although they exist")


@dataclass(frozen=True, kw_only=True)
class Verify:
    """The options of `data verify`."""

    name: tuple[str, ...] = required("a data set", metavar="NAME", positional=True)
    quick: bool = option(False, "check the headers of images only, not their pixels")
    list: Path | None = option(None, "write every missing or broken image to FILE", metavar="FILE")
    method: str | None = option(
        None,
        "also list images whose size this method does not accept",
        metavar="NAME[.VARIANT]",
    )
    weights: str | None = option(None, "weights file for that method", metavar="PATH")


def show(args: Names) -> int:
    """Print a line per data set, or all that is known of those that are named."""
    if not args.name:
        return columns.show(data_list.lines())
    return _print([line for name in args.name for line in data_list.details(name)])


def get(args: Get) -> int:
    """Get data sets, or take the user's own copy; print what is here then; return the status."""
    if args.own is not None and len(args.name) > 1:
        raise BenchError("--from is for one data set at a time.")
    span = None if args.archives is None else _span(args.archives)
    failed = 0
    for name in args.name:
        try:
            get_one(
                name,
                accept=args.accept_licence,
                own=args.own,
                span=span,
                keep_archives=args.keep_archives,
                force=args.force,
            )
        except BenchError as error:
            failed = say_error(error)
            continue
        entry, _ = datasets.find(name)
        print(
            f"{entry.name}: {data_list.presence(entry)}; `data verify {entry.name}` gives details",
            flush=True,
        )
    return failed


def verify(args: Verify) -> int:
    """Check data sets and print the findings; return 1 if there is a problem.

    Every image that is missing or broken is named in the file of `--list`, if one is given.
    """
    failed, named = 0, []
    for name in args.name:
        looked, problems = Looked(), 0
        try:
            found = check(name, looked, quick=args.quick)
            for state, text in chain(found, _unfit(name, args)):
                print(f"{state:>7}  {one_line(text)}", flush=True)
                problems += state == "PROBLEM"
        except BenchError as error:
            failed = say_error(error)
            continue
        print(f"{name}: {f'{problems} problems' if problems else 'good'}", flush=True)
        failed = failed or int(problems > 0)
        named += looked.lines()
    if args.list is not None:
        text = "".join(f"{one_line(line)}\n" for line in named)
        write_bytes(args.list, text.encode("utf-8"))
        print(f"{args.list} lists {len(named)} images")
    return failed


def _unfit(name: str, args: Verify) -> Iterator[Finding]:
    """Yield what the method of the options does not take of a data set; nothing without one."""
    if args.method is None:
        return
    from bench.describe import fitting, loading

    loaded = loading.load(args.method, args.weights, "cpu")
    dataset, _ = datasets.placed(datasets.load(name))
    texts = fitting.unfit(loaded, dataset.folder, (*dataset.database, *dataset.queries))
    for text in texts:
        yield "PROBLEM", text
    if not texts:
        yield "ok", f"{args.method} accepts the sizes of all images found"


def where(name: str) -> list[str]:
    """Return the folders and files that a data set would use, found or not, one per line."""
    entry, _ = datasets.find(name)
    out = [f"{entry.name}: RETRIEVAL_BENCH_DATA is {data_root()}"]
    places, facts = entry.places(), entry.facts
    own = locate.own_copy(data_root() / entry.name)
    for place in places:
        there = "found" if place.is_dir() else "not found"
        mark = " (given with --from)" if place == own else ""
        out.append(f"folder {place}{mark}: {there}")
    for pattern in () if facts is None else facts.truth:
        found = [
            folder / file
            for folder, files in listing.walk(places)
            for file in files
            if fnmatch(file, pattern)
        ]
        where_to = str(found[0]) if found else f"not found; its place is {places[0] / pattern}"
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        out.append(f"ground truth {pattern}: {where_to}{more}")
    out += _image_folders(entry)
    return out


def _image_folders(entry: Entry) -> list[str]:
    """Return one line per folder that holds images of the data set, with their number."""
    try:
        dataset, missing = datasets.placed(datasets.load_variant(entry))
    except MissingDataError as error:
        return [f"images: not known, because ground truth is missing: {error}"]
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
        found.append(f"images not found: {len(missing)}; their place is {dataset.folder}")
    return found


def _span(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if not first.isdecimal() or not (last or first).isdecimal():
        raise BenchError(f"--archives {text} is not a range; write FIRST-LAST, for instance 1-10.")
    return int(first), int(last or first)


def _print(out: Sequence[str]) -> int:
    print("\n".join(out))
    return 0


ACTIONS: dict[str, Command[Any]] = {
    "list": Command(
        Names,
        show,
        "List data sets: images, tier, size, headline metric, files on this machine; with"
        " names: all details.",
    ),
    "get": Command(Get, get, "Download data sets, or import your own copy of one."),
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
        "List the images of a data set in the order that evaluate expects.",
    ),
    "where": Command(
        Where,
        lambda args: _print([line for name in args.name for line in where(name)]),
        "List the folders and files that a data set uses, and whether they exist.",
    ),
}
