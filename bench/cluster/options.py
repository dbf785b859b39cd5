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
        "local: this process; ray: the workers of a Ray cluster, which give the same bytes",
    )
    ray_address: str | None = option(
        None,
        "the cluster: the one that this host belongs to, or the one at HOST:PORT (default: a "
        "cluster of this machine alone, for this command)",
        metavar="auto|HOST:PORT",
        parse=address,
    )
    image_url: str | None = option(
        None,
        "where workers read images that their machines lack: a URL that fsspec opens (s3://, "
        "https://, ...) of a folder laid out as the data set's (default: from this process)",
        metavar="URL",
    )
