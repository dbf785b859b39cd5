"""The main table of a dataset in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from bench.records import text
from bench.records.rows import Score
from bench.records.text import escape
from bench.records.words import metric_label
from bench.report.tables.main import BEST, SECOND, Board, Row, about, printed, treatment

FEW = 20


def table(board: Board) -> str:
    """Return the table, a heading row per group of rows that may be compared, and its notes."""
    shown = about(board)
    metric = "" if len({column.id for column in board.columns}) > 1 else f"{board.label} "
    heads = ["method", "backbone", "trained on", *shown]
    heads += [f"{escape(metric + column.head)}, %" for column in board.columns]
    heads += ["card", "record"]
    rows = []
    for group in board.groups:
        rows.append([f"**{escape(group.heading)}**", *[""] * (len(heads) - 1)])
        rows += [_row(row, shown) for row in group.rows]
    start = 3 + len(shown)
    return text.table(heads, rows, range(start, start + len(board.columns))) + notes(board)


def notes(board: Board) -> str:
    """Return the sentences below the table: what the signs mean, how sure the numbers are."""
    out = []
    if any(BEST in row.places for row in board.rows):
        second = any(SECOND in row.places for row in board.rows)
        out.append("**Best**" + (" and <ins>second best</ins>" if second else "") + " of a group.")
    if len(board.groups) > 1:
        out.append("Rows under different headings are not to be compared.")
    if any(score.interval for row in board.rows for score in row.scores):
        out.append("Small: the 95 % interval" + _of_landmarks(board) + ".")
    if len(board.columns) and board.columns[0].id.startswith("map"):
        out.append(f"{escape(metric_label(board.columns[0].id))} is `{board.columns[0].id}`.")
    return f"\n{' '.join(out)}\n" if out else ""


def _of_landmarks(board: Board) -> str:
    if not board.landmarks:
        return ""
    count = " or ".join(f"{k:,}" for k in board.landmarks)
    said = f", from {count} landmarks"
    if min(board.landmarks) >= FEW:
        return said
    return f"{said}: few, so that only large differences are more than chance"


def _row(row: Row, shown: Sequence[str]) -> list[str]:
    run, words = row.run, treatment(row.run)
    link = text.link(run.run_id, text.relative_target(run.file))
    return [
        escape(run.name),
        escape(run.backbone),
        escape(run.training_set),
        *(escape(words[key]) for key in shown),
        *(_cell(score, place) for score, place in zip(row.scores, row.places, strict=True)),
        row.note,
        link,
    ]


def _cell(score: Score, place: int) -> str:
    text = printed(score.mean)
    text = {BEST: f"**{text}**", SECOND: f"<ins>{text}</ins>"}.get(place, text)
    if score.interval is None:
        return text
    low, high = (f"{100 * end:.1f}" for end in score.interval)
    return f"{text} <sub>{low}–{high}</sub>"
