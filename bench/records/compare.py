"""Are two results different? Paired over queries, by blocks: an interval, a test, a sentence.

Only records with the same labels are compared. The test flips the sign of whole blocks: under the
null hypothesis the two methods are exchangeable, but queries of one landmark, or near to each
other, agree, so that only the block can be flipped (Good, Permutation, Parametric and Bootstrap
Tests of Hypotheses, 2005; Smucker, Allan, Carterette, CIKM 2007, for retrieval). Where queries are
neighbours, blocks follow from the paired differences (`bench.scoring.blocks`), and without the data
set from the records. All flips are tried where there are at most 2^16, else 20,000 drawn ones; more
than two results are corrected by Holm (Scandinavian Journal of Statistics, 1979).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench import methods
from bench.errors import BenchError, first_few, unknown
from bench.records import blocks as of_blocks
from bench.records import classes, lists, record
from bench.records.rows import flat, marks_of
from bench.records.words import ABSENT, label, say
from bench.scoring import intervals, metric_names
from bench.scoring.blocks import choose, for_test
from bench.scoring.card import Card
from bench.scoring.intervals import Blocks
from bench.scoring.layout import Layout
from bench.scoring.metrics import counted
from bench.system import reading
from bench.system.hashing import canonical_json

EXACT = 16
FLIPS = 20_000
BLOCK = 1 << 20
SIGNIFICANT = 0.05
SEED = 0
ROUNDING = 1e-12

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Entry:
    """A record that takes part, and the blocks of its intervals.

    `layout` is that of the data set, where it is here and has one, to cut other blocks from.
    `asked` says per protocol which queries it asks; None, or no entry: all.
    """

    path: Path
    name: str
    record: Mapping[str, Any]
    blocks: Blocks
    asked: Mapping[str, Sequence[bool] | None] = field(default_factory=dict)
    layout: Layout | None = None

    @property
    def card(self) -> Card:
        """Return the card of the record."""
        card: Card = self.record["card"]
        return card

    def values(self, protocol: str, metric: str) -> Values:
        """Return one score per query, float64; NaN where the query is left out of the mean."""
        per_query = self.record["scores"][protocol][metric]["per_query"]
        values = np.array(
            [np.nan if value is None else value for value in per_query], dtype=np.float64
        )
        empty = self.card["protocols"][protocol]["empty"]
        return counted(values, empty, self.asked.get(protocol))


@dataclass(frozen=True)
class Permutation:
    """A permutation test: its p, the flips tried, and the blocks that can be flipped."""

    p: float
    flips: int
    blocks: int
    exact: bool


class Run(NamedTuple):
    """A record that a name may stand for: when it was made, its card, the part not its method's."""

    when: str
    card: str
    rules: str
    path: Path


def find(names: Sequence[str], dataset: str | None, results: Path) -> list[Path]:
    """Return the paths of records: those given, or the newest of METHOD[.VARIANT] on `dataset`.

    Of several runs of a method those on a card that all the methods named have are taken first,
    then those whose rules they share. Runs of a part of the images are not taken, and records that
    cannot be read only matter where a method has no other.
    """
    named = [text for text in names if not (Path(text).suffix == ".json" or Path(text).is_file())]
    if named and dataset is None:
        raise BenchError(
            f"{named[0]!r} is not a record; to compare methods by name give --dataset NAME as well."
        )
    runs_of: dict[str, list[Run]] = {}  # of each method
    broken: dict[str, BenchError] = {}
    for path in record.find(results) if named else []:
        if path.parent.parent.name == dataset:
            try:
                content = record.read(path)
            except BenchError as error:
                broken[path.parent.name] = error
                continue
            if not content["partial"]:
                when = content["created"] + content["run_id"]
                run = Run(when, content["card_id"], _rules(content["card"]), path)
                runs_of.setdefault(path.parent.name, []).append(run)
    found = {text: _runs_of(text, dataset, runs_of, broken) for text in named}
    cards = _in_all({run.card for run in runs} for runs in found.values())
    rules = _in_all({run.rules for run in runs} for runs in found.values())
    paths = {
        text: max(runs, key=lambda run: (run.card in cards, run.rules in rules, run.when)).path
        for text, runs in found.items()
    }
    return [paths.get(text, Path(text)) for text in names]


