"""The command `weights`: what was published for the methods, and what of it is in the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench import checkpoints, methods
from bench.errors import BenchError
from bench.types import Checkpoint

SPOKEN = {
    "ok": "ok",
    "changed": "CHANGED: not the bytes that were downloaded",
    "unknown": "no hash recorded; `weights get` records it",
    "missing": "missing",
}
Say = Callable[[BenchError], int]


def show() -> int:
    """Print every published file with its facts; a broken plug-in harms no other."""
    for entry in methods.entries():
        if entry.error is not None:
            print(f"{entry.name}: {entry.error}")
        for file in entry.files.values():
            print("\n".join(_description(file)))
    return 0


def get(asked: Sequence[str], say: Say) -> int:
    """Get the files of these methods and print where they lie; return the exit status."""
    failed = 0
    for text in asked:
        try:
            print(checkpoints.get(methods.published(text)), flush=True)
        except BenchError as error:
            failed = say(error)
    return failed


def verify(asked: Sequence[str], say: Say) -> int:
    """Print the state of these methods' files, or of all in the cache; return the exit status."""
    named = asked or [
        f"{file.method}.{file.variant}"
        for entry in methods.entries()
        for file in entry.files.values()
        if file.variant == file.owner and checkpoints.touched(file)
    ]
    failed = 0
    for text in named:
        try:
            found = checkpoints.state(methods.published(text))
        except BenchError as error:
            failed = say(error)
            continue
        print(f"{text}: {SPOKEN[found]}")
        failed = failed or int(found != "ok")
    if not named:
        print("no weights are in the cache")
    return failed


def _description(file: Checkpoint) -> list[str]:
    """Return what is known of a published file, in lines."""
    path, sidecar = checkpoints.path_of(file), ""
    try:
        recorded = checkpoints.expected_sha256(file)
    except BenchError as error:
        recorded, sidecar = None, str(error)
    basis = "as published" if file.sha256 else "of the first download"
    facts = {
        "file": file.file + (f", {file.size_bytes} bytes" if file.size_bytes else ""),
        "from": file.url,
        "by hand": file.manual,
        "note": file.note,
        "licence": file.licence,
        "training set": file.training_set,
        "sha256": f"{recorded}, {basis}" if recorded else sidecar or "not published",
        "in the cache": str(path) if path.is_file() else "no",
    }
    head = f"{file.method}.{file.variant}"
    return [head, *(f"  {key}: {text}" for key, text in facts.items() if text)]
