"""Metrics by any name that is printed: the id, its first part, or the label."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bench.errors import BenchError, unknown
from bench.scoring import metrics


def named(text: str, known: Iterable[str] | None = None, what: str = "metric") -> str:
    """Return the id of a metric that is named by it, its label, or its id up to the first point.

    >>> named("mAP"), named("R@5"), named("recall@5")[:11]
    ('map.trapezoid.junk-removed', 'recall@5.any-hit.junk-removed', 'recall@5.an')

    `known` are the ids to choose from; None: all that there are. Raises BenchError for a letter in
    place of the number, for other names, and where several metrics are meant.
    """
    if not isinstance(text, str):
        raise BenchError(f"a metric is named by text, not by {type(text).__name__}.")
    low = text.strip().lower()
    lettered = re.search(r"@\{?([a-z]+)\}?(?=$|[.,\s])", low)
    if lettered:
        begin, end = low[: lettered.start()], low[lettered.end() :]
        raise BenchError(
            f"{text} has {lettered[0][1:]} in place of a number: write {begin}@1{end} or "
            f"{begin}@10{end}, for instance."
        )
    ids = list(dict.fromkeys(_all(low) if known is None else known))
    for name in (lambda m: m, _label, lambda m: m.partition(".")[0]):
        hits = [m for m in ids if name(m).lower() == low]
        if len(hits) > 1:
            raise BenchError(f"{text} is ambiguous, {' or '.join(hits)}; name one of them.")
        if hits:
            return hits[0]
    raise unknown(what, text, metrics.families() if known is None else [*ids, *map(_label, ids)])


def _label(metric_id: str) -> str:
    try:
        return metrics.metric(metric_id).label
    except KeyError:  # of a version that has others
        return metric_id


def _all(text: str) -> Iterable[str]:
    """Return the ids of the table, with the number that is in a text."""
    number = re.search(r"@([1-9][0-9]{0,8})(?![0-9])", text)
    for family in metrics.families():
        if number is not None or "{k}" not in family:
            yield family.replace("{k}", number[1] if number else "")
