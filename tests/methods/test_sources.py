"""Sources of photographs that are left out: the data sets, the views, the tables."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench import datasets
from bench.methods.weights import photographs, sources
from bench.training import sources as judged

NAMES = sorted(
    [
        "gcompris_monument_tajmahal", "gcompris_monuments_tajmahal", "gcompris_details_tajmahal",
        "gcompris_monument_colosseum", "budgie_roman_colosseum", "gcompris_bear", "gcompris_owl",
        "opencv_box", "opencv_box_in_scene", "mate_rain", "sklearn_china",
    ]
)  # fmt: skip


def image(seed: int, size: tuple[int, int] = (640, 480)) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def test_every_photograph_of_the_list_has_a_source_and_groups_name_photographs() -> None:
    names = [photograph.name for photograph in photographs.listed()]
    counts = dict.fromkeys(sources.SOURCES, 0)
    for name in names:
        counts[sources.source_of(name)] += 1
    assert counts == {
        "places": 104, "creatures": 123, "opencv": 34, "wallpapers": 57, "others": 65,
    }  # fmt: skip
    members = [name for group in sources.GROUPS for name in group]
    assert len(sources.GROUPS) == 18
    assert len(set(members)) == len(members)
    assert set(members) <= set(names)


def test_what_is_left_out_is_the_source_and_what_shows_the_same_thing() -> None:
    assert sources.left_out("places", NAMES) == sorted(
        [name for name in NAMES if "tajmahal" in name or "colosseum" in name]
    )
    assert sources.left_out("wallpapers", NAMES) == [
        "budgie_roman_colosseum", "gcompris_monument_colosseum", "mate_rain",
    ]  # fmt: skip
    assert sources.left_out("creatures", NAMES) == ["gcompris_bear", "gcompris_owl"]


def test_a_data_set_of_a_source_worked_by_hand() -> None:
    made = sources.dataset("wallpapers", NAMES)
    assert made["database"] == [f"database/{name}.png" for name in NAMES]
    roman, monument = (NAMES.index(name) for name in (
        "budgie_roman_colosseum", "gcompris_monument_colosseum"))  # fmt: skip
    assert [query["file"] for query in made["queries"]] == [
        *(f"queries/budgie_roman_colosseum-{k}.png" for k in (1, 2, 3)),
        *(f"queries/mate_rain-{k}.png" for k in (1, 2, 3)), "database/budgie_roman_colosseum.png",
    ]  # fmt: skip
    other = {"positive": [monument], "ignored": [roman]}
    rain = {"positive": [NAMES.index("mate_rain")], "ignored": []}
    assert made["protocols"] == {
        "view": [*[{"positive": [roman], "ignored": [monument]}] * 3, *[rain] * 3, None],
        "thing": [*[other] * 3, *[None] * 4],
        "real": [*[None] * 6, other],
    }
    assert list(sources.dataset("creatures", NAMES)["protocols"]) == ["view"]
    few = sources.dataset("creatures", NAMES, rerank=True)
    assert [query["file"] for query in few["queries"]] == ["queries/gcompris_bear-1.png"]
    others = [name for name in NAMES if name not in ("gcompris_bear", "gcompris_owl")]
    kept = sorted(["gcompris_bear", "gcompris_owl", *others[::6]])
    assert few["database"] == [f"database/{name}.png" for name in kept]


def test_a_camera_that_is_not_turned_sees_a_part_and_a_turned_one_tilts_it() -> None:
    whole = image(1, (896, 672))
    same = sources.seen(whole, (448, 336), 1.0, (0, 0, 0), np.random.default_rng(0))
    wanted = np.asarray(whole.resize((448, 336), Image.Resampling.BOX)).astype(float)
    assert np.abs(np.asarray(same).astype(float) - wanted)[2:-2, 2:-2].max() < 12
    rotation = sources.turned([0.3, -0.2, 0.1])
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    quarter = sources.turned([0, 0, math.pi / 2])
    np.testing.assert_allclose(quarter @ [1, 0, 0], [0, 1, 0], atol=1e-12)


def test_views_follow_from_the_names_alone_and_queries_differ() -> None:
    images = {name: image(at, (480, 640)) for at, name in enumerate(NAMES[:3])}
    first, again = (sources.views(NAMES[1], images) for _ in range(2))
    assert [view.size for view in first] == [(336, 448)] * (1 + sources.QUERIES)
    pixels = [np.asarray(view).astype(float) for view in first]
    for view, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(np.asarray(view), np.asarray(same))
    for at, view in enumerate(pixels):
        assert all(np.abs(view - other).mean() > 3 for other in pixels[:at])


def record_of(folder: Path, dataset: str, scores: dict[str, list[float | None]]) -> None:
    place = folder / "runs" / dataset / "delg.lite1"
    place.mkdir(parents=True)
    entry = {p: {judged.METRIC: {"per_query": values}} for p, values in scores.items()}
    (place / "12345678-20260101T000000Z-abcdef.json").write_text(json.dumps({"scores": entry}))


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two networks judged on two sources; the second is above by 10 and by 30."""
    monkeypatch.setattr(judged.record, "read", lambda path: json.loads(path.read_text()))
    for source, asked in (("opencv", ["opencv_box", "opencv_aero1"]), ("x", ["a", "b"])):
        queries = [{"file": f"queries/{name}-{k}.png"} for name in asked for k in (1, 2)]
        (tmp_path / f"{source}.json").write_text(json.dumps({"queries": queries}))
    for row, by in (("gem.lite0", 0.0), ("delg", 0.1)):
        folder = tmp_path / "records" / row
        thing: list[float | None] = [0.2 + by, 0.4 + by, 0.6 + by, None]
        view: list[float | None] = [0.5 + by, 0.7 + by, 0.1 + by, 0.3 + by]
        record_of(folder, "opencv", {"view": view, "thing": thing})
        record_of(folder, "x", {"view": [0.2 + 3 * by] * 4})
    return tmp_path


