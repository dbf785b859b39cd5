"""What a plug-in must hand over, checked strictly: a wrong key is an error, never ignored.

The contract itself is `bench.types.Method`; each sentence names the plug-in, the key and its value.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Collection, Mapping
from typing import Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from bench.errors import BenchError, first_few, unknown
from bench.images import resize
from bench.system import typed
from bench.system.hashing import canonical_json
from bench.system.typed import CLOSED, Sha256, Text
from bench.types import AtLeast1, Checkpoint, LocalRule, Method, MethodInfo, Preprocess

GROUPS = ("place recognition", "landmarks", "generic")
FOLDER = r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$"  # names a file or folder everywhere, without a path


class Weights(TypedDict):
    """Facts about weights that a report prints; "not stated" where one is not known."""

    source: Text
    licence: Text
    sha256: Sha256 | None
    training_set: Text
    trained: Annotated[bool | None, Field(title="true, false, or null where nothing is learned")]


@CLOSED
class Stated(TypedDict):
    """Facts that a method states."""

    version: Annotated[Text, Field(title="a string such as '1'")]
    dim: AtLeast1
    config: dict[str, Any]
    weights: Weights


@CLOSED
class File(TypedDict):
    """Facts about one published file: those of `bench.types.Checkpoint`."""

    file: Annotated[str, Field(pattern=FOLDER, title="a plain file name")]
    licence: Text
    training_set: Text
    url: NotRequired[
        Annotated[
            Annotated[str, Field(pattern="^https?://[!-~]+$")] | None,
            Field(title="an address that begins with https:// or http://"),
        ]
    ]
    hub: NotRequired[
        Annotated[
            Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+(@[0-9a-f]{40})?$")]
            | None,
            Field(title="OWNER/NAME or OWNER/NAME@COMMIT (40 digits)"),
        ]
    ]
    manual: NotRequired[Text | None]
    note: NotRequired[Text | None]
    licence_code: NotRequired[Text | None]
    dim: NotRequired[AtLeast1 | None]
    size_bytes: NotRequired[AtLeast1 | None]
    sha256: NotRequired[Sha256 | None]


Files = dict[Annotated[str, Field(pattern=FOLDER, title="the name of a folder")], File]
Variants = dict[Text, Text]


def stated(kind: Any, value: Any, label: str, at: str = "") -> Any:
    """Return what a plug-in states at a place, as pydantic makes it; `label` begins errors.

    Lists are taken for tuples and whole numbers for floats; nothing else is converted.
    """
    made, fault = typed.checked(kind, typed.plain(value), at)
    if fault:
        raise BenchError(f"{label}: {fault}.")
    return made


def check(method: Any, name: str, variant: str) -> tuple[MethodInfo, Preprocess]:
    """Return what the record keeps of `method`, and its preprocessing, or say what is wrong."""
    label = f"the method {name}.{variant}"
    for key in typing.get_type_hints(Method):
        if not hasattr(method, key):
            raise BenchError(
                f"{label} has no attribute {key!r}; a method has version, config, weights, dim, "
                "preprocess and describe (see Method in bench/types.py)."
            )
    if not callable(getattr(method, "describe", None)):
        raise BenchError(f"{label} has no function `describe(batch)`.")
    stated(Stated, {key: getattr(method, key) for key in typing.get_type_hints(Stated)}, label)
    config = dict(method.config)
    try:
        canonical_json(config)
    except (TypeError, ValueError) as error:
        raise BenchError(
            f"{label}: config must be JSON, because records contain it: {error}."
        ) from None
    info = MethodInfo(name, variant, method.version, method.dim, config, dict(method.weights))
    local_rule(method, label)
    _check_network(method, label)
    return info, preprocess(method.preprocess, label)


def trainable(made: Any, label: str) -> Preprocess:
    """Return the pixels that what a plug-in's `trainable` returned asks for, or say what is wrong.

    The contract is `bench.types.Trainable`.
    """
    for key in ("network", "preprocess", "losses", "weights"):
        if not hasattr(made, key):
            raise BenchError(f"{label} has no {key!r} (see Trainable in bench/types.py).")
    if not callable(getattr(made.network, "named_parameters", None)):
        raise _wrong(label, "network", type(made.network).__name__, "a torch module")
    if not any(parameter.requires_grad for parameter in made.network.parameters()):
        raise BenchError(
            f"{label}: no parameter of its network has requires_grad, so nothing can be trained; "
            "set it on the parameters to train."
        )
    return preprocess(made.preprocess, label)


def _check_network(method: Any, label: str) -> None:
    """Refuse a `network` that is not a torch module ready to answer."""
    network = getattr(method, "network", None)
    if network is None:
        return
    if not callable(getattr(network, "named_modules", None)):
        raise _wrong(label, "network", type(network).__name__, "a torch module (torch.nn.Module)")
    training = [name or "itself" for name, part in network.named_modules() if part.training]
    if training:
        raise BenchError(
            f"{label}: its network is in training mode ({first_few(training)}); call .eval()."
        )


def local_rule(method: Any, label: str) -> LocalRule | None:
    """Return the rule of a method's local features, or None where it offers none."""
    has = [hasattr(method, key) for key in ("local", "local_rule")]
    if not any(has):
        return None
    if not all(has) or not callable(method.local):
        raise BenchError(
            f"{label} must have both local_rule and a function `local(batch)`, or neither "
            "(see LocalMethod in bench/types.py)."
        )
    kind = typed.mapping_of(LocalRule)
    rule = LocalRule(**stated(kind, method.local_rule, label, "local_rule"))
    _check_scales(label, "local_rule", rule.scales)
    return rule


