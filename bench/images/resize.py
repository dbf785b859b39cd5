"""Rules of resizing: one, or two joined by +, applied after the box and the size cap.

    native                                  nothing
    pillow-bilinear:HxW, pillow-bicubic:HxW Pillow, antialiased, rounded to whole grey values
    pillow-bilinear:S, pillow-bicubic:S     the same for the shorter side; the other is truncated
    bilinear:HxW, bicubic:HxW               the float image, antialiased where it shrinks
    bilinear-no-antialias:HxW               the same, never antialiased
    shorter:S, longer:S                     bilinear as above; the other side is truncated
    multiple-of-N                           bilinear; both sides to the nearest multiple, half to
                                            even
    centre-crop:HxW                         the middle; the edge above is rounded half to even

Height stands before width. A rule joined behind another is multiple-of-N or centre-crop. Rules on
8-bit pixels are applied here; rules on floats in `bench.describe.resample`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from bench.errors import BenchError

if TYPE_CHECKING:
    from PIL import Image

NATIVE = "native"
FORMS = (
    "native, pillow-bilinear:HxW, pillow-bicubic:HxW, bilinear:HxW, bilinear-no-antialias:HxW, "
    "bicubic:HxW, shorter:S, longer:S, multiple-of-N, centre-crop:HxW"
)
LARGEST = 16384
FIRST = "pillow-bilinear pillow-bicubic bilinear bilinear-no-antialias bicubic shorter longer"
SECOND = ("multiple", "crop")

Size = tuple[int, int]  # height, width


class TooSmallError(BenchError):
    """An image with fewer pixels than a rule or a method needs."""


@dataclass(frozen=True)
class Step:
    """One rule: to what size, by what filter, on 8-bit pixels (`pillow`) or on floats."""

    to: Literal["exact", "shorter", "longer", "multiple", "crop"]
    height: int
    width: int
    filter: Literal["bilinear", "bicubic"] = "bilinear"
    pillow: bool = False
    antialias: bool = True

    def size(self, before: Size) -> Size:
        """Return the size that an image of the size `before` gets."""
        if self.to in ("exact", "crop"):
            if self.to == "crop" and (before[0] < self.height or before[1] < self.width):
                raise TooSmallError(
                    f"{before[1]} x {before[0]} pixels are smaller than the centre crop of "
                    f"{self.width} x {self.height}"
                )
            return self.height, self.width
        if self.to == "multiple":
            new = (round(before[0] / self.height) * self.height,
                   round(before[1] / self.height) * self.height)  # fmt: skip
            if min(new) < 1:
                raise TooSmallError(
                    f"{before[1]} x {before[0]} pixels: a side would be rounded to 0, not to a "
                    f"multiple of {self.height}"
                )
            return new
        side = min(before) if self.to == "shorter" else max(before)
        if side == before[0]:
            return self.height, max(1, int(self.height * before[1] / before[0]))
        return max(1, int(self.height * before[0] / before[1])), self.height

    def corner(self, before: Size) -> Size:
        """Return top and left of a centre crop."""
        return round((before[0] - self.height) / 2), round((before[1] - self.width) / 2)


@lru_cache(maxsize=64)
def parse(text: str) -> tuple[Step, ...]:
    """Return the steps of a rule; none for "native"."""
    parts = [part for part in text.split("+") if part != NATIVE]
    steps = tuple(_step(part, text) for part in parts)
    if len(steps) > 2 or (len(steps) == 2 and steps[1].to not in SECOND):
        raise _wrong(text, "the second of two rules must be multiple-of-N or centre-crop")
    if len(steps) == 2 and steps[0].to == steps[1].to:
        raise _wrong(text, "the second rule repeats the first")
    if len(steps) == 2 and steps[0].to == "crop":
        raise _wrong(text, "a centre crop must be the last rule")
    return steps


def canonical(text: str) -> str:
    """Return a rule without parts that do nothing; refuse others.

    >>> canonical("native+multiple-of-14"), canonical("native")
    ('multiple-of-14', 'native')
    """
    parse(text)
    return "+".join(part for part in text.split("+") if part != NATIVE) or NATIVE


def is_exact(text: str) -> bool:
    """Tell whether the rule gives every image one size, whatever the image has."""
    return any(step.to == "exact" for step in parse(text)[:1])


def is_fixed(text: str) -> bool:
    """Tell whether every image has one size in the end: the exact size, or that of a crop."""
    return any(step.to in ("exact", "crop") for step in parse(text)[-1:])


def of_bytes(text: str) -> tuple[Step, ...]:
    """Return the first steps, as far as they are on 8-bit pixels."""
    steps = parse(text)
    count = next((i for i, s in enumerate(steps) if not s.pillow and s.to != "crop"), len(steps))
    return steps[:count]


def of_floats(text: str) -> tuple[Step, ...]:
    """Return the steps that follow those `of_bytes`."""
    return parse(text)[len(of_bytes(text)) :]


def sized(steps: tuple[Step, ...], size: Size) -> Size:
    """Return the size (height, width) of an image after the steps."""
    for step in steps:
        size = step.size(size)
    return size


def applied(image: Image.Image, text: str) -> Image.Image:
    """Return `image` after the steps on 8-bit pixels."""
    from PIL.Image import Resampling

    for step in of_bytes(text):
        before = image.height, image.width
        height, width = step.size(before)
        if step.to == "crop":
            top, left = step.corner(before)
            image = image.crop((left, top, left + width, top + height))
        elif (height, width) != before:
            image = image.resize((width, height), Resampling[step.filter.upper()])
    return image


def _step(part: str, text: str) -> Step:
    """Return one rule."""
    multiple = re.fullmatch(r"multiple-of-(\d+)", part)
    if multiple:
        side = _side(multiple[1], text)
        return Step("multiple", side, side)
    found = re.fullmatch(r"([a-z-]+):(\d+)(?:x(\d+))?", part)
    name, exact = (found[1], found[3] is not None) if found else ("", False)
    if not found or name not in (*FIRST.split(), "centre-crop"):
        raise _wrong(text, f"rules are {FORMS}")
    height = _side(found[2], text)
    width = _side(found[3], text) if exact else height
    if name in ("shorter", "longer"):
        if exact:
            raise _wrong(text, f"{name} takes one number")
        return Step("shorter" if name == "shorter" else "longer", height, width)
    if name == "centre-crop":
        if not exact:
            raise _wrong(text, "centre-crop takes HxW")
        return Step("crop", height, width)
    pillow = name.startswith("pillow-")
    if not exact and not pillow:
        raise _wrong(text, f"{name} needs HxW; for one side use shorter:S or longer:S")
    return Step(
        "exact" if exact else "shorter",
        height,
        width,
        "bicubic" if "bicubic" in name else "bilinear",
        pillow,
        "no-antialias" not in name,
    )


def _side(text: str, rule: str) -> int:
    if not 1 <= int(text) <= LARGEST:
        raise _wrong(rule, f"a side must be 1 to {LARGEST} pixels")
    return int(text)


def _wrong(text: str, why: str) -> BenchError:
    return BenchError(f"{text!r} is not a resizing rule: {why}.")


def words(text: str) -> str:
    """Return a rule as text, sizes as height x width.

    >>> words("pillow-bilinear:322x322"), words("shorter:512+multiple-of-14")
    ('Pillow bilinear to 322 x 322', 'shorter side to 512, then both sides to multiples of 14')
    """
    return ", then ".join(_said(step) for step in parse(text)) or "none"


def _said(step: Step) -> str:
    to = f"{step.height} x {step.width}"
    if step.to == "crop":
        return f"centre crop of {to}"
    if step.to == "multiple":
        return f"both sides to multiples of {step.height}"
    if step.to != "exact":
        to = f"{step.to} side to {step.height}"
        return f"{to} by Pillow {step.filter}" if step.pillow else to
    how = "" if step.antialias else ", not antialiased"
    return f"{'Pillow ' if step.pillow else ''}{step.filter}{how} to {to}"
