"""A network made fast without another answer: norms folded, activations fused, half precision.

A method may name its torch module as `network`; modules inside it are replaced, in place, by ones
that compute the same, so that `describe` and `local` need not know. Which modules these call, and
on what, is observed on a generated image. Then

1. a batch normalisation after a convolution becomes part of the convolution's weights;
2. on a CPU a convolution with the ReLU after it, or with the addition and the ReLU at
   the end of a residual block, becomes one call of oneDNN, which touches the feature map once;
3. in half precision, or to be compiled, parts with convolutions, activations and sums alone take
   and give float32, and compute in bf16 or fp16 between, and so do linear layers of positions or
   tokens: pooling, norms, attention and whitening stay float32 (attention where `cut_attention` has
   not been called before). In bf16, 2 holds for them as well.

For 2 and 3 a module that is called is traced (`bench.describe.fusion`). The answers before and
after are compared in float32, and where they differ everything is put back; so it is where they
are farther from the answer in float64 than twice those before (`bench.describe.accuracy`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from bench.describe import accuracy, fusion
from bench.describe.quickened import Quickened

SAMPLE_SIZE = (96, 128)
TOLERANCE = 2e-5  # relative to the largest entry of an answer
NEAR = 2e-6  # likewise: what a few roundings do, and float64 need not be asked

Answer = Callable[[Tensor], list[Tensor]]


@dataclass(frozen=True)
class Call:
    """One call of a module: its first argument and result, where these are tensors.

    `received_at` and `made_at` count the changes made in place to each when the call saw it.
    """

    module: nn.Module
    received: Tensor | None
    received_at: int
    made: Tensor | None
    made_at: int
    outside: bool  # called by the method itself, not by another module


def quicken(
    network: nn.Module,
    answer: Answer,
    device: str,
    half: torch.dtype | None = None,
    compiled: bool = False,
    tf32: bool = False,
    size: tuple[int, int] = SAMPLE_SIZE,
) -> Quickened:
    """Replace modules of `network` by faster ones that answer alike; return what was done.

    `answer` runs the method on a batch and gives what it returned; the batch is of images of `size`
    (height, width). A step that fails, or after which the method would answer otherwise (in
    float32) or farther from float64, is undone.
    """
    draw = torch.Generator().manual_seed(0)
    sample = torch.randn((2, 3, *size), generator=draw).to(device)
    done = Quickened()
    try:
        before, _ = _observe(network, answer, sample)
    except fusion.FAULTS:  # the error is raised when the method fails on a real image
        return done

    def step(change: Callable[[Sequence[Call], Quickened], int]) -> int:
        return _step(network, answer, sample, before, done, change)

    done.folded = step(lambda calls, done: _fold(network, calls, done))
    fusing = device == "cpu" and not compiled and fusion.has_onednn(half)
    if half is not None or compiled:
        done.parts = step(lambda calls, done: _cut(network, calls, done, half is not None))
        parts = [
            getattr(parent, name)
            for parent, name, _ in done.replaced[len(done.replaced) - done.parts :]
        ]
        if half is not None and (parts or _halves(network)):
            if fusing:
                done.fused = step(lambda _, done: _fuse_parts(network, done))
            done.parts += step(lambda calls, done: _linear(network, calls, done))
            for module in _halves(network):
                module.become(half)
        for part in parts if compiled else ():
            part.compile(dynamic=True)
    elif fusing:
        done.fused = step(lambda calls, done: _fuse(network, calls, done))
    # Tensor cores and oneDNN want channels last; exact float32 on a GPU is faster without.
    if done.replaced and (device == "cpu" or half is not None or tf32):
        network.to(memory_format=torch.channels_last)
        done.channels_last = True
    done.replaced.clear()  # let go of the weights before
    return done


def _observe(network: nn.Module, answer: Answer, sample: Tensor) -> tuple[list[Tensor], list[Call]]:
    """Return the answers to `sample` and the calls of modules behind them, in order of return."""
    stack: list[tuple[nn.Module, Tensor | None, int]] = []
    calls: list[Call] = []

    def enter(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        tensor = arguments[0] if arguments and isinstance(arguments[0], Tensor) else None
        stack.append((module, tensor, _changes(tensor)))

    def leave(module: nn.Module, _arguments: tuple[Any, ...], result: Any) -> None:
        _, tensor, received_at = stack.pop()
        outside = all(above is network for above, _, _ in stack)
        made = result if isinstance(result, Tensor) else None
        calls.append(Call(module, tensor, received_at, made, _changes(made), outside))

    hooks = []
    for module in network.modules():
        hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        with torch.no_grad():  # not inference mode, which does not count changes in place
            return answer(sample), calls
    finally:
        for hook in hooks:
            hook.remove()


def _changes(tensor: Tensor | None) -> int:
    return -1 if tensor is None else tensor._version


def _halves(network: nn.Module) -> list[fusion.Half]:
    """Return the parts that take float32 and compute in half precision."""
    return [module for module in network.modules() if isinstance(module, fusion.Half)]


def _step(
    network: nn.Module,
    answer: Answer,
    sample: Tensor,
    before: list[Tensor],
    done: Quickened,
    change: Callable[[Sequence[Call], Quickened], int],
) -> int:
    """Make a change and return how much it did; undo it where it moves the answer `before`."""
    start = len(done.replaced)
    with suppress(*fusion.FAULTS):  # of a rewritten module that does not run
        _, calls = _observe(network, answer, sample)
        count = change(calls, done)
        with torch.no_grad():
            after = answer(sample)
            if _alike(before, after, NEAR) or (
                _alike(before, after, TOLERANCE)
                and accuracy.holds(network, done, answer, sample, before, after)
            ):
                return count
    done.undo(start)
    return 0


def _alike(before: list[Tensor], after: list[Tensor], tolerance: float) -> bool:
    """Tell whether two lists of answers are the same within a tolerance."""
    return len(before) == len(after) and all(
        row.shape == two.shape
        and float((row - two).abs().max()) <= tolerance * float(row.abs().max())
        for row, two in zip(before, after, strict=True)
        if row.numel()
    )


def _pairs(calls: Sequence[Call], first: Any, second: Any) -> list[Any]:
    """Return modules (a, b) where b is called on what a gave, untouched, and neither without it."""
    made: dict[int, Call] = {}
    times: Counter[nn.Module] = Counter()
    found: Counter[tuple[nn.Module, nn.Module]] = Counter()
    for call in calls:
        times[call.module] += 1
        source: Any = made.get(id(call.received))
        untouched = source is not None and source.made_at == call.received_at
        if untouched and isinstance(call.module, second) and isinstance(source.module, first):
            found[source.module, call.module] += 1
        if call.made is not None and (
            call.made is not call.received or call.made_at > call.received_at
        ):
            made[id(call.made)] = call
    return [pair for pair, count in found.items() if count == times[pair[0]] == times[pair[1]]]


def _places(network: nn.Module, wanted: nn.Module) -> list[tuple[nn.Module, str]]:
    """Return where in the network a module is: parents and attributes."""
    return [
        (parent, name)
        for parent in network.modules()
        for name, child in parent.named_children()
        if child is wanted
    ]


def _fold(network: nn.Module, calls: Sequence[Call], done: Quickened) -> int:
    """Fold batch normalisations into the convolutions before them; return how many."""
    pairs = _pairs(calls, nn.Conv2d, nn.BatchNorm2d)
    for conv, norm in pairs:
        # timm's normalisation has its activation inside
        rest = getattr(norm, "act", None) if hasattr(norm, "drop") else None
        folded = fuse_conv_bn_eval(conv, norm).requires_grad_(False)
        for old, new in ((conv, folded), (norm, rest or nn.Identity())):
            for parent, name in _places(network, old):
                done.put(parent, name, new)
    return len(pairs)


def _cut(network: nn.Module, calls: Sequence[Call], done: Quickened, half: bool) -> int:
    """Replace called modules by traced ones that may run in half precision; return how many."""
    called = {call.module for call in calls}
    outside = {call.module for call in calls if call.outside}

    def walk(parent: nn.Module) -> int:
        count = 0
        for name, child in parent.named_children():
            part = None
            if isinstance(child, fusion.Fused | fusion.Half):
                continue
            if child in called and not any(m in outside for m in child.modules() if m is not child):
                part = fusion.trace(child)
            if part is not None and (fusion.is_coarse(part) or not half):
                done.put(parent, name, fusion.Half(part) if half else part)
                count += 1
            else:
                count += walk(child)
        return count

    return walk(network)


def _fuse_parts(network: nn.Module, done: Quickened) -> int:
    """Fuse convolutions inside the parts for half precision; return how many."""
    count = 0
    for half in [module for module in network.modules() if isinstance(module, fusion.Half)]:
        if not isinstance(half.part, fx.GraphModule):  # an attention
            continue
        part = fusion.trace(half.part)  # another graph of the same modules
        if part is not None:
            count += fusion.fuse(part)
            done.put(half, "part", part)
    return count


def cut_attention(network: nn.Module) -> int:
    """Let every attention be in half precision, softmax and all, once `quicken` is told which.

    An attention is a module whose class is called so; returns how many there are.
    """
    count = 0
    for name, child in list(network.named_children()):
        if type(child).__name__.endswith("Attention"):
            setattr(network, name, fusion.Half(child))
            count += 1
        else:
            count += cut_attention(child)
    return count


def _linear(network: nn.Module, calls: Sequence[Call], done: Quickened) -> int:
    """Let linear layers that see positions or tokens, never images as a whole, be in half."""
    apart: dict[nn.Module, bool] = {}
    for call in calls:
        if type(call.module) is nn.Linear:
            places = call.received is not None and call.received.dim() > 2
            apart[call.module] = places and apart.get(call.module, True)
    halves = [module for module in network.modules() if isinstance(module, fusion.Half)]
    inside = {module for half in halves for module in half.modules()}
    chosen = [module for module in apart if apart[module] and module not in inside]
    for module in chosen:
        for parent, name in _places(network, module):
            done.put(parent, name, fusion.Half(module))
    return len(chosen)


def _fuse(network: nn.Module, calls: Sequence[Call], done: Quickened) -> int:
    """Fuse convolutions with what follows them; return how many."""
    outside = {call.module for call in calls if call.outside}
    count = 0
    for conv, act in _pairs(calls, nn.Conv2d, (nn.ReLU, nn.ReLU6)):
        if conv in outside and act in outside and fusion.is_plain(conv):
            fused = fusion.Fused(conv, fusion.ACTIVATIONS[type(act)])
            for old, new in ((conv, fused), (act, nn.Identity())):
                for parent, name in _places(network, old):
                    done.put(parent, name, new)
            count += 1
    first = len(done.replaced)
    _cut(network, calls, done, half=False)
    parts = [getattr(parent, name) for parent, name, _ in done.replaced[first:]]
    return count + sum(fusion.fuse(part) for part in parts)
