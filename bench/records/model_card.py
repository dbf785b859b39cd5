"""The typed model of a card, of every version. See `bench.records.model`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Len
from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from bench import plugins
from bench.system.typed import OPEN, Count, Name, Positive, Sha256, Unique, whole
from bench.types import LimitRule


def plain_name(text: str) -> str:
    """Return a name that data state, refused by pydantic's error where it is a path or code."""
    if not plugins.is_name(text):
        raise PydanticCustomError("path", "which is a path instead of a name")
    return text


def _numbered(code: dict[str, Any]) -> dict[str, Any]:
    for key, value in code.items():
        if key != "name" and type(value) is not int:
            raise PydanticCustomError("number", "whose {key} is not an integer", {"key": key})
    return code


@OPEN
class NumberedCode(TypedDict):
    """A code and the numbers that nothing else on the card says."""

    name: str


Code = Annotated[
    Annotated[str, Tag("text")] | Annotated[NumberedCode, AfterValidator(_numbered), Tag("object")],
    Discriminator(lambda value: "object" if isinstance(value, dict) else "text"),
]


class CardDataset(TypedDict):
    """Data set of a card."""

    name: Annotated[Name, AfterValidator(plain_name)]
    variant: str
    revision: Sha256
    """Of image lists, boxes and ground truth."""
    database: Positive
    queries: Positive
    rules: NotRequired[dict[str, Any]]
    """How the positives were decided: distance, threshold, strictness, sources."""
    list: NotRequired[Literal["not-published"]]
    """Only where counts or hashes of the lists are other than the published ones."""


class Distractors(TypedDict):
    """Images that were added to the database."""

    count: Count
    sources: list[str]
    counts: NotRequired[list[Positive]]
    """With list_sha256, only where distractors were described: images of each source."""
    list_sha256: NotRequired[list[Sha256]]
    """Of the file names of each source, joined with newlines."""


class CardProtocol(TypedDict):
    """Protocol of a card."""

    scored: Count
    skipped: Count
    empty: Literal["skip", "miss"]
    truth_sha256: Sha256
    not_asked: NotRequired[Count]
    """Only where the protocol asks some of the queries: how many it leaves to others."""


@OPEN
class CardLocal(TypedDict):
    """Fields of bench.types.LocalRule."""

    max_features: Positive


@OPEN
class CardRerank(TypedDict):
    """Everything of the verification that can move a score: only where lists were re-ranked."""

    candidates: Literal["official", "deployable"]
    """The first `depth` that a protocol does not ignore, or of the whole list."""
    depth: Positive
    local: CardLocal


class CardMissing(TypedDict):
    """Rows of images that have no descriptor, and how they are scored."""

    rule: str
    database: Annotated[list[Count], Unique]
    queries: Annotated[list[Count], Unique]


@OPEN
class CardStage(TypedDict):
    """One stage, its codes and numbers."""

    stage: Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class CardAreas(TypedDict):
    """Only where each query is searched in a part of the database."""

    rule: str
    count: Positive
    sha256: Sha256


class Suppression(TypedDict):
    """Only where a list keeps one row of each group, such as a panorama."""

    rule: str
    groups: Positive
    sha256: Sha256


class Absent(TypedDict):
    """How many images that are not on the machine were left out (--allow-partial)."""

    database: Count
    queries: Count


class Card(TypedDict):
    """Protocol card: what a number is."""

    schema: Annotated[int, Field(ge=1, le=2), BeforeValidator(whole)]
    """2: codes and numbers; 1: sentences in their place."""
    dataset: CardDataset
    distractors: Distractors
    protocols: Annotated[dict[str, CardProtocol], Len(1)]
    metrics: Annotated[list[str], Len(1)]
    """Ids; the first is the headline."""
    junk_rule: str
    crop_rule: str
    preprocess: dict[str, Any] | None
    """Fields of bench.types.Preprocess; null where descriptors were brought."""
    descriptors: str
    candidates_rule: str
    """Of re-ranking: none, official, deployable, in-stages."""
    rerank: NotRequired[CardRerank]
    missing: NotRequired[CardMissing]
    tie_rule: str
    precision: NotRequired[str]
    """Of the network's convolutions."""
    compression: Code
    search: Code
    stages: NotRequired[list[CardStage]]
    """What came between descriptors and scores, in the order of application."""
    areas: NotRequired[CardAreas]
    suppression: NotRequired[Suppression]
    limit: Positive | None
    limit_rule: NotRequired[LimitRule]
    """With a limit: the first images (where absent), or the positives of the first queries."""
    absent: NotRequired[Absent]
