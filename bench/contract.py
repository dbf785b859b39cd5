"""What a method plug-in must hand over, checked strictly: a wrong key is an error, never ignored.

The contract itself is `bench.types.Method`; each sentence names the plug-in and the key.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, Union

from bench.errors import BenchError, first_few, unknown
from bench.images import resize
from bench.system.hashing import canonical_json
from bench.types import Checkpoint, LocalRule, Method, MethodInfo, Preprocess

WEIGHTS_KEYS = ("source", "licence", "sha256", "training_set", "trained")
FILE_KEYS = ("file", "licence", "training_set")
OPTIONAL_FILE_KEYS = ("url", "hub", "manual", "note", "licence_code", "dim", "size_bytes", "sha256")
HUB = r"[\w.-]+/[\w.-]+(@[0-9a-f]{40})?"
GROUPS = ("place recognition", "landmarks", "generic")


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
    version, dim = method.version, method.dim
    if not isinstance(version, str) or not version:
        raise _wrong(label, "version", version, "a string such as '1'")
    if type(dim) is not int or dim < 1:
        raise _wrong(label, "dim", dim, "a positive int")
    config = _plain_mapping(label, "config", method.config)
    weights = _plain_mapping(label, "weights", method.weights)
    _check_weights(label, weights)
    info = MethodInfo(name, variant, version, dim, config, weights)
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
        raise BenchError(f"{label}: no parameter of its network has requires_grad, so none trains.")
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
    values = _fields(LocalRule, method.local_rule, label, "local_rule")
    for key in ("dim", "stride_px"):
        if key not in values:
            raise BenchError(f"{label}: local_rule has no {key!r}.")
    rule = LocalRule(**values)
    _check_scales(label, "local_rule", rule.scales)
    for key in ("dim", "stride_px", "max_features", "match_distance"):
        if getattr(rule, key) <= 0:
            raise _wrong(label, f"local_rule {key}", getattr(rule, key), "above 0")
    if rule.least_inliers < 0:
        raise _wrong(label, "local_rule least_inliers", rule.least_inliers, "0 or above")
    if not 0 <= rule.inlier_weight < math.inf:
        raise _wrong(label, "local_rule inlier_weight", rule.inlier_weight, "0 or above")
    return rule


def preprocess(given: Any, label: str) -> Preprocess:
    """Return the `Preprocess` of a plug-in's mapping; what is left out keeps its default.

    Lists are taken for tuples and whole numbers for floats; nothing else is converted.
    """
    values = _fields(Preprocess, given, label, "preprocess")
    values |= _exact(values, label)
    rule = dataclasses.replace(Preprocess(), **values)
    if rule.max_side_px is not None and rule.max_side_px < 1:
        raise _wrong(label, "preprocess max_side_px", rule.max_side_px, "at least 1, or None")
    _check_scales(label, "preprocess", rule.scales)
    if min(rule.std) <= 0:
        raise _wrong(label, "preprocess std", rule.std, "three positive numbers")
    if rule.scale_sampling == "scale-factor" and rule.scale_size != "floor":
        raise BenchError(
            f"{label}: preprocess scale_sampling 'scale-factor' always rounds a side down; "
            "say so with scale_size 'floor'."
        )
    if rule.scale_sampling == "opencv" and rule.scale_size != "round":
        raise _wrong(label, "preprocess scale_size of 'opencv'", rule.scale_size, "'round'")
    if not 0 < rule.combine_power <= 100:
        raise _wrong(label, "preprocess combine_power", rule.combine_power, "above 0, at most 100")
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


def _fields(kind: type, given: Any, label: str, name: str) -> dict[str, Any]:
    """Return the fields of a frozen dataclass that a plug-in's mapping gives, types checked."""
    if not isinstance(given, Mapping):
        raise _wrong(label, name, given, "a mapping")
    hints = typing.get_type_hints(kind)
    values = {}
    for key, value in given.items():
        if key not in hints:
            raise BenchError(f"{label}: {unknown(f'{name} key', str(key), hints)}")
        values[key] = _typed(value, hints[key], lambda: f"{label}: {name}", key)
    return values


def _check_scales(label: str, name: str, scales: tuple[float, ...]) -> None:
    if not scales or min(scales) <= 0 or len(set(scales)) < len(scales):
        raise _wrong(label, f"{name} scales", scales, "different positive numbers")


def group(given: Any, name: str) -> str | None:
    """Return the GROUP of a plug-in, one of GROUPS or None."""
    if given is None or given in GROUPS:
        return given  # type: ignore[no-any-return]
    raise _wrong(f"the method {name!r}", "GROUP", given, f"one of {', '.join(GROUPS)}")


def checkpoints(given: Any, name: str, variants: Collection[str]) -> dict[str, Checkpoint]:
    """Return the published files in a plug-in's WEIGHTS, a mapping from variant to facts."""
    label = f"the method {name!r}"
    if not isinstance(given, Mapping):
        raise _wrong(label, "WEIGHTS", given, "a mapping from variant to facts about its file")
    found = {}
    for variant, facts in given.items():
        if variant not in variants:
            raise BenchError(f"{label}: WEIGHTS: {unknown('variant', str(variant), variants)}")
        _check_file(f"{label}: WEIGHTS of {variant}", facts)
        owner = next(other for other in given if _same_file(given[other], facts))
        if not _is_file_name(owner):
            raise _wrong(label, "a variant in WEIGHTS", owner, "usable as the name of a folder")
        found[variant] = Checkpoint(name, variant, owner, **facts)
    return found


