"""The options of a sheet: each is declared here, with its default and its line of help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.option import natural, numbers, option, positive


@dataclass(frozen=True)
class Options:
    """The options of a sheet: queries, lists and matches."""

    dataset: str | None = option(
        None,
        "a data set, or the path of your own dataset.json; its revision must be that of the card",
        metavar="NAME",
    )
    against: Path | None = option(None, "a second record to compare", metavar="RECORD")
    queries: tuple[int, ...] | None = option(
        None,
        "numbers of the queries to show, from 0",
        metavar="N,N",
        parse=numbers,
        many="text",
        one_of="queries",
    )
    worst: int | None = option(
        None,
        "show the N worst queries, or with --against the N largest gains and losses "
        "(default: 5); without labels, N queries of the list (default: 24)",
        metavar="N",
        parse=positive,
        one_of="queries",
    )
    top: int = option(10, "number of images shown per list", metavar="N", parse=positive)
    protocol: str | None = option(
        None, "the protocol (default: medium, or else the first)", metavar="NAME"
    )
    matches: int = option(
        0,
        "number of pairs of a re-ranked record whose matched keypoints are drawn "
        "(default: %(default)s)",
        metavar="N",
        parse=natural,
    )
    weights: str | None = option(None, "your own weights file, for --matches", metavar="PATH")
    device: str | None = option(
        None, "cpu, cuda or cuda:N (default: a GPU where there is one)", metavar="DEVICE"
    )
