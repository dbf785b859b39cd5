"""Data sets by name or by path, and the few things a run may do to one before it starts.

A data set plug-in is a file in the folder `datasets/`; its `load(root)` returns a mapping in the
form of a dataset.json, which `bench.data.dataset_json` checks like anybody's. It may have
`VARIANTS`, a mapping from variant to one line, the default first; then it is `load(root, variant)`.
It may have `FACTS` (`bench.facts`): what is known of it beforehand. A mapping with `renamed` true
has the images of the published lists under other names.
"""

from __future__ import annotations

import importlib
import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from bench import contract, plugins
from bench.data import dataset_json, locate, plain, published, raw
from bench.errors import BenchError, first_few, unknown
from bench.facts import Expected, Facts
from bench.root import ROOT
from bench.system import typed
from bench.system.notes import note
from bench.system.paths import data_root, expanded
from bench.types import Areas, Dataset, GroundTruth, Image, LimitRule, Protocol, Rows

__path__ = [str(ROOT / "datasets")]

KIND = plugins.Kind("data set", ROOT / "datasets", "bench.datasets", "retrieval_bench.datasets")


Mask = NDArray[np.bool_]


def names() -> list[str]:
    """Return the names of the data sets in the folder and of installed packages; imports none."""
    return list(plugins.find(KIND))


def load(name: str) -> Dataset:
    """Return a data set by name, by the path of a dataset.json or its folder, or of a plug-in.

    A folder without a dataset.json may hold `database` and `queries`, itself or in `images/test`,
    whose names carry positions; else its photographs are a data set without labels.

    `name` is "name" or "name.variant"; without a variant it is the first. The name of what is
    returned is the full one, so that no name stands for two lists.
    """
    if is_own(name):
        path = expanded(Path(name))
        return _of_photographs(path) or dataset_json.read(path)
    return load_variant(*find(name))


def _of_photographs(path: Path) -> Dataset | None:
    """Return a folder of images, whose names may carry positions; None for anything else."""
    if not path.is_dir() or (path / "dataset.json").exists():
        return None
    reader = importlib.import_module(f"{KIND.package}._readers.utm")
    data = reader.of_folder(path, names()) or plain.of_folder(path, names())
    return None if data is None else dataset_json.parse(data, str(path), path)


def load_known(name: str) -> Dataset:
    """Return a data set by a name that data state: of a plug-in alone, never of a file."""
    return load_variant(*find(plugins.known(KIND, name)))


def say_notes(dataset: Dataset) -> None:
    """Print to standard error how the lists of a data set were made, where that is worth a line."""
    lines = [f"not the published list: {text}" for text in dataset.unlike]
    for text in (*dataset.notes, *lines):
        note(f"{dataset.name}: {text}")


def is_own(name: str) -> bool:
    """Tell whether `name` is the path of a dataset.json, or of a folder that may hold one."""
    path = expanded(Path(name))
    return path.suffix == ".json" or (path.is_dir() and name not in names())


def load_variant(entry: Entry, variant: str | None = None) -> Dataset:
    """Return a variant of a plug-in's data set; without one the first, if it has any."""
    assert entry.module is not None
    variant = variant or next(iter(entry.variants), None)
    name = f"{entry.name}.{variant}" if variant else entry.name
    try:
        data = (
            entry.module.load(data_root(), variant) if variant else entry.module.load(data_root())
        )
    except raw.ForeignFileError as error:
        raise raw.ForeignFileError(
            f"{error} `data get {entry.name}` downloads it, or prints where to request it."
        ) from error
    except BenchError:
        raise
    except Exception as error:
        raise BenchError(
            f"the data set {name!r} cannot be loaded: "
            f"{plugins.fault(error, entry.module.__file__)}."
        ) from error
    if not isinstance(data, Mapping):
        raise BenchError(
            f"the data set {name!r}: load() returned {type(data).__name__}, not a mapping in the "
            "form of a dataset.json."
        )
    renamed = data.get("renamed", False) is True
    data = {key: value for key, value in data.items() if key != "renamed"}
    if variant:
        data = {"variant": entry.variants[variant], **data, "name": name}
    where = f"the data set {name!r}"
    dataset = dataset_json.parse(data, where, Path(entry.module.__file__ or ".").parent)
    dataset = replace(dataset, places=entry.places(), renamed=renamed)
    return replace(dataset, unlike=published.differences(dataset, entry.expected(variant)))


