"""What may be compared: the one table of classes that every field of a card belongs to.

protocol  the question: data set, labels, query crop, distractors, what uses labels or is fitted on
          the evaluated images. Results of two protocols never share a table, a front or a test.
system    how the question is searched: compression, index, precision, stages that use neither
          labels nor the evaluated set. They share a table, and are ranked within one *chain*.
method    the method's own: pixels and descriptors. Free.

Report, page, plots, fronts, LaTeX, CSV and `compare` read this table and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from bench import stages
from bench.scoring.card import NOT_IDENTITY, identity
from bench.system.hashing import canonical_json

Class = Literal["protocol", "system", "method"]
Card = Mapping[str, Any]

CLASSES: Mapping[str, Class] = {
    "dataset": "protocol",
    "distractors": "protocol",
    "protocols": "protocol",
    "junk_rule": "protocol",
    "crop_rule": "protocol",
    "tie_rule": "protocol",
    "limit": "protocol",
    "limit_rule": "protocol",
    "absent": "protocol",
    "areas": "protocol",
    "suppression": "protocol",
    "missing": "protocol",
    "precision": "system",
    "compression": "system",
    "search": "system",
    "candidates_rule": "system",  # protocol where labels choose the candidates: `class_of`
    "rerank": "system",
    "stages": "system",
    "preprocess": "method",
    "descriptors": "method",
}
TRANSDUCTIVE = ("queries", "database")


def class_of(field: str, card: Card) -> Class:
    """Return the class of a field at the top of a card; a field of no class is the protocol's."""
    listed = CLASSES.get(field, "protocol")
    if field in ("candidates_rule", "rerank", "stages") and uses(card):
        return "protocol"
    return listed


def uses(card: Card) -> frozenset[str]:
    """Return what the stages of a card look at besides a query and its rows.

    "labels", "queries" or "database"; "unknown" where a stage is not of this program, and unknown
    here.
    """
    found: set[str] = set()
    if card.get("rerank", {}).get("candidates", card.get("candidates_rule")) == "official":
        found.add("labels")
    for entry in card.get("stages") or ():
        stage = stages.known(entry)
        found |= {"unknown"} if stage is None else stage.uses
    return frozenset(found)


def is_transductive(card: Card) -> bool:
    """Return whether a stage is fitted on evaluated data."""
    return bool(uses(card) & set(TRANSDUCTIVE))


def part(card: Card, wanted: Class) -> str:
    """Return the identity of a card as far as it is of one class, as canonical JSON."""
    stated = identity(card)
    return canonical_json({key: v for key, v in stated.items() if class_of(key, card) == wanted})


def class_of_path(path: str, card: Card) -> Class | None:
    """Return the class of a leaf, given by its dotted path; None where it identifies nothing."""
    field = path.partition(".")[0]
    return None if field in NOT_IDENTITY else class_of(field, card)
