"""Methods: one file each in the folder `methods/`, found by listing it.

A plug-in is a module with a docstring (its first line describes it), `VARIANTS` (a mapping from
variant to one line; the first is the default; the key "*" says that other variants are passed on to
`load`, which judges them) and `load(variant, weights, device)`, which returns an object like
`bench.types.Method`. It need not import this package. It may have `WEIGHTS`, a mapping from variant
to the facts about a published file (the fields of `bench.types.Checkpoint`); such a variant gets
the path of that file in the cache as its `weights` where the user names none. It may have
`check(variant, weights)`, which refuses what `load` would, without importing torch. `GROUP`, one of
`bench.contract.GROUPS`, says under which heading `list` shows the method.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from bench import contract, plugins, published_weights
from bench.errors import BenchError, unknown
from bench.root import ROOT
from bench.types import Checkpoint, LocalRule, Method, MethodInfo, Preprocess, Trainable

__path__ = [str(ROOT / "methods")]

KIND = plugins.Kind("method", ROOT / "methods", "bench.methods", "retrieval_bench.methods")
ANY = "*"
split = plugins.split


@dataclass(frozen=True)
class Entry:
    """One method of a listing: its variants with a line each, or why it does not work.

    `files` has the published file of each variant that needs one; `group` is None where the plug-in
    names none.
    """

    name: str
    description: str
    variants: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Checkpoint] = field(default_factory=dict)
    error: str | None = None
    group: str | None = None


def names() -> list[str]:
    """Return the names of all methods, sorted, without importing any."""
    return list(plugins.find(KIND))


def entries() -> list[Entry]:
    """Import every method and return its line of the listing; a broken one harms no other."""
    lines = []
    for line in plugins.summaries(KIND):
        entry = Entry(line.name, line.description, error=line.error)
        if line.module is not None:
            try:
                variants = _variants(line.module, line.name)
                files = _files(line.module, line.name, variants)
                group = contract.group(getattr(line.module, "GROUP", None), line.name)
                entry = replace(entry, variants=variants, files=files, group=group)
            except BenchError as fault:
                entry = replace(entry, error=str(fault))
        lines.append(entry)
    return lines


def load(
    text: str, weights: str | None = None, device: str = "cpu"
) -> tuple[MethodInfo, Method, Preprocess]:
    """Load the method "name", "name.variant" or "file.py:variant", and check its contract.

    `weights` is None for the variant's own weights, or what the plug-in documents (a path).
    """
    module, name, variant, _ = _find(text)
    try:
        method = module.load(variant, weights_of(text, weights), device)
    except BenchError:
        raise
    except Exception as error:
        reason = plugins.fault(error, module.__file__)
        raise BenchError(f"the method {name}.{variant} cannot be loaded: {reason}.") from error
    info, rule = contract.check(method, name, variant)
    return info, cast(Method, method), rule


def known(name: str, variant: str) -> str:
    """Return "name.variant" of a method that data state; refuse a path or an unknown name."""
    text = plugins.known(KIND, f"{name}.{variant}")
    if split(text) != (name, variant):
        raise BenchError(
            f"{name!r} and {variant!r} cannot be the name and variant of a method; use letters, "
            "digits, '.', '_' and '-'."
        )
    return text


def weights_of(text: str, weights: str | None) -> str | None:
    """Return what `load` of a method is given: `weights`, or the variant's published file."""
    _, _, variant, files = _find(text)
    if weights is None and variant in files:
        return str(published_weights.usable(files[variant], text))
    return weights


def check(text: str, weights: str | None = None) -> None:
    """Refuse what is not known or not here of a method named as for `load`; nothing is built."""
    module, name, variant, _ = _find(text)
    weights = weights_of(text, weights)
    judge = getattr(module, "check", None)
    if not callable(judge):
        return
    try:
        judge(variant, weights)
    except BenchError:
        raise
    except Exception as error:
        reason = plugins.fault(error, module.__file__)
        raise BenchError(f"the method {name}.{variant} cannot be checked: {reason}.") from error


