"""A comparison as text: a table for the terminal, and a sentence for a reviewer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.commands.parser import Command
from bench.commands.shared import results_folder
from bench.option import option, required
from bench.records import compare as records
from bench.records import lists
from bench.records.blocks import in_words
from bench.records.compare import SIGNIFICANT, Entry
from bench.records.ranking import letters_of
from bench.records.text import clean
from bench.records.words import metric_label


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Which results are compared, and by which of their numbers."""

    result: tuple[str, ...] = required(
        "path of a record's .json, or METHOD[.VARIANT] for its newest record on "
        "--dataset; two or more; differences are later minus earlier",
        metavar="RESULT",
        positional=True,
    )
    dataset: str | None = option(
        None,
        "data set of methods given by name; with the path of a dataset.json, its revision"
        " must be that of every record",
        metavar="NAME",
    )
    protocol: str | None = option(None, "one protocol (default: all)", metavar="NAME")
    metric: str | None = option(
        None, "a metric's id or label (default: the headline)", metavar="ID"
    )
    across_cards: bool = option(
        False, "also compare results of different protocols, and print how they differ"
    )
    words: bool = option(False, "with more than two results, also print a sentence for every pair")
    json: bool = option(False, "print the numbers as JSON")
    results: Path = results_folder()


def compare(args: Arguments) -> int:
    """Print the comparison of results as text or JSON."""
    name, own = lists.named(args.dataset)
    entries = records.load(records.find(args.result, name, args.results), own)
    differing = records.check(entries, args.across_cards)
    pairs = records.compare(entries, args.protocol, args.metric)
    if args.json:
        print(json.dumps({"cards_differ": differing, "comparisons": pairs}, indent=1))
    else:
        print("\n".join(lines(entries, differing, pairs, words=args.words)))
    return 0


def lines(
    entries: Sequence[Entry],
    differing: Sequence[str],
    pairs: Sequence[Mapping[str, Any]],
    *,
    words: bool = False,
) -> list[str]:
    """Return what `compare` prints: the records, what differs, and the comparison.

    Two results are compared in a line and a sentence; more in a matrix with letters of groups, and
    in sentences where `words` are asked for.
    """
    out = [f"{clean(e.name)}: card {e.record['card_id'][:8]}, {e.path}" for e in entries]
    if differing:
        out.append("the cards differ in:")
        out += [f"  {clean(line)}" for line in differing]
    if marks := [clean(e.name) for e in entries if e.record["partial"]]:
        out.append(f"partial: {', '.join(marks)} used a part of the images only")
    if len(entries) > 2:
        for protocol in dict.fromkeys(pair["protocol"] for pair in pairs):
            out += ["", *matrix([pair for pair in pairs if pair["protocol"] == protocol])]
        out += (
            ["", *map(sentence, pairs)]
            if words
            else ["", "add --words for a sentence about every pair"]
        )
        return out
    for place, pair in enumerate(pairs):
        before = pairs[place - 1] if place else {}
        if pair["protocol"] != before.get("protocol"):
            out += ["", _heading(pair)]
        out.append(_row(pair))
    out.append("")
    out += [sentence(pair) for pair in pairs]
    return out