def load(paths: Sequence[Path], own: str | None = None) -> list[Entry]:
    """Return the records to compare, their names made different where they are the same.

    `own` is the name or path of the data set where the user gives one (`bench.records.lists`).
    """
    if len(paths) < 2:
        raise BenchError("compare needs at least two records; name another.")
    entries = []
    for path in paths:
        content = record.read(path)
        arrays = record.read_arrays(path, content)
        try:
            protocols = record.protocols_of(arrays, content["card"])
            blocks = of_blocks.of_record(content, arrays, protocols)
        except (LookupError, ValueError, TypeError, OverflowError, MemoryError) as error:
            raise BenchError(
                f"the arrays of {path.name} do not fit its record: {type(error).__name__}: "
                f"{reading.line(error)}."
            ) from error
        marks = marks_of(content)
        name = f"{content['method']['name']}.{content['method']['variant']}"
        name += f" ({', '.join(marks)})" if marks else ""
        entries.append(Entry(path, name, content, blocks, {p.name: p.asked for p in protocols}))
    ids = [entry.record["sha256"] for entry in entries]
    if len(set(ids)) < len(ids):
        raise BenchError("the same record is named twice; a result cannot be compared with itself.")
    layout = of_blocks.layout_here(entries[0].record, own, entries[0].path.name)
    for entry in entries[1:] if own else ():
        lists.dataset_of(entry.card, own, entry.path.name)
    return _different_names([replace(entry, layout=layout) for entry in entries])


def check(entries: Sequence[Entry], across_cards: bool) -> list[str]:
    """Return the differences between the cards as text; refuse incomparable records."""
    first = entries[0]
    for entry in entries[1:]:
        mine, other = first.card["dataset"], entry.card["dataset"]
        for key in ("name", "variant", "revision", "queries"):
            if mine[key] != other[key]:
                raise BenchError(
                    f"{first.name} and {entry.name} differ in {label(f'dataset.{key}')} "
                    f"({mine[key]} / {other[key]}), so their queries cannot be paired."
                )
    lines, unlike = [], []
    leaves = [flat(entry.card) for entry in entries]
    for path in sorted(set().union(*leaves)):
        if len({canonical_json(each.get(path, ABSENT)) for each in leaves}) == 1:
            continue
        words = [
            str(say(path, each[path], entry.card)) if path in each else ABSENT
            for each, entry in zip(leaves, entries, strict=True)
        ]
        lines.append(f"{label(path)}: {' / '.join(words)}")
        if "protocol" in {classes.class_of_path(path, entry.card) for entry in entries}:
            unlike.append(lines[-1])
    if unlike and not across_cards:
        raise BenchError(
            f"these results have different protocols: {first_few(unlike)}. Add --across-cards to "
            "compare them anyway."
        )
    return lines


def compare(
    entries: Sequence[Entry], protocol: str | None = None, metric: str | None = None
) -> list[dict[str, Any]]:
    """Return one comparison per protocol and pair, later minus earlier; Holm per protocol."""
    chosen = _metric(entries, metric)
    out = []
    for name in _protocols(entries, protocol):
        pairs = [_pair(a, b, name, chosen) for a, b in itertools.combinations(entries, 2)]
        for pair, p in zip(pairs, holm([pair["p"] for pair in pairs]), strict=True):
            pair |= {"p_holm": p, "comparisons": len(pairs)}
        out += pairs
    return out


