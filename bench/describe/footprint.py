"""What a method weighs: the networks that it holds, and their parameters."""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping
from typing import Any

from torch import nn

DEEPEST = 4  # steps from a method to its network: describe, its closure, an object, a field


def networks(method: Any) -> list[nn.Module]:
    """Return the networks that a method holds on to; empty: there is none, or it is out of sight.

    Its fields, `network` among them, and what its function `describe` is bound to or closes over
    are looked through, not deeply.
    """
    found: dict[int, nn.Module] = {}
    seen: set[int] = set()
    for name in ("network", "describe"):
        _look(getattr(method, name, None), found, seen, 0)
    _look(method, found, seen, 0)
    return list(found.values())


def _look(thing: Any, found: dict[int, nn.Module], seen: set[int], depth: int) -> None:
    if isinstance(thing, nn.Module):
        found[id(thing)] = thing
        return
    if depth > DEEPEST or id(thing) in seen:
        return
    seen.add(id(thing))
    for held in _held_by(thing):
        _look(held, found, seen, depth + 1)


def _held_by(thing: Any) -> list[Any]:
    """Return what an object of a plug-in holds; libraries and plain values are not looked into."""
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if isinstance(thing, types.MethodType):
        return [thing.__self__]
    if isinstance(thing, types.FunctionType):
        return [cell.cell_contents for cell in thing.__closure__ or () if _is_filled(cell)]
    if isinstance(thing, Mapping):
        return list(thing.values())
    if isinstance(thing, list | tuple):
        return list(thing)
    kind = type(thing)
    foreign = kind.__module__.partition(".")[0] in ("torch", "numpy", "builtins")
    if foreign or isinstance(thing, type | types.ModuleType):
        return []
    slots = [name for base in kind.__mro__ for name in getattr(base, "__slots__", ())]
    fields = [getattr(thing, name, None) for name in slots]
    return [*getattr(thing, "__dict__", {}).values(), *fields]


def _is_filled(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def parameters(method: Any) -> dict[str, int | None]:
    """Return the number of parameters and their bytes; both None where no network is in sight.

    A parameter that is used twice counts once. Buffers, the statistics of batch normalisation for
    instance, are no parameters; what only local features need is counted.
    """
    held = {id(p): p for network in networks(method) for p in network.parameters()}
    if not held:
        return {"parameters": None, "parameter_bytes": None}
    return {
        "parameters": sum(p.numel() for p in held.values()),
        "parameter_bytes": sum(p.numel() * p.element_size() for p in held.values()),
    }
