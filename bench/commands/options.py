"""The options of the commands besides run, extract, evaluate and verify."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from bench.cluster import forecast
from bench.commands.values import Parser, above_zero, address, natural, numbers, positive
from bench.pipeline.options import Options

CACHE_ACTIONS = {
    "list": "List the stores: key, kind, method, images, shards, size, last use.",
    "why": "Say what determines a store, and in what it differs from the one most like it.",
    "verify": "Hash every shard again; status 1 if one is damaged.",
    "prune": "Remove what is of no use (leftovers, damaged shards), or the stores you select.",
}


def engine(made: argparse.ArgumentParser) -> None:
    """Add the options that say on which machines the work is done."""
    made.add_argument(
        "--engine",
        choices=["local", "ray"],
        default="local",
        help="local: this process; ray: the workers of a Ray cluster, which give the same bytes "
        "(default: %(default)s)",
    )
    made.add_argument(
        "--ray-address",
        type=address,
        metavar="auto|HOST:PORT",
        help="the cluster: the one that this host belongs to, or the one at HOST:PORT (default: a "
        "cluster of this machine alone, for this command)",
    )
    made.add_argument(
        "--image-url",
        metavar="URL",
        help="where workers read images that their machines lack: a URL that fsspec opens (s3://, "
        "https://, ...) of a folder laid out as the data set's (default: from this process)",
    )


def cluster(made: argparse.ArgumentParser) -> None:
    """Add the option that says what a cluster is like which need not be there."""
    made.add_argument(
        "--cluster",
        type=forecast.parse,
        action="append",
        default=[],
        metavar=forecast.FORM,
        help="with --dry-run --engine ray: say how long a run takes, and what it costs, on these "
        "nodes; devices of a node (default: 1), images per second of a device (default: as on this "
        "machine), price of a node for an hour; repeatable, for nodes of several kinds (default: "
        "the cluster of --ray-address)",
    )


def sensitivity(made: argparse.ArgumentParser) -> None:
    """Add the options of `sensitivity`."""
    made.add_argument(
        "--method", required=True, metavar="NAME[.VARIANT]", help="a method, or a plug-in file"
    )
    made.add_argument(
        "--dataset",
        default="mini",
        metavar="NAME",
        help="a data set, or the path of a dataset.json (default: %(default)s)",
    )
    made.add_argument(
        "--grid",
        action="store_true",
        help="also run crop, image size and scales in every combination, for the extremes",
    )
    made.add_argument(
        "--output",
        type=Path,
        default=Options.output,
        metavar="DIR",
        help="folder of the results (default: results/ of the checkout)",
    )
    made.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")
    made.add_argument(
        "--stage",
        action="append",
        default=[],
        metavar="NAME[:value,key=value]",
        help="also try this stage alone, for instance aqe:10,alpha=3; may be repeated",
    )


def train(made: argparse.ArgumentParser) -> None:
    """Add the options of `train`; what is not given is the recipe's."""
    made.add_argument(
        "--method", required=True, metavar="NAME[.VARIANT]", help="a method, or a plug-in file"
    )
    made.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="PATH",
        help="a folder with a folder of photographs per class, or a CSV as GLDv2's train_clean.csv",
    )
    made.add_argument(
        "--recipe", metavar="NAME", help="a recipe (default: the one written for the method)"
    )
    made.add_argument(
        "--classes",
        choices=["folder", "photograph"],
        default="folder",
        help="what a class of a folder is: each folder in it, or each photograph "
        "(default: %(default)s)",
    )
    made.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="the run's folder, in which an interrupted training goes on (default: "
        "training-runs/METHOD-RECIPE in the checkout)",
    )
    made.add_argument(
        "--validate", metavar="NAME", help="a data set, or a dataset.json, to be searched"
    )
    made.add_argument(
        "--validate-steps", type=positive, metavar="N", help="every N steps (default: every epoch)"
    )
    made.add_argument("--steps", type=positive, metavar="N", help="length in steps")
    made.add_argument("--epochs", type=above_zero, metavar="N", help="length in epochs")
    made.add_argument("--batch", type=positive, metavar="N", help="photographs of a step")
    made.add_argument("--side", type=positive, metavar="PX", help="side of the square crops")
    made.add_argument("--lr", type=above_zero, metavar="X", help="peak learning rate")
    made.add_argument(
        "--init",
        metavar="PATH",
        help="ImageNet checkpoint of the backbone, or random (default: what timm fetches)",
    )
    made.add_argument("--seed", type=natural, default=0, metavar="N", help="(default: %(default)s)")
    made.add_argument("--device", help="cpu, cuda or cuda:N (default: a GPU where there is one)")
    made.add_argument(
        "--workers",
        type=natural,
        metavar="N",
        help="processes that decode (default: up to 16 for a GPU, else 0)",
    )
    made.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")
    made.add_argument(
        "--checkpoint-minutes",
        type=above_zero,
        default=5.0,
        metavar="N",
        help="a checkpoint every N minutes, and at the end (default: %(default)s)",
    )


