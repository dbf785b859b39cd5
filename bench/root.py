"""The folder of methods/, datasets/, report/ and results/: a checkout or the installed package.

A checkout is the folder around this package, never the current one. An installed package carries
the same folders inside.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
SHIPPED = PACKAGE / "_shipped"
CHECKOUT = PACKAGE.parent if (PACKAGE.parent / "noxfile.py").is_file() else None
ROOT = CHECKOUT or SHIPPED
# Where records are written and read by default.
RESULTS = Path("results") if CHECKOUT is None else CHECKOUT / "results"
BUILD = SHIPPED / "build.json"  # commit of an installed package, and whether it had changes
