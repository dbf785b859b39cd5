"""Robot data sets: poses in one table, and a protocol: who asks whom, and how near is right.

A session is one drive. Either some sessions are the database and others ask, or every session asks
every other, one at a time (pairs): then an image stands in the list of queries once for each
session that it asks, and each search is in that session alone.
"""

from __future__ import annotations

import dataclasses
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data import metres, raw
from bench.datasets._readers import by_distance, numpy_files
from bench.errors import BenchError
from bench.system import reading

COLUMNS = ("session", "timestamp", "x", "y")


@dataclass(frozen=True)
class Protocol:
    """Who asks whom, and what is right.

    database, queries  sessions; both empty: all pairs of two different sessions
    threshold_m        a positive is at most that far (`strict`: nearer), None: it must be stated
    empty              what a query without positives does to a mean
    regions            the least corners (x, y) of squares `region_m` wide, in which queries must
                       are; none: everywhere
    heading_degrees    the most that headings of positives differ, None: they do not matter
    """

    database: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()
    threshold_m: float | None = None
    strict: bool = False
    empty: str = "skip"
    regions: tuple[tuple[float, float], ...] = ()
    region_m: float = 0.0
    heading_degrees: float | None = None

    def rules(self) -> dict[str, Any]:
        """Return what the card says."""
        assert self.threshold_m is not None
        rules = by_distance.rules(self.threshold_m, strict=self.strict)
        rules["pairing"] = "database-queries" if self.database else "session-pairs"
        if self.regions:
            rules |= {
                "regions_xy": [list(region) for region in self.regions],
                "region_m": self.region_m,
            }
        if self.heading_degrees is not None:
            rules["heading_degrees"] = self.heading_degrees
        return rules


def completed(protocol: Protocol, name: str, path: Path) -> Protocol:
    """Return the protocol; one that leaves its threshold open has it from the file."""
    if protocol.threshold_m is not None:
        return protocol
    wanted = f'{{"{name}": {{"threshold_m": 25}}}}'
    if not path.is_file():
        raise BenchError(
            f"the protocol {name} states no threshold: its positives are published as pickles. "
            f"State the threshold in {path}, such as {wanted}."
        )
    try:
        text = raw.text(raw.read(path), path)
        threshold = float(reading.json_value(text)[name]["threshold_m"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BenchError(f"{path} must have the form {wanted}: {error!r}.") from error
    if not 0 < threshold < np.inf:
        raise BenchError(f"{path}: threshold_m is {threshold}; it must be above zero.")
    return dataclasses.replace(protocol, threshold_m=threshold)


def load(
    path: Path, protocol: Protocol
) -> tuple[dict[str, Any], dict[str, list[int]] | None, list[str]]:
    """Return lists and positives, areas where sessions ask in pairs, the session of each query."""
    table = _table(path, protocol)
    if protocol.database:
        for session in (*protocol.database, *protocol.queries):
            if not (table["session"] == session).any():
                raise BenchError(f"{path} lacks the poses of the session {session}.")
        chosen = table[table["session"].isin(protocol.database)]
        asking = _inside(table[table["session"].isin(protocol.queries)], protocol)
        parts = [(chosen, asking)]
    else:
        chosen = table.sort_values(["session", "timestamp"], kind="stable")
        sessions = chosen["session"].unique()
        if len(sessions) < 2:
            raise BenchError(
                f"{path} has one session; queries and database need two different sessions."
            )
        parts = [
            (
                chosen[chosen["session"] == session],
                _inside(chosen[chosen["session"] != session], protocol),
            )
            for session in sessions
        ]
    every = table[["x", "y"]].to_numpy(dtype=np.float64)
    assert protocol.threshold_m is not None
    metres.check(every, every, protocol.threshold_m, path)
    read: dict[str, Any] = {"database": [], "queries": [], "positive": [], "queries_xy": []}
    areas: dict[str, list[int]] = {"database": [], "queries": []}
    asked_by: list[str] = []
    for area, (rows, queries) in enumerate(parts):
        first = len(read["database"])
        read["positive"] += [near + first for near in _positives(rows, queries, protocol)]
        read["database"] += rows["file"].tolist()
        read["queries"] += queries["file"].tolist()
        read["queries_xy"] += queries[["x", "y"]].to_numpy(dtype=np.float64).tolist()
        areas["database"] += [area] * len(rows)
        areas["queries"] += [area] * len(queries)
        asked_by += queries["session"].tolist()
    return read, areas if len(parts) > 1 else None, asked_by


def _positives(rows: Any, queries: Any, protocol: Protocol) -> list[NDArray[np.int64]]:
    assert protocol.threshold_m is not None
    xy, asked = (part[["x", "y"]].to_numpy(dtype=np.float64) for part in (rows, queries))
    near = by_distance.positives(xy, asked, protocol.threshold_m, strict=protocol.strict)
    if protocol.heading_degrees is None:
        return near
    of_rows, of_queries = (part["heading"].to_numpy(dtype=np.float64) for part in (rows, queries))
    most = protocol.heading_degrees
    return [
        by_distance.within_angle(position, angle, of_rows, most)
        for position, angle in zip(near, of_queries, strict=True)
    ]


def _inside(queries: Any, protocol: Protocol) -> Any:
    if not protocol.regions:
        return queries
    kept = np.zeros(len(queries), dtype=np.bool_)
    for x, y in protocol.regions:
        wide = protocol.region_m
        kept |= (queries["x"].between(x, x + wide) & queries["y"].between(y, y + wide)).to_numpy()
    return queries[kept]


def _table(path: Path, protocol: Protocol) -> Any:
    import pandas as pd

    try:
        text = {"session": str, "timestamp": str, "file": str}
        table = pd.read_csv(io.BytesIO(raw.read(path)), dtype=text)
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise BenchError(
            f"{path} cannot be read as a table: {numpy_files.reason(error)}."
        ) from error
    needed = COLUMNS if protocol.heading_degrees is None else (*COLUMNS, "heading")
    lacking = [column for column in needed if column not in table]
    if lacking:
        raise BenchError(f"{path} has no column {lacking[0]!r}; it needs {', '.join(needed)}.")
    if table[["session", "timestamp"]].isna().any().any():
        raise BenchError(f"{path}: a row lacks its session or its timestamp; complete it.")
    by_distance.checked(table[["x", "y"]].to_numpy(), len(table), path)
    table[["x", "y"]] = table[["x", "y"]].astype(np.float64)
    if "file" not in table:
        table["file"] = table["session"] + "/" + table["timestamp"] + ".jpg"
    return table
