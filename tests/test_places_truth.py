"""Known facts of the real ground truth by the plug-ins: counts, sums, hashes, golden vectors."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import datasets, evaluate, suppression
from bench.canonical import sha256_lines
from bench.datasets import _lists, _numpy, _utm
from bench.types import Areas, Dataset, LabelledRanks, Protocol, Shortlist
from tests.miniatures_places import objects

RECALLS = (1, 5, 10, 20, 100)
Finder = Callable[[str], Path]


@pytest.fixture
def lay(shared: Finder, workspace) -> Callable[..., None]:
    """Return a function that puts real files where the plug-in of a data set looks for them."""

    def put(name: str, folder: str, **names: str) -> None:
        place = workspace.data / name
        place.mkdir(parents=True, exist_ok=True)
        for path in sorted(shared(f"data/{folder}").iterdir()):
            shutil.copy(path, place / names.get(path.stem, path.name))

    return put


def total(dataset: Dataset, protocol: str = "all") -> int:
    return sum(len(truth.positive) for truth in named(dataset, protocol).truth)


def named(dataset: Dataset, name: str) -> Protocol:
    return next(protocol for protocol in dataset.protocols if protocol.name == name)


def files(images) -> list[str]:
    return [image.file for image in images]


def key(n_rows: int, row: np.ndarray, query: int) -> np.ndarray:
    """Return the place of rows in the ranking of the golden vectors."""
    return (7919 * row + 104729 * query) % n_rows


def golden(dataset: Dataset, place: Callable[[np.ndarray, int], np.ndarray]) -> LabelledRanks:
    """Return the ranks of the labelled rows where `place` gives the place of rows of a query."""
    labelled = evaluate.labelled_rows(dataset.protocols)
    rank = np.concatenate([place(rows, query) for query, rows in enumerate(labelled)])
    return LabelledRanks(
        np.cumsum([0, *map(len, labelled)], dtype=np.int64),
        np.concatenate(labelled),
        rank,
        -rank.astype(np.float64),
        np.zeros_like(rank),
    )


def hits(dataset: Dataset, ranks: LabelledRanks, protocol: str = "all") -> list[int]:
    """Return how many queries have a positive in the first 1, 5, 10, 20 and 100."""
    scores = evaluate.score(ranks, dataset.protocols, len(dataset.database))[protocol]
    each = (scores[f"recall@{k}.any-hit.junk-removed"] for k in RECALLS)
    return [round(float(np.nansum(score.per_query))) for score in each]


def bounds(dataset: Dataset) -> tuple[int, int, float]:
    counts = [len(truth.positive) for truth in dataset.protocols[0].truth]
    return min(counts), max(counts), round(float(np.mean(counts)), 2)


# --- Pittsburgh ---------------------------------------------------------------------------------


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
    assert evaluate.skipped(dataset.protocols[0]) == 0
    ranks = golden(dataset, lambda rows, q: key(10000, rows, q))
    assert hits(dataset, ranks) == [92, 458, 927, 1746, 5201]
    score = evaluate.score(ranks, dataset.protocols, 10000)["all"]
    got = [round(100 * score[f"recall@{k}.any-hit.junk-removed"].mean, 4) for k in RECALLS]
    assert got == [1.3498, 6.7195, 13.6004, 25.6162, 76.3058]


def test_the_lists_of_pitts30k_agree_and_nothing_lies_at_the_threshold(
    lay: Callable, workspace, shared: Finder
) -> None:
    """Strict or not, 1 mm nearer or farther: the positives are the same; so are two lists."""
    lay("pitts30k", "pitts30k", patchnetvlad_pitts30k_test="pitts30k_test.npz")
    dataset = datasets.load("pitts30k")
    from bench.datasets import _near

    with np.load(shared("data/pitts30k/patchnetvlad_pitts30k_test.npz")) as held:
        db, asked = held["utmDb"], held["utmQ"]
    for radius, strict in ((25.0, True), (25.001, False), (24.999, False)):
        near = _near.positives(db, asked, radius, strict=strict)
        pairs = zip(near, dataset.protocols[0].truth, strict=True)
        assert all(np.array_equal(rows, truth.positive) for rows, truth in pairs)
    assert (len(np.unique(asked, axis=0)), len(np.unique(db, axis=0))) == (284, 416)
    folder = workspace.data / "pitts30k"
    near = _near.positives(db, asked, 25.0)
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
    names = _numpy.strings(path.read_bytes(), path)
    assert len(names) == 8280
    assert sha256_lines(names) == (
        "afb2a2ea5c365098f52412d96b4c2360c07c23aa12cd0adc2ac9fc0ebaf99ad2"
    )


# --- Tokyo 24/7 ---------------------------------------------------------------------------------


@pytest.fixture
def tokyo(lay: Callable, workspace) -> Callable[[str], Dataset]:
    """Return the loader; the list of database names, which nobody has, is made up."""
    lay("tokyo247", "tokyo247", patchnetvlad_tokyo247="tokyo247.npz")
    names = (f"./x/03814/{i // 12:06}/{i // 12:06}_012_{30 * (i % 12)}.png" for i in range(75984))
    path = workspace.data / "tokyo247" / "tokyo247_imageNames_index.txt"
    path.write_text("\n".join(names), encoding="utf-8")
    return lambda variant: datasets.load(f"tokyo247.{variant}")


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
    assert evaluate.skipped(dataset.protocols[0]) == 0
    ranks = golden(dataset, lambda rows, q: key(75984, rows, q))
    assert hits(dataset, ranks) == [3, 6, 6, 8, 43]
    assert hits(dataset, ranks, "day") == [0, 2, 2, 3, 14]
    assert hits(dataset, ranks, "sunset") == [2, 3, 3, 3, 16]
    assert hits(dataset, ranks, "night") == [1, 1, 1, 2, 13]
    for time in ("day", "sunset", "night"):
        assert evaluate.asked(named(dataset, time)).sum() == 105
    score = evaluate.score(ranks, dataset.protocols, 75984)["night"]
    assert score["recall@20.any-hit.junk-removed"].mean == pytest.approx(2 / 105)


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
    names = _numpy.strings(path.read_bytes(), path)
    assert len(names) == 315
    with np.load(shared("data/tokyo247/patchnetvlad_tokyo247.npz")) as held:
        known = np.unique(np.round(held["utmQ"], 2), axis=0)
    assert np.allclose(known, np.unique([_utm.position(name) for name in names], axis=0), atol=0.02)


# --- Mapillary ----------------------------------------------------------------------------------


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
    every = _numpy.strings(path.read_bytes(), path)
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
    assert evaluate.asked(named(dataset, "sf")).sum() == 242


def test_the_lists_of_the_test_cities_of_msls(shared: Finder) -> None:
    expected = datasets.entry_of("msls").facts.expected["test"]
    counts = {"stockholm": (11965, 379), "bengaluru": (11731, 325), "miami": (3761, 79),
              "buenosaires": (3710, 182), "athens": (3355, 85), "kampala": (2043, 85)}  # fmt: skip
    for i, (kind, digest) in enumerate(
        (("dbImages", expected.database_sha256), ("qImages", expected.queries_sha256))
    ):
        path = shared(f"data/msls/msls_test_{kind}.npy")
        names = _numpy.strings(path.read_bytes(), path)
        assert len(names) == (expected.database, expected.queries)[i] == (36565, 1135)[i]
        assert sha256_lines(names) == digest
        for city, count in counts.items():
            assert sum(f"test/{city}/" in name for name in names) == count[i]


# --- Nordland and the sets of VPR-Bench ---------------------------------------------------------


def test_the_three_ground_truths_of_nordland(lay: Callable) -> None:
    lay("nordland", "nordland", patchnetvlad_nordland="nordland.npz")
    ten, seven, one = (
        datasets.load(f"nordland.{v}") for v in ("gmberton", "patch-netvlad", "vpr-bench")
    )
    expected = datasets.entry_of("nordland").facts.expected
    for name, dataset in (("gmberton", ten), ("patch-netvlad", seven), ("vpr-bench", one)):
        sizes = len(dataset.database), len(dataset.queries)
        assert sizes == (expected[name].database, expected[name].queries)
    assert (len(ten.queries), len(one.queries)) == (27592, 2760)
    assert (files(ten.database)[0], files(ten.database)[-1]) == (
        "summer/images-00202.png", "summer/images-35582.png",
    )  # fmt: skip
    assert files(ten.queries)[0] == "winter/images-00202.png"
    assert total(seven) == expected["patch-netvlad"].positives["all"] == 413824
    assert bounds(seven)[:2] == (8, 15)
    wide = [t.positive for t in seven.protocols[0].truth]
    assert wide[100].tolist() == list(range(93, 108))
    assert ten.protocols[0].truth[100].positive.tolist() == list(range(90, 111))
    assert files(one.database)[0] == "ref/0000000.jpg"
    assert sha256_lines(files(one.database)) == expected["vpr-bench"].database_sha256
    assert sha256_lines(files(one.queries)) == expected["vpr-bench"].queries_sha256
    assert total(one) == expected["vpr-bench"].positives["all"] == 8279
    assert bounds(one)[:2] == (2, 3)
    assert one.protocols[0].truth[7].positive.tolist() == [69, 70, 71]
    n = 27592
    assert hits(one, golden(one, lambda rows, q: key(n, rows, q))) == [1, 3, 3, 7, 32]
    every_tenth = tuple(i % 10 == 0 for i in range(n))
    part = replace(ten, protocols=(replace(ten.protocols[0], asked=every_tenth),))
    ranks = golden(ten, lambda rows, q: key(n, rows, q))
    scores = evaluate.score(ranks, part.protocols, n)["all"]
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
    paths = [shared(f"data/{folder}/{stem}_{kind}.npy") for kind in _lists.KINDS]
    read = _lists.npy([path.read_bytes() for path in paths], paths)
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
    pairs = _numpy.pairs(path.read_bytes(), path)
    assert [query for query, _ in pairs] == list(range(queries))
    assert all(rows for _, rows in pairs)


# --- names with positions -----------------------------------------------------------------------


def test_amstertime_in_its_three_forms(lay: Callable) -> None:
    lay("amstertime", "amstertime")
    expected = datasets.entry_of("amstertime").facts.expected["vpr"]
    dataset = datasets.load("amstertime.vpr")
    assert sha256_lines(files(dataset.database)) == expected.database_sha256
    assert sha256_lines(files(dataset.queries)) == expected.queries_sha256
    ids = [name.split("@")[7] for name in files(dataset.queries)]
    assert (len(ids), ids[0], ids[-1]) == (1231, "0000", "1367")
    assert int(ids[-1]) + 1 > len(ids), "with gaps"
    for one, other in (("new", "old"), ("old", "new")):
        task = datasets.load(f"amstertime.{one}-to-{other}")
        assert (len(task.database), len(task.queries)) == (1231, 1231)
        stems = [
            [Path(name).stem for name in files(images)] for images in (task.database, task.queries)
        ]
        assert stems[0] == stems[1] == ids
        assert files(task.queries)[0].startswith(f"{one}/0000.")
        assert [t.positive.tolist() for t in task.protocols[0].truth] == [[i] for i in range(1231)]
    assert [t.positive.tolist() for t in dataset.protocols[0].truth] == [[i] for i in range(1231)]


def test_the_tasks_of_amstertime(shared: Finder) -> None:
    for name, lines in (("retrieval", 2462), ("retrieval_test", 494)):
        text = shared(f"data/amstertime/{name}.csv").read_text(encoding="utf-8")
        assert len(text.splitlines()) - 1 == lines


def test_st_lucia(lay: Callable) -> None:
    lay("st-lucia", "st_lucia")
    dataset = datasets.load("st-lucia")
    expected = datasets.entry_of("st-lucia").facts.expected[""]
    assert (len(dataset.database), len(dataset.queries)) == (expected.database, expected.queries)
    assert (len(dataset.database), len(dataset.queries)) == (1549, 1464)
    assert {tuple(name.split("@")[3:5]) for name in files(dataset.database)} == {("56", "J")}
    places = [np.array([_utm.position(name) for name in files(images)])
              for images in (dataset.database, dataset.queries)]  # fmt: skip
    for query in (0, 700, 1463):
        off = np.hypot(*(places[0] - places[1][query]).T)
        assert (
            dataset.protocols[0].truth[query].positive.tolist()
            == np.flatnonzero(off <= 25).tolist()
        )


def test_the_queries_v1_of_sf_xl_and_those_of_baidu(
    lay: Callable, workspace, shared: Finder
) -> None:
    path = shared("data/sfxl/sfxl_test_v1_qImages.npy")
    folder = workspace.data / "sf_xl"
    folder.mkdir(parents=True)
    shutil.copy(path, folder / "sf_xl_queries_v1.npy")
    names = _numpy.strings(path.read_bytes(), path)
    database = [name.replace("queries_v1", "database") for name in names[:3]]
    np.save(folder / "sf_xl_dbImages.npy", np.array(database))
    dataset = datasets.load("sf-xl.v1")
    assert len(dataset.queries) == datasets.entry_of("sf-xl").facts.expected["v1"].queries == 1000
    assert [int(i in t.positive) for i, t in enumerate(dataset.protocols[0].truth[:3])] == [1, 1, 1]
    for kind, count in (("dbImages", 689), ("qImages", 2292)):
        path = shared(f"data/baidu/baidu_{kind}.npy")
        assert len(_numpy.strings(path.read_bytes(), path)) == count
