"""Measured rows: what the report needs of each record, checked field by field."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from bench import stages
from bench.errors import BenchError
from bench.records import blocks as of_blocks
from bench.records import classes, costs
from bench.records import record as records
from bench.records.text import LONGEST, clean
from bench.scoring.card import NO_RERANKING, WHOLE, is_compressed, name_of
from bench.system.hashing import sha256_json

Card = Mapping[str, Any]
ORDER = ("easy", "medium", "hard")
RESNETS = ("delg", "dolg", "token", "solar")
NOT_STATED = "not stated"
CODED = ("compression", "search", "rerank.order")  # a code may be an object with numbers
MACHINE = ("device", "device_name", "processor", "cores", "system")


@dataclass(frozen=True)
class Score:
    """A mean over queries and its 95 % interval, fractions 0..1; None if there is none."""

    mean: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True, eq=False)
class Run:
    """One record as the report shows it; `file` is relative to the folder of results."""

    file: PurePosixPath
    run_id: str
    created: str
    dataset: str
    card: Card
    card_id: str
    method: str
    variant: str
    dim: int  # that is searched
    config: str
    backbone: str
    precision: str
    blocks: tuple[str, int] | None  # of the intervals: their rule and number
    source: str
    training_set: str
    weights_sha256: str | None
    marks: tuple[str, ...]
    scores: Mapping[str, Mapping[str, Score]]
    tied: int
    describe_ms: tuple[float, float] | None
    bytes_per_image: float
    device: str
    machine: str
    code: str
    cost: costs.Cost
    approximate: Mapping[str, Any] | None = None
    headline_id: str | None = None  # of the data set, where the record has another
    stated: tuple[tuple[str, str], ...] = ()  # facts that a user states of own descriptors, as text
    sha256: str = ""  # of the record, and so of its arrays
    rest: Mapping[str, Any] = field(default_factory=dict, repr=False)  # the record but its scores

    @property
    def card8(self) -> str:
        """Return the label of the card: the first 8 digits of its id."""
        return self.card_id[:8]

    @property
    def partial(self) -> bool:
        """Say whether the run saw only a part of the dataset."""
        return "partial" in self.marks

    @property
    def name(self) -> str:
        """Return method.variant with its marks: untrained, chance, partial."""
        return self.short_name(LONGEST // 2)

    def short_name(self, longest: int) -> str:
        """Return the name, method.variant cut to `longest` characters; marks are never cut."""
        return clean(f"{self.method}.{self.variant}", longest) + self.marked

    @property
    def marked(self) -> str:
        """Return the marks as they stand after a name, " (untrained)", or nothing."""
        return f" ({', '.join(self.marks)})" if self.marks else ""

    @property
    def stages(self) -> str:
        """Return what rows of one name often differ in, to stand after it: ", re-ranked"."""
        card, marks = self.card, []
        if card["crop_rule"] == WHOLE:
            marks.append("whole query")
        if self.reranking_words:
            marks.append(self.reranking_words)
        if is_compressed(card):
            marks.append(name_of(card["compression"]))
        if card["search"] != "exact":
            marks.append(name_of(card["search"]))
        return clean("".join(f", {words}" for words in marks), 60)

    @property
    def reranking_words(self) -> str:
        """Return what the stages did, in a few words; nothing without any."""
        if self.card.get("stages"):
            return clean(stages.words(self.card["stages"]), 60)
        if self.card["candidates_rule"] == NO_RERANKING:
            return ""
        labels = "labels" in classes.uses(self.card)
        return "re-ranked by labels" if labels else "re-ranked"

    @cached_property
    def protocol_key(self) -> str:
        """Return what runs share that may stand in one table (`bench.records.classes`)."""
        return classes.part(self.card, "protocol")

    @cached_property
    def chain_key(self) -> str:
        """Return what runs share that are ranked together, besides the protocol."""
        return classes.part(self.card, "system")

    @property
    def headline(self) -> str:
        """Return the id of the headline: that of the data set, or the first of the card."""
        return self.headline_id or str(self.card["metrics"][0])

    @property
    def identity(self) -> tuple[object, ...]:
        """Return what two records share when the newer one replaces the older one.

        Other weights or another configuration under the same name are another row.
        """
        what = (self.dataset, self.card_id, self.method, self.variant)
        return (*what, self.config, self.weights_sha256, self.marks, self.machine)

    @cached_property
    def leaves(self) -> dict[str, Any]:
        """Return the leaves of the card by dotted path."""
        return flat(self.card)

    def score(self, protocol: str, metric: str) -> Score:
        """Return the score, empty where the record has none."""
        return self.scores.get(protocol, {}).get(metric, Score(None, None))


def flat(card: Card) -> dict[str, Any]:
    """Return the leaves of a card by dotted path; lists, codes and empty dicts are leaves."""
    return dict(_leaves(card, ""))


def load(results: Path) -> tuple[list[Run], list[tuple[PurePosixPath, str]]]:
    """Return every run that can be read, and (file, reason) of every one that cannot."""
    runs: list[Run] = []
    left_out: list[tuple[PurePosixPath, str]] = []
    for path in records.find(results):
        file = PurePosixPath(path.relative_to(results).as_posix())
        try:
            record = records.read(path)
            if path.with_name(record["ranks"]["file"]).is_file():  # tables do without
                records.check_arrays(path, record)
            runs.append(parse(of_blocks.renewed(record, path), file))
        except (BenchError, OSError, ValueError, RecursionError) as error:
            reason = str(error).replace(f"{results}{os.sep}", "").removeprefix(f"{file} ")
            left_out.append((file, reason))
    return runs, sorted(left_out)


def newest(runs: Iterable[Run]) -> tuple[list[Run], int]:
    """Return the newest run of each identity, and how many older ones there are."""
    latest: dict[tuple[object, ...], Run] = {}
    count = 0
    for run in sorted(runs, key=lambda run: (run.created, run.run_id, run.file)):
        latest[run.identity] = run
        count += 1
    return list(latest.values()), count - len(latest)


def protocols(runs: Iterable[Run]) -> list[str]:
    """Return the protocols of the runs, in the order of `in_order`."""
    return in_order(name for run in runs for name in run.scores)


def in_order(names: Iterable[str]) -> list[str]:
    """Return the different protocols: easy, medium, hard first, then by name."""
    return sorted(
        set(names), key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)
    )


def parse(record: Mapping[str, Any], file: PurePosixPath) -> Run:
    """Return the run of a record that `bench.records.record.read` has passed.

    What its schema leaves open and the report relies on is checked here, by BenchError.
    """
    card, method, machine = record["card"], record["method"], record["machine"]
    weights, latency = method["weights"], record["timing"]["latency"]
    scales = (card["preprocess"] or {}).get("scales", [])
    if not isinstance(scales, list) or any(type(scale) not in (int, float) for scale in scales):
        raise BenchError(f"the scales on the card are {scales!r} instead of a list of numbers.")
    marks = marks_of(record)
    commit, dirty = record["source"]["commit"], record["source"]["dirty"]
    return Run(
        file=file,
        run_id=record["run_id"],
        created=record["created"],
        dataset=dataset_key(card),
        card=card,
        card_id=record["card_id"],
        method=method["name"],
        variant=method["variant"],
        dim=_searched_dim(record),
        config=sha256_json(method["config"]),
        backbone=_backbone(method),
        precision=clean(card.get("precision", "float32")) if card["preprocess"] else NOT_STATED,
        blocks=of_blocks.rule_and_count(record),
        source=weights["source"],
        training_set=weights["training_set"],
        weights_sha256=weights["sha256"],
        marks=tuple(marks),
        scores=_scores(record["scores"], card),
        tied=record["ties"]["labelled"],
        describe_ms=_describe_ms(latency),
        bytes_per_image=record["bytes_per_image"],
        device=": ".join(str(machine[key]) for key in ("device", "device_name") if key in machine),
        machine=sha256_json({key: machine.get(key) for key in MACHINE}),
        code=(commit or "not known")[:9] + (" with changes" if dirty else ""),
        cost=costs.of_record(record),
        approximate=record.get("approximate"),
        stated=_stated(method),
        sha256=record.get("sha256", ""),
        rest={key: value for key, value in record.items() if key != "scores"},
    )


def _searched_dim(record: Mapping[str, Any]) -> int:
    """Return the dimension that was searched: that of the method, after the stages on rows.

    Behind a stage that is not known here it follows from the bytes of uncompressed rows.
    """
    card, dim = record["card"], int(record["method"]["dim"])
    for entry in card.get("stages", ()):
        stage: Any = stages.known(entry)
        if stage is None:
            return dim if is_compressed(card) else round(record["bytes_per_image"] / 4)
        if stage.place == "rows":
            dim = stage.dim(dim)
    return dim


def marks_of(record: Mapping[str, Any]) -> list[str]:
    """Return what must stand wherever a score of a record stands: untrained, chance and so on."""
    card, weights = record["card"], record["method"]["weights"]
    marks = ["untrained"] if weights["trained"] is False else []
    if re.search(r"\bchance\b", weights["source"], re.IGNORECASE):
        marks = ["chance"]
    if record["partial"] or card["limit"] is not None or "missing" in card:
        marks.append("partial")
    return marks + (["transductive"] if classes.is_transductive(card) else [])


def _backbone(method: Mapping[str, Any]) -> str:
    """Return the network as text: what the configuration names, or the depth in a variant of ours.

    >>> _backbone({"name": "dolg", "variant": "r101", "config": {}})
    'ResNet-101'
    """
    named = method["config"].get("backbone")
    if named is None and method["name"] in RESNETS:
        depth = re.match(r"r(50|101)(?![0-9])", method["variant"])
        named = f"resnet{depth.group(1)}" if depth else None
    if not isinstance(named, str):
        return NOT_STATED
    named = named.removeprefix("tf_")
    named = re.sub(r"^resnet([0-9]+)$", r"ResNet-\1", named)
    return clean(re.sub(r"^efficientnet_lite([0-9])$", r"EfficientNet-Lite\1", named))


def _stated(method: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return crop, scales and size where a user states them, as text that ends "(as stated)"."""
    facts = method["config"].get("as_stated") if method["name"] == "brought" else None
    if not isinstance(facts, Mapping):
        return ()
    keys = {"crop": "query crop", "scales": "scales", "size": "size cap"}
    words = {
        key: ", ".join(map(str, facts[key])) if isinstance(facts[key], list) else str(facts[key])
        for key in keys
        if key in facts
    }
    return tuple((keys[key], f"{clean(text)} (as stated)") for key, text in words.items())


