"""Pixels as the user wants them instead of as the method does, and code numbers of pixel paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bench.errors import BenchError
from bench.images import resize
from bench.types import Method, Preprocess

CAPS: Mapping[str | None, Any] = {"crop": "own", "crop-relative": "relative"}
TIMM = "timm"

# Raised when the pixels of a path change: stores that used the path are made again, others not.
CODES = {"pillow": 1, "float": 1, "crop": 1, "antialias": 1, "opencv": 1}


@dataclass(frozen=True)
class Chosen:
    """The options of pixels that `run`, `extract`, `check` and `sensitivity` share.

    `query_crop` is whole, crop or crop-relative; `max_side` a number of pixels or "none"; `scales`
    the factors of the pyramid; `resize` a rule of `bench.images.resize`, or "timm". None: the
    method's own.
    """

    query_crop: str | None = None
    max_side: str | None = None
    scales: tuple[float, ...] | None = None
    resize: str | None = None

    def rule(self, own: Preprocess, method: Method) -> Preprocess:
        """Return the rule of a method with what was chosen; refuse what would do nothing."""
        out = own
        if self.resize is not None:
            out = replace(out, resize=_rule(self.resize, method))
        if resize.is_exact(out.resize):
            for option, value in (("--max-side", self.max_side), ("--query-crop", self.query_crop)):
                if value is not None and (option == "--max-side" or value == "crop-relative"):
                    raise BenchError(
                        f"{option} {value} goes with no exact size ({out.resize}): the pixels "
                        "would be the same and the cards two; leave it out."
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
        raise BenchError("--resize timm is for methods whose network is a model of timm.")
    return own


def codes(rule: Preprocess) -> list[dict[str, Any]]:
    """Return kind and code number of every pixel path, newer than version 0.1, of a rule."""
    kinds = []
    for step in resize.parse(rule.resize):
        kinds.append("crop" if step.to == "crop" else "pillow" if step.pillow else "float")
    if rule.scale_sampling in CODES and any(scale != 1.0 for scale in rule.scales):
        kinds.append(rule.scale_sampling)
    return [{"kind": kind, "code": CODES[kind]} for kind in dict.fromkeys(kinds)]
