"""Runs that may be compared: groups of one protocol, chains of one system, order and places.

The best of a group is the best of its chain: plain descriptors are ranked among themselves, and so
are, for instance, re-ranked ones. Untrained networks, chance and partial runs are never ranked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.records import classes
from bench.records.rows import Run
from bench.scoring.card import CROPPED, NO_BOXES, NO_RERANKING, UNCOMPRESSED, WHOLE, name_of

UNRANKED = {"untrained", "chance", "partial"}
BEST, SECOND = 1, 2


@dataclass(frozen=True)
class Chain:
    """Runs of one protocol and one system, in the order of a table; `words` name the system."""

    words: str
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Group:
    """Runs of one protocol, by chain: the plain one first."""

    partial: bool
    chains: tuple[Chain, ...]

    @property
    def runs(self) -> list[Run]:
        """Return the runs of all chains, and what is not ranked after them."""
        every = [run for chain in self.chains for run in chain.runs]
        return sorted(every, key=lambda run: not is_ranked(run))


def is_ranked(run: Run) -> bool:
    """Return whether a run takes part in a ranking."""
    return not UNRANKED & set(run.marks)


def key_of(run: Run) -> tuple[bool, str]:
    """Return what runs of one group share: whether they are partial, and the protocol."""
    return run.partial, run.protocol_key


def groups(runs: Sequence[Run], mean: Callable[[Run], float | None]) -> list[Group]:
    """Return the groups: complete and cropped first; within a chain the best by `mean` first."""
    by_key: dict[tuple[bool, str], dict[str, list[Run]]] = {}
    for run in runs:
        by_key.setdefault(key_of(run), {}).setdefault(run.chain_key, []).append(run)

    def order(run: Run) -> tuple[object, ...]:
        value = mean(run)
        return not is_ranked(run), 1.0 if value is None else -value, run.name, run.file

    made = []
    for (partial, _), chains in by_key.items():
        listed = [
            Chain(system_words(members[0]), tuple(sorted(members, key=order)))
            for members in chains.values()
        ]
        made.append(Group(partial, tuple(sorted(listed, key=_place_of_chain))))
    return sorted(made, key=_place_of_group)


def places(means: Mapping[Run, float | None], digits: int) -> dict[Run, int]:
    """Return the place (1, 2) of each run of one chain by its printed score; 0 is not returned.

    Equal digits are equal places. Nothing with fewer than two scores, no second with two.
    """
    shown = {
        run: f"{100 * mean:.{digits}f}"
        for run, mean in means.items()
        if mean is not None and is_ranked(run)
    }
    if len(shown) < 2:
        return {}
    best, *others = sorted(set(shown.values()), key=float, reverse=True)
    second = others[0] if others and len(shown) > 2 else None
    marked = {best: BEST} | ({second: SECOND} if second else {})
    return {run: marked[text] for run, text in shown.items() if text in marked}


def system_words(run: Run) -> str:
    """Return in a few words how a run searches: "plain", "re-ranked", "pq64x8, bfloat16"."""
    card, words = run.card, []
    if classes.class_of("candidates_rule", card) == "system" and run.reranking_words:
        words.append(run.reranking_words)
    if name_of(card["compression"]) != UNCOMPRESSED:
        words.append(name_of(card["compression"]).removeprefix("none (").removesuffix(")"))
    if name_of(card["search"]) != "exact":
        words.append(name_of(card["search"]))
    if run.precision not in ("float32", "not stated", "not-stated"):
        words.append(run.precision)
    return ", ".join(words) or "plain"


def _place_of_chain(chain: Chain) -> tuple[object, ...]:
    return chain.words != "plain", chain.words, chain.runs[0].chain_key


def _place_of_group(group: Group) -> tuple[object, ...]:
    run = group.runs[0]
    crop = {CROPPED: 0, WHOLE: 1, NO_BOXES: 1}.get(run.card["crop_rule"], 2)
    return group.partial, crop, run.card["candidates_rule"] != NO_RERANKING, run.protocol_key
