"""What was done to a network to make it fast; a record keeps the numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass
class Quickened:
    """What was done to a network: norms folded, convolutions fused, parts cut out, layout."""

    folded: int = 0
    fused: int = 0
    parts: int = 0
    channels_last: bool = False
    replaced: list[tuple[nn.Module, str, nn.Module]] = field(default_factory=list)

    def put(self, parent: nn.Module, name: str, module: nn.Module) -> None:
        """Replace a module, and remember the one before."""
        self.replaced.append((parent, name, getattr(parent, name)))
        setattr(parent, name, module)

    def undo(self, to: int = 0) -> None:
        """Put back the modules that were replaced since there were `to` replacements."""
        while len(self.replaced) > to:
            parent, name, module = self.replaced.pop()
            setattr(parent, name, module)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Put the modules before back for a while, and then the ones that replaced them again."""
        again: list[tuple[nn.Module, str, nn.Module]] = []
        for parent, name, module in reversed(self.replaced):
            again.append((parent, name, getattr(parent, name)))
            setattr(parent, name, module)
        try:
            yield
        finally:
            for parent, name, module in reversed(again):
                setattr(parent, name, module)
