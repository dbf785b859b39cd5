"""The sentences that cards of version 0.1 hold, and the codes that stand for them now.

This table is frozen. Committed records hold these sentences, and their identity follows from the
codes; a sentence that is edited here would give old records another identity. The printed text is
in `bench/records/words.py` and may be reworded at any time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

LONGEST = 1000  # characters of a sentence
NOT_STATED = "not stated: descriptors were brought"

# By path of the card: sentence and code.
SENTENCES: Mapping[str, Mapping[str, str]] = {
    "junk_rule": {
        "ignored images are taken out of the list before places are counted": "removed",
    },
    "tie_rule": {
        "score descending, then database row ascending; scores are float64 dot products": (
            "score-then-row"
        ),
    },
    "crop_rule": {
        "query cropped to its box": "box",
        "whole query image": "whole",
        "whole query image (the data set has no boxes)": "no-boxes",
        NOT_STATED: "not-stated",
    },
    "descriptors": {
        "unit norm": "unit-norm",
        "as given, not normalised": "as-given",
    },
    "precision": {NOT_STATED: "not-stated"},
    "candidates_rule": {"none: the list of the global descriptors is not re-ranked": "none"},
    "rerank.model": {
        "affine, from the database image to the query": "affine",
        "affine (not mirrored, turned by 30 degrees, scaled 4 times and 3 times as much along as "
        "across at most), from the database image to the query": "affine-upright",
    },
    "rerank.order": {"inliers descending, then the order before": "inliers"},
    "areas.rule": {
        "a query is searched among the database rows of its own area, and places count there": (
            "own-area"
        ),
    },
    "suppression.rule": {
        "of a group of database rows a list keeps the first, and places count after that": (
            "first-of-group"
        ),
    },
    "missing.rule": {
        "a missing database image is behind all others; a missing query counts as 0": "last",
    },
    "dataset.rules.positive": {
        "Euclidean distance of planar positions": "planar-distance",
        "frames listed one by one": "listed-frames",
        "positions (i, i) of frame i, distance at most 10": "frame-positions",
        "frames by their order in the lists": "frame-order",
        "same object, by the folder": "same-object",
        "listed: the other picture of the place": "listed-place",
        "listed in retrieval_solution_v2.1.csv": "listed-v2.1",
        "the other picture of the place, by its number": "same-number",
    },
    "dataset.rules.search": {
        "both cities together": "cities-together",
        "city by city": "city-by-city",
    },
    "dataset.rules.pairing": {
        "database and queries": "database-queries",
        "all pairs of sessions": "session-pairs",
    },
}

_TRAINED = r"trained on (?P<trained_rows>\d+) of the (?P<rows>\d+) database rows"
_DECODED = "searched as decoded, not normalised again; queries are not compressed"
_LISTS = (
    r"inverted file of \d+ lists, [a-z0-9 -]+, \d+ lists looked into; trained by one thread on "
    r"(?P<trained_rows>\d+) of the (?P<rows>\d+) database rows \(distractors included\), "
    r"seeds (?P<seed>\d+) and (?P<kmeans_seed>\d+)"
)
_LINKS = (
    r"HNSW of \d+ links, efConstruction (?P<build_depth>\d+), efSearch \d+, built by one thread"
)
_REST = (
    r"; the (?P<list>\d+) best that it finds are ordered by float64 dot products with the vectors "
    r"it holds; what is not retrieved has an infinite rank, and a positive not retrieved is missed"
)

# By path: sentences with numbers in them. The group `name` is the code; the others are numbers.
_WITH_NUMBERS: Mapping[str, tuple[re.Pattern[str], ...]] = {
    "candidates_rule": (
        re.compile(r"(?P<name>official): of each protocol the first \d+ that it does not ignore "
                   r"\(uses labels\)"),
        re.compile(r"(?P<name>deployable): the first \d+ of the list \(uses no labels\)"),
    ),
    "rerank.order": (
        re.compile(r"(?P<name>similarity) \+ [0-9.e-]+ log2\(1 \+ inliers / (?P<few_inliers>\d+)\) "
                   r"descending, then the order before"),
    ),
    "compression": (
        re.compile(rf"(?P<name>float16): (?P<bytes>\d+) bytes per image; {_DECODED}"),
        re.compile(rf"(?P<name>pq\d+x\d): product quantisation, \d+ sub-vectors of \d bits, "
                   rf"(?P<bytes>\d+) bytes per image; {_TRAINED} \(distractors included\), "
                   rf"seed (?P<seed>\d+); {_DECODED}"),
    ),
    "search": (
        re.compile(rf"approximate: (?P<name>[a-z0-9,]+); faiss, inner product, {_LISTS}{_REST}"),
        re.compile(rf"approximate: (?P<name>[a-z0-9,]+); faiss, inner product, {_LINKS}{_REST}"),
    ),
}  # fmt: skip


def code_of(path: str, value: Any) -> Any:
    """Return the code for a sentence of version 0.1 at a path of a card; others stay.

    Where the sentence holds numbers that nothing else on the card says, the code is an object: its
    `name`, and the numbers.
    """
    if not isinstance(value, str) or len(value) > LONGEST:
        return value
    known = SENTENCES.get(path, {}).get(value)
    if known is not None:
        return known
    for pattern in _WITH_NUMBERS.get(path, ()):
        found = pattern.fullmatch(value)
        if found:
            numbers = {key: int(text) for key, text in found.groupdict().items() if key != "name"}
            return {"name": found["name"], **numbers} if numbers else found["name"]
    return value


def coded(card: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return a card with a code for each sentence of version 0.1."""
    out: dict[str, Any] = {}
    for key, value in card.items():
        place = f"{path}.{key}" if path else key
        inner = isinstance(value, Mapping)
        out[key] = coded(value, place) if inner else code_of(place, value)
    return out
