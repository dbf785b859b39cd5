"""The options of every command; their defaults are those of `bench.pipeline.options.Options`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from bench.commands import options, pixels
from bench.commands.values import Parser, above_zero, natural, positive
from bench.errors import unknown
from bench.measure.timing import Measure
from bench.pipeline.options import Options
from bench.rerank import verification
from bench.types import Settings

DATA_ACTIONS = {
    "list": "List data sets: tier, size, licence, headline, what is on this machine.",
    "get": "Download data sets, or take your own copy of one.",
    "verify": "Check files, lists and ground truth of data sets; status 1 for any problem.",
    "where": "Say which folders and files a data set uses, found or not.",
}
WEIGHTS_ACTIONS = {
    "list": ("List published weights: source, licence, what is known.", None),
    "get": ("Download published weights into the cache.", "+"),
    "verify": ("Hash files of the cache again (default: all).", "*"),
}
CONVERT = "Make a TensorFlow model into a file for a method, and prove that it answers alike."
MEASURES = get_args(Measure)
DESCRIPTION = "A benchmark suite for image retrieval: every number carries its protocol card."


def parse(commands: Mapping[str, str], given: Sequence[str]) -> argparse.Namespace:
    """Return the options in `given`; `commands` gives each command's line of help."""
    top, made = _parsers(commands)
    words = (" ".join(given[:2]), *given[:1])  # "weights convert" is a command of its own
    known = next((made[word].options() for word in words if word in made), set())
    for option in (text.partition("=")[0] for text in given if text.startswith("--")):
        if known and option not in known:
            raise unknown("option", option, known)
    return top.parse_args(given)


def _add_stage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--stage",
        action="append",
        default=[],
        metavar="NAME[:value,key=value]",
        help="apply a stage to the lists, in the order given: aqe:K,alpha=A searches again with "
        "a mean of the query and the first K rows; rerank:RULE verifies pairs; FILE.py:… is a "
        "stage of your own (bench/rerank/README.md)",
    )