def matrix(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the results of one protocol, the best first: mean, letters, row minus column.

    A star marks a difference that is significant after Holm's correction.
    """
    letters = letters_of(pairs)
    means = {pair[side]: pair[f"mean_{side}"] for pair in pairs for side in ("a", "b")}
    by_names = {frozenset((pair["a"], pair["b"])): pair for pair in pairs}
    names = list(letters)
    width = max(len(clean(name)) for name in names)
    group = max(5, *(len(text) for text in letters.values()))
    out = [_heading(pairs[0]), f"  {'':{width}}   mean  {'group':{group}}" + "".join(
        f"{f'- {number}':>9}" for number in range(1, len(names))
    )]  # fmt: skip
    for number, name in enumerate(names, start=1):
        mean = means[name]
        cells = "".join(_difference(by_names[frozenset((name, other))], name)
                        for other in names[: number - 1])  # fmt: skip
        shown = "   n/a" if mean is None else f"{100 * mean:6.2f}"
        out.append(f"  {clean(name):{width}} {shown}  {letters[name]:{group}}{cells}".rstrip())
    out.append(
        f"  results that share a letter do not differ significantly at {SIGNIFICANT}; * "
        f"significant (Holm, {len(pairs)} comparisons)"
    )
    return out


def _difference(pair: Mapping[str, Any], name: str) -> str:
    if pair["difference"] is None:
        return f"{'n/a':>9}"
    sign = 1 if pair["b"] == name else -1
    star = "*" if pair["p_holm"] < SIGNIFICANT else " "
    return f"{100 * sign * pair['difference']:+8.2f}{star}"


def sentence(pair: Mapping[str, Any]) -> str:
    """Return one comparison as a sentence for a paper."""
    where = f"{pair['dataset']} ({clean(pair['protocol'])})"
    what = metric_label(pair["metric"])
    if pair["difference"] is None:
        return f"On {where} no query has a score for {what}: nothing can be compared."
    a, b = clean(pair["a"]), clean(pair["b"])
    text = (
        f"On {where}, {b} reaches {100 * pair['mean_b']:.2f} {what} and {a} "
        f"{100 * pair['mean_a']:.2f}, a paired difference of {_points(pair['difference'])} points"
    )
    if pair["interval"] is not None:
        text += f" (95 % interval {_interval(pair)})"
    text += (
        f"; {b} is better on {pair['won']}, worse on {pair['lost']} and equal on {pair['tied']} of "
        f"{pair['queries']:,} queries"
    )
    return f"{text}. {_test(pair)}"


def _test(pair: Mapping[str, Any]) -> str:
    differ, k = pair["blocks_that_differ"], pair["blocks"]
    if k == 0:
        return f"There are {in_words(pair['rule'], 0)}: no test is possible."
    if differ == 0:
        return f"The two are equal on all of {in_words(pair['rule'], k)}: no test is possible."
    kind = "all" if pair["exact"] else "drawn"
    p = pair["p"]
    text = (
        f"Paired permutation test over the {differ:,} of {in_words(pair['rule'], k)} with "
        f"different scores ({pair['flips']:,} sign flips, {kind}): p = {_p(p)}"
    )
    if pair["comparisons"] > 1:
        p = pair["p_holm"]
        text += f", {_p(p)} after Holm's correction for {pair['comparisons']} comparisons"
    least = 2 / pair["flips"]
    if least >= SIGNIFICANT:
        return (
            f"{text}; with so few blocks the smallest possible p is {_p(least)}, so the test "
            "cannot detect a difference."
        )
    if p < SIGNIFICANT:
        return f"{text}: significant at {SIGNIFICANT}."
    return f"{text}: not significant at {SIGNIFICANT}; this does not show that they are equal."


def _heading(pair: Mapping[str, Any]) -> str:
    return (
        f"{pair['dataset']}, {clean(pair['protocol'])}, {metric_label(pair['metric'])}, %: "
        f"{pair['queries']:,} queries of {in_words(pair['rule'], pair['blocks'])}"
    )


def _row(pair: Mapping[str, Any]) -> str:
    if pair["difference"] is None:
        return f"  {clean(pair['b'])} - {clean(pair['a'])}: no query has a score"
    if pair["blocks"] == 0:
        around = in_words(pair["rule"], 0)
    else:
        around = "no interval" if pair["interval"] is None else f"[{_interval(pair)}]"
    corrected = f", Holm {_p(pair['p_holm'])}" if pair["comparisons"] > 1 else ""
    return (
        f"  {clean(pair['b'])} - {clean(pair['a'])}: {100 * pair['mean_b']:.2f} - "
        f"{100 * pair['mean_a']:.2f} = {_points(pair['difference'])} {around}, "
        f"p = {_p(pair['p'])}{corrected}, "
        f"won {pair['won']}, lost {pair['lost']}, tied {pair['tied']}"
    )


def _interval(pair: Mapping[str, Any]) -> str:
    low, high = pair["interval"]
    return f"{_points(low)} to {_points(high)}"


def _points(value: float) -> str:
    return f"{100 * value:+.2f}"


def _p(p: float) -> str:
    return f"{p:.4f}" if p < 0.01 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


COMMAND = Command(Arguments, compare)
