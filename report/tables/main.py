"""The main table of a dataset as data: groups that may be compared, rows, marked scores.

Markdown, LaTeX, CSV and JSON are written from it, so that they agree. The rules for comparable and
jointly ranked rows are those of `bench.records.classes` and `bench.records.groups`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench import stages
from bench.records import classes, groups
from bench.records.blocks import in_words
from bench.records.groups import BEST, SECOND
from bench.records.rows import ORDER, Card, Run, Score, flat, protocols
from bench.records.text import clean
from bench.records.words import label, metric_label, say, size
from bench.report.tables.differences import crop_of
from bench.scoring.card import NO_RERANKING, NOT_IDENTITY, UNCOMPRESSED
from bench.system.hashing import canonical_json

__all__ = ["BEST", "SECOND", "UNRANKED", "Board", "Group", "Metric", "Row", "board"]

UNRANKED = {"untrained", "chance"}
DIGITS = 1  # decimals of a percentage in every table
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
    """A run, the letter of its card, its chain, and per column its score and place (1, 2 or 0)."""

    run: Run
    note: str
    chain: str
    scores: tuple[Score, ...]
    places: tuple[int, ...]


@dataclass(frozen=True)
class Group:
    """Rows that may be compared, chain by chain, each best first; the heading names the rules."""

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
    blocks: tuple[tuple[str, int], ...]
    digits: int = DIGITS

    @property
    def drawn(self) -> str:
        """Return what the intervals are over: "10 or 50 landmarks"; nothing where it is not known.

        Boards where some have too few blocks say that too.
        """
        counts: dict[str, list[int]] = {}
        for rule, count in self.blocks:
            counts.setdefault(rule, []).append(count)
        parts = []
        for rule, of in counts.items():
            *less, most = of
            parts.append(" or ".join([*(f"{count:,}" for count in less), in_words(rule, most)]))
        return "; ".join(parts)

    @property
    def rows(self) -> list[Row]:
        """Return the rows of all groups."""
        return [row for group in self.groups for row in group.rows]

    @property
    def label(self) -> str:
        """Return the name of the metric, where all columns have the same."""
        heads = {metric_label(column.id) for column in self.columns}
        return heads.pop() if len(heads) == 1 else "Recall@k"


def board(runs: Sequence[Run], dataset: str, *, easy: bool = False, digits: int = DIGITS) -> Board:
    """Return the main table of the runs of one dataset.

    Of runs that differ in the machine only the newest has a row. Columns are the headline metric
    of medium and hard (and easy, on request), of every protocol where there are others, and all
    Recall@k where that is the headline.
    """
    runs = one_machine(runs)
    columns = columns_of(runs, easy=easy)

    def first_mean(run: Run) -> float | None:
        return run.score(columns[0].protocol, columns[0].id).mean if columns else None

    ordered = groups.groups(runs, first_mean)
    labels: dict[str, str] = {}
    made = []
    for group, heading in zip(ordered, headings([g.runs for g in ordered]), strict=True):
        rows = []
        for chain in group.chains:
            marked = [
                groups.places({run: run.score(c.protocol, c.id).mean for run in chain.runs}, digits)
                for c in columns
            ]
            rows += [
                Row(
                    run,
                    labels.setdefault(run.card_id, letter(len(labels))),
                    chain.words,
                    tuple(run.score(c.protocol, c.id) for c in columns),
                    tuple(each.get(run, 0) for each in marked),
                )
                for run in chain.runs
            ]
        rows.sort(key=lambda row: not groups.is_ranked(row.run))
        made.append(Group(heading, tuple(rows), group.partial))
    first = {run.card_id: run for run in reversed(runs)}
    return Board(
        dataset,
        tuple(columns),
        tuple(made),
        {note: first[sha256] for sha256, note in labels.items()},
        tuple(sorted({run.blocks for run in runs if run.blocks is not None})),
        digits,
    )


def letter(number: int) -> str:
    """Return the letters of a number: a, b, …, z, aa, ab, and so on.

    >>> letter(0), letter(25), letter(26)
    ('a', 'z', 'aa')
    """
    head, last = divmod(number, 26)
    return (letter(head - 1) if head else "") + chr(ord("a") + last)


def printed(value: float | None, digits: int = 2) -> str:
    """Return a fraction as a percentage with so many decimals; an en dash for None.

    >>> printed(0.84814), printed(0.84814, 1), printed(None)
    ('84.81', '84.8', '–')
    """
    return "–" if value is None else f"{100 * value:.{digits}f}"


def treatment(run: Run) -> dict[str, str]:
    """Return the treatment of images and descriptors in a run as plain text."""
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
        **dict(run.stated),
    }


USUAL = {"compression": UNCOMPRESSED, "search": "exact"}  # shown only where a row differs


def about(table: Board) -> list[str]:
    """Return the names of the columns of `treatment` that this table shows."""
    every = [treatment(row.run) for row in table.rows]
    keys = list(every[0]) if every else []
    return [k for k in keys if k not in USUAL or any(each[k] != USUAL[k] for each in every)]


def reranking(card: Card) -> str:
    """Return the rule of candidates or the stages in a few words, "none" without any."""
    if card.get("stages"):
        return clean(stages.words(card["stages"]))
    return str(card["candidates_rule"])


def protocol_head(name: str, names: Iterable[str]) -> str:
    """Return E, M and H where the protocols are those three, else the name itself."""
    return SHORT[name] if set(names) == set(ORDER) else name


def one_machine(runs: Sequence[Run]) -> list[Run]:
    """Return the newest of the runs that differ in the machine alone."""
    latest: dict[tuple[object, ...], Run] = {}
    for run in sorted(runs, key=lambda run: (run.created, run.run_id, run.file)):
        latest[run.identity[:-1]] = run
    return list(latest.values())


def columns_of(runs: Sequence[Run], *, easy: bool) -> list[Metric]:
    """Return the columns of a data set's table."""
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
            column = len(names) == 1
            head = protocol_head(name, names)
            whole = words if column else head if len(heads) == 1 else f"{head} {words}"
            out.append(Metric(name, metric, whole))
    return out


