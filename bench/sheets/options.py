"""The options of a sheet: each is declared here, with its default and its line of help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.option import natural, numbers, option, positive


@dataclass(frozen=True)
class Options:
    """What the command line says of what a sheet shows."""

    dataset: str | None = option(
        None,
        "the data set, or the path of a dataset.json of your own; it must have the revision on the "
        "card",
        metavar="NAME",
    )
    against: Path | None = option(None, "a second record to compare", metavar="RECORD")
    queries: tuple[int, ...] | None = option(
        None,
        "rows in the list of queries, from 0",
        metavar="N,N",
        parse=numbers,
        many="text",
        one_of="queries",
    )
    worst: int | None = option(
        None,
        "the N worst queries, or the N of most gain and most loss (default: 5); without labels N "
        "of the list (default: 24)",
        metavar="N",
        parse=positive,
        one_of="queries",
    )
    top: int = option(10, "images of each list", metavar="N", parse=positive)
    protocol: str | None = option(
        None, "the protocol (default: medium, or else the first)", metavar="NAME"
    )
    matches: int = option(
        0,
        "pairs whose matched keypoints are drawn, of a re-ranked record (default: %(default)s)",
        metavar="N",
        parse=natural,
    )
    weights: str | None = option(None, "weights, where --matches needs the model", metavar="PATH")
    device: str | None = option(
        None, "cpu, cuda or cuda:N (default: a GPU where there is one)", metavar="DEVICE"
    )
