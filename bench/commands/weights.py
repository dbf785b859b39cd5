"""The command `weights`: what was published for the methods, and what of it is in the cache.

Weights of another program made into a file for a method: the method knows how, if it can.

A plug-in that can has a function `convert(variant, source, unproven)`, which returns a state and a
mapping of strings that says where it comes from; it refuses what it cannot prove to be right,
unless `unproven`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from bench import methods, plugins, published_weights
from bench.errors import BenchError
from bench.system.paths import write_bytes
from bench.types import Checkpoint


def convert(method: str, source: Path, output: Path, unproven: bool = False) -> Path:
    """Write `output`, a safetensors file for the method "name.variant", from a foreign model.

    The file appears complete or not at all, and replaces one that is there.
    """
    from safetensors.torch import save

    name, variant = methods.split(method)
    module = plugins.import_one(methods.KIND, name)
    if not callable(getattr(module, "convert", None)):
        raise BenchError(f"the method {name} takes its weights as they are; nothing is converted.")
    if variant is None:
        raise BenchError(f"say which variant the file is for: --method {name}.VARIANT.")
    if output.suffix != ".safetensors":
        raise BenchError(f"{output} is to be a safetensors file; give it that suffix.")
    try:
        state, said = module.convert(variant, source, unproven)
    except BenchError:
        raise
    except Exception as error:
        reason = plugins.fault(error, module.__file__)
        raise BenchError(f"{source} cannot be converted for {method}: {reason}.") from error
    write_bytes(output, save(state, said))
    return output


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
            print(published_weights.get(methods.published(text)), flush=True)
        except BenchError as error:
            failed = say(error)
    return failed


def verify(asked: Sequence[str], say: Say) -> int:
    """Print the state of these methods' files, or of all in the cache; return the exit status."""
    named = asked or [
        f"{file.method}.{file.variant}"
        for entry in methods.entries()
        for file in entry.files.values()
        if file.variant == file.owner and published_weights.touched(file)
    ]
    failed = 0
    for text in named:
        try:
            found = published_weights.state(methods.published(text))
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
    path, sidecar = published_weights.path_of(file), ""
    try:
        recorded = published_weights.expected_sha256(file)
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
