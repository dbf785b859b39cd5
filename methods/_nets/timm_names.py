"""Names of timm's models, from a list that is kept with the lock: importing timm takes seconds.

`python -m bench.methods._nets.timm_names` writes requirements/timm-models.txt for the version of
timm that is installed: the version, then architectures, and names with the tag of their weights.
"""

from __future__ import annotations

import difflib
import importlib.metadata
from collections.abc import Sequence

from bench.errors import BenchError
from bench.root import ROOT

POOLS = ("cls", "avg", "gem", "head")  # what the method `timm` makes of a model
LIST = ROOT / "requirements" / "timm-models.txt"


def check(name: str, others: Sequence[str] = ()) -> None:
    """Refuse a name that timm does not have; where the list is of another version, timm will.

    `others` are names besides, for the hint.
    """
    version = importlib.metadata.version("timm")
    try:
        first, *names = LIST.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return
    architecture, _, tag = name.partition(".")
    if first != version or name in names:
        return
    if tag and architecture in names:
        raise unknown(
            version, name, [name for name in names if name.startswith(f"{architecture}.")]
        )
    raise unknown(version, name, [*others, *(name for name in names if "." not in name)])


def unknown(version: str, name: str, known: Sequence[str]) -> BenchError:
    """Return the error for a model that timm does not have; its names are too many to list."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else "."
    return BenchError(f"timm {version} has no model called {name!r}{hint}")


def text() -> str:
    """Return the content of the list for the timm that is installed."""
    import timm

    return "\n".join([timm.__version__, *timm.list_models(), *timm.list_pretrained(), ""])


if __name__ == "__main__":
    LIST.write_text(text(), encoding="ascii")
