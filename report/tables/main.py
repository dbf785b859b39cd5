"""The main table of a dataset as data: groups that may be compared, rows, marked scores.

Markdown, LaTeX, CSV and JSON are written from it (`show`, `latex`, `export`), so that they agree.
A group holds what was scored under the same rules; how a method treats its pixels, how precisely it
computes and how its descriptors are stored and searched is the method's own and has columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.records.rows import ORDER, Card, Run, Score, flat, protocols
from bench.records.words import label, metric_label, say, size
from bench.report.tables.differences import crop_of
from bench.scoring.card import (
    CROPPED,
    NO_BOXES,
    NO_RERANKING,
    NOT_IDENTITY,
    UNCOMPRESSED,
    WHOLE,
    identity,
)
from bench.system.hashing import canonical_json

OF_METHOD = ("preprocess", "descriptors", "precision", "compression", "search", "rerank")
UNRANKED = {"untrained", "chance"}
BEST, SECOND = 1, 2
SHORT = {"easy": "E", "medium": "M", "hard": "H"}
RECALL = re.compile(r"recall@([0-9]+)\.")
NOT_STATED = "not stated"


@dataclass(frozen=True)
class Metric:
    """A column of scores: protocol and metric, and its heading."""

    protocol: str
    id: str
    head: str


@dataclass(frozen=True)
class Row:
    """A run, the letter of its card, and per column its score and its place (1, 2 or 0)."""

    run: Run
    note: str
    scores: tuple[Score, ...]
    places: tuple[int, ...]


@dataclass(frozen=True)
class Group:
    """Rows that may be compared, best first; the heading says under which rules."""

    heading: str
    rows: tuple[Row, ...]
    partial: bool


@dataclass(frozen=True)
class Board:
    """The main table of a dataset; `cards` maps the letter of a card to its run."""

    dataset: str
    columns: tuple[Metric, ...]
    groups: tuple[Group, ...]
    cards: Mapping[str, Run]
    landmarks: tuple[int, ...]

    @property
    def rows(self) -> list[Row]:
        """Return the rows of all groups."""
        return [row for group in self.groups for row in group.rows]

    @property
    def label(self) -> str:
        """Return the name of the metric, where all columns have the same."""
        heads = {metric_label(column.id) for column in self.columns}
        return heads.pop() if len(heads) == 1 else "Recall@k"


def board(runs: Sequence[Run], dataset: str, *, easy: bool = False) -> Board:
    """Return the main table of the runs of one dataset.

    Of runs that differ in the machine only the newest has a row. Columns are the headline metric
    of medium and hard (and easy, on request), of every protocol where there are others, and all
    Recall@k where that is the headline.
    """
    runs = _one_machine(runs)
    columns = _columns(runs, easy=easy)
    labels: dict[str, str] = {}
    groups: dict[tuple[bool, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.partial, rules(run.card)), []).append(run)
    ordered = sorted(groups.items(), key=lambda item: _place(item[0][0], item[1]))
    headings = _headings([of for _, of in ordered])
    made = []
    for ((partial, _), members), heading in zip(ordered, headings, strict=True):
        members = sorted(members, key=lambda run: _order(run, columns))
        rows = []
        for run in members:
            note = labels.setdefault(run.card_id, letter(len(labels)))
            rows.append((run, note, tuple(run.score(c.protocol, c.id) for c in columns)))
        rivals = [scores for run, _, scores in rows if not UNRANKED & set(run.marks)]
        marked = [_marks([s[i].mean for s in rivals]) for i in range(len(columns))]
        made.append(
            Group(
                heading,
                tuple(
                    Row(
                        run,
                        note,
                        scores,
                        tuple(
                            0
                            if partial or UNRANKED & set(run.marks)
                            else marked[i].get(printed(score.mean), 0)
                            for i, score in enumerate(scores)
                        ),
                    )
                    for run, note, scores in rows
                ),
                partial,
            )
        )
    first = {run.card_id: run for run in reversed(runs)}
    return Board(
        dataset,
        tuple(columns),
        tuple(made),
        {note: first[sha256] for sha256, note in labels.items()},
        tuple(sorted({run.landmarks for run in runs if run.landmarks is not None})),
    )


def letter(number: int) -> str:
    """Return the letters of a number: a, b, …, z, aa, ab, and so on.

    >>> letter(0), letter(25), letter(26)
    ('a', 'z', 'aa')
    """
    head, last = divmod(number, 26)
    return (letter(head - 1) if head else "") + chr(ord("a") + last)


def printed(value: float | None) -> str:
    """Return a fraction as a percentage with two decimals; an en dash for None.

    >>> printed(0.84814), printed(None)
    ('84.81', '–')
    """
    return "–" if value is None else f"{100 * value:.2f}"


def treatment(run: Run) -> dict[str, str]:
    """Return in words, in plain text, how a run treats images and descriptors."""
    leaves = run.leaves
    stated = "preprocess.scales" in leaves
    return {
        "dim": f"{run.dim:,}",
        "query crop": _crop(run),
        "size cap": size(leaves, run.card) if stated else NOT_STATED,
        "scales": say("preprocess.scales", leaves["preprocess.scales"], run.card)
        if stated
        else NOT_STATED,
        "re-ranking": reranking(run.card),
        "precision": run.precision,
        "compression": say("compression", run.card["compression"], run.card),
        "search": say("search", run.card["search"], run.card),
    }


USUAL = {"compression": UNCOMPRESSED, "search": "exact"}  # shown only where a row differs


def about(table: Board) -> list[str]:
    """Return the names of the columns of `treatment` that this table shows."""
    every = [treatment(row.run) for row in table.rows]
    keys = list(every[0]) if every else []
    return [k for k in keys if k not in USUAL or any(each[k] != USUAL[k] for each in every)]


def reranking(card: Card) -> str:
    """Return the rule of candidates in a few words, "none" without re-ranking."""
    return str(card["candidates_rule"])


def protocol_head(name: str, names: Iterable[str]) -> str:
    """Return E, M and H where the protocols are those three, else the name itself."""
    return SHORT[name] if set(names) == set(ORDER) else name


def _one_machine(runs: Sequence[Run]) -> list[Run]:
    latest: dict[tuple[object, ...], Run] = {}
    for run in sorted(runs, key=lambda run: (run.created, run.run_id, run.file)):
        latest[run.identity[:-1]] = run
    return list(latest.values())


def _columns(runs: Sequence[Run], *, easy: bool) -> list[Metric]:
    names = protocols(runs)
    shown = [n for n in names if easy or n != "easy"] if set(names) == set(ORDER) else names
    heads = list(dict.fromkeys(sorted(run.headline for run in runs)))
    if any(RECALL.match(head) for head in heads):
        every = {m for run in runs for m in run.card["metrics"] if RECALL.match(m)}
        heads = sorted(every, key=lambda m: int(m.split("@")[1].split(".")[0])) + [
            head for head in heads if not RECALL.match(head)
        ]
    out = []
    for name in shown:
        for metric in heads:
            words = metric_label(metric)
            one = len(names) == 1
            head = protocol_head(name, names)
            whole = words if one else head if len(heads) == 1 else f"{head} {words}"
            out.append(Metric(name, metric, whole))
    return out


def rules(card: Card) -> str:
    """Return what two rows must have in common to stand under one heading."""
    return canonical_json({k: value for k, value in identity(card).items() if k not in OF_METHOD})


def _place(partial: bool, members: Sequence[Run]) -> tuple[object, ...]:
    """Sort groups: whole runs first, cropped queries first, without re-ranking first."""
    card = members[0].card
    crop = {CROPPED: 0, WHOLE: 1, NO_BOXES: 1}.get(card["crop_rule"], 2)
    return partial, crop, reranking(card) != NO_RERANKING, rules(card)


def _headings(groups: Sequence[Sequence[Run]]) -> list[str]:
    """Return a heading per group: query and re-ranking, and what else tells groups apart."""
    leaves = []
    for members in groups:
        hidden = (*OF_METHOD, *NOT_IDENTITY)
        shown = {k: v for k, v in members[0].card.items() if k not in hidden}
        leaves.append({p: v for p, v in flat(shown).items() if not p.endswith("truth_sha256")})
    differs = [
        path
        for path in dict.fromkeys(path for each in leaves for path in each)
        if len({canonical_json(each.get(path)) for each in leaves}) > 1
        and path not in ("crop_rule", "candidates_rule", "limit")
        and not path.startswith("protocols.")
    ]
    out = []
    for members, each in zip(groups, leaves, strict=True):
        card = members[0].card
        parts = [f"query: {say('crop_rule', card['crop_rule'], card)}"]
        if reranking(card) != NO_RERANKING:
            parts.append(f"re-ranked, {say('candidates_rule', card['candidates_rule'], card)}")
        if card["limit"] is not None:
            parts.append(f"partial: limited to {card['limit']:,}, comparable with nothing")
        elif members[0].partial:
            parts.append("partial: comparable with nothing")
        for path in differs:
            value = say(path, each[path], card) if path in each else "not on the card"
            parts.append(f"{label(path)}: {value[:8] if 'sha256' in label(path) else value}")
        out.append("; ".join(parts))
    return out


def _order(run: Run, columns: Sequence[Metric]) -> tuple[object, ...]:
    """Best first by the first column; untrained rows and chance below the others."""
    mean = run.score(columns[0].protocol, columns[0].id).mean if columns else None
    return bool(UNRANKED & set(run.marks)), 1.0 if mean is None else -mean, run.name, run.file


def _marks(means: Sequence[float | None]) -> dict[str, int]:
    """Return the printed scores that are best and second best; nothing where there is one."""
    scored = [mean for mean in means if mean is not None]
    if len(scored) < 2:
        return {}
    best = sorted({printed(mean) for mean in scored}, key=float, reverse=True)
    marked = {best[0]: BEST}
    if len(best) > 1 and len(scored) > 2:
        marked[best[1]] = SECOND
    return marked


def _crop(run: Run) -> str:
    crop = crop_of(run)
    if crop != "box":
        return {"whole": "whole image"}.get(crop, crop)
    relative = run.leaves.get("preprocess.query_cap") == "relative"
    return "box, relative cap" if relative else "box"
