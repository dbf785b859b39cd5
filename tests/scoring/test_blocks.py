"""Blocks of neighbouring places: what is one block, and whether intervals and tests hold."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.scoring import blocks, intervals
from bench.scoring.blocks import choose, split
from bench.scoring.intervals import Blocks, of_mean, of_pairs
from bench.scoring.layout import layout_of, one_route
from bench.types import Areas, Dataset, GroundTruth, Image, Protocol
from tests.support import routes

METRIC = ("recall@1.any-hit.junk-removed",)
NONE = np.array([], dtype=np.int64)


def dataset(positives: list[list[int]], **known: object) -> Dataset:
    truth = tuple(GroundTruth(np.array(rows, dtype=np.int64), NONE) for rows in positives)
    images = tuple(Image(str(i), f"{i}.jpg") for i in range(50))
    protocols = (Protocol("all", truth, METRIC),)
    return Dataset("d", "v", Path(), images, images[: len(truth)], protocols, "", "", **known)  # type: ignore[arg-type]


# --- where queries stand ------------------------------------------------------------------------


def test_positions_are_taken_before_order_and_areas_are_parts() -> None:
    points, order = np.arange(8.0).reshape(4, 2), np.arange(8).reshape(4, 2)
    areas = Areas(np.zeros(50, np.int64), np.array([0, 0, 1, 1]))
    layout = layout_of(dataset([[]] * 4, positions=points, order=order, areas=areas))
    assert layout is not None
    assert layout.rule == "space"
    assert layout.part.tolist() == [0, 0, 1, 1]
    assert layout_of(dataset([[0], [1]])) is None


def test_two_traversals_of_one_route_are_one_and_another_street_is_not() -> None:
    route = [[3 * i, 3 * i + 1] for i in range(6)]
    back = [[3 * i + 1] for i in reversed(range(5))]
    other = [[30 + i] for i in range(3)]
    order = [[7, i] for i in range(6)] + [[8, i] for i in range(5)] + [[9, i] for i in range(3)]
    made = dataset([*route, *back, *other], order=np.array(order))
    recording, place = one_route(made.order, made.protocols, 50)  # type: ignore[arg-type]
    assert recording.tolist() == [7] * 11 + [9] * 3
    assert place[6:11].tolist() == [4, 3, 2, 1, 0]
    assert place[11:].tolist() == [0, 1, 2]


def test_a_query_without_shared_positives_stands_between_its_neighbours() -> None:
    order = np.array([[0, i] for i in range(5)] + [[1, i] for i in range(3)])
    made = dataset([[0], [1], [2], [3], [4], [1], [40], [3]], order=order)
    recording, place = one_route(made.order, made.protocols, 50)  # type: ignore[arg-type]
    assert recording.tolist() == [0] * 8
    assert place[5:].tolist() == [1, 2, 3]


# --- groups of places ---------------------------------------------------------------------------


def test_a_cut_falls_into_the_gap_between_two_streets() -> None:
    points = np.array([0.0, 1, 2, 3, 4, 100, 101, 102, 103])[:, None]
    assert split(points, np.ones(9), 2).tolist() == [0] * 5 + [1] * 4
    groups = split(points, np.ones(9), 9)
    assert sorted(groups.tolist()) == list(range(9))


def test_groups_are_compact_and_about_equal() -> None:
    points = np.random.default_rng(0).random((600, 2))
    groups = split(points, np.ones(600), 24)
    sizes = np.bincount(groups)
    assert len(sizes) == 24
    assert sizes.min() > 10
    spread = np.mean([points[groups == g].std(axis=0).sum() for g in range(24)])
    assert spread < 0.4 * points.std(axis=0).sum()


def test_views_of_a_place_are_one_block_and_cities_are_not_mixed() -> None:
    street = np.column_stack([np.arange(40.0) * 20, np.zeros(40)])
    points = np.concatenate([street, street + np.array([0, 5e5])]).repeat(24, axis=0)
    layout = routes.space(points)
    values = routes.on_map(points, 60)(np.random.default_rng(1), 1)[0]
    made = choose(values, layout)
    assert made.enough
    place = np.unique(points, axis=0, return_inverse=True)[1].ravel()
    for item in np.unique(place):
        assert len(np.unique(made.of_query[place == item])) == 1
    for block in np.unique(made.of_query):
        assert np.ptp(points[made.of_query == block, 1]) == 0.0


def test_the_order_of_queries_and_where_the_map_begins_change_nothing() -> None:
    rng = np.random.default_rng(2)
    points = rng.random((300, 2)) * 3000
    values = routes.on_map(points, 150)(rng, 1)[0]
    made = choose(values, routes.space(points))
    mixed = rng.permutation(300)
    again = choose(values[mixed], routes.space(points[mixed] + [5e5, 4e6]))
    assert again.count == made.count
    assert again.seen == pytest.approx(made.seen, abs=1e-4)
    assert of_mean(values[mixed], again, 0) == pytest.approx(of_mean(values, made, 0), abs=1e-6)


def test_dependence_lengthens_blocks_and_independence_leaves_the_smallest() -> None:
    rng, layout = np.random.default_rng(3), routes.route(1000)
    counts = [
        np.median([choose(values, layout).count for values in routes.kept(1000, rho)(rng, 20)])
        for rho in (0, 0.9, 0.97)
    ]
    assert counts[0] == blocks.CELLS
    assert counts[0] > 3 * counts[1] > 3 * counts[2]


def test_too_few_is_said() -> None:
    layout = routes.route(500)
    constant = choose(np.ones(500), layout)
    assert (constant.enough, of_mean(np.ones(500), constant, 0)) == (False, None)
    few_places = routes.space(np.repeat(np.arange(5.0), 60)[:, None] * [100.0, 0.0])
    values = np.random.default_rng(0).integers(0, 2, 300).astype(np.float64)
    assert not choose(values, few_places).enough
    assert not choose(np.full(500, np.nan), layout).enough
    assert intervals.stated(constant)["blocks"] == 0
    halves = (np.arange(500) >= 250).astype(np.float64)
    low, high = of_mean(halves, choose(halves, layout), 0) or (0, 1)
    assert high - low > 0.6, "one change of fortune along the whole route says little"


def test_rare_failures_of_dependent_queries_have_no_interval() -> None:
    made = Blocks("order", np.arange(600) // 60, seen=0.9, dependent=True)
    values = np.ones(600)
    values[:20] = 0  # a third of one block of ten
    assert of_mean(values, made, 0) is None
    values[:60] = 0
    assert of_mean(values, made, 0) is not None
    low, high = of_mean(np.ones(600), made, 0) or (0, 0)
    assert (low, high) == (pytest.approx(0.025 ** (1 / 10)), 1.0)


def test_the_interval_by_hand() -> None:
    # Six blocks of two: means 0, 0, 1/2, 1/2, 1, 1. Sums off the mean are ±1, ±1, 0, 0.
    values = np.array([0, 0, 0, 0, 0, 1, 0, 1, 1, 1, 1, 1], dtype=np.float64)
    made = Blocks("order", np.repeat(np.arange(6), 2), seen=0.8)
    variance = 4 / 12**2 * 6 / 5 / 0.8
    arm = 2.570582 * np.sqrt(variance)  # Student's t, 5 degrees of freedom
    low, high = of_pairs(values, made, 0) or (0, 0)
    assert (low, high) == (pytest.approx(0.5 - arm, abs=1e-6), 1.0), "cut at what a mean can be"
    low, high = of_mean(values, made, 0) or (0, 0)
    assert np.log(high / (1 - high)) == pytest.approx(arm / 0.25, abs=1e-6)


def test_the_share_that_blocks_show_is_that_of_simulated_sums() -> None:
    layout, rng = routes.route(60), np.random.default_rng(4)
    made = choose(rng.standard_normal(60), layout)
    models = blocks._models(layout, np.ones(60, dtype=np.bool_).tobytes())
    cells, ranged, strong = blocks.cells_of(layout), 9, 12
    alike, strength = cells.alike[ranged], models.strength[ranged, strong]
    root = np.linalg.cholesky(np.eye(60) + strength * alike)
    drawn = rng.standard_normal((40_000, 60)) @ root.T
    group = models.groups[2][cells.of_query]
    k = int(group.max()) + 1
    sums = np.array([drawn[:, group == g].sum(axis=1) for g in range(k)])
    size = np.bincount(group)[:, None]
    shown = ((sums - size * drawn.mean(axis=1)) ** 2).sum(axis=0).mean() * k / (k - 1)
    at = 1 + ranged * blocks.STRENGTHS + strong
    assert models.seen[2, at] == pytest.approx(shown / drawn.sum(axis=1).var(), rel=0.03)
    assert made.rule == "order"


# --- coverage and level -------------------------------------------------------------------------

TIMES = 150  # the table of bench/scoring/README.md has 2,000
SLACK = 3 * np.sqrt(0.05 * 0.95 / TIMES)


@pytest.mark.parametrize("scenario", list(routes.scenarios()), ids=lambda first: first.name)
def test_intervals_hold_and_tests_keep_their_level(scenario: routes.Scenario) -> None:
    made = routes.outcome(scenario, TIMES)
    if made.few < 0.5:
        assert made.coverage >= 0.95 - 0.03 - SLACK
        assert made.level <= 0.05 + 0.02 + SLACK
    else:
        assert scenario.name.startswith(("5 places", "120 frames")), "too few, and not by design"


def test_taking_frames_for_independent_holds_a_third_of_the_time() -> None:
    item = routes.Scenario("", routes.route(routes.FRAMES), routes.kept(routes.FRAMES, 0.95))
    made = routes.outcome(item, 60)
    assert made.naive < 0.45
    assert made.coverage > 0.85


# --- real lists ---------------------------------------------------------------------------------


def kept_rows(name: str, value: int = 0) -> tuple[str, int, int]:
    """Return rule, places at most, and queries of a data set at hand, whose files were laid."""
    from bench import datasets

    here = datasets.load(name)
    layout = layout_of(here)
    assert layout is not None
    rng = np.random.default_rng(value)
    of_place = np.unique(layout.points, axis=0, return_inverse=True)[1].ravel()
    hard = routes.hardness(int(of_place.max()) + 1, 0.8)(rng, 1)[0][of_place]
    made = blocks.blocks_of(here, hard)
    assert made.enough
    assert intervals.LEAST <= made.count <= blocks.CELLS
    assert of_mean(hard, made, 0) is not None
    for block in np.unique(of_place):
        assert len(np.unique(made.of_query[of_place == block])) == 1
    return made.rule, int(of_place.max()) + 1, len(here.queries)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "queries"),
    [("gmberton", 27592), ("patch-netvlad", 27592), ("vpr-bench", 2760)],
)
def test_nordland_has_blocks_of_consecutive_frames(
    name: str, queries: int, lay: Callable[..., None]
) -> None:
    lay("nordland", "nordland", patchnetvlad_nordland="nordland.npz")
    assert kept_rows(f"nordland.{name}") == ("order", queries, queries)


@pytest.mark.slow
def test_views_of_pittsburgh_are_blocks_of_space_or_of_panoramas(
    lay: Callable[..., None], workspace: Any
) -> None:
    lay("pitts30k", "pitts30k", patchnetvlad_pitts30k_test="pitts30k_test.npz")
    assert kept_rows("pitts30k.test") == ("space", 284, 6816)
    from bench.datasets import pitts30k

    names = [f"q/003/{i // 24:06}_pitch{1 + i % 2}_yaw{i % 12}.jpg" for i in range(72)]
    assert [place for _, place in pitts30k._panoramas(names)] == [i // 24 for i in range(72)]


def test_the_queries_of_tokyo_stand_at_35_places(lay: Callable[..., None], workspace: Any) -> None:
    lay("tokyo247", "tokyo247", patchnetvlad_tokyo247="tokyo247.npz")
    path = workspace.data / "tokyo247" / "tokyo247_imageNames_index.txt"
    path.write_text("\n".join(f"./x/{i:06}.png" for i in range(75984)), encoding="utf-8")
    assert kept_rows("tokyo247.full") == ("space", 35, 315)


def test_pairs_of_sped_are_landmarks(lay: Callable[..., None]) -> None:
    from bench import datasets

    lay("sped", "sped")
    here = datasets.load("sped")
    made = blocks.blocks_of(here, np.zeros(607))
    assert (made.rule, made.count) == (intervals.LANDMARKS, 607)


def test_lists_of_mapillary_without_positions_are_in_the_order_of_its_tables(
    shared: Callable[[str], Path], workspace: Any
) -> None:
    from bench.datasets._readers import numpy_files

    folder = workspace.data / "msls"
    folder.mkdir(parents=True)
    for kind in ("qImages", "qIdx", "pIdx"):
        content = shared(f"data/msls/msls_val_{kind}.npy").read_bytes()
        (folder / f"msls_val_{kind}.npy").write_bytes(content)
    names = np.array([f"train_val/cph/database/images/{i}.jpg" for i in range(18871)])
    np.save(folder / "msls_val_dbImages.npy", names)
    asked = numpy_files.strings((folder / "msls_val_qImages.npy").read_bytes(), "q")
    assert {name.split("/")[1] for name in asked} == {"cph", "sf"}
    assert kept_rows("msls.val-gsv-cities") == ("order", 740, 740)


@pytest.mark.parametrize("name", ["roxford5k", "rparis6k"])
def test_sets_of_landmarks_keep_their_rule(
    name: str, shared: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench import datasets

    shared(f"data/{name}/gnd_{name}.pkl")
    monkeypatch.setenv("RETRIEVAL_BENCH_DATA", str(shared("data")))
    here = datasets.load(name)
    values = np.random.default_rng(0).random(len(here.queries))
    made = blocks.blocks_of(here, values)
    groups = intervals.landmark_groups(here.protocols, len(here.database))
    assert made.rule == intervals.LANDMARKS
    assert np.array_equal(made.of_query, groups)
    assert of_mean(values, made, 0) == intervals.bootstrap(values, groups, 0)


def test_flips_keep_whole_blocks_and_allow_for_what_they_do_not_see() -> None:
    from bench.records import compare

    difference = np.array([1.0, 1, -1, 0, 2, 0])
    block = np.array([0, 0, 1, 1, 2, 2])
    test = compare.permutation(difference, block, seen=1.0)
    reached = [abs(2 * a - b + 2 * c) >= 3 for a, b, c in itertools.product((1, -1), repeat=3)]
    assert test.p == sum(reached) / 8
    few = np.array([1.0, 2.0, 3.0])
    assert compare.permutation(few, np.arange(3)).p == 2 / 8
    # Of 1, 2 and 3 together 6 is found, and blocks show 0.1 + 0.9 / 3 = 0.4: 6 √0.4 = 3.8.
    assert compare.permutation(few, np.arange(3), seen=0.1).p == 4 / 8
