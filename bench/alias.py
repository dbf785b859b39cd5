"""Shipped as the module `retrieval_bench`: this package, for those who have another `bench`."""

import importlib.util
import sys
from pathlib import Path

_ours = Path(__file__).resolve().parent / "bench" / "__init__.py"
_there = sys.modules.get("bench")
if _there is not None and Path(getattr(_there, "__file__", None) or "").resolve() != _ours:
    raise ImportError(
        f"another package called bench is imported already, from {_there.__file__}; import "
        "retrieval_bench before it, or leave it out."
    )
if _there is None:
    _spec = importlib.util.spec_from_file_location(
        "bench", _ours, submodule_search_locations=[str(_ours.parent)]
    )
    assert _spec is not None
    assert _spec.loader is not None
    _there = importlib.util.module_from_spec(_spec)
    sys.modules["bench"] = _there
    _spec.loader.exec_module(_there)
sys.modules[__name__] = _there
