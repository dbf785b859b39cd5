"""Pickles that would run code: reading one must not touch a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Trap:
    """An object whose unpickling creates the file `path`."""

    def __init__(self, path: Path) -> None:
        """Remember which file unpickling would create."""
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)