def dataset_key(card: Card) -> str:
    """Return what a section is about: the dataset, and its distractors where it has any.

    The whole of the one million distractors is "+r1m", as in the published rows.
    """
    name: str = card["dataset"]["name"]
    count: int = card["distractors"]["count"]
    if count == 0:
        return name
    million = count >= 1_000_000 and "revisitop1m" in " ".join(card["distractors"]["sources"])
    return f"{name}+r1m" if million else f"{name}+{count}"


def _describe_ms(latency: Mapping[str, Any] | None) -> tuple[float, float] | None:
    """Return p50 and p95; None where nothing was measured, or on a busy machine."""
    if latency is None or latency.get("busy"):
        return None
    return latency["describe_ms"]["p50"], latency["describe_ms"]["p95"]


def _scores(scores: Mapping[str, Any], card: Card) -> dict[str, dict[str, Score]]:
    if set(scores) != set(card["protocols"]):
        raise BenchError("the protocols of its scores differ from those of its card.")
    for protocol, by_metric in scores.items():
        if set(by_metric) - set(card["metrics"]):
            raise BenchError(f"its scores of {protocol} have metrics that its card lacks.")
    return {
        protocol: {metric: _score(protocol, entry) for metric, entry in by_metric.items()}
        for protocol, by_metric in scores.items()
    }


def _score(protocol: str, entry: Mapping[str, Any]) -> Score:
    interval = entry["interval"]
    if interval is None:
        return Score(entry["mean"], None)
    low, high = interval
    if not 0 <= low <= high <= 1:
        raise BenchError(
            f"an interval of {protocol} is {interval} instead of [low, high] within 0..1."
        )
    return Score(entry["mean"], (low, high))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value and path not in CODED:
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    else:
        yield path, value
