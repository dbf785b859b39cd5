"""Descriptors as a file of their own: `ids` and unit `vectors` of a data set or of any folder."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import datasets
from bench.data import listing
from bench.describe import engine, extract
from bench.errors import BenchError
from bench.store import room, shards
from bench.store.matrix import Matrix
from bench.system.notes import note
from bench.system.paths import write_bytes
from bench.system.progress import Progress
from bench.types import Image


def images_of(
    dataset_name: str, which: str, *, allow_partial: bool = False
) -> tuple[Path, tuple[Image, ...]]:
    """Return folder and images of a data set's "database" or "queries" (with their boxes).

    All of them must be there, unless `allow_partial`: then they are those that are, and standard
    error says how many are not.
    """
    dataset, missing = datasets.placed(datasets.load(dataset_name))
    datasets.say_notes(dataset)
    if which == "queries":
        datasets.check_queries(dataset)
    part = dataset.database if which == "database" else dataset.queries
    gone = set(missing) if allow_partial else set()
    wanted = tuple(image for image in part if image.file not in gone)
    if len(wanted) < len(part):
        note(
            f"partial: {len(part) - len(wanted)} of {len(part)} images of the {which} of "
            f"{dataset.name} are absent, and are skipped"
        )
    return dataset.folder, wanted


def images_in(folder: Path) -> tuple[Path, tuple[Image, ...]]:
    """Return all images below a folder in sorted path order; ids are their paths inside it.

    Standard error says which image files are left out.
    """
    if not folder.is_dir():
        raise BenchError(f"the folder {folder} does not exist; check the path.")
    found = listing.images(folder)
    if not found.files:
        raise BenchError(f"{folder} contains no images ({', '.join(listing.IMAGES)}).")
    for text in found.notes:
        note(f"{folder}: {text}")
    return folder, tuple(Image(file, file) for file in found.files)


def write(
    output: Path,
    wanted: tuple[Image, ...],
    parts: list[Matrix],
    codes: NDArray[np.bool_] | None = None,
) -> None:
    """Write `ids` (n,) and `vectors` (n, dim) float32 to an .npz, complete or absent.

    `codes` (n, bits) are written where the method has them.
    """
    packed = io.BytesIO()
    rows = np.concatenate([np.asarray(part.open(), dtype=np.float32) for part in parts])
    ids = np.array([image.id for image in wanted], dtype=np.str_)
    more = {} if codes is None else {"codes": codes}
    np.savez(packed, allow_pickle=False, ids=ids, vectors=rows, **more)
    write_bytes(output, packed.getvalue())


def export(
    loaded: engine.Loaded,
    folder: Path,
    wanted: tuple[Image, ...],
    output: Path,
    *,
    force: bool,
    by: extract.Doer | None = None,
) -> None:
    """Describe images, or take them from the store, and write them to `output`.

    `by` is that of `extract.fill`. Binary codes, of a method that has them, are recomputed in this
    process, because no store keeps them.
    """
    if output.suffix != ".npz":
        raise BenchError(f"--output {output}: give the path of an .npz file.")
    extract.check_files(folder, wanted)
    row_bytes = 4 * loaded.info.dim
    with shards.in_use():
        job = extract.prepare(loaded, folder, wanted, "describe", force=force)
        written = len(wanted) * row_bytes + room.FILE_BYTES
        room.check_room([job.need(row_bytes), room.Need(output.parent, written, str(output))])
        parts, _ = extract.finish(job, by=by)
        write(output, wanted, parts, _codes(loaded, folder, wanted))


def _codes(
    loaded: engine.Loaded, folder: Path, wanted: tuple[Image, ...]
) -> NDArray[np.bool_] | None:
    """Return the binary codes (n, bits) of a method that has `codes(batch)`, else None."""
    ask: Any = getattr(loaded.method, "codes", None)
    if ask is None:
        return None

    import torch

    def work(batch: Any) -> NDArray[np.bool_]:
        with torch.inference_mode():
            return np.asarray(ask(batch).cpu().numpy(), dtype=np.bool_)

    rows: dict[int, NDArray[np.bool_]] = {}
    with Progress("codes", len(wanted)) as progress:
        for places, made in engine.results(loaded, folder, wanted, progress, {}, work):
            rows |= dict(zip(places, made, strict=True))
    return np.stack([rows[place] for place in range(len(wanted))])
