"""Options that Python names, checked as the parser checks those of the command line."""

from __future__ import annotations

import argparse
import types
from typing import Any, Literal, Union, get_args, get_origin

from bench.errors import BenchError, in_a_line
from bench.option import KEY
from bench.pipeline.options import Options


def checked(options: dict[str, Any], known: dict[str, Any], of: Any = Options) -> dict[str, Any]:
    """Return options by name; refuse names that are not known, and values of another type.

    `of` is the dataclass whose fields declare them.
    """
    fields, out = of.__dataclass_fields__, {}
    for name, value in options.items():
        if name not in known:
            raise BenchError(
                f"{name!r} is not an option; the options are {', '.join(sorted(known))}."
            )
        kind = known[name]
        if get_origin(kind) is tuple:
            value = (value,) if isinstance(value, str) else value
            value = tuple(value) if isinstance(value, list) else value
        fits = _fits(value, kind)
        parse = (
            getattr(fields[name].metadata.get(KEY), "parse", None)
            if name in fields and type(value) is int
            else None
        )
        if fits and parse is not None:
            try:
                parse(str(value))
            except (ValueError, argparse.ArgumentTypeError):
                fits = False
        if not fits:
            allowed = " or ".join(map(repr, get_args(kind))) if _is_literal(kind) else kind
            allowed = getattr(allowed, "__name__", allowed) if isinstance(kind, type) else allowed
            text = in_a_line(value)
            raise BenchError(f"the option {name}={text} is invalid; it must be {allowed}.")
        out[name] = value
    return out


def _is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _fits(value: Any, kind: Any) -> bool:
    """Tell whether a value is of the type of an option."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Literal:
        return isinstance(value, str) and value in inside
    if origin in (Union, types.UnionType):
        return any(_fits(value, inner) for inner in inside)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(inner, inside[0]) for inner in value)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
