"""Published weights in the cache: `<cache>/weights/<method>/<variant>/<file>`.

A file appears there whole, after its hash was compared. Most files have no published hash; they are
listed in `methods/first-use.tsv`, where contributed hashes are enforced for all users. Until then
the hash of the first download is kept beside the file, in `<file>.json`, and holds: a later
download, and every use of the file, must have the same bytes. A file of huggingface.co is fetched
at a commit: the one that the plug-in names, or the newest at the first download, which is kept
likewise.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from bench.errors import BenchError
from bench.root import ROOT
from bench.system import hub, reading, trust
from bench.system.notes import note
from bench.system.paths import cache_root, write_bytes
from bench.types import Checkpoint

State = Literal["ok", "changed", "unknown", "missing"]
FIRST_USE = ROOT / "methods" / "first-use.tsv"
MOST_BYTES = 16 * 10**9  # of a file of unknown size


def path_of(checkpoint: Checkpoint) -> Path:
    """Return where the file of a checkpoint is, or would be, in the cache."""
    return cache_root() / "weights" / checkpoint.method / checkpoint.owner / checkpoint.file


def state(checkpoint: Checkpoint) -> State:
    """Compare every byte of the file with its hash; "unknown" is a file without one."""
    path = path_of(checkpoint)
    if not path.is_file():
        return "missing"
    expected = expected_sha256(checkpoint)
    if expected is None:
        return "unknown"
    return "ok" if _sha256(path) == expected else "changed"


def usable(checkpoint: Checkpoint, asked: str) -> Path:
    """Return the file for a run; `asked` is how the user named the method in the command."""
    path, found = path_of(checkpoint), state(checkpoint)
    if found == "ok":
        return path
    command = f"`python -m bench weights get {shlex.quote(asked)}`"
    if found == "changed":
        raise BenchError(_changed(path))
    if found == "unknown":
        raise BenchError(f"{path} has no recorded hash yet; {command} records it.")
    label = f"{checkpoint.method}.{checkpoint.variant}"
    source = source_of(checkpoint)
    if source is None:
        how = (
            "it cannot be downloaded by a program: download it in a browser from "
            f"{checkpoint.manual},"
        )
    else:
        how = f"{command} downloads it from {source}; or download it elsewhere"
    raise BenchError(
        f"{label} needs the published file {checkpoint.file}, which is not in the cache: {how} and "
        "give --weights PATH."
    )


def get(checkpoint: Checkpoint) -> Path:
    """Download the file of a checkpoint if it is not in the cache, and return its path.

    A file that a person has put there is taken, and its hash recorded. One process at a time
    works on a file; a second one waits, and finds it there.
    """
    from filelock import FileLock, Timeout

    from bench.system import download

    path, label = path_of(checkpoint), f"{checkpoint.method}.{checkpoint.variant}"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        note(f"{label}: another process is downloading it; waiting for that process")
        lock.acquire()
    try:
        if path.is_file():
            return _kept(checkpoint, path, label)
        if source_of(checkpoint) is None:
            raise BenchError(
                f"{label}: this file cannot be downloaded by a program; download it in a browser "
                f"from {checkpoint.manual}, save it as {path} and run the same command again, or "
                "give --weights PATH."
            )
        part = path.with_name(f".{path.name}.part")
        commit = None
        url = str(checkpoint.url)
        if checkpoint.hub is not None:
            commit = _recorded(checkpoint).get("commit") or hub.commit_of(checkpoint.hub, label)
            url = hub.address(checkpoint.hub, checkpoint.file, commit)
        url = download.encrypted(url)
        download.fetch(url, part, checkpoint.size_bytes, label, most_bytes=MOST_BYTES)
        _accept(checkpoint, part, path, label, url, commit)
        return path
    finally:
        lock.release()


def source_of(checkpoint: Checkpoint) -> str | None:
    """Return the address that a file is downloaded from, or of the page that has it; else None."""
    return checkpoint.url if checkpoint.hub is None else hub.page(checkpoint.hub)


def expected_sha256(checkpoint: Checkpoint) -> str | None:
    """Return the published hash of a file, a contributed one, that of its first download, or None.

    Contributed hashes are in `methods/first-use.tsv`.
    """
    if checkpoint.sha256 is not None:
        return checkpoint.sha256
    return contributed(checkpoint) or _recorded(checkpoint).get("sha256")


def first_use() -> dict[tuple[str, str], str | None]:
    """Return the committed list of files without a published hash, by METHOD.VARIANT and file.

    Several variants may have one file, which is listed under its owner. Without a contributed hash,
    that of the first download is enforced on this machine.
    """
    return trust.read(FIRST_USE)


def contributed(checkpoint: Checkpoint) -> str | None:
    """Return the contributed hash of a file, or None."""
    return first_use().get((f"{checkpoint.method}.{checkpoint.owner}", checkpoint.file))


def _recorded(checkpoint: Checkpoint) -> dict[str, str]:
    """Return what was recorded of a file's first download; {} before it."""
    sidecar = _sidecar(path_of(checkpoint))
    try:
        content = reading.json_file(sidecar)
        return {
            key: str(content[key])
            for key in ("sha256", "commit")
            if key in content or key[0] == "s"
        }
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError):
        raise BenchError(
            f"{sidecar} is damaged; delete it to have the hash recorded again."
        ) from None


