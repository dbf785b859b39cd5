"""The options of every command; their defaults are those of `bench.scoring.Options`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from bench import rerank
from bench.errors import BenchError, unknown
from bench.scoring import Options

WEIGHTS_ACTIONS = {
    "list": ("List published weights: source, licence, what is known.", None),
    "get": ("Download published weights into the cache.", "+"),
    "verify": ("Hash files of the cache again (default: all).", "*"),
}
CONVERT = "Make a TensorFlow model into a file for a method, and prove that it answers alike."
DESCRIPTION = "A benchmark suite for image retrieval: every number carries its protocol card."


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are errors of ours: one sentence."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the command line."""
        raise BenchError(f"{message}; see `{self.prog} --help`.")

    def options(self) -> set[str]:
        """Return the long options."""
        return {text for text in self._option_string_actions if text.startswith("--")}


def parse(commands: Mapping[str, str], given: Sequence[str]) -> argparse.Namespace:
    """Return the options in `given`; `commands` gives each command's line of help."""
    top, made = _parsers(commands)
    words = (" ".join(given[:2]), *given[:1])  # "weights convert" is a command of its own
    known = next((made[word].options() for word in words if word in made), set())
    for option in (text.partition("=")[0] for text in given if text.startswith("--")):
        if known and option not in known:
            raise unknown("option", option, known)
    return top.parse_args(given)


def _parsers(commands: Mapping[str, str]) -> tuple[_Parser, dict[str, _Parser]]:
    top = _Parser(prog="python -m bench", description=DESCRIPTION)
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
    run.add_argument(
        "--query-crop",
        choices=["whole", "crop", "crop-relative"],
        help="what of a boxed query is shown: the whole image; its box under the method's size "
        "cap; its box under the cap times longest crop side / longest image side (default: the "
        "box, under the method's own rule)",
    )
    run.add_argument(
        "--no-crop",
        action="store_const",
        const="whole",
        dest="query_crop",
        help="the same as --query-crop whole",
    )
    run.add_argument(
        "--rerank",
        nargs="?",
        const="deployable",
        choices=list(rerank.RULES),
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
        type=_positive,
        metavar="N",
        help="use the first N images only; the result is marked partial",
    )
    run.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")
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
    for describing in (run, extract, made["check"]):
        describing.add_argument(
            "--weights", metavar="PATH", help="weights to use instead of the variant's own"
        )
        describing.add_argument(
            "--device", help="cpu, cuda or cuda:N (default: a GPU where there is one)"
        )
        describing.add_argument(
            "--batch-size",
            type=_positive,
            default=Options.batch_size,
            metavar="N",
            help="most images of one shape given to the network at once (default: %(default)s)",
        )
    for keeping in (run, extract):
        keeping.add_argument(
            "--force",
            action="store_true",
            help="describe the images again even where the store has them",
        )
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
    evaluate.add_argument(
        "--name",
        default="descriptors",
        metavar="LABEL",
        help="what to call them in records and tables (default: %(default)s)",
    )
    for searching in (run, evaluate):
        searching.add_argument(
            "--output",
            type=Path,
            default=Options.output,
            metavar="DIR",
            help="folder of the results (default: results/ of the checkout)",
        )
        searching.add_argument(
            "--shortlist",
            type=_natural,
            default=Options.shortlist,
            metavar="N",
            help="length of the list kept per query (default: %(default)s)",
        )
        searching.add_argument(
            "--memory-budget",
            type=_positive,
            default=Options.memory_budget_mib,
            metavar="MIB",
            dest="memory_budget_mib",
            help="about what the search may take (default: %(default)s)",
        )
    made["verify"].add_argument("record", nargs="+", type=Path, help="path of a record's .json")
    made["verify"].add_argument(
        "--contribution",
        action="store_true",
        help="also check that it may be added to the results: its place, its commit, stale or not",
    )
    weights = made["weights"].add_subparsers(dest="action", required=True, metavar="ACTION")
    for action, (text, count) in WEIGHTS_ACTIONS.items():
        acting = weights.add_parser(action, help=text, description=text)
        if count:
            acting.add_argument("method", nargs=count, metavar="METHOD.VARIANT", help="a method")
    made["weights convert"] = weights.add_parser(
        "convert", help=CONVERT, description=CONVERT, allow_abbrev=False
    )
    _convert(made["weights convert"])
    for reading in (made["report"], made["sheet"]):
        reading.add_argument(
            "--results",
            type=Path,
            default=Options.output,
            metavar="DIR",
            help="folder of records and published.toml (default: results/ of the checkout)",
        )
    _sheet(made["sheet"])
    made["report"].add_argument(
        "--html", action="store_true", help="also write the leaderboard page, index.html"
    )
    return top, made


def _convert(convert: argparse.ArgumentParser) -> None:
    convert.add_argument(
        "--method", required=True, metavar="NAME.VARIANT", help="the method the file is for"
    )
    convert.add_argument(
        "--source",
        type=Path,
        required=True,
        metavar="PATH",
        help="the folder of a SavedModel, or a checkpoint",
    )
    convert.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="a .safetensors"
    )
    convert.add_argument(
        "--unproven",
        action="store_true",
        help="also convert variables without a graph to compare with; every record will say so",
    )


def _sheet(sheet: argparse.ArgumentParser) -> None:
    sheet.add_argument(
        "record",
        nargs="*",
        type=Path,
        help="path of a record's .json; without one, the rows of --dataset in the report",
    )
    sheet.add_argument(
        "--dataset", metavar="NAME", help="the data set, where the card's name does not find it"
    )
    sheet.add_argument("--against", type=Path, metavar="RECORD", help="a second record to compare")
    chosen = sheet.add_mutually_exclusive_group()
    chosen.add_argument(
        "--queries", type=_numbers, metavar="N,N", help="rows in the list of queries, from 0"
    )
    chosen.add_argument(
        "--worst",
        type=_positive,
        default=5,
        metavar="N",
        help="the N worst queries, or the N of most gain and most loss (default: %(default)s)",
    )
    for option, default, text in (("--top", 10, "images of each list"), ("--matches", 0, "pairs")):
        kind = _positive if default else _natural
        more = " whose matched keypoints are drawn, of a re-ranked record" if not default else ""
        sheet.add_argument(
            option,
            type=kind,
            default=default,
            metavar="N",
            help=f"{text}{more} (default: %(default)s)",
        )
    sheet.add_argument("--protocol", metavar="NAME", help="(default: medium, or else the first)")
    sheet.add_argument("--output", type=Path, metavar="FILE", help="an .html, .png or .pdf")
    sheet.add_argument("--weights", metavar="PATH", help="weights, where --matches needs the model")
    sheet.add_argument("--device", help="cpu, cuda or cuda:N (default: a GPU where there is one)")


def _numbers(text: str) -> tuple[int, ...]:
    if not text or not all(part.strip().isdecimal() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} is not like 0,3,7")
    return tuple(dict.fromkeys(int(part) for part in text.split(",")))


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)
