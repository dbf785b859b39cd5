"""Approximate search: the quality that each index loses against exact search, from one run."""

from __future__ import annotations

from collections.abc import Sequence

from bench.records import text
from bench.records.rows import Run, in_order
from bench.records.text import code, escape
from bench.records.words import metric_label

TITLE = "## Approximate search: mAP lost against exact\n"
NOTE = """\
Both scores are of the same descriptors in the same run, before any re-ranking. Images that an index
does not retrieve have an infinite rank, so positives among them count as missed. "Recall" is the
fraction of the exact shortlist, cut to the stated depth, that the index also returns. The index
uses one thread, the exact search all threads.
"""


def section(runs: Sequence[Run]) -> str:
    """Return the section of the report, empty where every search was exact."""
    rows = [row for run in runs if run.approximate is not None for row in _rows(run)]
    if not rows:
        return ""
    heads = [
        "data set", "method", "card", "index", "protocol", "metric", "exact, %", "approximate, %",
        "lost, points", "positives missed", "recall", "index, bytes",
        "index searches, ms per query", "exact search, ms per query",
    ]  # fmt: skip
    return "\n".join([TITLE, NOTE, text.table(heads, rows, range(6, len(heads)))])


def _rows(run: Run) -> list[list[str]]:
    about = run.approximate
    assert about is not None
    queries = run.card["dataset"]["queries"]
    recall, seconds = about["shortlist_recall"], about["seconds"]
    found = "–" if recall["fraction"] is None else f"{100 * recall['fraction']:.1f} %"
    rows = []
    for protocol in in_order(about["scores"]):
        got = about["scores"][protocol].get(run.headline)
        exact = about["exact_scores"].get(protocol, {}).get(run.headline)
        lost = None if got is None or exact is None else exact - got
        rows.append(
            [
                escape(run.dataset),
                escape(run.name),
                code(run.card8),
                escape(about["index"]),
                escape(protocol),
                escape(metric_label(run.headline)),
                *(_points(value) for value in (exact, got, lost)),
                f"{about['positives_missed'].get(protocol, 0):,}",
                f"{found} of {recall['depth']:,}",
                f"{about['index_bytes']:,}",
                *(_ms(seconds.get(name), queries) for name in ("search", "exact_search")),
            ]
        )
    return rows


def _points(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}"


def _ms(seconds: float | None, queries: int) -> str:
    return "–" if seconds is None else f"{1e3 * seconds / queries:.2f}"
