"""The suite from Python: nothing is printed or written unless asked, and no global is changed.

    data = bench.load_dataset("roxford5k")
    result = bench.evaluate(data, database=rows, queries=asked)
    result["medium"].map, result.save("results")

What goes wrong is a `bench.BenchError`, one sentence.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench import datasets
from bench.errors import BenchError, in_a_line
from bench.pipeline.options import SEARCHING, Options
from bench.pipeline.options_of import checked
from bench.pipeline.similarity import Similarity, numbers
from bench.quiet import quiet
from bench.records import compare as comparisons
from bench.records import record
from bench.records import verify as verifier
from bench.result import Result
from bench.scoring.card import revision
from bench.store.matrix import Matrix, from_array
from bench.types import Dataset

if TYPE_CHECKING:
    from bench.pipeline.score import Scored

Data = Dataset | str | Path
Rows = Any  # an array, a tensor of any device, or the path of a file


def load_dataset(name: str | Path) -> Dataset:
    """Return a data set by name, name.variant, or the path of a dataset.json or its folder."""
    with quiet():
        return datasets.load(str(_named(name, "a data set")))


def evaluate(
    data: Data,
    *,
    database: Rows,
    queries: Rows,
    distractors: Sequence[Rows] = (),
    name: str = "descriptors",
    progress: bool = False,
    **options: Any,
) -> Result:
    """Score descriptors on a data set, in the order of its lists.

    `database` is (n, dim) and `queries` (n_queries, dim): arrays or tensors of any float type, or
    files that `evaluate` reads; `distractors` are rows that are negatives for every query. Options
    are those of the command, for instance stages=["aqe:10,alpha=3"], compression="int8",
    search="ivf64,flat,nprobe8", similarity="cosine", shortlist=100, device="cuda:0"; `facts` is a
    mapping or a TOML file of what you state of the method, and is shown as stated. Nothing is
    written but codes and rows of stages, in the cache; `Result.save` writes a record.
    """
    with quiet(on=not _flag(progress)):
        done, loaded = _evaluated(data, (database, queries, distractors), name, options)
    return Result(done.content, done.arrays, loaded)


def _evaluated(
    data: Data, rows: tuple[Rows, Rows, Any], name: str, options: dict[str, Any]
) -> tuple[Scored, Dataset]:
    """Score rows of database, queries and distractors; return the content of a record."""
    from bench.pipeline import brought, stated

    database, queries, distractors = rows
    facts = options.pop("facts", None)
    loaded, known = _data(data), get_type_hints(Options)
    taken = {name: known[name] for name in (*SEARCHING, "device") if name != "results"}
    options = checked(options, taken | {"similarity": Similarity})
    similarity = options.pop("similarity", "dot")
    about = {} if facts is None else stated.read(facts)
    if not isinstance(distractors, list | tuple):
        raise BenchError(f"distractors is a {type(distractors).__name__}; give a list of names.")
    if not isinstance(name, str):
        raise BenchError(f"a name is text, not a {type(name).__name__}.")
    matrices = brought.Brought(
        _matrix(database, "database"),
        _matrix(queries, "queries"),
        [(_name(part, at), _matrix(part, "distractors")) for at, part in enumerate(distractors)],
        brought.check_label(name),
        similarity,
        about,
    )
    chosen = Options(**options, command="bench.evaluate from Python")
    done, _, _ = brought.score(datasets.check_queries(loaded), matrices, chosen)
    return done, loaded


def validate(model: Any, data: Data, *, database: Iterable[Any], queries: Iterable[Any]) -> Result:
    """Score a network in a training loop: batches of both lists in, scores out.

    `model` gives a descriptor per image of a batch; `database` and `queries` are loaders in the
    order of the lists, whose batches are tensors, or tuples that begin with one. Descriptors are
    brought to unit norm. Whether the model is in training is as before at the end. No file is
    written.
    """
    with quiet():
        rows = [_described(model, batches) for batches in (database, queries)]
        return evaluate(data, database=rows[0], queries=rows[1])


@dataclass(frozen=True)
class Described:
    """A method that is ready; `describe` gives descriptors of images."""

    loaded: Any

    @property
    def name(self) -> str:
        """Return its name and variant."""
        return f"{self.loaded.info.name}.{self.loaded.info.variant}"

    @property
    def dim(self) -> int:
        """Return the dimension of its descriptors."""
        return int(self.loaded.info.dim)

    def describe(
        self, images: Sequence[Any], *, data: Dataset | None = None, progress: bool = False
    ) -> NDArray[np.float32]:
        """Return unit descriptors (n, dim) of images, as a run makes them.

        An image is a path, a Pillow image, an array (height, width, 3) uint8, a tensor
        (3, height, width), uint8 or floats from 0 to 1, or one of the images of `data`, which is
        cropped to its box.
        """
        from bench.types import Image

        flat = getattr(images, "ndim", 1) == 0  # an array of one number
        if flat or isinstance(images, str | Path) or not isinstance(images, Iterable):
            raise BenchError(f"images is a {type(images).__name__}; give a list of images.")
        if data is not None:
            data = _data(data)
        with quiet(on=not _flag(progress)), tempfile.TemporaryDirectory() as folder, _decoders():
            from bench.describe import engine
            from bench.images import brought
            from bench.system.progress import Progress

            listed = []
            for number, image in enumerate(images):
                if isinstance(image, Image):
                    place = Path("." if data is None else data.folder) / image.path
                    listed.append(replace(image, found=str(place.absolute())))
                    continue
                path = brought.file_of(image, Path(folder) / f"{number:07d}.png")
                listed.append(Image(path.name, str(path), found=str(path)))
            with Progress("describe", len(listed)) as counted:
                rows, faults = engine.rows_of(self.loaded, Path(folder), listed, counted)
        if faults:
            raise BenchError(" ".join(faults.values()))
        return rows


def load_method(
    name: str, *, weights: str | Path | None = None, device: str | None = None
) -> Described:
    """Return a method by name, name.variant or the path of a plug-in, ready on a device."""
    name = str(_named(name, "a method"))
    device = checked({"device": device}, {"device": str | None})["device"]
    with quiet():
        from bench.describe import loading

        text = None if weights is None else str(_named(weights, "a file of weights"))
        return Described(loading.load(name, text, device))


def run(
    method: str,
    data: str | Path = "mini",
    *,
    results: str | Path | None = None,
    progress: bool = False,
    **options: Any,
) -> Result:
    """Describe, search and score a method on a data set, as the command `run`.

    Descriptors are kept in the cache. A record is written where `results` names a folder. Options
    are those of the command: weights, device, stages, rerank, distractors, limit and so on. With
    several devices (device="cuda:0,cuda:1") each device has its own process.
    """
    method, data = str(_named(method, "a method")), str(_named(data, "a data set"))
    with quiet(on=not _flag(progress)), _folder(results) as folder, _decoders():
        from bench.cluster import devices
        from bench.pipeline import plan
        from bench.pipeline import run as runs

        hints = get_type_hints(Options)
        taken = {name: hints[name] for name in hints if name not in ("command", "results")}
        chosen = Options(**checked(options, taken), command="bench.run from Python", results=folder)
        named = devices.several(chosen.device)
        planned = plan.plan(method, data, replace(chosen, device=named[0]))
        hired = devices.hired(named, planned.method, chosen.weights, planned.loaded)
        made = read_record(runs.run(planned, hired), data=planned.dataset)
    return made if results is not None else replace(made, path=None)


def read_record(path: str | Path, *, data: Data | None = None) -> Result:
    """Return a record whose checksums are right; `data` is the data set of one's own, if it is.

    Images have their ids where the data set is here, with the labels that the record has.
    """
    file = _named(path, "a record")
    with quiet():
        content = record.read(file)
        arrays = record.read_arrays(file, content)
        return Result(content, arrays, _data_of(content["card"], data), file)


def read_records(results: str | Path) -> list[Result]:
    """Return the records below a folder of results, in the order of their paths."""
    folder = _named(results, "a folder of results")
    with quiet():
        there = folder.is_dir()
    if not there:
        raise BenchError(
            f"the folder {folder} does not exist, so no records can be read; check the path."
        )
    return [read_record(path) for path in record.find(folder)]


def compare(*results: Result | str | Path, metric: str | None = None) -> pd.DataFrame:
    """Test whether results differ, paired over queries: a row for every pair and protocol.

    Raises BenchError where two results were made under different rules.
    """
    with quiet(), tempfile.TemporaryDirectory() as folder:
        paths = [_path(result, Path(folder)) for result in results]
        entries = comparisons.load(paths)
        comparisons.check(entries, across_cards=False)
        return pd.DataFrame(comparisons.compare(entries, metric=metric))


def verify(path: str | Path) -> list[str]:
    """Return the faults of a record against its stored ranks; empty if there are none."""
    with quiet():
        return verifier.verify(_named(path, "a record"))[0]


def _named(path: Any, what: str) -> Path:
    """Return the path that names `what`; refuse other types."""
    if not isinstance(path, str | Path):
        raise BenchError(f"{what} is named by a path or text, not by {type(path).__name__}.")
    if "\0" in str(path):
        raise BenchError(f"{what} is named by {in_a_line(str(path))}, which cannot be a path.")
    return Path(path)


def _flag(progress: Any) -> bool:
    return bool(checked({"progress": progress}, {"progress": bool})["progress"])


def _data(data: Data) -> Dataset:
    return data if isinstance(data, Dataset) else load_dataset(data)


def _data_of(card: Any, data: Data | None) -> Dataset | None:
    """Return the data set of a card where it is here with the same lists and labels."""
    try:
        found = _data(card["dataset"]["name"] if data is None else data)
    except BenchError:
        if data is None:
            return None
        raise
    if card["limit"] is not None and found.limit is None:
        found = datasets.limited(found, card["limit"], card["limit_rule"])
    return found if revision(found) == card["dataset"]["revision"] else None


def _matrix(rows: Rows, part: Any) -> Matrix:
    """Return rows of any kind: of tensors on any device, and of types that NumPy lacks."""
    from bench.pipeline import brought, tensors

    if isinstance(rows, str | Path):
        return brought.read(Path(rows), part)
    label = f"the array of the {part}"
    try:
        if isinstance(rows, list | tuple):
            rows = [tensors.array_of(x) if hasattr(x, "detach") else x for x in rows]
        if hasattr(rows, "detach"):  # a tensor of torch
            rows = tensors.array_of(rows)
        array = np.asarray(rows)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BenchError(f"{label}: it cannot be converted to a matrix: {error}") from error
    if np.ma.is_masked(rows):
        raise BenchError(f"{label}: some of its numbers are masked, and every row needs all.")
    if array.dtype == object:
        raise BenchError(
            f"{label}: a {type(rows).__name__} is not a matrix of numbers; give an array, a "
            "tensor or the path of a file."
        )
    return from_array(numbers(array, label), label, whole=True)


def _name(part: Rows, at: int) -> str:
    return Path(part).stem if isinstance(part, str | Path) else f"distractors-{at + 1}"


def _described(model: Any, batches: Iterable[Any]) -> Any:
    """Return the unit descriptors (n, dim) that a network gives, float32, on its device."""
    import torch

    if not callable(model) or not isinstance(batches, Iterable) or getattr(batches, "ndim", 1) == 0:
        raise BenchError(
            f"the network is of type {type(model).__name__} and the batches of type "
            f"{type(batches).__name__}; the network must be callable, and the batches a loader "
            "or a list."
        )
    training = getattr(model, "training", False)
    if training:
        model.eval()
    try:
        with torch.inference_mode():
            found = [
                torch.nn.functional.normalize(_rows(model(_first(batch))).float(), dim=1)
                for batch in batches
            ]
    finally:
        if training:
            model.train()
    if not found:
        raise BenchError(
            "a loader yields no batches; each list of images needs one descriptor per image."
        )
    return torch.cat(found)


def _rows(made: Any) -> Any:
    """Return what a network gave for a batch, where it is a tensor (batch, dim)."""
    if not hasattr(made, "detach") or made.ndim != 2:
        shape = f" of shape {tuple(made.shape)}" if hasattr(made, "shape") else ""
        raise BenchError(
            f"the network returns a {type(made).__name__}{shape} for a batch; it must return a "
            "tensor (images, dim)."
        )
    if made.is_complex():
        raise BenchError(f"the network gives numbers of type {made.dtype}, and must give floats.")
    return made


def _first(batch: Any) -> Any:
    if isinstance(batch, tuple | list):
        if not batch:
            raise BenchError("a loader gives an empty batch, which must begin with its images.")
        return batch[0]
    return batch


def _path(result: Result | str | Path, folder: Path) -> Path:
    """Return the path of a result; one that is not written is written to `folder`."""
    if isinstance(result, Result):
        return result.path or result.save(folder)
    return _named(result, "a record")


@contextmanager
def _decoders() -> Iterator[None]:
    """Let go of the threads that decode images at the end."""
    from bench.describe import prefetch

    try:
        yield
    finally:
        prefetch.close()


@contextmanager
def _folder(results: str | Path | None) -> Iterator[Path]:
    """Give the folder of results, or one that is removed at the end."""
    if results is not None:
        yield _named(results, "a folder of results")
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
