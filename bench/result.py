"""Results as Python has them: scores, values per query and lists, with the ids of images."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pandas as pd

from bench.errors import BenchError, in_a_line, unknown
from bench.pipeline import options_of
from bench.quiet import quiet
from bench.records import record
from bench.scoring import metric_names, metrics
from bench.scoring.card import Card, card_id
from bench.store import room
from bench.types import NO_ROW, Dataset


@dataclass(frozen=True, eq=False)
class ProtocolResult:
    """The scores of one protocol; fractions from 0 to 1, larger is better."""

    name: str
    stated: Mapping[str, Any]
    queries: Sequence[str]

    @property
    def scores(self) -> pd.Series:
        """Return the mean of every metric, by its id; NaN where undefined."""
        return pd.Series({m: _number(v["mean"]) for m, v in self.stated.items()}, name=self.name)

    @property
    def intervals(self) -> pd.DataFrame:
        """Return the 95 % interval of every metric: columns `low` and `high`."""
        pairs = {m: v["interval"] or (None, None) for m, v in self.stated.items()}
        return pd.DataFrame.from_dict(pairs, orient="index", columns=["low", "high"]).astype(float)

    @property
    def map(self) -> float:
        """Return the mean average precision, where the protocol has one."""
        return self[next((m for m in self.stated if m.startswith("map")), "mAP")]

    def __getitem__(self, metric: str) -> float:
        """Return the mean of a metric, by its id or by the label it is printed with."""
        return _number(self.stated[self.metric(metric)]["mean"])

    def per_query(self, metric: str | None = None) -> pd.Series:
        """Return the value of each query by its id; None: of the first metric.

        NaN where a query is left out of the mean.
        """
        name = next(iter(self.stated)) if metric is None else self.metric(metric)
        values = [_number(value) for value in self.stated[name]["per_query"]]
        return pd.Series(values, index=pd.Index(self.queries, name="query"), name=name)

    def metric(self, text: str) -> str:
        """Return the id of a metric that is named by it, its first part, or its label."""
        return metric_names.named(text, self.stated, f"metric of {self.name}")


@dataclass(frozen=True, eq=False)
class Result:
    """What was measured: the content of a record and its arrays, written or not.

    `data` is the data set where it is here, and gives images their ids; `path` that of the record
    once it is written.
    """

    content: Mapping[str, Any]
    arrays: record.Arrays
    data: Dataset | None = None
    path: Path | None = None

    @property
    def card(self) -> Card:
        """Return the protocol card: all that can move a number."""
        card: Card = self.content["card"]
        return card

    @property
    def card_id(self) -> str:
        """Return the sha256 of what identifies the card; results of one id may be compared."""
        return card_id(self.card)

    @property
    def protocols(self) -> list[str]:
        """Return the names of the protocols."""
        return list(self.content["scores"])

    def __getitem__(self, protocol: str) -> ProtocolResult:
        """Return the scores of a protocol."""
        if not isinstance(protocol, str):
            raise BenchError(f"a protocol is named by text, not by {type(protocol).__name__}.")
        if protocol not in self.content["scores"]:
            raise unknown("protocol", protocol, self.protocols)
        return ProtocolResult(protocol, self.content["scores"][protocol], self.queries)

    @property
    def scores(self) -> pd.DataFrame:
        """Return the means: a row per protocol, a column per metric id."""
        return pd.DataFrame([self[name].scores for name in self.protocols])

    @cached_property
    def queries(self) -> list[str]:
        """Return the ids of the queries; their numbers where the data set is not here."""
        if self.data is not None:
            return [image.id for image in self.data.queries]
        return [str(number) for number in range(self.card["dataset"]["queries"])]

    def shortlist(self, query: int | str, protocol: str | None = None) -> pd.DataFrame:
        """Return the list of a query after all stages, best first.

        Columns: `row` and `image` of the database, `score`, and `label` under a protocol (None:
        the first): positive, ignored or negative. Rows beyond the database are distractors.
        """
        from bench.records import replay

        names, protocols = self.protocols, record.protocols_of(self.arrays, self.card)
        at = 0 if protocol is None else names.index(self[protocol].name)
        number = self._number(query)
        last = replay.rankings(self.arrays, self.card, protocols)[-1]
        listed, truth = last.shortlist[last.of[at]], protocols[at].truth[number]
        row = listed.row[number][listed.row[number] != NO_ROW]
        label = np.where(np.isin(row, truth.positive), "positive", "negative").astype(object)
        label[np.isin(row, truth.ignored)] = "ignored"
        return pd.DataFrame(
            {
                "row": row,
                "image": [self._image(int(number)) for number in row],
                "score": listed.score[number][: len(row)],
                "label": label,
            },
            index=pd.RangeIndex(1, len(row) + 1, name="rank"),
        )

    def save(self, results: str | Path) -> Path:
        """Write the record below a folder of results; return its path."""
        if not isinstance(results, str | Path):
            raise BenchError(f"the folder of results is {type(results).__name__}; give a path.")
        if "\0" in str(results):
            raise BenchError(f"{in_a_line(str(results))} cannot be the path of a folder.")
        with quiet():
            room.check_writable(Path(results))
            return record.write(Path(results), dict(self.content), self.arrays)

    def sheet(
        self,
        output: str | Path,
        *,
        queries: Sequence[int | str] | None = None,
        worst: int | None = None,
        top: int = 10,
        protocol: str | None = None,
        against: Result | None = None,
    ) -> Path:
        """Draw queries with the first `top` images of their lists, as .html, .png or .pdf.

        `queries` are ids or numbers; without them the `worst` 5, or without labels 24 of the list;
        `against` is a second result to set beside. Returns the path.
        """
        from bench.sheets import sheet
        from bench.sheets.options import Options

        if not isinstance(output, str | Path):
            raise BenchError(f"the file of the sheet is {type(output).__name__}; give a path.")
        if self.data is None:
            raise BenchError(
                f"a sheet shows images, but the data set {self.card['dataset']['name']} is "
                "unknown; give it: read_record(path, data=...)."
            )
        if not (against is None or isinstance(against, Result)):
            raise BenchError(f"against is a {type(against).__name__}; give a result.")
        values: dict[str, Any] = {"worst": worst, "top": top, "protocol": protocol}
        options_of.checked(values, get_type_hints(Options), Options)
        if queries is not None and not isinstance(queries, list | tuple | range | pd.Index):
            raise BenchError(f"queries is a {type(queries).__name__}; give a list.")
        numbers = None if queries is None else tuple(self._number(query) for query in queries)
        with quiet(), tempfile.TemporaryDirectory() as folder:
            other = None if against is None else against._path(folder)
            chosen = Options(queries=numbers, against=other, **values)
            sheet.of_run(self._path(folder), self.data, Path(output), chosen)
        return Path(output)

    def _path(self, folder: str) -> Path:
        """Return the path of the record, which is written to `folder` where it is not yet."""
        return self.path or self.save(folder)

    def _number(self, query: int | str) -> int:
        """Return the number of a query that is named by its id or number."""
        known = range(len(self.queries))
        if isinstance(query, str) and query in self.queries:
            return self.queries.index(query)
        whole = isinstance(query, int | np.integer) and not isinstance(query, bool)
        if not whole or query not in known:
            raise BenchError(
                f"query {in_a_line(query)} does not exist; the list has {len(known)} queries."
            )
        return int(query)

    def _image(self, row: int) -> str | None:
        if self.data is None or row >= len(self.data.database):
            return None
        return self.data.database[row].id

    def __repr__(self) -> str:
        """Return data set, method and the first metric of every protocol."""
        method, table = self.content["method"], self.scores
        first = table.columns[0]
        means = ", ".join(f"{name} {100 * value:.2f}" for name, value in table[first].items())
        label = metrics.metric(first).label
        return (
            f"<{self.card['dataset']['name']}, {method['name']}.{method['variant']}: "
            f"{label} {means}; card {self.card_id[:8]}>"
        )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