def preprocess(attribute: Any, label: str) -> Preprocess:
    """Return the `Preprocess` of a plug-in's mapping; what is left out keeps its default."""
    values = stated(typed.mapping_of(Preprocess), attribute, label, "preprocess")
    values |= _exact(values, label)
    rule = dataclasses.replace(Preprocess(), **values)
    _check_scales(label, "preprocess", rule.scales)
    if rule.scale_sampling == "scale-factor" and rule.scale_size != "floor":
        raise BenchError(
            f"{label}: preprocess scale_sampling 'scale-factor' always rounds a side down; set "
            "scale_size to 'floor'."
        )
    if rule.scale_sampling == "opencv" and rule.scale_size != "round":
        raise _wrong(label, "preprocess scale_size of 'opencv'", rule.scale_size, "'round'")
    if rule.combine_power != 1.0 and rule.combine != "power-mean":
        raise _wrong(label, "preprocess combine_power", rule.combine_power, "1 without power-mean")
    return rule


def _exact(values: Mapping[str, Any], label: str) -> dict[str, Any]:
    """Return what a rule of one exact size leaves no choice in; check the rule."""
    if "resize" not in values:
        return {}
    try:
        rule = resize.canonical(values["resize"])
    except BenchError as error:
        raise BenchError(f"{label}: preprocess resize: {error}") from None
    if not resize.is_exact(rule):
        return {"resize": rule}
    for key, only in (("max_side_px", None), ("query_cap", "own")):
        if values.get(key, only) != only:
            raise _wrong(
                label, f"preprocess {key} of the exact size {rule}", values[key], repr(only)
            )
    return {"resize": rule, "max_side_px": None, "query_cap": "own"}


def _check_scales(label: str, name: str, scales: tuple[float, ...]) -> None:
    if len(set(scales)) < len(scales):
        raise _wrong(label, f"{name} scales", scales, "different positive numbers")


def group(attribute: Any, name: str) -> str | None:
    """Return the GROUP of a plug-in, one of GROUPS or None."""
    if attribute is None or attribute in GROUPS:
        return attribute  # type: ignore[no-any-return]
    raise _wrong(f"the method {name!r}", "GROUP", attribute, f"one of {', '.join(GROUPS)}")


def checkpoints(attribute: Any, name: str, variants: Collection[str]) -> dict[str, Checkpoint]:
    """Return the published files in a plug-in's WEIGHTS, a mapping from variant to facts."""
    label = f"the method {name!r}"
    stated(Files, attribute, label, "WEIGHTS")
    found = {}
    for variant, facts in attribute.items():
        if variant not in variants:
            raise BenchError(f"{label}: WEIGHTS: {unknown('variant', variant, variants)}")
        places = [key for key in ("url", "hub", "manual") if facts.get(key)]
        if not places or {"url", "hub"} <= {*places}:
            raise BenchError(
                f"{label}: WEIGHTS.{variant} has {' and '.join(places) or 'no place'}; it needs "
                "'url', 'hub' or 'manual', and 'hub' without 'url'."
            )
        owner = next(other for other in attribute if _same_file(attribute[other], facts))
        found[variant] = Checkpoint(name, variant, owner, **facts)
    return found


def _same_file(first: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two variants have one file, of which they may keep different dimensions."""
    return {**first, "dim": None} == {**other, "dim": None}


def _wrong(label: str, key: str, value: Any, allowed: str) -> BenchError:
    """Return the error for a value that is not what it should be."""
    return BenchError(f"{label}: {key} is {value!r} instead of {allowed}.")
