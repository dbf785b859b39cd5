"""Known facts of the real ground truth of Mapillary's MSLS in its several forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import datasets
from bench.datasets._readers import numpy_files
from bench.errors import BenchError
from bench.scoring import scores
from bench.system.hashing import sha256_lines
from bench.types import Areas, Dataset
from tests.support.truths import Finder, bounds, files, golden, hits, key, named, total


@pytest.fixture
def msls(lay: Callable, workspace) -> Dataset:
    """Return GSV-Cities' form; its database list, not at hand, is that of Patch-NetVLAD."""
    lay("msls", "msls")
    folder = workspace.data / "msls"
    names = [
        line.removeprefix("./").partition("/")[2]
        for city in ("cph", "sf")
        for line in (folder / f"mapillary{city}_imageNames_index.txt").read_text().split()
    ]
    np.save(folder / "msls_val_dbImages.npy", np.array(names))
    return datasets.load("msls.val-gsv-cities")


def test_msls_val_as_gsv_cities_has_it(msls: Dataset, shared: Finder) -> None:
    expected = datasets.entry_of("msls").facts.expected["val-gsv-cities"]
    assert (len(msls.database), len(msls.queries)) == (expected.database, expected.queries)
    assert (len(msls.database), len(msls.queries)) == (18871, 740)
    assert total(msls) == expected.positives["all"] == 7955
    assert bounds(msls) == (1, 88, 10.75)
    path = shared("data/msls/msls_val_qImages.npy")
    every = numpy_files.strings(path.read_bytes(), path)
    assert len(every) == 747
    assert sha256_lines(every) == datasets.entry_of("msls").facts.expected[
        "val-official"
    ].queries_sha256  # fmt: skip
    assert every[0] == "train_val/cph/query/images/1RKCGBAWsZbi5dj3vR2mlw.jpg"
    assert every[-1] == "train_val/sf/query/images/qRXfjENgVI8DqWVmYUmSSg.jpg"
    dropped = [i for i, name in enumerate(every) if name not in set(files(msls.queries))]
    assert dropped == [487, 551, 626, 629, 630, 704, 737]
    assert sum("/cph/" in name for name in every) == 499
    assert sum("/cph/" in name for name in files(msls.queries)) == 498
    keys = shared("data/msls/key_mslsval.txt").read_text().split()
    assert {Path(name).stem for name in files(msls.queries)} == set(keys)
    for query, truth in zip(files(msls.queries), msls.protocols[0].truth, strict=True):
        inside = truth.positive <= 12555 if "/cph/" in query else truth.positive >= 12558
        assert inside.all(), "no list crosses the border of the cities"


def test_golden_recall_of_msls_together_and_city_by_city(msls: Dataset) -> None:
    n = len(msls.database)
    together = golden(msls, lambda rows, q: key(n, rows, q))
    assert hits(msls, together) == [1, 3, 3, 9, 55]
    area = [np.array(["/sf/" in name for name in files(images)], dtype=np.int64)
            for images in (msls.database, msls.queries)]  # fmt: skip
    by_city = replace(msls, areas=Areas(*area))
    every = np.arange(n)

    def place(rows: np.ndarray, query: int) -> np.ndarray:
        other = np.sort(key(n, every[area[0] != area[1][query]], query))
        own = key(n, rows, query)
        return own - np.searchsorted(other, own)

    assert hits(by_city, golden(msls, place)) == [2, 3, 10, 20, 88]


def test_the_lists_of_patch_netvlad(lay: Callable, workspace) -> None:
    """Positions are not at hand: each query is put on the first image of its city."""
    lay("msls", "msls")
    folder, counts = workspace.data / "msls", {"cph": (12556, 498), "sf": (6315, 242)}
    for city, (n_database, n_queries) in counts.items():
        db = np.stack([100.0 * np.arange(n_database)] * 2, axis=1)
        np.savez(folder / f"mapillary{city}.npz", utmDb=db, utmQ=np.zeros((n_queries, 2)),
                 posDistThr=np.array(25))  # fmt: skip
    dataset = datasets.load("msls.val-patch-netvlad")
    assert (len(dataset.database), len(dataset.queries)) == (18871, 740)
    assert np.bincount(dataset.areas.database).tolist() == [12556, 6315]
    assert np.bincount(dataset.areas.queries).tolist() == [498, 242]
    assert [t.positive.tolist() for t in dataset.protocols[0].truth] == [[0]] * 498 + [
        [12556]
    ] * 242
    assert scores.asked(named(dataset, "sf")).sum() == 242


def test_the_lists_of_the_test_cities_of_msls(shared: Finder) -> None:
    expected = datasets.entry_of("msls").facts.expected["test"]
    counts = {"stockholm": (11965, 379), "bengaluru": (11731, 325), "miami": (3761, 79),
              "buenosaires": (3710, 182), "athens": (3355, 85), "kampala": (2043, 85)}  # fmt: skip
    for i, (kind, digest) in enumerate(
        (("dbImages", expected.database_sha256), ("qImages", expected.queries_sha256))
    ):
        path = shared(f"data/msls/msls_test_{kind}.npy")
        names = numpy_files.strings(path.read_bytes(), path)
        assert len(names) == (expected.database, expected.queries)[i] == (36565, 1135)[i]
        assert sha256_lines(names) == digest
        for city, count in counts.items():
            assert sum(f"test/{city}/" in name for name in names) == count[i]


def packed(folder: Path, positive: list[list[int]], count: int = 3) -> None:
    """Write OpenVPRLab's packing: a list of positives for every query, in one array of objects."""
    folder.mkdir(parents=True, exist_ok=True)
    database = [f"train_val/cph/database/images/d{i}.jpg" for i in range(4)]
    queries = [f"train_val/cph/query/images/q{i}.jpg" for i in range(count)]
    np.save(folder / "msls_val_dbImages.npy", np.array(database))
    np.save(folder / "msls_val_qImages.npy", np.array(queries))
    rows = np.empty(len(positive), dtype=object)
    rows[:] = [np.array(item, dtype=np.int64) for item in positive]
    np.save(folder / "msls_val_gt_25m.npy", rows, allow_pickle=True)


def test_the_packing_of_openvprlab_is_read(workspace) -> None:
    """Queries without positives are left out, as those of GSV-Cities' index are."""
    packed(workspace.data / "msls", [[0, 2], [], [3]])
    found = datasets.load("msls.val-gsv-cities")
    assert [image.file.rpartition("/")[2] for image in found.queries] == ["q0.jpg", "q2.jpg"]
    assert [truth.positive.tolist() for truth in found.protocols[0].truth] == [[0, 2], [3]]


@pytest.mark.parametrize(
    ("positive", "says"),
    [
        ([[0], [1]], "has 2 lists of positives, but .*qImages.npy has 3 queries"),
        ([[0], [1], [4]], "has row numbers above the 4 images"),
    ],
)
def test_a_packing_that_does_not_fit_is_refused(
    positive: list[list[int]], says: str, workspace
) -> None:
    packed(workspace.data / "msls", positive)
    with pytest.raises(BenchError, match=says):
        datasets.load("msls.val-gsv-cities")
