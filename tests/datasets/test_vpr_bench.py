"""Known facts of the real ground truth of Nordland and of the sets of VPR-Bench."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bench import datasets
from bench.datasets._readers import lists, numpy_files
from bench.scoring.scores import score
from bench.system.hashing import sha256_lines
from tests.support.truths import RECALLS, Finder, bounds, files, golden, hits, key, total


@pytest.mark.slow
def test_the_three_ground_truths_of_nordland(lay: Callable) -> None:
    lay("nordland", "nordland", patchnetvlad_nordland="nordland.npz")
    ten, seven, first = (
        datasets.load(f"nordland.{v}") for v in ("gmberton", "patch-netvlad", "vpr-bench")
    )
    expected = datasets.entry_of("nordland").facts.expected
    for name, dataset in (("gmberton", ten), ("patch-netvlad", seven), ("vpr-bench", first)):
        sizes = len(dataset.database), len(dataset.queries)
        assert sizes == (expected[name].database, expected[name].queries)
    assert (len(ten.queries), len(first.queries)) == (27592, 2760)
    assert (files(ten.database)[0], files(ten.database)[-1]) == (
        "summer/images-00202.png", "summer/images-35582.png",
    )  # fmt: skip
    assert files(ten.queries)[0] == "winter/images-00202.png"
    assert total(seven) == expected["patch-netvlad"].positives["all"] == 413824
    assert bounds(seven)[:2] == (8, 15)
    wide = [t.positive for t in seven.protocols[0].truth]
    assert wide[100].tolist() == list(range(93, 108))
    assert ten.protocols[0].truth[100].positive.tolist() == list(range(90, 111))
    assert files(first.database)[0] == "ref/0000000.jpg"
    assert sha256_lines(files(first.database)) == expected["vpr-bench"].database_sha256
    assert sha256_lines(files(first.queries)) == expected["vpr-bench"].queries_sha256
    assert total(first) == expected["vpr-bench"].positives["all"] == 8279
    assert bounds(first)[:2] == (2, 3)
    assert first.protocols[0].truth[7].positive.tolist() == [69, 70, 71]
    n = 27592
    assert hits(first, golden(first, lambda rows, q: key(n, rows, q))) == [1, 3, 3, 7, 32]
    every_tenth = tuple(i % 10 == 0 for i in range(n))
    part = replace(ten, protocols=(replace(ten.protocols[0], asked=every_tenth),))
    ranks = golden(ten, lambda rows, q: key(n, rows, q))
    scores = score(ranks, part.protocols, n)["all"]
    got = [round(2760 * scores[f"recall@{k}.any-hit.junk-removed"].mean) for k in RECALLS]
    assert got == [3, 12, 26, 52, 213]


def test_sped_in_both_of_its_forms(lay: Callable, workspace) -> None:
    lay("sped", "sped", vprbench_ground_truth_new="ground_truth_new.npy")
    dataset = datasets.load("sped")
    expected = datasets.entry_of("sped").facts.expected[""]
    assert (len(dataset.database), len(dataset.queries)) == (607, 607)
    assert sha256_lines(files(dataset.database)) == expected.database_sha256
    assert sha256_lines(files(dataset.queries)) == expected.queries_sha256
    assert [t.positive.tolist() for t in dataset.protocols[0].truth] == [[i] for i in range(607)]
    folder = workspace.data / "sped"
    for path in folder.glob("SPED*"):
        path.unlink()
    for kind, images in (("ref", dataset.database), ("query", dataset.queries)):
        (folder / kind).mkdir()
        for name in files(images):
            (folder / name).touch()
    again = datasets.load("sped")
    assert (files(again.database), files(again.queries)) == (
        files(dataset.database), files(dataset.queries),
    )  # fmt: skip
    assert total(again) == 607


@pytest.mark.parametrize(
    ("folder", "stem", "refs", "asked", "pairs"),
    [("essex", "ESSEX", 210, 210, 210), ("crossseason", "CrossSeason", 191, 191, 1487),
     ("holidays", "Inria", 512, 300, 512)],
)  # fmt: skip
def test_other_lists_of_vpr_bench(folder, stem, refs, asked, pairs, shared: Finder) -> None:
    paths = [shared(f"data/{folder}/{stem}_{kind}.npy") for kind in lists.KINDS]
    read = lists.npy([path.read_bytes() for path in paths], paths)
    assert (len(read["database"]), len(read["queries"])) == (refs, asked)
    assert sum(map(len, read["positive"])) == pairs
    if folder == "essex":
        assert read["positive"] == [[i] for i in range(210)]


@pytest.mark.parametrize(
    ("folder", "stem", "queries"),
    [("pitts30k", "vprbench_pittsburgh", 1000), ("tokyo247", "vprbench", 315),
     ("sped", "vprbench", 607), ("nordland", "vprbench", 2760)],
)  # fmt: skip
def test_the_pairs_of_vpr_bench_are_read(folder, stem, queries, shared: Finder) -> None:
    path = shared(f"data/{folder}/{stem}_ground_truth_new.npy")
    pairs = numpy_files.pairs(path.read_bytes(), path)
    assert [query for query, _ in pairs] == list(range(queries))
    assert all(rows for _, rows in pairs)
