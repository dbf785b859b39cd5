"""One published file of a data set: from the first host that has it, checked, unpacked, recorded.

`<data set>/.get/<file>.json` records each file: its address, size and hashes, and the files
unpacked from it. The hash of the first download holds for every later one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.errors import BenchError, NoRoomError, first_few
from bench.facts import Download
from bench.root import ROOT
from bench.system import archives, reading, trust
from bench.system.download import discard, encrypted, fetch
from bench.system.notes import note
from bench.system.paths import complete_or_absent, write_bytes
from bench.system.progress import Progress

MB = 10**6
MIRROR = "RETRIEVAL_BENCH_MIRROR"


@dataclass(frozen=True)
class Place:
    """Where the files of one data set go: its name for sentences, its folder."""

    name: str
    folder: Path
    keep_archives: bool = False

    @property
    def notes(self) -> Path:
        """Return the folder of what is known of the files, and of files not yet complete."""
        return self.folder / ".get"


def hosts(download: Download) -> tuple[str, ...]:
    """Return the addresses to try in order: those of RETRIEVAL_BENCH_MIRROR first, if it is set.

    The file at https://host/path is looked for at <mirror>/host/path.
    """
    mirror = os.environ.get(MIRROR, "").rstrip("/")
    if mirror and urlsplit(mirror).scheme not in ("http", "https"):
        raise BenchError(
            f"{MIRROR}={mirror} is not the address of a web server; use an address that begins "
            "with http:// or https://."
        )
    copies = (f"{mirror}/{urlsplit(url).netloc}{urlsplit(url).path}" for url in download.urls)
    return (*(copies if mirror else ()), *download.urls)


def state(place: Place, file: str) -> dict[str, Any]:
    """Return what is known of a file; an empty mapping where nothing is."""
    note = place.notes / f"{file}.json"
    try:
        content: dict[str, Any] = reading.json_file(note)
        return content if isinstance(content, dict) else {}
    except (FileNotFoundError, ValueError):
        return {}


def done(place: Place, download: Download) -> bool:
    """Tell whether a file was unpacked, or is in its place, before."""
    if archives.is_archive(Path(download.file)):
        return state(place, download.file).get("unpacked") is not None
    return (place.folder / download.into / download.file).is_file()


def forget(place: Place, download: Download) -> None:
    """Forget what is known of a file, so that it is downloaded again."""
    (place.notes / f"{download.file}.json").unlink(missing_ok=True)


def clear(place: Place, download: Download) -> None:
    """Delete an archive that is no longer needed, and its partial download."""
    for path in place.notes.glob(f".{download.file}.*.part*"):
        path.unlink()
    if not place.keep_archives:
        (place.notes / download.file).unlink(missing_ok=True)


def get(place: Place, download: Download, *, anew: bool = False) -> None:
    """Bring one file into its place: from the first host that has the right one.

    Complete files are not downloaded again, unless `anew` is set.
    """
    kept, label = place.notes / download.file, f"{place.name}: {download.file}"
    if anew:
        forget(place, download)
        kept.unlink(missing_ok=True)
    elif done(place, download):
        return
    if not kept.is_file():
        _from_hosts(place, download, kept, label)
    settle(place, download, kept)


def settle(place: Place, download: Download, kept: Path, *, own: bool = False) -> None:
    """Unpack a complete file, or give it its place; then record that.

    A file that is the user's `own` copy is left where it is.
    """
    target = place.folder / download.into
    target.mkdir(parents=True, exist_ok=True)
    about = state(place, download.file) or _about(download, kept, str(kept))
    if not archives.is_archive(kept):
        if own:
            with kept.open("rb") as source, complete_or_absent(target / download.file) as file:
                shutil.copyfileobj(source, file)
        else:
            kept.replace(target / download.file)
        _record(place, download, about)
        return
    size, read = kept.stat().st_size, 0
    with Progress(f"unpack {download.file}", size // MB, "MB") as progress:

        def advance(count: int) -> None:
            nonlocal read
            progress.advance((read + count) // MB - read // MB)
            read += count

        try:
            members = archives.unpack(kept, target, advance)
        except NoRoomError:
            raise
        except BenchError:
            if not own:  # its hash must not hold for the right one
                kept.unlink()
                forget(place, download)
            raise
    if members.left_out:
        note(
            f"{place.name}: {len(members.left_out)} members of {kept.name} were skipped, because "
            "they are hidden or have the names of this program's notes: "
            f"{first_few(members.left_out)}"
        )
    unpacked = {"files": members.files, "bytes": members.bytes, "empty": list(members.empty)}
    _record(place, download, about | {"unpacked": unpacked})
    if not (own or place.keep_archives):
        kept.unlink()


def _from_hosts(place: Place, download: Download, kept: Path, label: str) -> None:
    """Download a file from the first host that has the right one."""
    instead = f"give it as `data get {place.name} --from PATH`"
    faults = []
    for stated in hosts(download):
        url = encrypted(stated)
        # A partial file of another host may be of another version, and is not thrown away either.
        mark = hashlib.sha256(url.encode()).hexdigest()[:8]
        part = kept.with_name(f".{kept.name}.{mark}.part")
        try:
            fetch(url, part, download.size_bytes, label, instead)
            about = _accepted(place, download, part, url, label)
        except NoRoomError:
            raise
        except BenchError as error:
            faults.append(str(error))
            continue
        _record(place, download, about)  # before the name: a file there always has its hash
        part.replace(kept)
        for rest in kept.parent.glob(f".{kept.name}.*.part*"):
            rest.unlink()
        return
    if len(faults) == 1:
        raise BenchError(faults[0])
    listed = " ".join(f"({i}) {fault}" for i, fault in enumerate(faults, 1))
    raise BenchError(f"{label}: the download failed at all {len(faults)} addresses: {listed}")


def first_use() -> dict[tuple[str, str], str | None]:
    """Return the committed list of files without a published hash, by data set and file.

    A contributed hash is enforced; without one, that of the first download is enforced on this
    machine.
    """
    return trust.read(ROOT / "datasets" / "first-use.tsv")


def _accepted(place: Place, download: Download, part: Path, url: str, label: str) -> dict[str, Any]:
    """Return what is known of a downloaded file, if its hashes are right; else discard it."""
    about = _about(download, part, url)
    first = state(place, download.file)
    fault = ""
    for key, wanted in (("sha256", download.sha256), ("md5", download.md5)):
        if wanted not in (None, about[key]):
            fault = f"has the {key} {about[key]} instead of {wanted}"
    if None is download.sha256 is download.md5 is download.reported:
        wanted = first_use().get((place.name, download.file))
        if wanted not in (None, about["sha256"]):
            fault = f"has the sha256 {about['sha256']} instead of {wanted} (first-use.tsv)"
        elif wanted is None and not first:
            note(
                f"{label}: no hash of this file is published; its sha256 {about['sha256']} is "
                "trusted on first use. Add it to datasets/first-use.tsv to check later downloads "
                "against it."
            )
    if download.reported not in (None, about["sha256"], about["md5"]):
        fault = (
            f"has sha256 {about['sha256']} and md5 {about['md5']}, but third parties report "
            f"{download.reported}; if it is a newer version, import the file with --from"
        )
    if download.size_bytes not in (None, about["bytes"]):
        fault = f"has {about['bytes']} bytes instead of {download.size_bytes}"
    if not fault and first.get("sha256") not in (None, about["sha256"]):
        fault = (
            f"has the sha256 {about['sha256']} instead of {first['sha256']}, that of its first "
            f"download; to accept the new file, delete {place.notes / download.file}.json and "
            "run this command again"
        )
    if fault:
        discard(part)
        raise BenchError(f"{label}: the file from {url} was deleted: it {fault}.")
    return about


def _about(download: Download, path: Path, source: str) -> dict[str, Any]:
    """Return size and hashes of a file, and whence it came."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
            md5.update(block)
    return {
        "file": download.file,
        "source": source,
        "bytes": path.stat().st_size,
        "sha256": sha256.hexdigest(),
        "md5": md5.hexdigest(),
        "recorded": datetime.now(UTC).isoformat(timespec="seconds"),
        "unpacked": None,
    }


def _record(place: Place, download: Download, about: dict[str, Any]) -> None:
    text = json.dumps(about, indent=1)
    write_bytes(place.notes / f"{download.file}.json", f"{text}\n".encode())
