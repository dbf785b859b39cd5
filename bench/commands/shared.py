"""What several commands share: how an error is printed, and the settings of an extraction."""

from __future__ import annotations

import argparse
import os
import sys
import traceback

from bench.errors import BenchError
from bench.types import Settings


def say_error(error: BenchError) -> int:
    """Print an error of ours as one sentence; return the exit status."""
    if os.environ.get("RETRIEVAL_BENCH_TRACEBACK"):
        traceback.print_exception(error)
    print(f"error: {error}", file=sys.stderr)
    return 1


def settings_of(given: argparse.Namespace) -> Settings:
    """Return the settings of the options that `run`, `extract` and others share."""
    most = given.batch_megapixels
    return Settings(
        batch_size=given.batch_size,
        batch_pixels=None if most is None else round(most * 1e6),
        workers=given.workers,
        precision=given.precision,
        tf32=given.tf32,
        compiled=given.compile,
    )
