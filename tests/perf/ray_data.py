"""Ray Data against the plain actors of `bench.cluster`: the same worker, images and shards.

`python -m tests.perf.ray_data data|actors plain|death|slow` prints a line of JSON: the seconds from
the first shard to the last, and the sha256 of all shards. It starts a cluster of its own of two
processors; `death` kills one of the two workers on the way, `slow` makes one wait for 20 s in its
next shard. Ray Data needs the package pyarrow. See bench/cluster/why-actors.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import datasets
from bench.cluster import connect, dispatch
from bench.cluster import recipe as recipes
from bench.cluster.worker import Order, Worker
from bench.describe import extract, loading
from bench.store import shards
from bench.system.paths import write_bytes
from bench.system.progress import Progress
from tests.support import clusters

IMAGES, BATCH_S, WAIT_S = 960, 0.25, 20.0  # 30 shards


def by_ray_data(ray: Any, recipe: recipes.Recipe) -> extract.Doer:
    """Return what makes the shards of a job by a data set of shards that actors map."""
    from ray import data

    data.DataContext.get_current().enable_progress_bars = False

    def do(job: extract.Job, progress: Progress) -> tuple[int, list[str]]:
        work = job.work
        order = Order(work.store, work.make, "", None)
        parts = {shard: work.listed.part(*work.store.span(shard)) for shard in job.todo}

        class Describer:
            def __init__(self) -> None:
                self.worker = Worker(recipe, None)
                assert self.worker.hello().error is None

            def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
                (shard,) = batch["shard"].tolist()
                answer = self.worker.describe(order, shard, shard, parts[shard])
                assert answer.content is not None
                return {"shard": [shard], "content": [answer.content.tobytes()]}

        rows = data.from_items(
            [{"shard": item} for item in job.todo], override_num_blocks=len(parts)
        )
        made = rows.map_batches(
            Describer, batch_size=1, num_cpus=1, compute=data.ActorPoolStrategy(size=2)
        )
        for row in made.iter_rows():
            content = row["content"]
            write_bytes(work.store.path(row["shard"]), content)
            shards.seal(work.store, row["shard"], hashlib.sha256(content).hexdigest())
        return job.images, []

    return do


def disturb(pictures: Path, what: str) -> None:
    """Wait until both workers have described, then kill one or make it slow."""
    seen: set[int] = set()
    while len(seen) < 2:
        time.sleep(0.05)
        seen.update(pid for pid, _ in clusters.described(pictures))
    time.sleep(1)
    if what == "death":
        os.kill(min(seen), signal.SIGKILL)
    else:
        slow = pictures / f"slow-{min(seen)}"
        slow.write_text(str(WAIT_S))
        time.sleep(3)  # read by then
        slow.unlink()


def main(who: str, what: str) -> None:
    """Describe all images once; print what it took."""
    with tempfile.TemporaryDirectory() as place:
        os.environ["RETRIEVAL_BENCH_CACHE"] = f"{place}/cache"
        pictures = clusters.pictures(Path(place) / "pictures", IMAGES)
        (pictures / "slow").write_text(str(BATCH_S))
        method, dataset = str(pictures / "halves.py"), datasets.load(str(pictures))
        loaded = loading.load(method, None, "cpu")
        job = extract.prepare(loaded, dataset.folder, dataset.database, "describe")
        if what != "plain":
            threading.Thread(target=disturb, args=(pictures, what), daemon=True).start()
        with connect.engine("ray") as ray:
            with dispatch.crew(ray, method, None, loaded, None) as actors:
                by: Callable[..., Any] = actors
                if who == "data":
                    by = by_ray_data(ray, recipes.of(method, None, loaded))
                start = time.perf_counter()
                extract.finish(job, None, by)
                end = time.perf_counter()
            kept = job.work.store
            times = [kept.path(shard).stat().st_mtime for shard in kept.shards()]
            shards = hashlib.sha256(b"".join(kept.path(s).read_bytes() for s in kept.shards()))
        found = {
            "who": who, "what": what, "shards": len(times), "seconds": round(end - start, 2),
            "first_to_last_s": round(max(times) - min(times), 2), "sha256": shards.hexdigest()[:12],
            "ray": ray.__version__,
        }  # fmt: skip
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
