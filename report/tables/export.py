"""The main tables as CSV and JSON: one line per run, protocol and metric, with what it means.

`_CELLS` is the one list of what a line has; results/README.md describes each, and a test compares.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.records.costs import Timed
from bench.records.rows import Run, Score
from bench.records.words import metric_label, say
from bench.report.tables.main import Board, Group, Metric, Row, treatment
from bench.system.identity import elided

STARTS = ("=", "+", "-", "@")  # a spreadsheet takes a cell that begins so for a formula


@dataclass(frozen=True)
class Line:
    """What a line is of: a row of a group of the table, and one of its columns of scores."""

    board: Board
    number: int
    group: Group
    row: Row
    words: Mapping[str, str]
    at: int

    @property
    def run(self) -> Run:
        """Return the run of the row."""
        return self.row.run

    @property
    def column(self) -> Metric:
        """Return protocol and metric."""
        return self.board.columns[self.at]

    @property
    def score(self) -> Score:
        """Return mean and interval, fractions."""
        return self.row.scores[self.at]


# What a line has: the name of each column, and its cell.
_CELLS: Mapping[str, Callable[[Line], Any]] = {
    "dataset": lambda line: line.board.dataset,
    "group": lambda line: line.number,
    "partial": lambda line: line.group.partial,
    "method": lambda line: line.run.method,
    "variant": lambda line: line.run.variant,
    "marks": lambda line: " ".join(line.run.marks),
    "backbone": lambda line: line.run.backbone,
    "training_set": lambda line: line.run.training_set,
    "weights_sha256": lambda line: line.run.weights_sha256,
    "dim": lambda line: line.run.dim,
    "query_crop": lambda line: line.words["query crop"],
    "size_cap": lambda line: line.words["size cap"],
    "scales": lambda line: line.words["scales"],
    "reranking": lambda line: line.words["re-ranking"],
    "precision": lambda line: line.run.precision,
    "compression": lambda line: _say("compression", line.run),
    "search": lambda line: _say("search", line.run),
    "distractors": lambda line: line.run.card["distractors"]["count"],
    "protocol": lambda line: line.column.protocol,
    "metric": lambda line: metric_label(line.column.id),
    "metric_id": lambda line: line.column.id,
    "score_percent": lambda line: _percent(line.score.mean),
    "low_percent": lambda line: _percent((line.score.interval or (None, None))[0]),
    "high_percent": lambda line: _percent((line.score.interval or (None, None))[1]),
    "queries": lambda line: line.run.card["protocols"].get(line.column.protocol, {}).get("scored"),
    "blocks": lambda line: line.run.blocks and line.run.blocks[1],
    "block_rule": lambda line: line.run.blocks and line.run.blocks[0],
    "system": lambda line: line.row.chain,
    "place": lambda line: line.row.places[line.at] or None,
    "query_ms": lambda line: _p50(line.run.cost.row_ms),
    "describe_ms": lambda line: _p50(line.run.cost.describe),
    "search_ms": lambda line: _p50(line.run.cost.phases.get("search")),
    "rerank_ms": lambda line: _p50(line.run.cost.phases.get("re-rank")),
    "images_per_s": lambda line: line.run.cost.images_per_s,
    "image_bytes": lambda line: line.run.cost.image_bytes,
    "disk_bytes": lambda line: line.run.cost.disk_bytes,
    "index_bytes": lambda line: line.run.cost.index_bytes,
    "parameters": lambda line: line.run.cost.parameters,
    "flops_per_image": lambda line: line.run.cost.flops,
    "machine": lambda line: line.run.cost.machine,
    "card": lambda line: line.run.card_id,
    "record": lambda line: line.run.file.as_posix(),
    "run_id": lambda line: line.run.run_id,
    "code": lambda line: line.run.code,
}
COLUMNS = tuple(_CELLS)


def lines(board: Board) -> Iterator[dict[str, Any]]:
    """Yield one line per row and column of the table: its values in full precision."""
    for number, group in enumerate(board.groups, start=1):
        for row in group.rows:
            words = treatment(row.run)
            for at in range(len(board.columns)):
                line = Line(board, number, group, row, words, at)
                yield {name: cell(line) for name, cell in _CELLS.items()}


def _say(key: str, run: Run) -> str:
    return say(key, run.card[key], run.card)


def _p50(timed: Timed | None) -> float | None:
    """Return the p50 in milliseconds."""
    return None if timed is None else round(timed.p50, 6)


def as_csv(board: Board) -> str:
    """Return the lines as CSV (RFC 4180, UTF-8); an empty cell is a value that is not there.

    Text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    for line in lines(board):
        writer.writerow({key: _safe(value) for key, value in line.items()})
    return out.getvalue()


def as_json(board: Board) -> str:
    """Return the lines as JSON, with the headings of the groups and the cards in full."""
    content = {
        "dataset": board.dataset,
        "groups": [group.heading for group in board.groups],
        "cards": {run.card_id: elided(run.card) for run in board.cards.values()},
        "rows": list(lines(board)),
    }
    return dump(content)


def dump(value: Any) -> str:
    """Return JSON with a line per value, and nothing but ASCII."""
    return json.dumps(value, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def _percent(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 10)


def _safe(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(STARTS) else value
