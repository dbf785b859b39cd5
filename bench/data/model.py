"""The typed model of a dataset.json: the one place that says which keys it has.

`python -m bench.data.model` prints the JSON schema, published as `datasets/dataset.schema.json`.
What a type cannot say (rows inside the list, boxes with an area) `bench.data.dataset_json` checks.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Len
from pydantic import FailFast, Field
from typing_extensions import TypedDict

from bench.system.typed import CLOSED, LARGEST, Count, Name, Text, Unique, Whole, schema_text

FARTHEST = 1e9  # pixels of a corner, metres of a position: the earth has 4e7 around it
Corner = Annotated[float, Field(gt=-FARTHEST, lt=FARTHEST)]
Box = Annotated[
    Annotated[list[Corner], Len(4, 4)] | None,
    Field(title="[left, top, right, bottom] in pixels or null"),
]
Row = Annotated[int, Field(ge=0, le=LARGEST)] | Count | str  # the first is by far the fastest
Rows = Annotated[list[Row], FailFast()]
Numbers = Annotated[list[Whole], FailFast()]


class Query(TypedDict):
    """One query."""

    file: Text
    """File name relative to `images`."""
    box: NotRequired[Box]
    """Left, top, right, bottom in pixels of the original, or null for the whole image."""
    landmark: NotRequired[str]
    note: NotRequired[str]
    labels: NotRequired[dict[str, Any]]


class Truth(TypedDict):
    """Database images of one query; the others are negative."""

    positive: Rows
    ignored: NotRequired[Rows]


class Areas(TypedDict):
    """A query is searched among the images of its own area.

    One number per database image, ascending, and one per query.
    """

    database: Numbers
    queries: Numbers


@CLOSED
class DatasetFile(TypedDict):
    """A retrieval data set of one's own.

    Rows are zero-based positions in `database`, or the file names that stand there. Every protocol
    has one entry per query, in the order of `queries`. What is neither positive nor ignored is
    negative.
    """

    name: Name
    """Lower case; names the folder of the results."""
    variant: NotRequired[Text]
    """Which version of the lists this is."""
    description: NotRequired[str]
    licence: NotRequired[str]
    citation: NotRequired[str]
    labelling: NotRequired[str]
    """How the labels were decided."""
    sources: NotRequired[dict[str, str]]
    """Where each file comes from."""
    images: Text
    """Folder of the photographs, relative to this file, or absolute."""
    database: Annotated[list[Text], Len(1), FailFast()]
    """File names relative to `images`."""
    queries: Annotated[list[Query], FailFast()]
    """None, and no protocols: the data set is a set of distractors."""
    protocols: dict[Name, Annotated[list[Truth | None], FailFast()]]
    """None where there are no queries. Null: this protocol does not ask this query."""
    metrics: NotRequired[Annotated[list[str], Len(1), Unique]]
    """Ids of the metrics, headline first; those of the revisited protocol if left out."""
    rules: NotRequired[dict[str, Any]]
    """How the positives were decided, such as a distance, its threshold and whether it is strict;
    goes into the card."""
    areas: NotRequired[Areas]
    groups: NotRequired[Numbers]
    """One number per database image: of a group, such as a panorama, a list keeps the first image;
    only for Recall@k."""
    notes: NotRequired[list[str]]
    """Lines that a run prints: what the lists leave out."""
    positions: NotRequired[Annotated[list[Annotated[list[Corner], Len(2, 2)]], FailFast()]]
    """[x, y] in metres per query, in the plane: neighbours share a block when intervals are made;
    goes into no card."""
    order: NotRequired[Annotated[list[Annotated[list[Whole], Len(2, 2)]], FailFast()]]
    """[recording, place in it] per query, such as the number of a drive and of its frame, where
    positions are not known."""
    empty: NotRequired[Literal["skip", "miss"]]
    """What a query without positives does to a mean; skip if left out."""


if __name__ == "__main__":
    sys.stdout.write(schema_text(DatasetFile))
