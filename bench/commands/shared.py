"""What several commands share: how an error is printed, the folder of results."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from bench.errors import BenchError
from bench.option import option
from bench.root import RESULTS
from bench.system.notes import one_line


def say_error(error: BenchError) -> int:
    """Print a BenchError as one sentence; return the exit status."""
    if os.environ.get("RETRIEVAL_BENCH_TRACEBACK"):
        traceback.print_exception(error)
    print(f"error: {one_line(error)}", file=sys.stderr)
    return 1


def results_folder() -> Path:
    """Declare the option that names the folder of records, for commands that read it."""
    text = (
        "folder of records and published.toml (default: results/ of the checkout, or of the "
        "current folder)"
    )
    return option(RESULTS, text, metavar="DIR")
