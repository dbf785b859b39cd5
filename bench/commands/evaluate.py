"""The command `evaluate`: score descriptors of the user's own; no images are needed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bench.commands.parser import Command
from bench.option import group, option, required
from bench.pipeline.options import SEARCHING, Options


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The descriptors to score, and options of the search."""

    dataset: str = required("a data set, or the path of a dataset.json", metavar="NAME")
    database: Path = required(
        ".npy, .npz, .mat, .pt, .safetensors or .h5, rows in the order of the list or named",
        metavar="FILE",
    )
    queries: Path = required("the same for the queries", metavar="FILE")
    distractors: tuple[Path, ...] = option(
        (),
        "descriptors appended to the database as negatives for every query",
        metavar="FILE",
        many="list",
    )
    name: str = option("descriptors", "name of the method in records and tables", metavar="LABEL")
    export: Path | None = option(
        None,
        "write lists and queries after every stage to FILE",
        metavar="FILE.npz",
    )
    similarity: Literal["dot", "cosine", "euclidean"] = option(
        "dot",
        "similarity of descriptors: dot product, cosine, or Euclidean distance",
        old=("metric",),
    )
    facts: Path | None = option(
        None,
        "facts about the method, shown in tables as stated: backbone, training_set, crop,"
        " scales, size, time_ms",
        metavar="FILE.toml",
    )
    device: str | None = option(
        None, "device of the matrix product: cpu, cuda or cuda:N (default: cpu)",
        metavar="DEVICE",
    )  # fmt: skip
    options: Options = group(Options, SEARCHING)


def evaluate(args: Arguments) -> int:
    """Score descriptors of the user's own; print scores and the path of the record."""
    from bench.commands import summary
    from bench.pipeline import brought
    from bench.records import record

    path = brought.score_brought(
        args.dataset,
        args.database,
        args.queries,
        args.distractors,
        brought.check_label(args.name),
        replace(args.options, device=args.device),
        brought.Comparison(args.similarity, args.export, args.facts),
    )
    print("\n".join(summary.lines(record.read(path))))
    print(path)
    return 0


COMMAND = Command(Arguments, evaluate)
