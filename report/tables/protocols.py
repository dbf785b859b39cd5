"""Measured rows in full: a table per protocol, and the cards as far as they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench.records import groups, text
from bench.records.rows import Card, Run
from bench.records.text import code, escape, folded
from bench.records.words import ABSENT, by_label, full, gist, label, metric_label, say, stated
from bench.report.tables.markdown import name_link, small
from bench.report.tables.numbers import NONE
from bench.system.hashing import canonical_json

SHOWN_FAMILIES = ("mp@", "recall@")


@dataclass(frozen=True)
class Column:
    """One column: its heading, the finished cell of a run, and whether it is a score."""

    head: str
    cell: Callable[[Run], str]
    score: bool = False


def protocol_table(runs: Sequence[Run], protocol: str) -> str:
    """Return every score of one protocol: a line per run, in the order of the main table.

    Columns in which all rows agree stand in the line above the table.
    """
    runs = [run for run in runs if protocol in run.scores]
    headlines = list(dict.fromkeys(run.headline for run in runs))
    further = [m for run in runs for m in run.card["metrics"] if m.startswith(SHOWN_FAMILIES)]
    columns = []
    for metric in dict.fromkeys([*headlines, *further]):
        head = f"{escape(metric_label(metric))}, %"
        columns.append(Column(head, partial(_score, protocol=protocol, metric=metric), True))
    columns += [
        Column("scored", partial(_scored, protocol=protocol)),
        Column("tied", lambda run: f"{run.tied:,}"),
        Column("weights", _weights),
        Column("card", lambda run: code(run.card8)),
    ]
    cells = [[column.cell(run) for run in runs] for column in columns]
    same = [not c.score and len(set(of)) == 1 and len(runs) > 1
            for c, of in zip(columns, cells, strict=True)]  # fmt: skip
    shown = [column for column, alike in zip(columns, same, strict=True) if not alike]
    heads = ["method", *(column.head for column in shown)]
    rows = [[name_link(run), *(column.cell(run) for column in shown)] for run in _ordered(runs)]
    shared = [f"{column.head} {of[0]}" for column, of, alike in
              zip(columns, cells, same, strict=True) if alike]  # fmt: skip
    above = f"All rows: {'; '.join(shared)}.\n\n" if shared else ""
    right = [i for i, column in enumerate(shown, start=1) if column.score]
    return above + text.table(heads, rows, right)


def cards_of(runs: Sequence[Run]) -> str:
    """Return the usual card of a data set in full, folded, and of each other what differs."""
    cards = by_label(runs)
    counts = Counter(run.card_id for run in runs)
    usual = min(cards, key=lambda sha256: (-counts[sha256], sha256))
    blocks = [full(cards[usual], usual)]
    if len(cards) == 1:
        return blocks[0]
    heads = [
        "card",
        "rows",
        f"differences from {code(usual[:8])}, the most common card: this card / that card",
    ]
    rows = [
        [code(sha256[:8]), f"{counts[sha256]:,}", _differs(card, cards[usual])]
        for sha256, card in cards.items()
        if sha256 != usual
    ]
    folds = [
        folded(f"card {sha256[:8]}: {gist(card)}", _ids(sha256, card))
        for sha256, card in cards.items()
        if sha256 != usual
    ]
    return "\n".join([text.table(heads, rows, [1]), *blocks, *folds])


def _ids(sha256: str, card: Card) -> str:
    """Return the id of a card in full, and what makes its stages, which others lack."""
    of_stage = {p: v for p, v in stated(card).items() if p.split(".")[0] in ("rerank", "stages")}
    lines = [f"- id of the card (sha256 of what identifies it): {code(sha256)}"]
    return "\n".join([*lines, *(f"- {escape(label(p))}: {escape(say(p, v, card))}"
                                for p, v in of_stage.items())])  # fmt: skip


def _differs(card: Card, usual: Card) -> str:
    """Return every field in which a card differs; the parts of re-ranking are in its own fold."""
    here, there = _leaves(card), _leaves(usual)
    parts = []
    for path in dict.fromkeys([*there, *here]):
        if canonical_json(here.get(path)) == canonical_json(there.get(path)):
            continue
        single = say(path, here[path], card) if path in here else ABSENT
        other = say(path, there[path], usual) if path in there else ABSENT
        parts.append(f"{escape(label(path))}: {escape(_short(single))} / {escape(_short(other))}")
    return "<br>".join(parts) or "only the notation"


def _leaves(card: Card) -> Mapping[str, Any]:
    return {p: v for p, v in stated(card).items() if not p.startswith("rerank.")}


def _short(words: str) -> str:
    hashed = len(words) == 64 and set(words) <= set("0123456789abcdef")
    return f"{words[:8]}…" if hashed else words


def _ordered(runs: Sequence[Run]) -> list[Run]:
    """Return the runs group by group, as the main table has them, best first."""

    def mean(run: Run) -> float | None:
        known = [name for name in ("medium", *run.scores) if name in run.scores]
        return run.score(known[0], run.headline).mean if known else None

    return [run for group in groups.groups(runs, mean) for run in group.runs]


def _score(run: Run, protocol: str, metric: str) -> str:
    """Return a score with two decimals, and the interval of the headline small."""
    score = run.score(protocol, metric)
    if score.mean is None:
        return NONE
    shown = f"{100 * score.mean:.2f}"
    if metric != run.headline or score.interval is None:
        return shown
    return shown + small(f"{100 * score.interval[0]:.2f}–{100 * score.interval[1]:.2f}")


def _scored(run: Run, protocol: str) -> str:
    counts = run.card["protocols"][protocol]
    skipped = f" ({counts['skipped']:,} skipped)" if counts["skipped"] else ""
    return f"{counts['scored']:,}{skipped}"


def _weights(run: Run) -> str:
    return code(run.weights_sha256[:8]) if run.weights_sha256 else NONE
