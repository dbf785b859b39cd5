"""The options of pixels, which `run`, `extract`, `check` and `sensitivity` share."""

from __future__ import annotations

import argparse

from bench.commands.values import scales, side
from bench.describe.pixels import TIMM, Chosen
from bench.errors import BenchError
from bench.images import resize


def rule(text: str) -> str:
    """Return a rule of resizing, or "timm"."""
    try:
        return text if text == TIMM else resize.canonical(text)
    except BenchError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--query-crop",
        choices=["whole", "crop", "crop-relative"],
        help="what of a boxed query is shown: the whole image; its box under the method's size "
        "cap; its box under the cap times longest crop side / longest image side (default: the "
        "box, under the method's own rule)",
    )
    parser.add_argument(
        "--no-crop",
        action="store_const",
        const="whole",
        dest="query_crop",
        help="the same as --query-crop whole",
    )
    parser.add_argument(
        "--max-side",
        type=side,
        metavar="PX",
        help="longest side of an image in pixels, or none (default: the method's own)",
    )
    parser.add_argument(
        "--resize",
        type=rule,
        metavar="RULE",
        help=f"what follows the cap: {resize.FORMS}; timm, the model's own; or two joined by +, as "
        "in shorter:512+multiple-of-14 (default: the method's own)",
    )
    parser.add_argument(
        "--scales",
        type=scales,
        metavar="A,B,...",
        help="factors of the image pyramid (default: the method's own)",
    )


def of(given: argparse.Namespace) -> Chosen:
    """Return what was chosen."""
    return Chosen(given.query_crop, given.max_side, given.scales, given.resize)
