"""`data get`: terms shown and agreed to, room estimated, every file fetched, what failed named."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path

from filelock import FileLock, Timeout

from bench import datasets
from bench.acquire import downloads
from bench.acquire.downloads import Place
from bench.data import locate
from bench.datasets import Entry
from bench.errors import BenchError, NoRoomError, first_few
from bench.facts import Download, Facts
from bench.system import archives, reading
from bench.system.notes import note
from bench.system.paths import data_root, expanded, write_bytes

GB = 10**9


def get(
    name: str,
    *,
    accept: bool = False,
    own: Path | None = None,
    span: tuple[int, int] | None = None,
    keep_archives: bool = False,
    force: bool = False,
) -> None:
    """Bring the data set `name` onto this machine, or take the user's own copy of it.

    `own` is a folder, which is remembered, or a file, which is unpacked or copied. `span` asks for
    the first to the last of the archives of photographs, counted from 1.
    """
    entry, _ = datasets.find(name)
    if entry.facts is None:
        if own is None and _all_here(entry):
            return
        raise BenchError(
            f"no source of {entry.name} is known; import your own copy with --from PATH."
        )
    place = Place(entry.name, data_root() / entry.name, keep_archives)
    place.notes.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place.notes / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        note(f"{entry.name}: another process is downloading it; waiting for that process")
        lock.acquire()
    try:
        if own is not None:
            _take(place, entry.facts, own)
        else:
            _download(place, entry, entry.facts, accept, span, force)
    finally:
        lock.release()


def _take(place: Place, facts: Facts, own: Path) -> None:
    """Take the user's own copy: remember a folder; unpack an archive; copy any other known file."""
    own = expanded(own).absolute()
    if own.is_dir():
        locate.remember_own_copy(place.folder, own)
        return
    if not own.is_file():
        raise BenchError(f"--from {own}: this file or folder does not exist; check the path.")
    known = {download.file: download for download in facts.downloads}
    truth = any(fnmatch(own.name, pattern) for pattern in facts.truth)
    if own.name not in known and not truth and not archives.is_archive(own):
        raise BenchError(
            f"--from {own}: give a folder, an archive ({', '.join(archives.SUFFIXES)}), or one "
            f"of {first_few((*known, *facts.truth), 10)}."
        )
    download = known.get(own.name) or Download(own.name, ())
    downloads.forget(place, download)
    downloads.settle(place, download, own, own=True)


def _download(
    place: Place,
    entry: Entry,
    facts: Facts,
    accept: bool,
    span: tuple[int, int] | None,
    force: bool,
) -> None:
    """Download files; for those that need a request, print the address."""
    wanted = _wanted(facts, span)
    todo = [download for download in wanted if force or not downloads.done(place, download)]
    if any(download.kind == "images" for download in todo) and not force and _all_here(entry):
        for download in facts.downloads:
            if download.kind == "images":
                downloads.clear(place, download)
        todo = [download for download in todo if download.kind != "images"]
    if todo or facts.ask:
        _agree(place, facts, accept=accept, ask=bool(todo))
    _check_room(place, facts, todo)
    _fetch(place, entry.name, todo, force)
    if facts.ask and not _all_here(entry):
        print(facts.ask)
        raise BenchError(
            f"{entry.name} cannot be downloaded by a program; request it at the address above, "
            f"then import your copy: `data get {entry.name} --from PATH`."
        )


def _fetch(place: Place, name: str, todo: Sequence[Download], force: bool) -> None:
    """Fetch files; where some of them fail, the others are there before it is an error."""
    faults = []
    for download in todo:
        try:
            downloads.get(place, download, anew=force)
        except NoRoomError:
            raise
        except BenchError as error:
            if not download.optional:
                faults.append(str(error))
            need = "This file is optional. " if download.optional else ""
            note(f"{error} {need}Continuing with the other files.")
    if faults:
        raise BenchError(
            f"{name}: {len(faults)} of {len(todo)} downloads failed, the others are complete; "
            f"run the same command again to retry them. First failure: {faults[0]}"
        )


def _wanted(facts: Facts, span: tuple[int, int] | None) -> list[Download]:
    """Return the files to have: all, or of the archives of photographs only those of `span`."""
    images = [download for download in facts.downloads if download.kind == "images"]
    if span is None:
        return list(facts.downloads)
    first, last = span
    if not 1 <= first <= last <= len(images):
        raise BenchError(
            f"--archives {first}-{last}: archives of photographs are numbered 1 to "
            f"{len(images)}; give a range within that."
        )
    part = images[first - 1 : last]
    return [
        download for download in facts.downloads if download.kind != "images" or download in part
    ]


def _all_here(entry: Entry) -> bool:
    """Tell whether all images of the data set are on this machine already, of the whole lists."""
    try:
        dataset, missing = datasets.placed(datasets.load_variant(entry))
    except BenchError:
        return False
    return not missing and not dataset.unlike


def _agree(place: Place, facts: Facts, *, accept: bool, ask: bool) -> None:
    """Show the terms, and ask for agreement once; the agreement is recorded."""
    note = place.notes / "licence.json"
    digest = hashlib.sha256(f"{facts.licence}\n{facts.licence_url}".encode()).hexdigest()
    print(f"{place.name}: {facts.licence} ({facts.licence_url})", flush=True)
    try:
        agreed = reading.json_file(note)["terms"] == digest
    except (OSError, ValueError, KeyError, TypeError):
        agreed = False
    if agreed or not ask:
        return
    if not accept:
        if not sys.stdin.isatty():
            raise BenchError(
                f"the terms of {place.name} were not accepted; read them at {facts.licence_url}, "
                "then add --accept-licence."
            )
        print("Do you agree to these terms? [yes/no] ", end="", flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise BenchError(
                f"the terms of {place.name} were not accepted; nothing was downloaded."
            )
    about = {
        "terms": digest,
        "text": facts.licence,
        "url": facts.licence_url,
        "agreed": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_bytes(note, f"{json.dumps(about, indent=1)}\n".encode())


def _check_room(place: Place, facts: Facts, todo: Sequence[Download]) -> None:
    """Refuse to begin what the disk has no room for: photographs unpacked, and one archive more."""
    of_all = [download for download in facts.downloads if download.kind == "images"]
    of_todo = [download for download in todo if download.kind == "images"]
    if not of_todo:
        return
    if facts.size_bytes is None:
        room = shutil.disk_usage(place.folder).free / GB
        note(
            f"{place.name}: its size on disk is not published; {room:.1f} GB are free in "
            f"{place.folder}"
        )
        return
    each = facts.size_bytes / len(of_all)
    packed = [download.size_bytes or each for download in of_todo]
    need = each * len(of_todo) + (sum(packed) if place.keep_archives else max(packed))
    free = shutil.disk_usage(place.folder).free
    note(
        f"{place.name}: {len(of_todo)} archives of photographs, about {need / GB:.1f} GB on the "
        f"disk while unpacking; {free / GB:.1f} GB are free in {place.folder}"
    )
    if need > free:
        raise NoRoomError(
            f"{place.name} takes about {need / GB:.1f} GB, and the disk of {place.folder} has "
            f"{free / GB:.1f} GB free; free some space, set RETRIEVAL_BENCH_DATA to a folder on "
            "another disk, or download a part with --archives FIRST-LAST."
        )
