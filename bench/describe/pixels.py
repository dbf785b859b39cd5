"""Pixels as the user wants them instead of as the method does, and code numbers of pixel paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bench.errors import BenchError
from bench.images import resize
from bench.option import option, scales, side
from bench.types import Method, Preprocess

CAPS: Mapping[str | None, Any] = {"crop": "own", "crop-relative": "relative"}
TIMM = "timm"

# Raised when the pixels of a path change: stores that used the path are made again, others not.
CODES = {"pillow": 1, "float": 1, "crop": 1, "antialias": 1, "opencv": 1}
TURNED_BOX = {"kind": "turned-box", "code": 1}


@dataclass(frozen=True)
class Chosen:
    """The options of pixels that `run`, `extract`, `check` and `sensitivity` share.

    None is the method's own; `max_side` "none" is no cap, and `resize` may be "timm".
    """

    query_crop: str | None = option(
        None,
        "how the box of a query is used: whole: not at all; crop: the query is cropped to it, "
        "then resized to the method's limit; crop-relative: cropped, and resized by the factor "
        "that the whole image would be resized by (default: crop, or crop-relative "
        "where the method states it)",
        choices=("whole", "crop", "crop-relative"),
        shorthands={"no-crop": "whole"},
    )
    max_side: str | None = option(
        None,
        "longest side of an image in pixels, or none (default: the method's own)",
        metavar="PX",
        parse=side,
    )
    scales: tuple[float, ...] | None = option(
        None,
        "factors of the image pyramid (default: the method's own)",
        metavar="A,B,...",
        parse=scales,
        show=lambda factors: ",".join(map(repr, factors)),
        many="text",
    )
    resize: str | None = option(
        None,
        f"second resizing, after --max-side: {resize.FORMS}; timm, the model's own rule; or two "
        "joined by +, as in shorter:512+multiple-of-14 (default: the method's own)",
        metavar="RULE",
        parse=lambda text: text if text == TIMM else resize.canonical(text),
    )

    def rule(self, own: Preprocess, method: Method) -> Preprocess:
        """Return the rule of a method with the chosen options; refuse options without effect."""
        out = own
        if self.resize is not None:
            out = replace(out, resize=_rule(self.resize, method))
        if resize.is_exact(out.resize):
            for option, value in (("--max-side", self.max_side), ("--query-crop", self.query_crop)):
                if value is not None and (option == "--max-side" or value == "crop-relative"):
                    raise BenchError(
                        f"{option} {value} has no effect beside the exact size {out.resize}; "
                        "remove it."
                    )
            out = replace(out, max_side_px=None, query_cap="own")
        if self.query_crop in CAPS:
            out = replace(out, query_cap=CAPS[self.query_crop])
        if self.max_side is not None:
            out = replace(out, max_side_px=None if self.max_side == "none" else int(self.max_side))
        return out if self.scales is None else replace(out, scales=self.scales)


def _rule(text: str, method: Method) -> str:
    """Return a rule; "timm" is what timm does for the method's model."""
    if text != TIMM:
        return resize.canonical(text)
    own: str | None = getattr(method, "timm_resize", None)
    if own is None:
        raise BenchError(
            "--resize timm needs a method with a network from timm; name another rule."
        )
    return own


def codes(rule: Preprocess) -> list[dict[str, Any]]:
    """Return kind and code number of every pixel path, newer than version 0.1, of a rule."""
    kinds = []
    for step in resize.parse(rule.resize):
        kinds.append("crop" if step.to == "crop" else "pillow" if step.pillow else "float")
    if rule.scale_sampling in CODES and any(scale != 1.0 for scale in rule.scales):
        kinds.append(rule.scale_sampling)
    return [{"kind": kind, "code": CODES[kind]} for kind in dict.fromkeys(kinds)]
