"""Check types with mypy, strict, plug-ins and report included: python -m tests.support.typed_tree.

`bench.methods.gem` is the file methods/gem.py, through the `__path__` of bench/methods.py, which
mypy does not follow. So it is shown a copy in which these folders are packages inside bench, and
the paths in what it prints are those of the checkout again.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.checkout import ROOT

CACHE = ROOT / ".mypy_cache"  # with the copy inside, whose times are kept: mypy reads what is new
FOLDERS = ("methods", "datasets", "report")
_PATHS = re.compile(rf"^bench[/\\]({'|'.join(FOLDERS)})[/\\](__init__\.py)?", re.MULTILINE)


def copy(root: Path, tree: Path) -> None:
    """Write the Python files of `root` below `tree`: bench, and the folders as packages in it."""
    shutil.rmtree(tree, ignore_errors=True)
    for folder in ("bench", *FOLDERS):
        inside = Path() if folder == "bench" else Path("bench")
        for path in (root / folder).rglob("*.py"):
            place = tree / inside / path.relative_to(root)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, place)
    for folder in FOLDERS:
        (tree / "bench" / f"{folder}.py").rename(tree / "bench" / folder / "__init__.py")


def in_checkout(text: str) -> str:
    """Return what mypy prints with the paths of the checkout.

    >>> in_checkout("bench/methods/gem.py:9: error: …")
    'methods/gem.py:9: error: …'
    >>> in_checkout("bench/methods/__init__.py:9: error: …")
    'bench/methods.py:9: error: …'
    """
    return _PATHS.sub(lambda m: f"bench/{m[1]}.py" if m[2] else f"{m[1]}/", text)


def check(root: Path, tree: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run mypy on a copy of `root` in `tree`, with the configuration of `root`."""
    copy(root, tree)
    command = [sys.executable, "-m", "mypy", "--config-file", str(root / "pyproject.toml")]
    return subprocess.run(
        [*command, *options], cwd=tree, capture_output=True, text=True, check=False
    )


def main(options: Sequence[str]) -> int:
    """Check the checkout, print what mypy found, and return its exit status."""
    done = check(ROOT, CACHE / "tree", "--cache-dir", str(CACHE), *options)
    print(in_checkout(done.stdout), end="")
    print(in_checkout(done.stderr), end="", file=sys.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
