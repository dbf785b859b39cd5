"""The sentences for the codes of a card; they may be reworded, as no hash depends on them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from bench.records.rows import Card
from bench.scoring.card import name_of

# By path of the card: code and sentence.
SENTENCES = {
    "junk_rule": {
        "removed": "ignored images are taken out of the list before places are counted",
    },
    "limit_rule": {
        "first-rows": "the first of the database",
        "positives": "the positives of the first queries, and the first others",
    },
    "tie_rule": {
        "score-then-row": (
            "score descending, then database row ascending; scores are float64 dot products"
        ),
    },
    "crop_rule": {
        "box": "query cropped to its box",
        "whole": "whole query image",
        "no-boxes": "whole query image (the data set has no boxes)",
        "not-stated": "not stated: descriptors were brought",
    },
    "descriptors": {
        "unit-norm": "unit norm",
        "as-given": "as given, not normalised",
        "cosine": "as given, compared by cosine",
        "euclidean": "as given, compared by Euclidean distance",
    },
    "precision": {"not-stated": "not stated: descriptors were brought"},
    "candidates_rule": {
        "none": "none: the list of the global descriptors is not re-ranked",
        "in-stages": "one of the stages",
        "official": (
            "official: of each protocol the first {depth} that it does not ignore (uses labels)"
        ),
        "deployable": "deployable: the first {depth} of the list (uses no labels)",
    },
    "rerank.model": {
        "affine": "affine, from the database image to the query",
        "affine-upright": (
            "affine (not mirrored, turned by 30 degrees, scaled 4 times and 3 times as much along "
            "as across at most), from the database image to the query"
        ),
    },
    "rerank.order": {
        "inliers": "inliers descending, then the order before",
        "similarity": (
            "similarity + {weight:g} log2(1 + inliers / {few_inliers}) descending, then the order "
            "before"
        ),
    },
    "areas.rule": {
        "own-area": (
            "a query is searched among the database rows of its own area, and places count there"
        ),
    },
    "suppression.rule": {
        "first-of-group": (
            "of a group of database rows a list keeps the first, and places count after that"
        ),
    },
    "missing.rule": {
        "last": "a missing database image is behind all others; a missing query counts as 0",
    },
    "dataset.rules.positive": {
        "planar-distance": "Euclidean distance of planar positions",
        "listed-frames": "frames listed one by one",
        "frame-positions": "positions (i, i) of frame i, distance at most 10",
        "frame-order": "frames by their order in the lists",
        "same-object": "same object, by the folder",
        "listed-place": "listed: the other picture of the place",
        "listed-v2.1": "listed in retrieval_solution_v2.1.csv",
        "same-number": "the other picture of the place, by its number",
    },
    "dataset.rules.search": {
        "cities-together": "both cities together",
        "city-by-city": "city by city",
    },
    "dataset.rules.pairing": {
        "database-queries": "database and queries",
        "session-pairs": "all pairs of sessions",
    },
}


def _candidates(value: Any, card: Card) -> str:
    words = SENTENCES["candidates_rule"].get(str(value), str(value))
    return words.format(depth=card.get("rerank", {}).get("depth", "candidates"))


def _order(value: Any, card: Card) -> str:
    words = SENTENCES["rerank.order"].get(name_of(value), str(value))
    weight = card.get("rerank", {}).get("local", {}).get("inlier_weight", 0)
    return words.format(weight=weight, **(value if isinstance(value, Mapping) else {}))


def _compression(value: Any, _: Card) -> str:
    """Return the sentence of a compression: the code of a row, and its training."""
    if not isinstance(value, Mapping):
        return str(value)
    decoded = "searched as decoded, not normalised again; queries are not compressed"
    name, size = value["name"], f"{value['bytes']} bytes per image"
    parts = re.fullmatch(r"pq(\d+)x(\d)", name)
    if parts is None:
        return f"{name}: {size}; {decoded}"
    return (
        f"{name}: product quantisation, {parts[1]} sub-vectors of {parts[2]} bits, {size}; trained "
        f"on {value['trained_rows']} of the {value['rows']} database rows (distractors included), "
        f"seed {value['seed']}; {decoded}"
    )


def _search(value: Any, _: Card) -> str:
    """Return the sentence of a search: how the index is built, and what is not found."""
    if not isinstance(value, Mapping):
        return str(value)
    words = dict(re.findall(r"([a-z]+)(\d+)(?:,|$)", value["name"]))
    if "hnsw" in words:
        how = (
            f"HNSW of {words['hnsw']} links, efConstruction {value['build_depth']}, efSearch "
            f"{words['ef']}, built by one thread"
        )
    else:
        coded = re.search(r"pq(\d+)x(\d)", value["name"])
        coding = (
            f"residuals in {coded[1]} sub-vectors of {coded[2]} bits"
            if coded
            else "vectors as they are"
        )
        how = (
            f"inverted file of {words['ivf']} lists, {coding}, {words['nprobe']} lists looked "
            f"into; trained by one thread on {value['trained_rows']} of the {value['rows']} "
            "database rows (distractors included), seeds "
            f"{value['seed']} and {value['kmeans_seed']}"
        )
    return (
        f"approximate: {value['name']}; faiss, inner product, {how}; the {value['list']} best that "
        "it finds are ordered by float64 dot products with the vectors it holds; what is not "
        "retrieved has an infinite rank, and a positive not retrieved is missed"
    )


# Sentences with numbers, which the code or the rest of the card has.
WITH_NUMBERS: Mapping[str, Callable[[Any, Card], str]] = {
    "candidates_rule": _candidates,
    "rerank.order": _order,
    "compression": _compression,
    "search": _search,
}