def compare(made: argparse.ArgumentParser) -> None:
    """Add the options of `compare`."""
    made.add_argument(
        "result",
        nargs="+",
        metavar="RESULT",
        help="path of a record's .json, or METHOD[.VARIANT] for its newest record on --dataset; "
        "two or more, later ones minus earlier ones",
    )
    made.add_argument(
        "--dataset",
        metavar="NAME",
        help="data set of methods given by name; of the path of a dataset.json, the revision is "
        "compared with that of every record",
    )
    made.add_argument("--protocol", metavar="NAME", help="one protocol (default: all)")
    made.add_argument(
        "--metric", metavar="ID", help="a metric's id or label (default: the headline)"
    )
    made.add_argument(
        "--across-cards",
        action="store_true",
        help="also compare results made under different rules, and say in what they differ",
    )
    made.add_argument("--json", action="store_true", help="print the numbers as JSON")


def data(made: Mapping[str, Parser]) -> None:
    """Add the options of `data`."""
    for action in ("get", "verify", "where"):
        made[f"data {action}"].add_argument("name", nargs="+", metavar="NAME", help="a data set")
    get = made["data get"]
    get.add_argument(
        "--accept-licence", action="store_true", help="agree to the terms, which are shown"
    )
    get.add_argument(
        "--from",
        type=Path,
        metavar="PATH",
        dest="own",
        help="your own copy: a folder, which is used where it lies, an archive, or a file",
    )
    get.add_argument(
        "--archives",
        metavar="FIRST-LAST",
        help="only these of the archives of photographs, counted from 1",
    )
    get.add_argument(
        "--keep-archives", action="store_true", help="keep archives when they are unpacked"
    )
    get.add_argument("--force", action="store_true", help="download again what was there before")
    verify = made["data verify"]
    verify.add_argument(
        "--quick", action="store_true", help="read the header of every image, not its pixels"
    )
    verify.add_argument(
        "--list", type=Path, metavar="FILE", help="write every missing or broken image to FILE"
    )


def cache(cache: Parser) -> dict[str, Parser]:
    """Add the options of `cache`; return the parsers of its actions."""
    actions = cache.add_subparsers(dest="action", required=True, metavar="ACTION")
    made = {
        action: actions.add_parser(action, help=text, description=text, allow_abbrev=False)
        for action, text in CACHE_ACTIONS.items()
    }
    made["why"].add_argument("key", metavar="KEY", help="the first digits of a key, as in `list`")
    prune = made["prune"]
    prune.add_argument("--method", metavar="NAME[.VARIANT]", help="stores of this method")
    prune.add_argument(
        "--keep-days",
        type=positive,
        metavar="N",
        help="stores that no run has opened for N days",
    )
    prune.add_argument("--all", action="store_true", help="all stores")
    prune.add_argument(
        "--dry-run", action="store_true", help="say what would be removed, and remove nothing"
    )
    return {f"cache {action}": parser for action, parser in made.items()}


def convert(made: argparse.ArgumentParser) -> None:
    """Add the options of `weights convert`."""
    made.add_argument(
        "--method", required=True, metavar="NAME.VARIANT", help="the method the file is for"
    )
    made.add_argument(
        "--source",
        type=Path,
        required=True,
        metavar="PATH",
        help="the folder of a SavedModel, or a checkpoint",
    )
    made.add_argument("--output", type=Path, required=True, metavar="FILE", help="a .safetensors")
    made.add_argument(
        "--unproven",
        action="store_true",
        help="also convert variables without a graph to compare with; every record will say so",
    )


def sheet(sheet: argparse.ArgumentParser) -> None:
    """Add the options of `sheet`."""
    sheet.add_argument(
        "record",
        nargs="*",
        type=Path,
        help="path of a record's .json; without one, the rows of --dataset in the report",
    )
    sheet.add_argument(
        "--dataset",
        metavar="NAME",
        help="the data set, or the path of a dataset.json of your own; it must have the revision "
        "on the card",
    )
    sheet.add_argument("--against", type=Path, metavar="RECORD", help="a second record to compare")
    chosen = sheet.add_mutually_exclusive_group()
    chosen.add_argument(
        "--queries", type=numbers, metavar="N,N", help="rows in the list of queries, from 0"
    )
    chosen.add_argument(
        "--worst",
        type=positive,
        default=5,
        metavar="N",
        help="the N worst queries, or the N of most gain and most loss (default: %(default)s)",
    )
    for option, default, text in (("--top", 10, "images of each list"), ("--matches", 0, "pairs")):
        kind = positive if default else natural
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