def _parsers(commands: Mapping[str, str]) -> tuple[Parser, dict[str, Parser]]:
    top = Parser(prog="python -m bench", description=DESCRIPTION)
    verbs = top.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    made = {
        verb: verbs.add_parser(verb, help=text, description=text, allow_abbrev=False)
        for verb, text in commands.items()
    }
    run = made["run"]
    run.add_argument(
        "--method",
        action="append",
        required=True,
        metavar="NAME[.VARIANT]",
        help="a method, or a plug-in file; repeatable",
    )
    run.add_argument(
        "--dataset",
        action="append",
        metavar="NAME",
        help="a data set, or the path of a dataset.json; repeatable (default: mini)",
    )
    _add_stage(run)
    run.add_argument(
        "--rerank",
        nargs="?",
        const="deployable",
        choices=list(verification.RULES),
        help="re-rank lists by geometric verification of local features; the candidates are the "
        "first 100 of the list, or, official, the first 100 that a protocol does not ignore "
        "(default: no re-ranking; without a value: %(const)s)",
    )
    run.add_argument(
        "--ransac",
        choices=["fast", "compatible"],
        default=Options.ransac,
        help="compatible: scikit-image, as in DELG's official program; fast: the same counts but "
        "for rounding (default: %(default)s)",
    )
    run.add_argument(
        "--local-precision",
        choices=["float32", "float16"],
        default=Options.local_precision,
        help="how local descriptors are kept (default: %(default)s)",
    )
    run.add_argument(
        "--limit",
        type=positive,
        metavar="N",
        help="use the first N images only; the result is marked partial",
    )
    run.add_argument(
        "--distractors",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="data sets, or paths of a dataset.json, whose database images are described and added "
        "as negatives for every query, for instance revisitop1m",
    )
    run.add_argument(
        "--allow-missing",
        action="store_true",
        help="go on without images that are absent or cannot be decoded: such a database image is "
        "behind all others, such a query counts as 0, and the result is marked",
    )
    run.add_argument(
        "--dry-run", action="store_true", help="say what would be done and how long it takes"
    )
    options.cluster(run)
    extract = made["extract"]
    extract.add_argument("--method", required=True, metavar="NAME[.VARIANT]", help="a method")
    asked = extract.add_mutually_exclusive_group(required=True)
    asked.add_argument("--dataset", metavar="NAME", help="a data set, or a dataset.json")
    asked.add_argument("--images", type=Path, metavar="FOLDER", help="all images of a folder")
    extract.add_argument(
        "--which",
        choices=["database", "queries"],
        default="database",
        help="of a data set: its database, or its queries cropped to their boxes "
        "(default: %(default)s)",
    )
    extract.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="an .npz: ids and vectors"
    )
    made["check"].add_argument("method", metavar="METHOD", help="a method, or a plug-in file")
    options.train(made["train"])
    sensitivity = made["sensitivity"]
    options.sensitivity(sensitivity)
    for describing in (run, extract, made["check"], sensitivity):
        pixels.add(describing)
        describing.add_argument(
            "--weights", metavar="PATH", help="weights to use instead of the variant's own"
        )
        describing.add_argument(
            "--device", help="cpu, cuda or cuda:N (default: a GPU where there is one)"
        )
        describing.add_argument(
            "--batch-size",
            type=positive,
            default=Settings.batch_size,
            metavar="N",
            help="most images of one shape given to the network at once (default: %(default)s)",
        )
        describing.add_argument(
            "--batch-megapixels",
            type=above_zero,
            metavar="MP",
            help="most pixels of these together, at scale 1 (default: 4 on a GPU, 1 elsewhere)",
        )
        describing.add_argument(
            "--workers",
            type=natural,
            default=Settings.workers,
            metavar="N",
            help="processes that decode images (default: %(default)s, threads of this process)",
        )
        describing.add_argument(
            "--precision",
            choices=["float32", "bf16", "fp16"],
            default=Settings.precision,
            help="of convolutions and of linear layers of positions; the rest is float32 "
            "(default: %(default)s)",
        )
        describing.add_argument(
            "--tf32", action="store_true", help="let a GPU round the factors of products to TF32"
        )
        describing.add_argument(
            "--compile", action="store_true", help="compile the network by torch, once per run"
        )
    for keeping in (run, extract):
        keeping.add_argument(
            "--allow-partial",
            action="store_true",
            help="use those images of a data set that are there; the result is marked partial",
        )
        keeping.add_argument(
            "--force",
            action="store_true",
            help="describe the images again even where the store has them",
        )
        options.engine(keeping)
    evaluate = made["evaluate"]
    evaluate.add_argument(
        "--dataset", required=True, metavar="NAME", help="a data set, or the path of a dataset.json"
    )
    evaluate.add_argument(
        "--database",
        required=True,
        type=Path,
        metavar="FILE",
        help=".npy, .npz or .mat, rows in the order of the list",
    )
    evaluate.add_argument(
        "--queries", required=True, type=Path, metavar="FILE", help="likewise for the queries"
    )
    evaluate.add_argument(
        "--distractors",
        nargs="+",
        action="extend",
        default=[],
        type=Path,
        metavar="FILE",
        help="rows added after the database; negatives for every query",
    )
    _add_stage(evaluate)
    evaluate.add_argument(
        "--export",
        type=Path,
        metavar="FILE.npz",
        help="write the lists, and the queries that were searched with, after every stage",
    )
    evaluate.add_argument(
        "--name",
        default="descriptors",
        metavar="LABEL",
        help="what to call them in records and tables (default: %(default)s)",
    )
    evaluate.add_argument(
        "--device", help="where the matrix product is made: cpu, cuda or cuda:N (default: cpu)"
    )
    run.add_argument(
        "--measure",
        choices=list(MEASURES),
        default="sample",
        help="latency and memory: latency, in full; sample, in some seconds; none "
        "(default: %(default)s)",
    )
    evaluate.add_argument(
        "--measure",
        choices=list(MEASURES),
        default="none",
        help="time of a search, likewise (default: %(default)s)",
    )
    for searching in (run, evaluate):
        searching.add_argument(
            "--compression",
            default=Options.compression,
            metavar="NAME",
            help="how database descriptors are kept: none, float16, or pqMxB for product "
            "quantisation in M sub-vectors of B bits, as in pq64x8 (default: %(default)s)",
        )
        searching.add_argument(
            "--search",
            default=Options.search,
            metavar="NAME",
            help="exact, or an index of faiss: ivfN,flat,nprobeP; ivfN,pqMxB,nprobeP; hnswN,efE; "
            "each may end with ,kL for the length of a list (default: %(default)s)",
        )
        searching.add_argument(
            "--output",
            type=Path,
            default=Options.output,
            metavar="DIR",
            help="folder of the results (default: results/ of the checkout)",
        )
        searching.add_argument(
            "--shortlist",
            type=natural,
            default=Options.shortlist,
            metavar="N",
            help="length of the list kept per query (default: %(default)s)",
        )
        searching.add_argument(
            "--memory-budget",
            type=positive,
            default=Options.memory_budget_mib,
            metavar="MIB",
            dest="memory_budget_mib",
            help="MiB that the exact search may take for blocks of rows, tables and lists; the "
            "answer does not depend on it (default: %(default)s)",
        )
    made["verify"].add_argument("record", nargs="+", type=Path, help="path of a record's .json")
    options.compare(made["compare"])
    made["verify"].add_argument(
        "--descriptors",
        action="store_true",
        help="also search and apply the stages again from the stored descriptors, to the bit; "
        "nothing is described",
    )
    made["verify"].add_argument(
        "--contribution",
        action="store_true",
        help="also check that it may be added to the results: its place, its commit, stale or not",
    )
    made["verify"].add_argument(
        "--dataset",
        metavar="PATH",
        help="the data set, where it is a dataset.json of your own; it must have the revision on "
        "the card",
    )
    made["verify"].add_argument(
        "--weights", metavar="PATH", help="weights, where --descriptors needs a file of your own"
    )
    weights = made["weights"].add_subparsers(dest="action", required=True, metavar="ACTION")
    for action, (text, count) in WEIGHTS_ACTIONS.items():
        acting = weights.add_parser(action, help=text, description=text)
        if count:
            acting.add_argument("method", nargs=count, metavar="METHOD.VARIANT", help="a method")
    made["weights convert"] = weights.add_parser(
        "convert", help=CONVERT, description=CONVERT, allow_abbrev=False
    )
    options.convert(made["weights convert"])
    data = made["data"].add_subparsers(dest="action", required=True, metavar="ACTION")
    for action, text in DATA_ACTIONS.items():
        made[f"data {action}"] = data.add_parser(
            action, help=text, description=text, allow_abbrev=False
        )
    options.data(made)
    made |= options.cache(made["cache"])
    made["report"].add_argument(
        "--easy", action="store_true", help="also show the easy protocol in the main tables"
    )
    for reading in (made["report"], made["compare"], made["sheet"]):
        reading.add_argument(
            "--results",
            type=Path,
            default=Options.output,
            metavar="DIR",
            help="folder of records and published.toml (default: results/ of the checkout)",
        )
    options.sheet(made["sheet"])
    made["report"].add_argument(
        "--html", action="store_true", help="also write the leaderboard page, index.html"
    )
    return top, made
