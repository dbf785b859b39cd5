"""The options that say on which machines the work is done; importing this imports no Ray."""

from __future__ import annotations

from dataclasses import dataclass

from bench.cluster.connect import Engine
from bench.option import address, option


@dataclass(frozen=True)
class Machines:
    """Where images are described and searched."""

    engine: Engine = option(
        "local",
        "local: this process; ray: the workers of a Ray cluster; results are the same to the bit",
    )
    ray_address: str | None = option(
        None,
        "auto: the cluster of this host; HOST:PORT: that cluster (default: start one on "
        "this machine for this command)",
        metavar="auto|HOST:PORT",
        parse=address,
    )
    image_url: str | None = option(
        None,
        "fsspec URL (s3://, https://, ...) of the data set's folder, for workers without "
        "the images (default: this process sends them)",
        metavar="URL",
    )
