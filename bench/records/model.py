"""The typed model of a record: the one place that says which fields it has.

A field is one line, and below it what it means; `python -m bench.records.model` prints the JSON
schema, which is published as `results/record.schema.json`.
An optional field is `NotRequired`, so that older records are still read. What follows from other
fields is the business of `bench.records.verify`.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Len
from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from bench.records.model_card import Card, plain_name
from bench.records.model_costs import Approximate, Memory, Rerank, Timing
from bench.system.typed import (
    CLOSED,
    OPEN,
    Above0,
    Count,
    Fraction,
    One,
    Positive,
    Sha256,
    Text,
    Whole,
    schema_text,
)


def _plain_variant(text: str) -> str:
    plain_name(f"x.{text}")
    return text


PlugIn = Annotated[Text, AfterValidator(plain_name)]
Variant = Annotated[Text, AfterValidator(_plain_variant)]
ArrayFile = Annotated[str, Field(pattern=r"^[^/\\]+\.npz$"), AfterValidator(plain_name)]


@OPEN
class Weights(TypedDict):
    """Weights of the method."""

    source: str
    licence: str
    sha256: str | None
    training_set: str
    trained: bool | None
    """False: random weights or chance; null: not stated."""


@OPEN
class Method(TypedDict):
    """Method that described the images."""

    name: PlugIn
    variant: Variant
    version: str
    dim: Positive
    """Numbers per descriptor."""
    config: dict[str, Any]
    weights: Weights


class Score(TypedDict):
    """Mean over queries, and what it is the mean of."""

    mean: Fraction
    interval: Annotated[list[float], Len(2, 2)] | None
    """95 %, by the method of `intervals`, or null with too few blocks."""
    per_query: list[Fraction]
    """In the order of the data set; null: the query has no positive."""


class Intervals(TypedDict):
    """How the intervals were made; see bench/scoring/README.md.

    Absent in older records, whose method is landmarks-by-one/percentile.
    """

    method: Literal[
        "landmarks-by-half/bootstrap-t-logit",
        "landmarks-by-one/percentile",
        "blocks-by-likelihood/t-logit",
    ]
    """How queries are grouped / how the interval follows."""
    level: Annotated[float, Field(ge=0.95, le=0.95)]
    """Share of intervals that hold the true mean."""
    landmarks: NotRequired[Positive]
    """Groups of queries that share positives, of all protocols; in older records, in the place of
    rule and blocks."""
    rule: NotRequired[Literal["landmarks", "space", "order"]]
    """What makes queries one block: they share positives, or are neighbours in space or along a
    route; query_block of the .npz has the block of each."""
    blocks: NotRequired[Count]
    """Number of blocks; 0: too few for an interval."""
    seen: NotRequired[Annotated[float, Field(gt=0, le=1)]]
    """Share of the variance of the mean that sums of blocks show."""
    dependent: NotRequired[bool]
    """Whether scores depend on each other beyond the smallest blocks."""


class Ties(TypedDict):
    """Images that share their score."""

    labelled: Count
    """Labelled images that share their score with another database image."""
    largest_group: Positive
    """Images in the largest group with one score."""


@OPEN
class StageCost(TypedDict):
    """The time of a stage per query, and its own entries."""

    stage: str


class MissingFile(TypedDict):
    """One image without a descriptor."""

    list: Literal["database", "queries"]
    file: str
    reason: str


class Source(TypedDict):
    """Code that made the record."""

    commit: str | None
    dirty: bool | None
    version: NotRequired[str]
    """Of an installed package; its commit is what it was built from."""


class Ranks(TypedDict):
    """Arrays beside the record."""

    file: ArrayFile
    sha256: Sha256


@CLOSED
class Record(TypedDict):
    """One run: scores, card, method and machine."""

    schema: One
    run_id: Annotated[str, Field(pattern="^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}$")]
    """UTC second and six random digits."""
    created: str
    """UTC, ISO 8601."""
    command: str
    """The command line that made the record."""
    card: Card
    card_sha256: Sha256
    """Of the card as it is written: integrity."""
    card_id: NotRequired[Sha256]
    """Of what identifies the card: its codes and numbers without schema, metrics and neutral
    options; not in records of card schema 1."""
    method: Method
    scores: Annotated[dict[str, dict[str, Score]], Len(1)]
    """Protocol, then metric id; fractions 0 to 1, larger is better."""
    intervals: NotRequired[Intervals]
    ties: Ties
    timing: Timing
    memory: Memory
    bytes_per_image: Above0
    """Bytes of one stored descriptor."""
    rerank: NotRequired[Rerank]
    approximate: NotRequired[Approximate]
    stages: NotRequired[list[StageCost]]
    """Only with stages on the card other than re-ranking alone."""
    partial: bool
    """True: only the first images were used (--limit), or only those that were there (--allow-
    partial), or images are missing (--allow-missing)."""
    missing: NotRequired[Annotated[list[MissingFile], Len(1)]]
    """Images without a descriptor (--allow-missing): of the database, then queries."""
    machine: dict[str, Any]
    libraries: dict[str, str]
    source: Source
    seed: Whole
    """Of the bootstrap intervals."""
    ranks: Ranks
    sha256: Sha256
    """Of the canonical JSON of all other fields."""


if __name__ == "__main__":
    sys.stdout.write(schema_text(Record))
