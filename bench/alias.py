"""Shipped as the module `retrieval_bench`: this package, for those who have another `bench`."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def ours() -> ModuleType:
    """Return the package beside this file, imported as `bench`; refuse another of that name."""
    path = Path(__file__).resolve().parent / "bench" / "__init__.py"
    there = sys.modules.get("bench")
    if there is None:
        spec = importlib.util.spec_from_file_location(
            "bench", path, submodule_search_locations=[str(path.parent)]
        )
        assert spec is not None
        assert spec.loader is not None
        there = importlib.util.module_from_spec(spec)
        sys.modules["bench"] = there
        spec.loader.exec_module(there)
    elif Path(there.__file__ or "").resolve() != path:
        raise ImportError(
            f"another package named bench was imported before, from {there.__file__}; import "
            "retrieval_bench first, or do not import the other package."
        )
    return there


if __name__ == "retrieval_bench":
    sys.modules[__name__] = ours()
