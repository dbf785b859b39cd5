"""Which local features of a re-ranked pair agree: its inliers, found again with the same method.

Features come from the local store where it has them, and are computed otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import datasets, methods
from bench.describe import engine, loading, local_store
from bench.errors import BenchError
from bench.images import decode
from bench.rerank import geometry
from bench.scoring.card import WHOLE
from bench.sheets.content import OpenRecord
from bench.system.hashing import plain
from bench.types import Dataset, LocalRule, Preprocess


@dataclass(frozen=True, eq=False)
class Pair:
    """A query and a database image as the method saw them, and their inliers.

    Images are uint8 (height, width, 3), RGB; points are (n, 2), (y, x) in their pixels. `stored`
    is the number of inliers in the record.
    """

    query: int
    row: int
    images: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    points: tuple[NDArray[np.float32], NDArray[np.float32]]
    stored: int


def pairs(
    opened: OpenRecord,
    dataset: Dataset,
    queries: Sequence[int],
    count: int,
    weights: str | None,
    device: str | None,
) -> list[Pair]:
    """Return the first `count` re-ranked images of each query's list, with their inliers.

    Raises BenchError where the record is not re-ranked, or if its method has changed or is absent.
    """
    card = opened.document["card"]
    if "rerank" not in card:
        raise BenchError("its lists are not re-ranked")
    wanted = [
        (query, row)
        for query in queries
        for row in [r for r in opened.rows[query].tolist() if r in opened.inliers[query]][:count]
        if row < len(dataset.database)
    ]
    if not wanted:
        return []
    loaded = _method(opened, weights, device)
    rule = _rule(LocalRule, card["rerank"]["local"])
    if card["crop_rule"] == WHOLE:
        dataset = replace(dataset, crop="whole")
    shown = datasets.shown_queries(dataset)
    upright = replace(loaded.rule, channels="rgb")
    precision = card["rerank"]["local_precision"]
    of_query, of_row = (
        local_store.extract_local(
            loaded,
            dataset.folder,
            listed,
            np.unique(np.array(rows, dtype=np.int64)),
            rule,
            precision,
            f"local features, {what}",
        ).read
        for what, listed, rows in (
            ("queries", shown, [query for query, _ in wanted]),
            ("database", dataset.database, [row for _, row in wanted]),
        )
    )
    found = []
    for query, row in wanted:
        mine, theirs = of_query(query), of_row(row)
        mode = card["rerank"]["ransac"]
        matched = geometry.inlier_matches(mine, theirs, rule, mode)
        both = tuple(
            decode.load(dataset.folder / image.path, image.box, upright)
            for image in (shown[query], dataset.database[row])
        )
        points = (mine.points[matched[0]], theirs.points[matched[1]])
        found.append(Pair(query, row, (both[0], both[1]), points, opened.inliers[query][row]))
    return found


def _method(opened: OpenRecord, weights: str | None, device: str | None) -> engine.Loaded:
    """Load the record's method with the preprocessing on its card; refuse another model."""
    stated = opened.document["method"]
    known = methods.known(stated["name"], stated["variant"])
    loaded = loading.load(known, weights, device)
    info = loaded.info
    for what, here, there in (
        ("version", info.version, stated["version"]),
        ("configuration", plain(info.config), stated["config"]),
        ("weights", info.weights["sha256"], stated["weights"]["sha256"]),
    ):
        if here != there:
            raise BenchError(f"{opened.name} on this machine differs in {what} from the record")
    rule = _rule(Preprocess, opened.document["card"]["preprocess"])
    return replace(loaded, rule=rule)


def _rule(kind: Any, stated: Mapping[str, Any]) -> Any:
    """Return a rule from its JSON; lists become the tuples they were."""
    known = {each.name for each in fields(kind)}
    if set(stated) - known:
        raise BenchError("the record's card has fields that this version does not know")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in stated.items()})