def checkpoint_of(text: str) -> Checkpoint | None:
    """Return the published file of a method, named as for `load`; None: it needs none."""
    _, _, variant, files = _find(text)
    return files.get(variant)


def file_of(text: str) -> Path:
    """Return the file that a method's module was read from."""
    return Path(str(_find(text)[0].__file__))


def full_name(text: str) -> str:
    """Return "name.variant" of the method named as for `load`."""
    _, name, variant, _ = _find(text)
    return f"{name}.{variant}"


def trainable(
    text: str, classes: int, options: Mapping[str, Any], device: str
) -> tuple[Trainable, Preprocess]:
    """Return what trains, and its pixels, of the method named as for `load`."""
    module, name, variant, _ = _find(text)
    make = getattr(module, "trainable", None)
    if not callable(make):
        raise BenchError(
            f"the method {name} cannot be trained: it has no function `trainable(variant, classes, "
            "options, device)` (see Trainable in bench/types.py)."
        )
    try:
        made = make(variant, classes, options, device)
    except BenchError:
        raise
    except Exception as error:
        reason = plugins.fault(error, module.__file__)
        raise BenchError(f"the method {name}.{variant} cannot be trained: {reason}.") from error
    rule = contract.trainable(made, f"the trainable {name}.{variant}")
    return cast(Trainable, made), rule


def published(text: str) -> Checkpoint:
    """Return the published file of a method, named as for `load`; refuse one that has none."""
    _, name, variant, files = _find(text)
    if variant not in files:
        those = ", ".join(f"{name}.{v}" for v in files) or "none"
        raise BenchError(
            f"{name}.{variant} needs no published file; variants of {name} that do: {those}."
        )
    return files[variant]


def _find(text: str) -> tuple[ModuleType, str, str, dict[str, Checkpoint]]:
    """Return the module, name, variant and published files of what `text` names."""
    chosen = plugins.resolve(KIND, text)
    module, name, variant = chosen.module, chosen.name, chosen.variant
    variants = _variants(module, name)
    named = [v for v in variants if v != ANY]
    if variant is None:
        variant = named[0]
    elif variant not in named and ANY not in variants:
        raise unknown(f"variant of {name}", variant, named)
    return module, name, variant, _files(module, name, variants)


def _files(module: ModuleType, name: str, variants: Mapping[str, str]) -> dict[str, Checkpoint]:
    """Return the published files of a plug-in, by variant; most have none."""
    named = [variant for variant in variants if variant != ANY]
    return contract.checkpoints(getattr(module, "WEIGHTS", {}), name, named)


def local_of(method: Method, info: MethodInfo) -> LocalRule:
    """Return the rule of a method's local features, or refuse one that offers none."""
    rule = contract.local_rule(method, f"the method {info.name}.{info.variant}")
    if rule is None:
        raise BenchError(
            f"the method {info.name}.{info.variant} has no local features, so its lists cannot "
            "be re-ranked; remove --rerank, or choose a method with local features (see "
            "methods/README.md)."
        )
    return rule


def _variants(module: ModuleType, name: str) -> dict[str, str]:
    """Return the variants of a plug-in; check that it has the two names a plug-in must have."""
    variants = getattr(module, "VARIANTS", None)
    if variants is None:
        raise BenchError(
            f"the method {name!r} lacks VARIANTS: a mapping from the name of a variant to a line "
            "that describes it, the default first."
        )
    contract.stated(contract.Variants, variants, f"the method {name!r}", "VARIANTS")
    if not any(variant != ANY for variant in variants):
        raise BenchError(f"the method {name!r} has an empty VARIANTS; name at least one variant.")
    if not callable(getattr(module, "load", None)):
        raise BenchError(f"the method {name!r} lacks a function load(variant, weights, device).")
    return dict(variants)