@dataclass(frozen=True)
class Entry:
    """One data set plug-in: its variants with a line each, and what it states of itself.

    `module` is None for a dataset.json, which states nothing.
    """

    name: str
    module: ModuleType | None
    variants: Mapping[str, str]
    facts: Facts | None

    def expected(self, variant: str | None) -> Expected:
        """Return what a variant must hold."""
        known = None if self.facts is None else self.facts.expected.get(variant or "")
        return known or Expected()

    def places(self) -> tuple[Path, ...]:
        """Return the folders that may hold its files, the likeliest first, existing or not."""
        if self.module is None:
            return ()
        others = () if self.facts is None else self.facts.folders
        return locate.folders(data_root(), self.name, others)


def find(text: str) -> tuple[Entry, str | None]:
    """Return the plug-in that `text` names and the variant asked for; None: it has no variants."""
    chosen = plugins.resolve(KIND, text)
    entry, variant = _entry(chosen), chosen.variant
    named = list(entry.variants)
    if variant is None:
        return entry, named[0] if named else None
    if variant not in named:
        raise unknown(f"variant of {entry.name}", variant, named)
    return entry, variant


def entry_of(name: str) -> Entry:
    """Import the data set plug-in called `name`, and check what it states of itself."""
    return _entry(plugins.resolve(KIND, name))


def _entry(chosen: plugins.Named) -> Entry:
    """Return what a data set plug-in states of itself, checked."""
    module, name = chosen.module, chosen.name
    variants, facts = getattr(module, "VARIANTS", {}), getattr(module, "FACTS", None)
    contract.stated(contract.Variants, variants, f"the data set {name!r}", "VARIANTS")
    if not isinstance(facts, Facts | None):
        raise BenchError(
            f"the data set {name!r}: FACTS is a {type(facts).__name__}, not bench.facts.Facts."
        )
    if facts is not None:
        contract.stated(typed.mapping_of(Facts), vars(facts), f"the data set {name!r}", "FACTS")
    return Entry(name, module, variants, facts)


def placed(dataset: Dataset) -> tuple[Dataset, list[str]]:
    """Return the data set with the place of its images, and the files that are not here.

    An image that is not in the folder of the data set is looked for by name in its places. Two
    files that could be meant are refused. Images that have a place keep it.
    """
    match = lookup(dataset)
    if match.ambiguous:
        file, paths = next(iter(match.ambiguous.items()))
        raise BenchError(
            f"{len(match.ambiguous)} images of {dataset.name} exist in several folders with "
            f"different content, for instance {file}: {first_few(paths)}; keep one of them."
        )

    found = {file: str(path) for file, path in match.found.items()}
    return with_places(dataset, found), match.missing


def with_places(dataset: Dataset, found: Mapping[str, str]) -> Dataset:
    """Return the data set with the paths of the images that `found` names."""

    def place(images: tuple[Image, ...]) -> tuple[Image, ...]:
        return tuple(
            replace(image, found=found[image.file]) if image.file in found else image
            for image in images
        )

    if not found:
        return dataset
    return replace(dataset, database=place(dataset.database), queries=place(dataset.queries))


def lookup(dataset: Dataset) -> locate.Match:
    """Find all images of a data set by name; `found` has those that are not in its folder.

    One file serves one name (`bench.data.locate`). So it is asked of whole lists: of a part, the
    file of a name that was left out would be free for another name.
    """
    places = {image.file: image.found for image in (*dataset.database, *dataset.queries)}
    settled, elsewhere = {}, []
    for file, found in places.items():
        path = dataset.folder / (found or file)
        if path.is_file():
            settled[file] = path
        else:
            elsewhere.append(file)
    if not elsewhere:
        return locate.Match({}, [], {})
    real = {os.path.realpath(path) for path in settled.values()}
    respelt = {
        file: path
        for file, path in locate.alike(dataset.folder, elsewhere).items()
        if os.path.realpath(path) not in real
    }
    wanted = [file for file in elsewhere if file not in respelt]
    match = locate.match(dataset.places, wanted, settled | respelt)
    return replace(match, found=respelt | match.found)


