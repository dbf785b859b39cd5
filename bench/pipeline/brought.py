"""Descriptors that the user brings: files of arrays or tensors, checked against the lists."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench import datasets, stages
from bench.data import copies, raw
from bench.errors import BenchError
from bench.pipeline import hdf5, similarity, stage_costs, stated, tensors
from bench.pipeline.chain import Chain, chain_of, with_codes
from bench.pipeline.export import export
from bench.pipeline.ground import Ground
from bench.pipeline.lists import Lists
from bench.pipeline.needs import needs_of
from bench.pipeline.options import Options
from bench.pipeline.order import ordered
from bench.pipeline.score import Scored, Taken, check_search, scored, searched_as
from bench.pipeline.similarity import Similarity
from bench.pipeline.space import How
from bench.pipeline.walk import Inputs, Walked, walk
from bench.scoring import card
from bench.search import compress
from bench.stage import Facts, Need
from bench.store import matrix, room, shards
from bench.store.matrix import Matrix, from_array
from bench.system import array_files, machine
from bench.system.array_files import Archive
from bench.system.hashing import sha256_json
from bench.system.notes import note
from bench.types import Dataset, Rows

SPARE_BYTES = 64 << 20  # that an archive of descriptors may unpack to, whatever its size
NAMED = {
    ".pt": tensors.read, ".pth": tensors.read, ".safetensors": tensors.read,
    ".h5": hdf5.read, ".hdf5": hdf5.read,
}  # fmt: skip
Part = Literal["database", "queries", "distractors"]

# The name of the array for each part in the files of the revisited authors (example features).
_KEYS: dict[Part, str] = {"database": "X", "queries": "Q", "distractors": "X"}


def read(path: Path, part: Part) -> Matrix:
    """Return the descriptors of a file, one row per image.

    .npy    (n, dim), memory-mapped, so that it may be larger than the memory
    .npz    the array `vectors`, else `X` (database, distractors) or `Q` (queries), else the only
            one; `ids`, where present, are image ids
    .mat    MATLAB 5, `X` or `Q` as the authors of the revisited sets publish them: one COLUMN
            per image, which becomes a row here
    .pt, .pth, .safetensors    a tensor, or named as in .npz; no other object is made
    .h5, .hdf5    a dataset per image by its name, as hloc writes them (`bench.pipeline.hdf5`)
    """
    readers = {".npy": _npy, ".npz": _npz, ".mat": _mat} | dict.fromkeys(NAMED, _named)
    if path.suffix not in readers:
        raise BenchError(f"{path}: descriptors are read from {', '.join(readers)} files.")
    if not path.is_file():
        raise BenchError(f"the file {path} does not exist; check the path.")
    try:
        return readers[path.suffix](path, part)
    except BenchError:
        raise
    except Exception as e:  # the readers of damaged files raise anything
        reason = raw.reason(e)
        if isinstance(e, NotImplementedError) and path.suffix == ".mat":
            reason = "it is a MATLAB 7.3 file; save it with -v6 or -v7, or as .npy"
        raise BenchError(f"{path} cannot be read as {path.suffix}: {reason}.") from e


def check_dim(parts: Sequence[Matrix]) -> None:
    """Refuse descriptors of different dimensions."""
    first = parts[0]
    for other in parts[1:]:
        if other.shape[1] != first.shape[1]:
            raise BenchError(
                f"{other.label} has {other.shape[1]} dimensions, but {first.label} has "
                f"{first.shape[1]}; all descriptors must come from the same method."
            )


def _npy(path: Path, _part: Part) -> Matrix:
    rows = similarity.numbers(array_files.map_npy(path), str(path))
    checked = from_array(rows, str(path), whole=True)
    return Matrix(checked.label, checked.shape, path=path)


def _npz(path: Path, part: Part) -> Matrix:
    with path.open("rb") as file:
        packed = Archive(file, path.stat().st_size, spare_bytes=SPARE_BYTES)
        arrays = [key for key in packed.headers if key != "ids"]
        wanted = [key for key in ("vectors", _KEYS[part]) if key in arrays] or arrays
        if not wanted or (len(arrays) > 1 and wanted is arrays):
            raise BenchError(
                f"{path} holds {', '.join(arrays) or 'no array'}; name the descriptors `vectors`."
            )
        ids = tuple(str(x) for x in packed.read("ids").ravel()) if "ids" in packed.headers else None
        rows = similarity.numbers(packed.read(wanted[0]), str(path))
        matrix = from_array(rows, str(path), whole=True)
    if ids is not None and len(ids) != matrix.shape[0]:
        raise BenchError(f"{path} has {len(ids)} ids for {matrix.shape[0]} rows.")
    return Matrix(matrix.label, matrix.shape, array=matrix.array, ids=ids)


def _named(path: Path, part: Part) -> Matrix:
    rows, ids = NAMED[path.suffix](path, ("vectors", _KEYS[part]))
    matrix = from_array(similarity.numbers(rows, str(path)), str(path), whole=True)
    if ids is not None and len(ids) != matrix.shape[0]:
        raise BenchError(f"{path} has {len(ids)} ids for {matrix.shape[0]} rows.")
    return replace(matrix, ids=ids)


def _mat(path: Path, part: Part) -> Matrix:
    import scipy.io

    key = _KEYS[part]
    with path.open("rb") as file:
        array_files.check_mat(file, path.stat().st_size)
    variables: dict[str, Any] = scipy.io.loadmat(path, variable_names=[key])
    if key not in variables:
        names = ", ".join(name for name, _, _ in scipy.io.whosmat(path))
        raise BenchError(f"{path} lacks the variable {key} with the {part}; it has {names}.")
    columns: NDArray[Any] = np.asarray(variables[key])
    rows = similarity.numbers(np.ascontiguousarray(columns.T), str(path))
    return from_array(rows, f"{path} ({key}, columns as rows)", whole=True)


UNIT_NORM_TOLERANCE = 1e-3


def score_brought(
    dataset_name: str,
    database: Path,
    queries: Path,
    distractors: Sequence[Path],
    label: str,
    options: Options,
    how: Comparison | None = None,
) -> Path:
    """Score descriptors that the user brings; no images are needed. Returns the record's path."""
    how = how or Comparison()
    export_to = how.export
    room.check_writable(options.results)
    dataset = datasets.check_queries(datasets.load(dataset_name))
    datasets.say_notes(dataset)
    for line in copies.lines(copies.queries_in_database(dataset, {}))[0]:
        note(f"{dataset.name}: {line}")
    if export_to is not None and (export_to.is_dir() or export_to.suffix != ".npz"):
        raise BenchError(f"--export {export_to}: give the path of an .npz file.")
    rows = Brought(
        read(database, "database"),
        read(queries, "queries"),
        [(path.stem, read(path, "distractors")) for path in distractors],
        label,
        how.similarity,
        {} if how.facts is None else stated.read(how.facts),
    )
    if how.similarity == "dot":
        _say_lengths([*rows.searched, rows.queries])
    done, walked, chain = score(dataset, rows, options)
    written = done.write(options.results)
    if export_to is not None:
        export(export_to, walked, dataset, chain)
    return written


