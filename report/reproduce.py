"""Published numbers as commands: what to run, what to expect, what is missing, and the verdict.

A row is run where published.toml names variants with its very weights (`measured`), where its
source states the query crop, and where the suite has its data set and metric. Every other row says
why it cannot be reproduced. Records of one's own are run again likewise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from bench.records.rows import Run
from bench.records.text import code, escape, table
from bench.records.words import metric_label
from bench.report.tables.main import UNRANKED
from bench.report.tables.measured_vs_published import metric_id
from bench.report.tables.numbers import NONE
from bench.report.tables.published import NOT_STATED, PublishedRow

PUBLISHED_POINTS = Decimal("0.5")  # within it a published number is reproduced
NEAR_POINTS = Decimal(2)
RECORDED_POINTS = Decimal("0.05")  # within it a record of one's own is reproduced
MILLION = "+r1m"
CROPS = {"box": ("crop", "crop-relative"), "whole": ("whole",)}
SUITE = ("roxford5k", "rparis6k", "oxford5k", "paris6k", "msls", "nordland", "tokyo247",
         "pitts30k", "amstertime", "svox", "sf-xl", "sped", "eynsham", "st-lucia")  # fmt: skip


@dataclass(frozen=True)
class Expected:
    """A number to reproduce: protocol, metric id, digits of a percentage."""

    protocol: str
    metric: str
    digits: str

    @property
    def words(self) -> str:
        """Return protocol and metric."""
        return f"{self.protocol} {metric_label(self.metric)}"


@dataclass(frozen=True)
class Item:
    """A row on one data set: the arguments of `run`, or why it cannot be run."""

    name: str
    method: str
    dataset: str
    expected: tuple[Expected, ...]
    arguments: tuple[str, ...]
    tolerance: Decimal
    why_not: str | None = None

    @property
    def command(self) -> str:
        """Return the command line, with quotes where a shell needs them."""
        import shlex

        return shlex.join(["python", "-m", "bench", *self.arguments])


def items(rows: Sequence[PublishedRow]) -> list[Item]:
    """Return an item per published row that is printed and names weights, and data set.

    Rows of the third-party leaderboard are all there.
    """
    out = []
    for row in rows:
        if not row.printable or not (row.measured or row.part == "leaderboard"):
            continue
        for dataset in dict.fromkeys(key[0] for key in row.values):
            out += _of_row(row, dataset, rows)
    return out


def _of_row(row: PublishedRow, dataset: str, rows: Sequence[PublishedRow]) -> list[Item]:
    expected = tuple(
        Expected(protocol, metric_id(metric), digits)
        for (of, protocol, metric), digits in row.values.items()
        if of == dataset
    )
    why_not = _why_not(row, dataset, expected)
    if row.part == "leaderboard":
        same = _same_number(row, dataset, rows)
        words = f"{row.verdict}; {row.origin}"
        why_not = f"it mixes several settings: {words}" if same is None else f"see {same}: {words}"
    variants = row.measured or (row.method,)
    return [
        Item(row.id, variant, dataset, expected,
             () if why_not else _arguments(row, variant, dataset), PUBLISHED_POINTS, why_not)
        for variant in variants
    ]  # fmt: skip


def _same_number(row: PublishedRow, dataset: str, rows: Sequence[PublishedRow]) -> str | None:
    """Return the id of a row that can be run and whose digits round to those that are listed."""
    wanted = {key: Decimal(digits) for key, digits in row.values.items() if key[0] == dataset}
    for other in rows:
        if other.measured and other.method == row.method and other.part == "main":
            places = {key: -Decimal(v).as_tuple().exponent for key, v in row.values.items()}  # type: ignore[operator]
            if all(
                key in other.values and round(Decimal(other.values[key]), places[key]) == value
                for key, value in wanted.items()
            ):
                return other.id
    return None


def _why_not(row: PublishedRow, dataset: str, expected: Sequence[Expected]) -> str | None:
    base = dataset.removesuffix(MILLION)
    if base.split(".")[0] not in SUITE:
        return f"the suite has no data set {base}"
    if not all(value.metric for value in expected):
        return "the suite lacks this metric"
    if row.crop == NOT_STATED:
        return "the source does not state the query crop"
    if row.reranking not in ("none",) and "SP" not in row.reranking:
        return f"re-ranking is {row.reranking}"
    if row.compression not in ("none", NOT_STATED):
        return f"compression is {row.compression}"
    return None


def _arguments(row: PublishedRow, variant: str, dataset: str) -> tuple[str, ...]:
    """Return the arguments of `run` that state what the source states."""
    base = dataset.removesuffix(MILLION)
    out = ["run", "--method", variant, "--dataset", base]
    if row.crop == "whole":
        out += ["--query-crop", "whole"]
    if row.scales is not None:
        out += ["--scales", ",".join(str(scale) for scale in row.scales)]
    if row.size_cap is not None:
        out += ["--max-side", row.size_cap]
    if dataset.endswith(MILLION):
        out += ["--distractors", "revisitop1m"]
    if row.reranking != "none":
        out.append("--rerank=official")
    return tuple(out)


def recorded(run: Run, record: Mapping[str, str]) -> Item:
    """Return the item of a record: its own command again; `record` has the command."""
    import shlex

    words = shlex.split(record["command"])
    arguments = words[words.index("run") + 1 :] if "run" in words else []
    own = _without(arguments, "--method", "--dataset", "--output", "--results")
    name = f"{run.method}.{run.variant}"
    arguments = ["run", "--method", name, "--dataset", run.dataset, *own] if "run" in words else []
    expected = tuple(
        Expected(protocol, run.headline, f"{100 * mean:.4f}")
        for protocol in run.scores
        if (mean := run.score(protocol, run.headline).mean) is not None
    )
    why = None if arguments else "its descriptors were brought"
    return Item(run.run_id, f"{run.method}.{run.variant}", run.dataset, expected,
                tuple(arguments), RECORDED_POINTS, why)  # fmt: skip


def _without(arguments: Sequence[str], *options: str) -> list[str]:
    """Return arguments without these options and their values: a command may have run several."""
    out, skip = [], False
    for word in arguments:
        if skip:
            skip = False
        elif word in options:
            skip = True
        elif not word.startswith(tuple(f"{option}=" for option in options)):
            out.append(word)
    return out


def difference(expected: Expected, run: Run) -> Decimal | None:
    """Return measured minus expected in points, two decimals; None where nothing was measured."""
    mean = run.score(expected.protocol, expected.metric).mean
    if mean is None:
        return None
    return round(Decimal(str(100 * mean)) - Decimal(expected.digits), 2)


def verdict(points: Decimal | None, tolerance: Decimal) -> str:
    """Return the verdict on a difference.

    >>> verdict(Decimal("0.3"), PUBLISHED_POINTS), verdict(Decimal("-1.1"), PUBLISHED_POINTS)
    ('reproduced', 'near')
    """
    if points is None:
        return "not measured"
    if abs(points) <= tolerance:
        return "reproduced"
    return "near" if tolerance == PUBLISHED_POINTS and abs(points) <= NEAR_POINTS else "differs"


def page(rows: Sequence[PublishedRow], shown: Sequence[Run]) -> list[str]:
    """Return the page of published numbers and whether they were reproduced; empty without rows."""
    listed = items(rows)
    if not listed:
        return []
    by_id = {row.id: row for row in rows}
    heads = ["published row", "variant", "data set", "score", "expected, %", "measured, %",
             "difference", "verdict"]  # fmt: skip
    body, reasons = [], dict[str, int]()
    for item in listed:
        run = measured(item, by_id[item.name], shown)
        note = ""
        if item.why_not:
            number = reasons.setdefault(item.why_not, len(reasons) + 1)
            note = f"cannot be reproduced ({number})"
        for value in item.expected:
            points = None if run is None else difference(value, run)
            mean = None if run is None else run.score(value.protocol, value.metric).mean
            cell = note or ("not run" if points is None else verdict(points, item.tolerance))
            body.append([
                code(item.name), escape(item.method), escape(item.dataset), escape(value.words),
                value.digits, NONE if mean is None else f"{100 * mean:.2f}",
                NONE if points is None else f"{points:+}", cell,
            ])  # fmt: skip
    why = "".join(f"({number}) {escape(text, 600)}<br>\n" for text, number in reasons.items())
    return [
        "# Published numbers, and whether they were reproduced\n",
        "[All data sets](report.md)\n",
        ABOUT,
        table(heads, body, (4, 5, 6)),
        f"Why not:\n\n{why}" if why else "",
    ]


ABOUT = f"""\
Rows of `published.toml` that name weights which this suite loads, and all rows of the third-party
leaderboard. "reproduced": within {PUBLISHED_POINTS} points; "near": within {NEAR_POINTS}; "not
run": no record has the protocol of the row. `python -m bench reproduce --list` prints the
command of each and the files that this machine lacks; `python -m bench reproduce dolg` runs them.
"""


def measured(item: Item, row: PublishedRow, shown: Sequence[Run]) -> Run | None:
    """Return the newest complete run of the item's weights, data set, crop and re-ranking."""
    from bench.report.tables.differences import crop_of

    found = [
        run
        for run in shown
        if f"{run.method}.{run.variant}" == item.method
        and run.dataset == item.dataset
        and not run.partial
        and not UNRANKED & set(run.marks)
        and crop_of(run) == row.crop
        and bool(run.reranking_words) == (row.reranking not in ("none", NOT_STATED))
    ]
    return max(found, key=lambda run: (run.created, run.run_id), default=None)
