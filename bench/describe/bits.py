"""The second output of a method: bits beside its vectors, described as rows of their own.

A method with `codes(batch)`, which returns bool (n, `code_bits`), can be searched by its bits:
`run --stage codes`. They are described, kept and resumed as descriptors are, as 1 and -1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

from bench.describe import engine
from bench.errors import BenchError
from bench.types import Method


@dataclass(frozen=True)
class Bits:
    """A method whose descriptors are the bits of another; the network is the other's."""

    method: Any
    dim: int

    def describe(self, batch: Any) -> Any:
        """Return 1 and -1 (n, dim) float32 of a batch, where the bits are True and False."""
        rows = self.method.codes(batch)
        if tuple(rows.shape) != (len(batch), self.dim) or str(rows.dtype) != "torch.bool":
            raise BenchError(
                f"`codes` returned {rows.dtype} of the shape {tuple(rows.shape)}, not bool "
                f"({len(batch)}, {self.dim})."
            )
        return 2 * rows.float() - 1

    def refusal(self, height: int, width: int) -> str | None:
        """Return why the other method does not take an image of this size, or None."""
        judge: Any = getattr(self.method, "refusal", None)
        why: str | None = None if judge is None else judge(height, width)
        return why


def of(loaded: engine.Loaded) -> engine.Loaded:
    """Return a method whose descriptors are its bits; it must have bits, and one scale."""
    method: Any = loaded.method
    name = f"{loaded.info.name}.{loaded.info.variant}"
    count = getattr(method, "code_bits", None)
    if type(count) is not int or count < 1:
        raise BenchError(
            f"{name} has no codes of its own, as selavprpp.base-rerank has; take float16, int8, "
            "binary or pqMxB instead."
        )
    if len(loaded.rule.scales) > 1:
        raise BenchError(f"the codes of {name} are of one scale; leave out --scales.")
    config = {**loaded.info.config, "output": "codes"}
    bits = cast("Method", Bits(method, count))
    return replace(loaded, method=bits, info=replace(loaded.info, dim=count, config=config))
