"""A reproducible benchmark suite for image retrieval and visual place recognition.

From Python: `load_dataset`, `evaluate`, `load_method`, `run`, `validate`, `read_record`,
`read_records`, `compare` and `verify` (`bench.api`). Importing loads none of them, and no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.api import (
        compare,
        evaluate,
        load_dataset,
        load_method,
        read_record,
        read_records,
        run,
        validate,
        verify,
    )
    from bench.errors import BenchError

__version__ = "0.1.0"
__all__ = [
    "BenchError", "compare", "evaluate", "load_dataset", "load_method", "read_record",
    "read_records", "run", "validate", "verify",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Return a public name, whose module is imported now."""
    if name not in __all__:
        raise AttributeError(f"module 'bench' has no attribute {name!r}")
    import importlib

    from bench.quiet import unchanged

    with unchanged():
        module = importlib.import_module("bench.errors" if name == "BenchError" else "bench.api")
    return getattr(module, name)


def __dir__() -> list[str]:
    """Return the names of the module, with the public ones."""
    return sorted({*globals(), *__all__})
