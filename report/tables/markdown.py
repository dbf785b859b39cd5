"""The main table of a dataset in Markdown: a heading and a small table per group.

Scores stand in the first columns. What all rows share stands in the line below, and long texts in
notes, so that a table fits the 900 pixels that GitHub gives it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.records import text
from bench.records.rows import Run, Score
from bench.records.text import code, escape
from bench.records.words import metric_label
from bench.report.tables.main import (
    BEST,
    NOT_STATED,
    SECOND,
    Board,
    Row,
    printed,
    treatment,
)
from bench.report.tables.numbers import NONE, memory_and_disk, ms

FEW = 20
LONGEST = 40  # characters of a cell of text
LEVEL = "###"
JOINER = "\u2060"  # no line ends here


def table(board: Board, base: str = "") -> str:
    """Return a heading and a table per group, and its notes; `base` leads to the records."""
    shared, shown = constant(board)
    sets = [row.run.training_set for row in board.rows]
    notes_of = {words: i for i, words in enumerate(dict.fromkeys(sets), start=1)}
    if len(notes_of) == 1:
        shared["trained on"], notes_of = sets[0], {}
    blocks = []
    for group in board.groups:
        blocks.append(f"{LEVEL} {escape(_capital(group.heading))}\n")
        heads = ["method", *(f"{head(board, i)}" for i in range(len(board.columns)))]
        heads += ["query, ms", "bytes", "dim", *shown, "card"]
        rows = [_row(row, board, shown, notes_of, base) for row in group.rows]
        blocks.append(text.table(heads, rows, range(1, len(board.columns) + 4)))
    listed = [f"{_note(number)} {escape(words)}" for words, number in notes_of.items()]
    trained = "\nTrained on: " + "; ".join(listed) + ".\n" if listed else ""
    return "\n".join(blocks) + notes(board, shared) + trained


def head(board: Board, index: int) -> str:
    """Return the heading of a column of scores, "mAP M, %" or "R@1, %"."""
    column = board.columns[index]
    metric = metric_label(column.id)
    words = column.head if metric in column.head else f"{metric} {column.head}"
    return f"{escape(words)}, %"


def constant(board: Board) -> tuple[dict[str, str], list[str]]:
    """Return the entries shared by all rows of a table, and the columns in which they differ."""
    every = [_about(row, board) for row in board.rows]
    keys = list(every[0]) if every else []
    same = {key: every[0][key] for key in keys if len({each[key] for each in every}) == 1}
    return same, [key for key in keys if key not in same]


def _about(row: Row, _board: Board) -> dict[str, str]:
    return {
        "system": row.chain,
        "pixels": pixels(row.run),
        "backbone": {"not stated": NONE}.get(row.run.backbone, row.run.backbone),
    }


def pixels(run: Run) -> str:
    """Return how a method sees an image: size cap, number of scales, and the cap of a crop."""
    words, leaves = treatment(run), run.leaves
    stated = [f"{k} {v.removesuffix(' (as stated)')}" for k, v in run.stated if k != "query crop"]
    if stated:
        return ", ".join(stated) + " (as stated)"
    if words["size cap"] == words["scales"] == NOT_STATED:
        return NOT_STATED
    cap = {"none": "full size"}.get(words["size cap"], words["size cap"])
    scales = leaves.get("preprocess.scales", [1.0])
    several = f", {len(scales)} scales" if scales != [1.0] else ""
    own = ", own cap" if words["query crop"] == "box" and cap != "full size" else ""
    return cap + several + own


def notes(board: Board, shared: dict[str, str]) -> str:
    """Return the sentences below the tables: what all rows share, and what the signs mean."""
    out = []
    if shared:
        words = "; ".join(f"{key} {escape(value)}" for key, value in shared.items())
        out.append(f"All rows: {words}.")
    if any(BEST in row.places for row in board.rows):
        second = any(SECOND in row.places for row in board.rows)
        out.append("**Best**" + (" and <ins>second best</ins>" if second else "") + " of a group")
        out[-1] += " and system." if len({row.chain for row in board.rows}) > 1 else "."
    if len(board.groups) > 1:
        out.append("Rows under different headings must not be compared.")
    if any(score.interval for row in board.rows for score in row.scores):
        out.append("Small figures: 95 % intervals" + _drawn(board) + ".")
    elif board.blocks:
        out.append(f"No intervals: {board.drawn}.")
    if any(row.run.cost.disk_bytes for row in board.rows):
        out.append("Bytes: memory + disk.")
    if len(board.columns) and board.columns[0].id.startswith("map"):
        out.append(f"{escape(metric_label(board.columns[0].id))} is `{board.columns[0].id}`.")
    return f"\n{' '.join(out)}\n" if out else ""


def _drawn(board: Board) -> str:
    if not board.blocks:
        return ""
    if min(count for _, count in board.blocks) >= FEW:
        return f", from {board.drawn}"
    return f", from {board.drawn}; with so few, only large differences are significant"


def _row(
    row: Row, board: Board, shown: Sequence[str], notes_of: Mapping[str, int], base: str
) -> list[str]:
    run, words = row.run, _about(row, board)
    recall = len(board.columns) > 2  # an interval at the headline alone, or the table is too wide
    cells = [
        cell(score if not recall or column.id == run.headline else Score(score.mean, None), place,
             board.digits)
        for column, score, place in zip(board.columns, row.scores, row.places, strict=True)
    ]  # fmt: skip
    note = _note(notes_of[run.training_set]) if notes_of else ""
    return [
        name_link(run, base) + note,
        *cells,
        ms(None if run.cost.row_ms is None else run.cost.row_ms.p50),
        memory_and_disk(run.cost.image_bytes, run.cost.disk_bytes),
        f"{run.dim:,}",
        *(escape(words[key], LONGEST) for key in shown),
        code(run.card8),
    ]


def name_link(run: Run, base: str = "") -> str:
    """Return the name of a run with its marks, linked to its record."""
    return text.link(run.name, base + text.relative_target(run.file))


def _note(number: int) -> str:
    return f"<sup>{number}</sup>"


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def cell(score: Score, place: int, digits: int) -> str:
    """Return a score as printed, its place as bold or underlined, its interval small."""
    shown = printed(score.mean, digits)
    shown = {BEST: f"**{shown}**", SECOND: f"<ins>{shown}</ins>"}.get(place, shown)
    if score.interval is None or shown == NONE:
        return shown
    low, high = (f"{100 * end:.0f}" for end in score.interval)
    return shown + small(f"{low}–{high}")


def small(words: str) -> str:
    """Return a range below the line; neither it nor the cell before it breaks."""
    return f"&nbsp;<sub>{words.replace('–', f'–{JOINER}')}</sub>"