def touched(checkpoint: Checkpoint) -> bool:
    """Tell whether the file is in the cache, or was once."""
    path = path_of(checkpoint)
    return path.exists() or _sidecar(path).exists()


def _kept(checkpoint: Checkpoint, path: Path, label: str) -> Path:
    """Return the file that is already there, if it is right; record the hash of a new one."""
    from bench.images import inspect

    found = state(checkpoint)
    if found == "changed":
        raise BenchError(_changed(path))
    if found == "unknown":
        size = path.stat().st_size
        if inspect.is_web_page(path):
            fault = "is a web page instead of the file"
        elif checkpoint.size_bytes not in (None, size):
            fault = f"has {size} bytes instead of {checkpoint.size_bytes}"
        else:
            _record(checkpoint, path, _sha256(path), size)
            return path
        raise BenchError(f"{label}: {path} {fault}; delete it, and save the right file there.")
    return path


def _accept(
    checkpoint: Checkpoint, part: Path, path: Path, label: str, url: str, commit: str | None
) -> None:
    """Give a file downloaded from `url` its name, if its size and hash are right."""
    from bench.system import download

    found, expected, size = _sha256(part), expected_sha256(checkpoint), part.stat().st_size
    fault = ""
    if checkpoint.size_bytes not in (None, size):
        fault = f"has {size} bytes instead of {checkpoint.size_bytes}"
    elif expected not in (None, found):
        fault = f"has the sha256 {found} instead of {expected}"
        if checkpoint.sha256 is None and contributed(checkpoint) is not None:
            fault += " (methods/first-use.tsv)"
        elif checkpoint.sha256 is None:
            fault += (
                f", that of its first download; to accept the new file, delete {_sidecar(path)} "
                "and run the same command again"
            )
    if fault:
        download.discard(part)
        raise BenchError(f"{label}: the file from {url} was deleted: it {fault}.")
    if expected is None and (f"{checkpoint.method}.{checkpoint.owner}", path.name) in first_use():
        note(
            f"{label}: no hash of this file is published; its sha256 {found} is trusted on first "
            "use. Add it to methods/first-use.tsv to check later downloads against it."
        )
    _record(
        checkpoint, path, found, size, url, commit
    )  # before the name: a file there always has its hash
    part.replace(path)
    download.discard(part)


def _record(
    checkpoint: Checkpoint,
    path: Path,
    sha256: str,
    size: int,
    url: str | None = None,
    commit: str | None = None,
) -> None:
    """Write the hash of a file beside it."""
    about = {
        "file": path.name,
        "source": url or source_of(checkpoint) or checkpoint.manual,
        "bytes": size,
        "sha256": sha256,
        **({} if commit is None else {"commit": commit}),
        "recorded": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_bytes(_sidecar(path), f"{json.dumps(about, indent=1)}\n".encode())


def _changed(path: Path) -> str:
    return (
        f"{path} differs from the downloaded file: its hash has changed; delete it and run "
        "`python -m bench weights get` for it again."
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
