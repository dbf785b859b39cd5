"""What a data set is compared with: the counts and hashes that its FACTS state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from bench.facts import Expected
from bench.system.hashing import sha256_lines
from bench.types import Dataset


@dataclass(frozen=True)
class Comparison:
    """One fact: `same` as published, `other` than published, or `unknown`, and a line on it."""

    state: Literal["same", "other", "unknown"]
    text: str


def comparisons(dataset: Dataset, expected: Expected) -> Iterator[Comparison]:
    """Compare counts and hashes of the lists, and the sums of the truth.

    Of images under other names than the published lists have (`renamed`), hashes say nothing.
    """
    for what, images in (("database", dataset.database), ("queries", dataset.queries)):
        names = [image.id if expected.names == "stem" else image.file for image in images]
        yield _count(what, len(names), getattr(expected, what), "images")
        digest, wanted = sha256_lines(names), getattr(expected, f"{what}_sha256")
        known = (wanted,) if isinstance(wanted, str) else wanted
        if known is None or dataset.renamed:
            yield Comparison("unknown", f"sha256 of the list of {what}: {digest}")
        elif digest in known:
            yield Comparison("same", f"the list of {what} has the known sha256")
        else:
            yield Comparison(
                "other", f"the list of {what} has sha256 {digest} instead of {known[0]}"
            )
    for protocol in dataset.protocols:
        for kind in ("positive", "ignored"):
            count = sum(len(getattr(truth, kind)) for truth in protocol.truth)
            sums: Mapping[str, int] = expected.positives if kind == "positive" else expected.ignored
            yield _count(f"{protocol.name}, {kind}", count, sums.get(protocol.name), "pairs")


def differences(dataset: Dataset, expected: Expected) -> tuple[str, ...]:
    """Return a line for every fact that is other than published; none for the published lists."""
    return tuple(
        comparison.text
        for comparison in comparisons(dataset, expected)
        if comparison.state == "other"
    )


def _count(label: str, found: int, wanted: int | None, unit: str) -> Comparison:
    if wanted is None:
        return Comparison("unknown", f"{label}: {found} {unit}")
    if found == wanted:
        return Comparison("same", f"{label}: {found} {unit}, as published")
    return Comparison("other", f"{label}: {found} {unit} instead of {wanted}")