def permutation(
    difference: Values, block: NDArray[np.int64], seed: int = SEED, seen: float = 1.0
) -> Permutation:
    """Test "the mean difference is zero", two-sided.

    `difference` has one float64 per query, NaN where it is left out. Every block keeps or
    changes its sign as a whole; p is the share of flips whose mean is as far from zero as the one
    found, which itself counts among drawn flips (Phipson, Smyth, SAGMB 2010), so that p is never 0.
    Blocks without a difference change nothing; where there is no other, p is 1. Blocks show `seen`
    of the variance of the mean, and flips as much more of it as their own mean is not taken off:
    what was found is that much nearer to zero.
    """
    sums, _ = intervals.sums(difference, block)
    shown = seen + (1 - seen) / max(len(sums), 1)
    sums = sums[np.abs(sums) > ROUNDING]
    k = len(sums)
    found = abs(sums.sum()) * np.sqrt(shown) - ROUNDING * k
    if k <= EXACT:
        bits = np.arange(1 << k)[:, None] >> np.arange(k) & 1
        far = int(np.count_nonzero(np.abs((1 - 2 * bits) @ sums) >= found))
        return Permutation(far / (1 << k), 1 << k, k, exact=True)
    rng, far = np.random.default_rng(seed), 0
    step = max(1, BLOCK // k)
    for start in range(0, FLIPS, step):
        signs = 1.0 - 2.0 * rng.integers(0, 2, size=(min(step, FLIPS - start), k), dtype=np.int8)
        far += int(np.count_nonzero(np.abs(signs @ sums) >= found))
    return Permutation((1 + far) / (1 + FLIPS), FLIPS, k, exact=False)


def holm(p: Sequence[float]) -> list[float]:
    """Return the p of several tests, corrected by Holm's step-down; in the order given."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    out, most = [0.0] * len(p), 0.0
    for place, i in enumerate(order):
        most = max(most, min(1.0, (len(p) - place) * p[i]))
        out[i] = most
    return out


def _pair(a: Entry, b: Entry, protocol: str, metric: str) -> dict[str, Any]:
    mine, other = a.values(protocol, metric), b.values(protocol, metric)
    difference = other - mine
    scored = difference[~np.isnan(difference)]
    blocks, flipped = _blocks(a, b, difference)
    test = permutation(difference, flipped.of_query, seen=flipped.seen)
    around = intervals.of_pairs(difference, blocks, SEED)
    return {
        "dataset": a.card["dataset"]["name"],
        "protocol": protocol,
        "metric": metric,
        "a": a.name,
        "b": b.name,
        "mean_a": _mean(mine),
        "mean_b": _mean(other),
        "difference": _mean(difference),
        "interval": None if around is None else list(around),
        "queries": len(scored),
        "rule": flipped.rule,
        "blocks": len(intervals.sums(difference, flipped.of_query)[0]) if flipped.enough else 0,
        "won": int(np.count_nonzero(scored > ROUNDING)),
        "lost": int(np.count_nonzero(scored < -ROUNDING)),
        "tied": int(np.count_nonzero(np.abs(scored) <= ROUNDING)),
        "blocks_that_differ": test.blocks if flipped.enough else 0,
        "p": test.p if flipped.enough else 1.0,
        "flips": test.flips,
        "exact": test.exact,
    }


def _blocks(a: Entry, b: Entry, difference: Values) -> tuple[Blocks, Blocks]:
    """Return the blocks of interval and test: cut for the differences, or the fewer of a record."""
    if a.layout is not None and np.any(np.abs(difference) > ROUNDING):
        return choose(difference, a.layout), for_test(difference, a.layout)
    fewer = min((a.blocks, b.blocks), key=lambda blocks: (blocks.enough, blocks.count))
    return fewer, fewer


def _mean(values: Values) -> float | None:
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if len(kept) else None


def _runs_of(
    text: str,
    dataset: str | None,
    runs_of: Mapping[str, list[Run]],
    broken: Mapping[str, BenchError],
) -> list[Run]:
    def meant(name: str) -> bool:
        return text in (name, name.split(".")[0])

    named = _variant(text, [name for name in runs_of if meant(name)])
    runs = [run for name, of in runs_of.items() if name == named for run in of]
    if not runs:
        for name, error in broken.items():
            if meant(name):
                raise error
        raise unknown(f"method with a complete record of {dataset}", text, runs_of)
    return runs


def _variant(text: str, there: Sequence[str]) -> str:
    """Return which of the names that have a record is meant: a bare name is the first variant.

    Where that has no record, the only trained one is meant; of several none.
    """
    if text in there or not there:
        return text
    try:
        first = methods.full_name(text)
    except BenchError:
        first = text  # a method of the user's own, or of another version
    if first in there:
        return first
    trained = [name for name in there if not name.endswith(".untrained")]
    if len(trained) == 1:
        return trained[0]
    raise BenchError(
        f"{text!r} is {first}, but has no record here; name one of {first_few(sorted(there))}."
    )


def _in_all(sets: Iterable[set[str]]) -> set[str]:
    data_sets = list(sets)
    return set.intersection(*data_sets) if data_sets else set()


def _rules(card: Card) -> str:
    """Return the fields of a card that do not belong to the method."""
    return canonical_json([classes.part(card, "protocol"), classes.part(card, "system")])


def _metric(entries: Sequence[Entry], asked: str | None) -> str:
    """Return the metric of all records: the headline, or the one asked for by id or label."""
    shared: list[str] = [
        m for m in entries[0].card["metrics"] if all(_has(entry, m) for entry in entries)
    ]
    if asked is None:
        heads = {entry.card["metrics"][0] for entry in entries}
        if len(heads) > 1:
            raise BenchError(
                f"the results have different headline metrics ({first_few(sorted(heads))}); "
                "name one with --metric."
            )
        asked = heads.pop()
    return metric_names.named(asked, shared, "metric of all these results")


def _has(entry: Entry, metric: str) -> bool:
    return all(metric in table for table in entry.record["scores"].values())


def _protocols(entries: Sequence[Entry], asked: str | None) -> list[str]:
    shared = [
        name
        for name, entry in entries[0].card["protocols"].items()
        if all(
            e.card["protocols"].get(name, {}).get("truth_sha256") == entry["truth_sha256"]
            and e.card["protocols"][name]["empty"] == entry["empty"]
            for e in entries
        )
    ]
    if asked is not None and asked not in shared:
        raise unknown("protocol of all these results", asked, shared)
    if not shared:
        raise BenchError(
            "these results have no protocol with the same ground truth in common; name other "
            "records."
        )
    return shared if asked is None else [asked]


def _different_names(entries: Sequence[Entry]) -> list[Entry]:
    """Add the card, and where that is the same too the run, to names that are not unique."""
    names = [entry.name for entry in entries]
    for key in ("card_id", "run_id"):
        told = [str(entry.record[key]) for entry in entries]
        told = [text[:8] for text in told] if key == "card_id" else told
        names = [
            f"{name} ({more})" if names.count(name) > 1 else name
            for name, more in zip(names, told, strict=True)
        ]
    return [replace(entry, name=name) for name, entry in zip(names, entries, strict=True)]
