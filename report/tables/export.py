"""The main tables as CSV and JSON: one line per run, protocol and metric, with what it means.

`COLUMNS` is the one list of what a line has; results/README.md describes each, and a test compares.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from bench.records.rows import Run
from bench.records.words import metric_label, say
from bench.report.tables.main import Board, treatment
from bench.system.identity import elided

COLUMNS = (
    "dataset", "group", "partial", "method", "variant", "marks", "backbone", "training_set",
    "weights_sha256", "dim", "query_crop", "size_cap", "scales", "reranking", "precision",
    "compression", "search", "distractors", "protocol", "metric", "metric_id", "score_percent",
    "low_percent", "high_percent", "queries", "blocks", "block_rule", "system", "place",
    "query_ms",
    "describe_ms", "search_ms", "rerank_ms", "images_per_s", "image_bytes", "index_bytes",
    "parameters", "flops_per_image", "machine", "card", "record", "run_id", "code",
)  # fmt: skip
STARTS = ("=", "+", "-", "@")  # a spreadsheet takes a cell that begins so for a formula


def lines(board: Board) -> Iterator[dict[str, Any]]:
    """Yield one line per row and column of the table: its values in full precision."""
    for number, group in enumerate(board.groups, start=1):
        for row in group.rows:
            run, words = row.run, treatment(row.run)
            for column, score, place in zip(board.columns, row.scores, row.places, strict=True):
                low, high = score.interval or (None, None)
                counts = run.card["protocols"].get(column.protocol, {})
                yield {
                    "dataset": board.dataset,
                    "group": number,
                    "partial": group.partial,
                    "method": run.method,
                    "variant": run.variant,
                    "marks": " ".join(run.marks),
                    "backbone": run.backbone,
                    "training_set": run.training_set,
                    "weights_sha256": run.weights_sha256,
                    "dim": run.dim,
                    "query_crop": words["query crop"],
                    "size_cap": words["size cap"],
                    "scales": words["scales"],
                    "reranking": words["re-ranking"],
                    "precision": run.precision,
                    "compression": say("compression", run.card["compression"], run.card),
                    "search": say("search", run.card["search"], run.card),
                    "distractors": run.card["distractors"]["count"],
                    "protocol": column.protocol,
                    "metric": metric_label(column.id),
                    "metric_id": column.id,
                    "score_percent": _percent(score.mean),
                    "low_percent": _percent(low),
                    "high_percent": _percent(high),
                    "queries": counts.get("scored"),
                    "blocks": run.blocks and run.blocks[1],
                    "block_rule": run.blocks and run.blocks[0],
                    "system": row.chain,
                    "place": place or None,
                    **_costs(run),
                    "card": run.card_id,
                    "record": run.file.as_posix(),
                    "run_id": run.run_id,
                    "code": run.code,
                }


def _costs(run: Run) -> dict[str, Any]:
    """Return what a query and an image cost: p50 in milliseconds, bytes, operations."""
    cost = run.cost
    timed = {
        "query_ms": cost.query_ms,
        "describe_ms": cost.describe,
        "search_ms": cost.phases.get("search"),
        "rerank_ms": cost.phases.get("re-rank"),
    }
    return {
        **{key: None if of is None else round(of.p50, 6) for key, of in timed.items()},
        "images_per_s": cost.images_per_s,
        "image_bytes": cost.image_bytes,
        "index_bytes": cost.index_bytes,
        "parameters": cost.parameters,
        "flops_per_image": cost.flops,
        "machine": cost.machine,
    }


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
