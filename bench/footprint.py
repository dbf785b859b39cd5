"""What a method weighs: its parameters, and the floating-point operations of an image."""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

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


def _fused(*shapes: Any, out_shape: Any = None, **named: Any) -> int:
    """Count a convolution that oneDNN does together with what follows it, as a convolution.

    Of the tensors of four axes that the operation gets the kernel is the last.
    """
    kernel = [shape for shape in shapes if isinstance(shape, torch.Size) and len(shape) == 4][-1]
    return int(2 * math.prod(out_shape) * math.prod(kernel[1:]))


def _fused_operations() -> dict[Any, Callable[..., int]]:
    """Return the operations that torch's own counter does not know, where this torch has them."""
    names = ("_convolution_pointwise", "_convolution_pointwise_")
    there = [name for name in names if hasattr(torch.ops.mkldnn, name)]
    return {getattr(torch.ops.mkldnn, name): _fused for name in there}


def flops(work: Callable[[], object]) -> int | None:
    """Run `work` and return the floating-point operations it did in torch, or None.

    A multiplication and an addition are two. Convolutions, matrix products and attention are
    counted (`torch.utils.flop_counter`); element-wise operations, normalisation, pooling, resizing
    and sums are not. None where nothing of this kind was seen: then the work is not torch's.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it is one operation, which is not counted
    try:
        with torch.inference_mode(), FlopCounterMode(display=False):
            torch.isfinite(torch.zeros(1))  # torch loads what it needs for this: some seconds
        known = _fused_operations()
        with (
            torch.compiler.set_stance("force_eager"),  # compiled parts hide what they do
            FlopCounterMode(display=False, custom_mapping=known) as counter,
        ):
            work()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return int(counter.get_total_flops()) or None
