"""Known facts of the real ground truth of Pittsburgh: counts, sums, hashes, golden vectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bench import datasets
from bench.datasets._readers import numpy_files
from bench.scoring import scores
from bench.system.hashing import sha256_lines
from tests.support.miniatures_places import objects
from tests.support.truths import RECALLS, Finder, bounds, files, golden, hits, key, total


@pytest.mark.slow
def test_pitts30k_test(lay: Callable) -> None:
    lay("pitts30k", "pitts30k", patchnetvlad_pitts30k_test="pitts30k_test.npz")
    dataset = datasets.load("pitts30k.test")
    expected = datasets.entry_of("pitts30k").facts.expected["test"]
    database, queries = files(dataset.database), files(dataset.queries)
    assert (len(database), len(queries)) == (expected.database, expected.queries) == (10000, 6816)
    assert sha256_lines(database) == expected.database_sha256
    assert sha256_lines(queries) == expected.queries_sha256
    assert database[0] == "000/000829_pitch1_yaw1.jpg"
    assert database[-1] == "006/006054_pitch2_yaw12.jpg"
    assert queries[0] == "queries_real/000/000546_pitch1_yaw1.jpg"
    assert queries[-1] == "queries_real/008/008021_pitch2_yaw12.jpg"
    folders = {name: sum(file.startswith(f"{name}/") for file in database) for name in
               ("000", "001", "002", "003", "004", "005", "006")}  # fmt: skip
    assert folders == {"003": 3360, "002": 2712, "001": 2088, "004": 1464, "005": 240,
                       "000": 112, "006": 24}  # fmt: skip
    asked = {name: sum(f"/{name}/" in file for file in queries) for name in
             ("000", "003", "004", "006", "007", "008")}  # fmt: skip
    assert asked == {"007": 2184, "004": 2136, "003": 1440, "000": 912, "006": 96, "008": 48}
    assert total(dataset) == expected.positives["all"] == 968448
    assert bounds(dataset) == (24, 360, 142.08)
    assert scores.skipped(dataset.protocols[0]) == 0
    ranks = golden(dataset, lambda rows, q: key(10000, rows, q))
    assert hits(dataset, ranks) == [92, 458, 927, 1746, 5201]
    score = scores.score(ranks, dataset.protocols, 10000)["all"]
    got = [round(100 * score[f"recall@{k}.any-hit.junk-removed"].mean, 4) for k in RECALLS]
    assert got == [1.3498, 6.7195, 13.6004, 25.6162, 76.3058]


@pytest.mark.slow
def test_the_lists_of_pitts30k_agree_and_nothing_lies_at_the_threshold(
    lay: Callable, workspace, shared: Finder
) -> None:
    """Strict or not, 1 mm nearer or farther: the positives are the same; so are two lists."""
    lay("pitts30k", "pitts30k", patchnetvlad_pitts30k_test="pitts30k_test.npz")
    dataset = datasets.load("pitts30k")
    from bench.datasets._readers import by_distance

    with np.load(shared("data/pitts30k/patchnetvlad_pitts30k_test.npz")) as content:
        db, asked = content["utmDb"], content["utmQ"]
    for radius, strict in ((25.0, True), (25.001, False), (24.999, False)):
        near = by_distance.positives(db, asked, radius, strict=strict)
        pairs = zip(near, dataset.protocols[0].truth, strict=True)
        assert all(np.array_equal(rows, truth.positive) for rows, truth in pairs)
    assert (len(np.unique(asked, axis=0)), len(np.unique(db, axis=0))) == (284, 416)
    folder = workspace.data / "pitts30k"
    near = by_distance.positives(db, asked, 25.0)
    np.save(folder / "pitts30k_test_gt.npy", objects(near), allow_pickle=True)
    (folder / "pitts30k_test.npz").unlink()
    again = datasets.load("pitts30k.test")
    assert files(again.database) == files(dataset.database)
    assert files(again.queries) == files(dataset.queries)
    assert total(again) == 968448


def test_pitts30k_val_and_the_queries_of_pitts250k(
    lay: Callable, workspace, shared: Finder
) -> None:
    lay("pitts30k", "pitts30k")
    gt = objects([[i % 10000] for i in range(7608)])
    np.save(workspace.data / "pitts30k" / "pitts30k_val_gt.npy", gt, allow_pickle=True)
    dataset = datasets.load("pitts30k.val")
    expected = datasets.entry_of("pitts30k").facts.expected["val"]
    database, queries = files(dataset.database), files(dataset.queries)
    assert (len(database), len(queries)) == (expected.database, expected.queries) == (10000, 7608)
    assert sha256_lines(database) == expected.database_sha256
    assert sha256_lines(queries) == expected.queries_sha256
    assert (database[0], database[-1]) == (
        "000/000000_pitch1_yaw1.jpg", "003/003423_pitch2_yaw12.jpg",
    )  # fmt: skip
    assert queries[0].startswith("queries_real/000/000015_")
    assert queries[-1].startswith("queries_real/008/008859_pitch2_yaw12")
    path = shared("data/pitts250k/pitts250k_test_qImages.npy")
    names = numpy_files.strings(path.read_bytes(), path)
    assert len(names) == 8280
    assert sha256_lines(names) == (
        "afb2a2ea5c365098f52412d96b4c2360c07c23aa12cd0adc2ac9fc0ebaf99ad2"
    )
