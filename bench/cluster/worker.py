"""A worker: it loads the method once and describes one shard after another.

What it needs and does not see, it asks the driver for: images whose bytes are not those of the
list, weights, a plug-in. What it makes goes into the folder of the store where it sees that, else
back over the wire; the driver alone puts a shard in its place, and writes the manifest.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import plugins
from bench.cluster import connect
from bench.cluster import recipe as recipes
from bench.describe import engine, extract
from bench.errors import BenchError
from bench.store import file_hashes, shards
from bench.system import machine
from bench.system.paths import cache_root
from bench.system.progress import Progress
from bench.types import Image

FILES_AT_ONCE = 64
NEVER = -1


@dataclass(frozen=True)
class Order:
    """What all shards of a job share.

    The driver writes `nonce` into the lock of each shard that it hands out. `url` has the
    images that a worker does not see; None: the driver has them.
    """

    kept: shards.Store
    make: extract.Make
    nonce: str
    url: str | None


@dataclass(frozen=True)
class Hello:
    """A worker that is ready, or the sentence that says why it cannot be."""

    host: str
    device: str = ""
    device_name: str = ""
    precision: str = ""
    error: str | None = None


@dataclass(frozen=True)
class Answer:
    """A shard described: its bytes in `content`, or in the file called `file` beside the store's.

    `faults` are sentences by position, as the local engine makes them; `fetched` counts the bytes
    of images that came over the wire; `notes` are for the user. With an `error` there is no shard.
    """

    sha256: str = ""
    file: str | None = None
    content: NDArray[np.uint8] | None = None
    faults: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0
    fetched: int = 0
    notes: tuple[str, ...] = ()
    error: str | None = None


class StoppedError(Exception):
    """The shard in work is no longer needed."""


class Count(Progress):
    """Images of the shard in work; stops it where the driver has it from elsewhere."""

    def __init__(self) -> None:
        """Begin with nothing."""
        super().__init__("", None, quiet=True)  # the driver prints the notes
        self.stopped = NEVER

    def advance(self, count: int = 1) -> None:
        """Count images as done."""
        self.done += count
        if self.stopped >= 0:
            raise StoppedError


class Worker:
    """What runs on a machine of the cluster; `files` is the actor that reads the driver's files."""

    def __init__(self, recipe: recipes.Recipe, files: Any) -> None:
        """Take the recipe; nothing is loaded yet."""
        self.recipe, self.files = recipe, files
        self.count = Count()
        self.turn = NEVER
        self.kept = contextlib.ExitStack()  # until the end of this process
        self.folder = self.kept.enter_context(connect.folder())

    def hello(self) -> Hello:
        """Load the method; say what this machine is, or why it cannot take part."""
        host = platform.node()
        try:
            self.loaded = recipes.load(self.recipe, self._piece, Path(self.folder))
        except BenchError as error:
            return Hello(host, error=str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the driver says it
            return Hello(host, error=f"{plugins.fault(error)}.")
        about = machine.describe(self.loaded.device)
        precision = engine.precision(self.loaded)
        return Hello(host, about["device"], about["device_name"], precision)

    def describe(self, order: Order, turn: int, shard: int, part: extract.Listed) -> Answer:
        """Describe one shard; `turn` is the number of this call, for `stop`."""
        self.turn, self.count = turn, Count()
        start = time.perf_counter()
        try:
            with self._images(order, part) as (here, fetched, moved):
                rows, faults = extract.describe_part(self.loaded, order.make, here, self.count)
            content = shards.packed(rows)
            file = self._put(order, shard, content)
        except StoppedError:
            return Answer(error="stopped")
        except BenchError as error:
            return Answer(error=str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the driver says it
            return Answer(error=f"{plugins.fault(error)}.")
        for at, why in faults.items():
            faults[at] = why.replace(moved.get(at, "\0"), str(part.folder / part.images[at].path))
        return Answer(
            hashlib.sha256(content).hexdigest(),
            file,
            None if file else np.frombuffer(content, dtype=np.uint8),
            faults,
            time.perf_counter() - start,
            fetched,
            tuple(sorted(self.count.notes)),
        )

    def done(self) -> tuple[int, int]:
        """Return the number of the call in work, and how many of its images are done."""
        return self.turn, self.count.done

    def stop(self, turn: int) -> None:
        """Give a call up, if it is the one in work."""
        if self.turn == turn:
            self.count.stopped = turn

    def _put(self, order: Order, shard: int, content: bytes) -> str | None:
        """Write the shard under a temporary name beside the store's, if its folder is seen here."""
        final = order.kept.path(shard)
        path = final.with_name(f".{final.name}.{secrets.token_hex(4)}.tmp")
        try:
            if final.with_suffix(".lock").read_text() != order.nonce:
                return None
            with path.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError:  # not there, or read-only here
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        return path.name

    @contextlib.contextmanager
    def _images(
        self, order: Order, part: extract.Listed
    ) -> Iterator[tuple[extract.Listed, int, dict[int, str]]]:
        """Give the list with a file on this machine for every image; bytes fetched; files moved.

        A file that is here with the right bytes is used where it is, whoever put it there.
        """
        paths = [part.folder / image.path for image in part.images]
        mine = file_hashes.of_files(paths, cache_root())
        lacking = [at for at, digest in enumerate(part.prints) if mine[at] != digest]
        if not lacking:
            yield part, 0, {}
            return
        with connect.folder() as folder:
            images, fetched = list(part.images), 0
            for at in lacking:
                name = f"{at:05d}{Path(images[at].file).suffix}"
                images[at] = replace(images[at], found=str(Path(folder) / name))
            for at, content in self._fetched(order, part, lacking):
                if hashlib.sha256(content).hexdigest() != part.prints[at]:
                    raise BenchError(
                        f"{paths[at]} changed during the run; run the same command again."
                    )
                Path(images[at].path).write_bytes(content)
                fetched += len(content)
            moved = {at: images[at].path for at in lacking}
            yield extract.Listed(part.folder, images, part.prints), fetched, moved

    def _fetched(
        self, order: Order, part: extract.Listed, lacking: Sequence[int]
    ) -> Iterator[tuple[int, bytes]]:
        """Yield position and content of images, a few MB of them at a time."""
        wanted = [at for at in lacking if part.prints[at] is not None]
        if order.url is not None:
            yield from ((at, _from_url(order.url, part.images[at])) for at in wanted)
            return
        import ray

        while wanted:
            some = [str(part.folder / part.images[at].path) for at in wanted[:FILES_AT_ONCE]]
            pieces: list[bytes] = ray.get(self.files.whole.remote(some))
            yield from zip(wanted, pieces, strict=False)
            wanted = wanted[len(pieces) :]

    def _piece(self, path: str, at: int) -> bytes:
        import ray

        piece: bytes = ray.get(self.files.piece.remote(path, at))
        return piece


def _from_url(url: str, image: Image) -> bytes:
    """Return an image's content from an `fsspec` URL of the data set's folder."""
    try:
        import fsspec

        with fsspec.open(f"{url.rstrip('/')}/{image.file}", "rb") as file:
            content: bytes = file.read()
    except Exception as error:  # every file system has its own
        raise BenchError(
            f"{image.file} cannot be read from {url} ({plugins.fault(error)})."
        ) from error
    return content


class Files:
    """The driver's files, read for workers that do not see them; it runs on the driver's host."""

    def piece(self, path: str, at: int) -> bytes:
        """Return some MB of a file from an offset on; nothing at its end."""
        with Path(path).open("rb") as file:
            file.seek(at)
            return file.read(recipes.PIECE_BYTES)

    def whole(self, paths: Sequence[str]) -> list[bytes]:
        """Return the first of the files, whole: one, and more while they are small."""
        out: list[bytes] = []
        for path in paths:
            try:
                out.append(Path(path).read_bytes())
            except OSError:
                out.append(b"")  # whose sha256 is wrong
            if sum(map(len, out)) > recipes.PIECE_BYTES:
                break
        return out
