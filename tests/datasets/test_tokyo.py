"""Known facts of the real ground truth of Tokyo 24/7, with and without its suppression."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bench import datasets
from bench.datasets._readers import numpy_files, utm
from bench.rerank import suppression
from bench.scoring import scores
from bench.types import Dataset, Shortlist
from tests.support.truths import Finder, bounds, files, golden, hits, key, named, total


@pytest.fixture
def tokyo(lay: Callable, workspace) -> Callable[[str], Dataset]:
    """Return the loader; the list of database names, which nobody has, is made up."""
    lay("tokyo247", "tokyo247", patchnetvlad_tokyo247="tokyo247.npz")
    names = (f"./x/03814/{i // 12:06}/{i // 12:06}_012_{30 * (i % 12)}.png" for i in range(75984))
    path = workspace.data / "tokyo247" / "tokyo247_imageNames_index.txt"
    path.write_text("\n".join(names), encoding="utf-8")
    return lambda variant: datasets.load(f"tokyo247.{variant}")


@pytest.mark.slow
def test_tokyo247(tokyo: Callable) -> None:
    dataset = tokyo("full")
    expected = datasets.entry_of("tokyo247").facts.expected["full"]
    assert (len(dataset.database), len(dataset.queries)) == (75984, 315)
    assert (expected.database, expected.queries, expected.positives["all"]) == (75984, 315, 37260)
    queries = files(dataset.queries)
    assert (queries[0], queries[-1]) == ("00010.jpg", "00738.jpg")
    numbers = [int(name[:5]) for name in queries]
    spans = ((10, 63), (82, 135), (145, 243), (262, 279), (379, 450), (685, 693), (730, 738))
    assert numbers == [n for low, high in spans for n in range(low, high + 1)]
    assert [i % 3 for i in range(1, 316)] == [n % 3 for n in numbers], "file numbers, list order"
    assert total(dataset) == 37260
    assert bounds(dataset) == (48, 240, 118.29)
    assert scores.skipped(dataset.protocols[0]) == 0
    ranks = golden(dataset, lambda rows, q: key(75984, rows, q))
    assert hits(dataset, ranks) == [3, 6, 6, 8, 43]
    assert hits(dataset, ranks, "day") == [0, 2, 2, 3, 14]
    assert hits(dataset, ranks, "sunset") == [2, 3, 3, 3, 16]
    assert hits(dataset, ranks, "night") == [1, 1, 1, 2, 13]
    for time in ("day", "sunset", "night"):
        assert scores.asked(named(dataset, time)).sum() == 105
    score = scores.score(ranks, dataset.protocols, 75984)["night"]
    assert score["recall@20.any-hit.junk-removed"].mean == pytest.approx(2 / 105)


@pytest.mark.slow
def test_tokyo247_with_panoramas_suppressed(tokyo: Callable) -> None:
    full, dataset = tokyo("full"), tokyo("suppressed")
    assert dataset.name == "tokyo247.suppressed"
    assert files(full.queries) == files(dataset.queries)
    groups = dataset.groups
    assert len(np.unique(groups)) == 6332

    def place(rows: np.ndarray, query: int) -> np.ndarray:
        return 12 * key(6332, rows // 12, query) + rows % 12

    ranks = golden(full, place)
    assert hits(full, ranks) == [0, 0, 0, 3, 8]
    depth = suppression.depth_needed(groups, dataset.protocols)
    assert depth == 1200
    lists = [np.argsort(place(np.arange(75984), q), kind="stable")[:depth] for q in range(315)]
    listed = Shortlist(np.array(lists), -np.tile(np.arange(depth, dtype=np.float64), (315, 1)))
    after = suppression.follow(ranks, listed, groups)
    assert hits(dataset, after) == [0, 6, 9, 11, 42]


def test_the_names_of_tokyo247_that_carry_positions(shared: Finder) -> None:
    path = shared("data/tokyo247/gmberton_style_tokyo247_qImages.npy")
    names = numpy_files.strings(path.read_bytes(), path)
    assert len(names) == 315
    with np.load(shared("data/tokyo247/patchnetvlad_tokyo247.npz")) as content:
        known = np.unique(np.round(content["utmQ"], 2), axis=0)
    assert np.allclose(known, np.unique([utm.position(name) for name in names], axis=0), atol=0.02)