def _same_file(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two variants have one file, of which they may keep different dimensions."""
    return {**one, "dim": None} == {**other, "dim": None}


def _check_file(label: str, facts: Any) -> None:
    """Check the facts about one published file."""
    if not isinstance(facts, Mapping):
        raise BenchError(f"{label} is {facts!r}, and should be a mapping.")
    for key, value in facts.items():
        if key not in (*FILE_KEYS, *OPTIONAL_FILE_KEYS):
            kind = unknown("key", str(key), (*FILE_KEYS, *OPTIONAL_FILE_KEYS))
            raise BenchError(f"{label}: {kind}")
        if value is None and key in OPTIONAL_FILE_KEYS:
            continue
        _check_fact(label, key, value)
    for key in FILE_KEYS:
        if key not in facts:
            raise BenchError(f"{label} has no {key!r}; it has {', '.join(FILE_KEYS)}.")
    if not _is_file_name(facts["file"]):
        raise _wrong(label, "file", facts["file"], "a plain file name")
    url = facts.get("url")
    if url is not None and not re.fullmatch(r"https?://[!-~]+", url):
        raise _wrong(label, "url", url, "an address that begins with https:// or http://")
    hub = facts.get("hub")
    if hub is not None and (url is not None or not re.fullmatch(HUB, hub, flags=re.ASCII)):
        raise _wrong(label, "hub", hub, "OWNER/NAME or OWNER/NAME@COMMIT (40 digits), without url")
    if url is None and hub is None and not facts.get("manual"):
        raise BenchError(f"{label} has no 'url', 'hub' or 'manual'; it says where the file is.")


def _check_fact(label: str, key: str, value: Any) -> None:
    """Check the type of one fact about a published file."""
    if key in ("size_bytes", "dim"):
        if type(value) is not int or value < 1:
            raise _wrong(label, key, value, "a positive int")
    elif key == "sha256":
        if not _is_sha256(value):
            raise _wrong(label, key, value, "64 hex digits, or None")
    elif not isinstance(value, str) or not value:
        raise _wrong(label, key, value, "a string")


def _is_file_name(text: str) -> bool:
    """Tell whether `text` names a file or folder everywhere, and no path."""
    return re.fullmatch(r"\w[\w.+-]*", text, flags=re.ASCII) is not None


def _typed(value: Any, hint: Any, where: Callable[[], str], key: str) -> Any:
    """Return `value` if it is what the type hint of a field allows."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value in parts and isinstance(value, str):
            return value
        raise BenchError(f"{where()}: {unknown(f'{key} rule', str(value), parts)}")
    if origin is tuple:
        many = len(parts) == 2 and parts[1] is Ellipsis
        if isinstance(value, list | tuple) and (many or len(value) == len(parts)):
            return tuple(_typed(item, parts[0], where, key) for item in value)
        raise _wrong(where(), key, value, "numbers" if many else f"{len(parts)} numbers")
    if origin in (Union, types.UnionType):  # int | None
        if value is None or type(value) is int:
            return value
        raise _wrong(where(), key, value, "an int or None")
    if hint is str:
        if isinstance(value, str):
            return value
        raise _wrong(where(), key, value, "a string")
    if hint in (int, bool):
        if type(value) is hint:
            return value
        raise _wrong(where(), key, value, "an int" if hint is int else "True or False")
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise _wrong(where(), key, value, "finite numbers")


def _plain_mapping(label: str, key: str, value: Any) -> dict[str, Any]:
    """Return a mapping with string keys that JSON can hold."""
    if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
        raise _wrong(label, key, value, "a mapping with string keys")
    try:
        canonical_json(dict(value))
    except (TypeError, ValueError) as error:
        raise BenchError(
            f"{label}: {key} goes into the record as JSON and cannot: {error}."
        ) from None
    return dict(value)


def _check_weights(label: str, weights: Mapping[str, Any]) -> None:
    """Check the five facts about weights that a report prints."""
    for key in weights:
        if key not in WEIGHTS_KEYS:
            raise BenchError(f"{label}: {unknown('weights key', key, WEIGHTS_KEYS)}")
    for key in WEIGHTS_KEYS:
        if key not in weights:
            raise BenchError(
                f"{label}: weights has no {key!r}; it has {', '.join(WEIGHTS_KEYS)} "
                "('not stated' where a fact is not known)."
            )
        value = weights[key]
        if key == "trained":
            if value is not None and not isinstance(value, bool):
                raise _wrong(
                    label, "weights trained", value, "True, False, or None where nothing is learned"
                )
        elif key == "sha256":
            if value is not None and not _is_sha256(value):
                raise _wrong(label, "weights sha256", value, "64 hex digits, or None")
        elif not isinstance(value, str) or not value:
            raise _wrong(label, f"weights {key}", value, "a string")


def _is_sha256(value: Any) -> bool:
    """Tell whether `value` is a string of 64 lower-case hex digits."""
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _wrong(label: str, key: str, value: Any, allowed: str) -> BenchError:
    """Return the error for a value that is not what it should be."""
    return BenchError(f"{label}: {key} is {value!r}, and should be {allowed}.")