@dataclass(frozen=True)
class Comparison:
    """The similarity of rows, the file for lists (`export`), and the stated facts (`facts`)."""

    similarity: Similarity = "dot"
    export: Path | None = None
    facts: Path | None = None


def _say_lengths(parts: Sequence[Matrix]) -> None:
    """Print a line where rows are not of unit length, as a dot product then prefers long ones."""
    least, most = similarity.norms(parts)
    off = max(abs(least - 1), abs(most - 1))
    if UNIT_NORM_TOLERANCE <= off < np.inf:  # infinity and NaN are refused with their image
        note(
            f"the rows have norms from {least:.4g} to {most:.4g} and are ranked by dot product; "
            "use --similarity cosine or euclidean if the method was trained for that"
        )


@dataclass(frozen=True)
class Brought:
    """Descriptors that a user brings: distractors with a name each, and what to call them all."""

    database: Matrix
    queries: Matrix
    distractors: Sequence[tuple[str, Matrix]] = ()
    label: str = "descriptors"
    similarity: Similarity = "dot"
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def searched(self) -> list[Matrix]:
        """Return the rows that are searched: of the database, and then distractors."""
        return [self.database, *(part for _, part in self.distractors)]

    def compared(self, dataset: Dataset) -> Brought:
        """Return the rows as the search takes them, named as the images of a data set."""
        chosen = self.similarity
        return replace(
            self,
            database=similarity.compared(self.database, chosen, dataset.database),
            queries=similarity.compared(self.queries, chosen, dataset.queries, asks=True),
            distractors=[
                (name, similarity.compared(part, chosen)) for name, part in self.distractors
            ],
        )


def score(dataset: Dataset, rows: Brought, options: Options) -> tuple[Scored, Walked, Chain]:
    """Search and score descriptors on a data set; nothing is written but codes and stages' rows."""
    rows = replace(
        rows,
        database=ordered(rows.database, dataset.database, "database images"),
        queries=ordered(rows.queries, dataset.queries, "queries"),
    )
    check_dim([rows.database, rows.queries, *rows.searched[1:]])
    check_search(dataset, options)
    dim, kind = rows.database.shape[1], rows.database.stored().dtype.name
    if rows.similarity == "euclidean" and (
        options.stages or (options.compression, options.search) != ("none", "exact")
    ):
        raise BenchError(
            "--similarity euclidean needs the exact search of uncompressed rows; remove --stage, "
            "--compression and --search, or use cosine."
        )
    rows = rows.compared(dataset)
    options, searched = with_codes(options), rows.searched
    if options.local is not None:
        raise BenchError(
            "--local needs images, which `evaluate` does not read; use `run`, or remove --local."
        )
    if options.compression == compress.CODES:
        raise BenchError(
            "the codes of a method are searched by `run`, which describes images; of brought "
            "descriptors take --compression float16, int8, binary or pqMxB."
        )
    n_rows = matrix.count_rows(searched)
    chain = chain_of(options, [stages.parse(text) for text in options.stages])
    supplied = {need: _supply(need, rows, dataset) for need in needs_of(chain.stages)}
    facts = {need: _facts(need, lists, rows) for need, lists in supplied.items()}
    chain = chain.fit_to(dataset, n_rows - rows.database.shape[0], dim, facts)
    stage_costs.check(chain, force=options.force)
    searching = searched_as(options, chain.dim(dim), n_rows, kind)
    device = None if options.device in (None, "cpu") else machine.pick_device(options.device)
    asked = Inputs(Ground(dataset, n_rows), supplied=supplied)
    with shards.in_use():
        how = How(options.memory_budget_mib << 20, device)
        walked = walk(Lists(searched, [rows.queries]), asked, chain, how)
        least, most = walked.first.norms
        made = card.make(
            dataset,
            None,
            unit_norm=max(abs(least - 1), abs(most - 1)) < UNIT_NORM_TOLERANCE,
            distractors=[(name, part.shape[0]) for name, part in rows.distractors],
            stages=chain.entries(),
            **searching,
        )
        if rows.similarity != "dot":
            made["descriptors"] = rows.similarity
        info = stated.method(rows.label, dim, rows.facts)
        done = scored(walked, asked, made, info, options, chain, Taken(device=device))
    return done, walked, chain