def headings(groups: Sequence[Sequence[Run]]) -> list[str]:
    """Return a heading per group: query and re-ranking, and what else tells groups apart."""
    leaves = []
    for members in groups:
        card = members[0].card
        shown = {
            key: value
            for key, value in card.items()
            if key not in NOT_IDENTITY and classes.class_of(key, card) == "protocol"
        }
        leaves.append({p: v for p, v in flat(shown).items() if not p.endswith("truth_sha256")})
    differs = [
        path
        for path in dict.fromkeys(path for each in leaves for path in each)
        if len({canonical_json(each.get(path)) for each in leaves}) > 1
        and path not in ("crop_rule", "candidates_rule", "limit")
        and not path.startswith("rerank.")
        and not path.startswith("protocols.")
    ]
    out = []
    for members, each in zip(groups, leaves, strict=True):
        card = members[0].card
        parts = [f"query: {say('crop_rule', card['crop_rule'], card)}"]
        if reranking(card) != NO_RERANKING and classes.uses(card):
            parts.append(f"re-ranked, {say('candidates_rule', card['candidates_rule'], card)}")
        if card["limit"] is not None:
            parts.append(f"partial: limited to {card['limit']:,}, not comparable")
        elif members[0].partial:
            parts.append("partial: not comparable")
        for path in differs:
            value = say(path, each[path], card) if path in each else "not on the card"
            parts.append(f"{label(path)}: {value[:8] if 'sha256' in label(path) else value}")
        out.append("; ".join(parts))
    return out


def _crop(run: Run) -> str:
    crop = crop_of(run)
    if crop != "box":
        return {"whole": "whole image"}.get(crop, crop)
    relative = run.leaves.get("preprocess.query_cap") == "relative"
    return "box, relative cap" if relative else "box"