def available(dataset: Dataset) -> Dataset:
    """Return the part of the data set whose images are on this machine, the truth restricted."""
    dataset, missing = placed(dataset)
    if not missing:
        return dataset
    gone = set(missing)
    rows = np.array([image.file not in gone for image in dataset.database])
    asked = np.array([image.file not in gone for image in dataset.queries])
    if not rows.any() or not asked.any():
        raise BenchError(
            f"{dataset.name} cannot be scored: {rows.sum()} of {len(rows)} database images and "
            f"{asked.sum()} of {len(asked)} queries are in {dataset.folder}."
        )
    part = _restricted(dataset, rows, asked)
    absent = int((~rows).sum()), len(dataset.queries) - len(part.queries)
    return replace(part, absent=absent)


def check_queries(dataset: Dataset) -> Dataset:
    """Return the data set, or refuse one that has no queries and so cannot be scored."""
    if not dataset.queries:
        raise BenchError(
            f"the data set {dataset.name} has no queries and cannot be scored; its images can be "
            f"added to another data set: --distractors {dataset.name}."
        )
    return dataset


def shown_queries(dataset: Dataset) -> tuple[Image, ...]:
    """Return the queries as the method sees them: without their boxes where `crop` is "whole"."""
    if dataset.crop == "box":
        return dataset.queries
    return tuple(replace(query, box=None) for query in dataset.queries)


def is_labelled(dataset: Dataset) -> bool:
    """Return whether any query has a positive; otherwise no score exists."""
    return any(len(truth.positive) for protocol in dataset.protocols for truth in protocol.truth)


def limited(dataset: Dataset, count: int, rule: LimitRule = "positives") -> Dataset:
    """Return `count` queries and images of the database, truth restricted; for trying only.

    By the rule "positives" the first `count` queries keep all their positives, and the first other
    images fill the database up to `count`. By "first-rows", the rule of the first records, it is
    the first `count` images, whatever the queries ask for. What is not less than the whole is the
    data set itself.
    """
    if count < 1:
        raise BenchError(f"--limit must be 1 or more, but is {count}.")
    asked = np.arange(len(dataset.queries)) < count
    rows = np.arange(len(dataset.database)) < count
    if rule == "first-rows":
        whole = bool(rows.all())
    else:
        rows = _with_positives(dataset, int(asked.sum()), count)
        whole = bool(rows.all() and asked.all())
    if whole:
        return dataset
    return replace(_restricted(dataset, rows, asked), limit=count, limit_rule=rule)


def _with_positives(dataset: Dataset, queries: int, count: int) -> Mask:
    """Return which rows are positives of the first queries, and the first others up to `count`."""
    kept = np.zeros(len(dataset.database), dtype=bool)
    for protocol in dataset.protocols:
        for truth in protocol.truth[:queries]:
            kept[truth.positive] = True
    others = np.flatnonzero(~kept)
    kept[others[: max(0, count - int(kept.sum()))]] = True
    return kept


def _restricted(dataset: Dataset, rows: Mask, asked: Mask) -> Dataset:
    """Return the data set with only these database rows and queries; rows are renumbered.

    Queries whose area is left without rows go too.
    """
    if dataset.areas is not None:
        left = np.isin(dataset.areas.queries, dataset.areas.database[rows])
        asked = asked & left
        if not asked.any():
            raise BenchError(
                f"--limit leaves no query of {dataset.name}: none of their areas is among its "
                f"{int(rows.sum())} database images; use a larger limit."
            )
    number = np.cumsum(rows) - 1

    def inside(labelled: Rows) -> Rows:
        kept: Rows = number[labelled[rows[labelled]]]
        return kept

    protocols = tuple(
        Protocol(
            p.name,
            tuple(
                GroundTruth(inside(p.truth[i].positive), inside(p.truth[i].ignored))
                for i in np.flatnonzero(asked)
            ),
            p.metrics,
            p.empty,
            None if p.asked is None else tuple(itertools.compress(p.asked, asked)),
        )
        for p in dataset.protocols
    )
    areas = dataset.areas
    return replace(
        dataset,
        areas=None if areas is None else Areas(areas.database[rows], areas.queries[asked]),
        groups=None if dataset.groups is None else dataset.groups[rows],
        positions=None if dataset.positions is None else dataset.positions[asked],
        order=None if dataset.order is None else dataset.order[asked],
        database=tuple(itertools.compress(dataset.database, rows)),
        queries=tuple(itertools.compress(dataset.queries, asked)),
        protocols=protocols,
    )