def _supply(need: Need, brought: Brought, data: Dataset) -> Lists:
    """Return the descriptors of a stage's need from the files that its text names.

    To learn from, `on=FILE`, compared as what is `brought`; those of another method are
    DATABASE+QUERIES, then files of the distractors, joined by "+".
    """
    database, queries = brought.searched, brought.queries
    if need.method is not None or need.source is None:
        raise BenchError(
            f"a stage needs descriptors of {need.method}, but `evaluate` reads files: write "
            "DATABASE.npy+QUERIES.npy in place of the method."
        )
    if need.role == "fit":
        rows = similarity.compared(read(Path(need.source), "database"), brought.similarity)
        check_dim([brought.database, rows])
        return Lists([rows], pairs=_pairs(Path(need.source)) if "pairs" in need.lists else None)
    if "+" not in need.source:
        raise BenchError(
            f"learning on {need.source} after --stage fuse would need the other method's "
            "descriptors of its images; put fuse after the learned stage."
        )
    paths = [Path(name) for name in need.source.split("+")]
    if len(paths) != len(database) + 1:
        raise BenchError(
            f"{need.source} names {len(paths)} files, but the rows of the other method need "
            f"{len(database) + 1}: database, queries{', distractors' * (len(database) > 1)}."
        )
    asked = read(paths[1], "queries")
    kept = [read(path, "database") for path in (paths[0], *paths[2:])]
    kept[0] = ordered(kept[0], data.database, "database images")
    asked = ordered(asked, data.queries, "queries")
    for mine, other in zip([*database, queries], [*kept, asked], strict=True):
        if mine.shape[0] != other.shape[0]:
            raise BenchError(
                f"{other.label} has {other.shape[0]} rows, but {mine.label} has {mine.shape[0]}; "
                "both must describe the same images in the same order."
            )
    return Lists(kept, [asked])


def _pairs(path: Path) -> Rows:
    """Return the array `pairs` (n, 2) of a file of descriptors: numbers of matching rows."""
    pairs, rows = None, 0
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as packed:
            pairs = packed.get("pairs")
            rows = len(packed["vectors"]) if "vectors" in packed else 0
    if pairs is None or pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
        raise BenchError(
            f"{path} lacks pairs of matching rows: it must be an .npz with `vectors` (n, dim) "
            "and `pairs` (m, 2), integer row numbers."
        )
    if len(pairs) == 0 or pairs.min() < 0 or pairs.max() >= rows:
        raise BenchError(
            f"the pairs of {path} must be row numbers below {rows}, and at least one pair."
        )
    return np.asarray(pairs, dtype=np.int64)


def _facts(need: Need, lists: Lists, brought: Brought) -> Facts:
    """Return what is known of a need; the card says the content of the files, not their names.

    Training on a single evaluated row counts as training on evaluated data.
    """
    content = [matrix.content_sha256(part) for part in (*lists.database, *lists.queries)]
    rows, dim = matrix.count_rows(lists.database), lists.database[0].shape[1]
    about = {"rows": rows, "dim": dim, "sha256": sha256_json(content)}
    evaluated = [*brought.searched, brought.queries]
    same = need.role == "fit" and not _hashes(lists.database).isdisjoint(_hashes(evaluated))
    return Facts(rows, dim, 0 if lists.pairs is None else len(lists.pairs), about, same)


def _hashes(parts: Sequence[Matrix]) -> set[int]:
    """Return a hash of every row, as float32."""
    return {
        hash(row.tobytes())
        for _, rows in matrix.blocks(parts, 4096)
        for row in np.asarray(rows, dtype=np.float32)
    }


def check_label(label: str) -> str:
    """Return a label that can name a folder, or refuse it."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", label):
        raise BenchError(
            f"--name {label!r}: use letters, digits, '.', '_', '+' and '-', and begin with a "
            "letter or digit."
        )
    return label
