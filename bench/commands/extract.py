"""The command `extract`: describe images; write ids and unit vectors to an .npz."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from bench.cluster.options import Machines
from bench.commands.parser import Command
from bench.option import group, option, required
from bench.pipeline.options import DESCRIBING, Options


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The images to describe, options, and the output file."""

    method: str = required("a method, or a plug-in file", metavar="NAME[.VARIANT]")
    dataset: str | None = option(
        None, "a data set, or a dataset.json", metavar="NAME", one_of="images", required=True
    )
    images: Path | None = option(
        None, "all images of a folder", metavar="FOLDER", one_of="images", required=True
    )
    which: Literal["database", "queries"] = option(
        "database",
        "which list of the data set: its database, or its queries cropped to their boxes",
    )
    output: Path = required("an .npz: ids and vectors", metavar="FILE")
    options: Options = group(Options, (*DESCRIBING, "allow_partial", "force"))
    machines: Machines = group(Machines)


def extract(args: Arguments) -> int:
    """Describe images, and write their descriptors to one file."""
    from bench.cluster import connect
    from bench.describe import export, warm

    options, machines = args.options, args.machines
    if args.images is not None:
        folder, wanted = export.images_in(args.images)
    else:
        assert args.dataset is not None
        folder, wanted = export.images_of(
            args.dataset, args.which, allow_partial=options.allow_partial
        )
    if options.pixels.query_crop == "whole":
        wanted = tuple(replace(image, box=None) for image in wanted)
    with connect.engine(machines.engine, machines.ray_address) as ray:
        loaded = warm.load(
            args.method, options.weights, options.device, options.settings, options.pixels.rule
        )
        write = partial(export.export, loaded, folder, wanted, args.output, force=options.force)
        if ray is None:
            write()
        else:
            from bench.cluster import dispatch

            url = machines.image_url
            with dispatch.crew(ray, args.method, options.weights, loaded, url) as crew:
                write(by=crew)
    print(args.output)
    return 0


COMMAND = Command(Arguments, extract)