def test_a_table_worked_by_hand(output: Path) -> None:
    made = judged.table(output, ["gem.lite0", "delg", "token"], ["opencv", "x"])
    head, _, *lines = [line.strip("| ").split(" | ") for line in made.splitlines()]
    assert head[:3] == ["opencv", "x", "mean"]
    assert lines[0][1:] == ["40.0", "20.0", "30.0", "45.0", "–"]
    assert lines[1][1:] == [
        "50.0<br>+10.0 [+10.0, +10.0]", "50.0<br>+30.0 [+30.0, +30.0]",
        "50.0<br>+20.0 [+20.0, +20.0]", "55.0<br>+10.0 [+10.0, +10.0]", "–",
    ]  # fmt: skip
    assert lines[2][1:] == ["–"] * 5


def test_an_interval_is_that_of_the_mean_of_the_sources() -> None:
    """The variance of a mean of two means, from a formula."""
    draw = np.random.default_rng(3)
    parts = [draw.normal(5, 10, 80), draw.normal(1, 4, 60)]
    mean, low, high = judged.interval(parts)
    error = math.sqrt(sum(part.var() / len(part) for part in parts)) / 2
    assert mean == pytest.approx((parts[0].mean() + parts[1].mean()) / 2)
    assert (low, high) == pytest.approx((mean - 1.96 * error, mean + 1.96 * error), abs=0.15)


def test_what_is_done_is_not_done_again_and_weights_are_those_without_the_source(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[Any]] = []
    monkeypatch.setattr(judged, "command", lambda *words: ran.append(list(words)))
    judged.judge(output, "opencv", "delg")
    assert ran == []
    judged.judge(output, "opencv", judged.RERANKED)
    train, run = ran
    assert train[train.index("--leave-out") + 1] == output / "opencv.txt"
    assert run[run.index("--dataset") + 1] == output / "opencv-rerank.json"
    assert run[run.index("--weights") + 1].parent == train[train.index("--out") + 1]
    assert run[-1] == "--rerank"


def test_written_data_sets_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def contents(_packages: Path) -> Any:
        for at, name in enumerate(NAMES):
            path = tmp_path / f"{name}.png"
            image(at, (96, 72) if at % 2 else (72, 96)).save(path)
            yield (
                photographs.Photograph(name, "p", "1", name, "CC0-1.0", "", "lite1"),
                (path.read_bytes()),
            )

    monkeypatch.setattr(photographs, "contents", contents)
    monkeypatch.setattr(sources, "SIZE", (64, 48))
    assert sources.write(tmp_path, tmp_path / "out") == len(NAMES)
    views = tmp_path / "out" / "views"
    made = {path.relative_to(views).as_posix() for path in views.rglob("*.png")}
    for source in sources.SOURCES:
        for name in (source, f"{source}-rerank"):
            data = datasets.load(str(tmp_path / "out" / f"{name}.json"))
            assert {image.path for image in (*data.database, *data.queries)} <= made
        listed = (tmp_path / "out" / f"{source}.txt").read_text().split()
        assert listed == sources.left_out(source, NAMES)
