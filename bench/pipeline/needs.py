"""The descriptors that stages of a run need besides its own: other images, or another method's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from bench import datasets
from bench.data import copies
from bench.describe import bits, engine, extract, warm
from bench.describe.pixels import Chosen
from bench.pipeline.chain import CODES
from bench.pipeline.lists import pairs_of
from bench.pipeline.options import Options
from bench.stage import Facts, Need, Stage
from bench.system.hashing import plain, sha256_lines
from bench.types import Dataset, Image, Rows

ListOf = tuple[str, Path, Sequence[Image]]  # what it is called, its folder, its images


@dataclass(frozen=True)
class Needed:
    """A need with the method that describes it and its lists: of a database, then of queries.

    `facts` are what stages are fitted to; `about` is what a record keeps of the method, where it
    is not the run's own.
    """

    need: Need
    loaded: engine.Loaded
    database: Sequence[ListOf]
    queries: Sequence[ListOf]
    facts: Facts
    pairs: Rows | None = None
    about: Mapping[str, Any] | None = None


def needs_of(stages: Sequence[Stage]) -> Iterator[Need]:
    """Yield every need for descriptors that a run does not make, each once.

    What a stage is fitted on goes through the stages before it, so a fusion before it needs the
    other method's descriptors of these images too.
    """
    seen, seconds = set[Need](), list[Need]()
    for stage in stages:
        for need in stage.needs():
            if need.role == "second":
                seconds.append(need)
            wanted = [need] if need.role == "second" or (need.role, bool(need.source)) == (
                "fit", True) else []  # fmt: skip
            if need.role == "fit" and need.source:
                wanted += [
                    replace(candidate, source=need.source, lists=need.lists)
                    for candidate in seconds
                ]
            yield from (candidate for candidate in wanted if candidate not in seen)
            seen.update(wanted)


def on_evaluated(stages: Sequence[Stage], dataset: Dataset) -> list[Any]:
    """Return the stages; those to be fitted on the data set itself take it as it is evaluated."""
    same = [
        is_dataclass(stage) and getattr(stage, "source", None) == dataset.name for stage in stages
    ]
    pairs = zip(stages, same, strict=True)
    return [replace(stage, source=None) if evaluated else stage for stage, evaluated in pairs]  # type: ignore[type-var]


def resolve(
    stages: Sequence[Stage], own: Sequence[ListOf], loaded: engine.Loaded,
    options: Options,
) -> list[Needed]:  # fmt: skip
    """Return the needs of the stages of a run, loaded and checked; nothing is described yet.

    `own` are the lists of the run: database, distractors, queries.
    """
    out = []
    for need in needs_of(stages):
        by = loaded if need.method is None else other_method(need.method, options)
        if need.source is None:
            database, queries = own[:-1], own[-1:]
            rows = sum(len(images) for _, _, images in database)
            pairs, evaluated, of = None, True, dict[str, Any]()
        else:
            there = _whole(need.source)
            wanted = "pairs" in need.lists
            database = [(f"database of {there.name}", there.folder, there.database)]
            shown = datasets.shown_queries(there)
            queries = [(f"queries of {there.name}", there.folder, shown)] if wanted else []
            pairs = pairs_of(there.protocols) if wanted else None
            rows, evaluated = len(there.database), _shared([*database, *queries], own)
            of = {"name": there.name, "sha256": sha256_lines([i.file for i in there.database])}
        about = of | {"rows": rows} if need.role == "fit" else stated(by) | of
        facts = Facts(rows, by.info.dim, 0 if pairs is None else len(pairs), about, evaluated)
        kept = None if need.method is None else plain(by.info)
        out.append(Needed(need, by, database, queries, facts, pairs, kept))
    return out


def of_codes(loaded: engine.Loaded, own: Sequence[ListOf]) -> Needed:
    """Return the need for the codes of a method, of the lists of a run; refuse one without."""
    by, rows = bits.of(loaded), sum(len(images) for _, _, images in own[:-1])
    return Needed(CODES, by, own[:-1], own[-1:], Facts(rows, by.info.dim, evaluated=True))


def jobs(needed: Needed, options: Options) -> list[extract.Job]:
    """Return what is to be described for a need; nothing is done yet."""
    by = "" if needed.about is None else f" with {needed.loaded.info.name}"
    by = " as codes" if needed.need == CODES else by
    prepare = partial(
        extract.prepare,
        needed.loaded,
        force=options.force,
        allow_missing=options.allow_missing and needed.need.role in ("second", "codes"),
    )
    out = [
        prepare(folder, images, f"describe {what}{by}") for what, folder, images in needed.database
    ]
    for what, folder, images in needed.queries:
        out.append(prepare(folder, images, f"describe {what}{by}", database=out[0]))
    return out


def _whole(name: str) -> Dataset:
    """Return a data set to learn from, all of whose images are on this machine."""
    there, _ = datasets.placed(datasets.load(name))
    extract.check_files(there.folder, [*there.database, *there.queries])
    return there


def _shared(learned_on: Sequence[ListOf], own: Sequence[ListOf]) -> bool:
    """Return whether lists to learn from have an image that is evaluated, under any name."""
    there, evaluated = (
        {digest for _, folder, images in lists for digest in copies.contents(folder, images)}
        for lists in (learned_on, own)
    )
    return not there.isdisjoint(evaluated)


def other_method(method: str, options: Options) -> engine.Loaded:
    """Return another method, with its own rule for images and the run's for queries."""
    pixels = Chosen(query_crop=options.pixels.query_crop)
    return warm.load(method, None, options.device, options.settings, pixels.rule)


def stated(loaded: engine.Loaded) -> dict[str, Any]:
    """Return the entries of a card for another method."""
    info = loaded.info
    return {
        "method": f"{info.name}.{info.variant}",
        "version": info.version,
        "dim": info.dim,
        "weights_sha256": info.weights.get("sha256"),
        "preprocess": plain(loaded.rule),
    }
