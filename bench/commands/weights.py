"""The command `weights`: published weights of the methods, and those in the cache.

Weights of another program made into a file for a method: the method knows how, if it can.

A plug-in that can has a function `convert(variant, source, unproven)`, which returns a state and a
mapping of strings that says where it comes from; it refuses what it cannot prove to be right,
unless `unproven`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import methods, plugins, published_weights
from bench.commands.parser import Command, Nothing
from bench.commands.shared import say_error
from bench.errors import BenchError
from bench.option import option, required
from bench.system.paths import write_bytes
from bench.types import Checkpoint


@dataclass(frozen=True, kw_only=True)
class Get:
    """The options of `weights get`."""

    method: tuple[str, ...] = required("a method", metavar="METHOD.VARIANT", positional=True)


@dataclass(frozen=True)
class Verify:
    """The options of `weights verify`."""

    method: tuple[str, ...] = option(
        (), "a method", metavar="METHOD.VARIANT", positional=True, many="any"
    )


@dataclass(frozen=True, kw_only=True)
class Convert:
    """The options of `weights convert`."""

    method: str = required("the method that will use the file", metavar="NAME.VARIANT")
    source: Path = required("the folder of a SavedModel, or a checkpoint", metavar="PATH")
    output: Path = required("a .safetensors", metavar="FILE")
    unproven: bool = option(
        False,
        "also convert a checkpoint without a graph, which cannot be verified; every "
        "record will state it",
    )


def convert(method: str, source: Path, output: Path, unproven: bool = False) -> Path:
    """Write `output`, a safetensors file for the method "name.variant", from a foreign model.

    The file appears complete or not at all, and replaces one that is there.
    """
    from safetensors.torch import save

    chosen = plugins.resolve(methods.KIND, method)
    module, name, variant = chosen.module, chosen.name, chosen.variant
    if not callable(getattr(module, "convert", None)):
        raise BenchError(
            f"the method {name} reads its published weights directly; convert is not needed."
        )
    if variant is None:
        raise BenchError(f"name the variant that the file is for: --method {name}.VARIANT.")
    if output.suffix != ".safetensors":
        raise BenchError(f"{output} must be a safetensors file; use the suffix .safetensors.")
    try:
        state, origin = module.convert(variant, source, unproven)
    except BenchError:
        raise
    except Exception as error:
        reason = plugins.fault(error, module.__file__)
        raise BenchError(f"{source} cannot be converted for {method}: {reason}.") from error
    write_bytes(output, save(state, origin))
    return output


SPOKEN = {
    "ok": "ok",
    "changed": "CHANGED: differs from the downloaded file",
    "unknown": "no hash recorded; `weights get` records it",
    "missing": "missing",
}


def show() -> int:
    """Print every published file with its facts; a broken plug-in harms no other."""
    for entry in methods.entries():
        if entry.error is not None:
            print(f"{entry.name}: {entry.error}")
        for file in entry.files.values():
            print("\n".join(_description(file)))
    return 0


def get(asked: Sequence[str]) -> int:
    """Get the files of these methods and print where they are; return the exit status."""
    failed = 0
    for text in asked:
        try:
            print(published_weights.get(methods.published(text)), flush=True)
        except BenchError as error:
            failed = say_error(error)
    return failed


def verify(asked: Sequence[str]) -> int:
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
            failed = say_error(error)
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
        "from": published_weights.source_of(file),
        "manual download": file.manual,
        "note": file.note,
        "licence": file.licence,
        "licence of the program": file.licence_code,
        "training set": file.training_set,
        "sha256": f"{recorded}, {basis}" if recorded else sidecar or "not published",
        "in the cache": str(path) if path.is_file() else "no",
    }
    head = f"{file.method}.{file.variant}"
    return [head, *(f"  {key}: {text}" for key, text in facts.items() if text)]


def _converted(args: Convert) -> int:
    print(convert(args.method, args.source, args.output, args.unproven))
    return 0


ACTIONS: dict[str, Command[Any]] = {
    "list": Command(
        Nothing,
        lambda _: show(),
        "List published weights: source, licence, training set, files on this machine.",
    ),
    "get": Command(
        Get, lambda args: get(args.method), "Download published weights into the cache."
    ),
    "verify": Command(
        Verify,
        lambda args: verify(args.method),
        "Compare the weights in the cache with their hashes (default: all).",
    ),
    "convert": Command(
        Convert,
        _converted,
        "Convert a TensorFlow model for a method, and verify that the descriptors agree.",
    ),
}
