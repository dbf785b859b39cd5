"""Photographs of one's own: folders of classes, tables, positions, GPS; and the order of lists."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.data import make

CLASSES = {"arch": 4, "bridge": 3, "church": 1, "dome": 2}


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    draw = np.random.default_rng(5)
    for name, count in CLASSES.items():
        for number in range(count):
            path = folder / name / f"{number + 9}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            base = np.random.default_rng(len(name)).integers(0, 200, (40, 60, 3))
            pixels = base + draw.integers(0, 40, base.shape)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    return folder


def made(cli: Any, photographs: Path, *words: Any) -> tuple[Any, Any]:
    output = photographs.parent / "town.json"
    result = cli("data", "make", photographs, "--output", output, *words)
    assert result.status == 0, result.err
    assert (photographs.parent / "town.png").is_file()
    return result, json.loads(output.read_text(encoding="utf-8"))


def written(path: Path, *rows: str) -> Path:
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def test_a_folder_per_class_gives_scores(cli, photographs: Path, workspace) -> None:
    text, data = made(cli, photographs)
    assert [query["file"] for query in data["queries"]] == [
        "arch/9.jpg",
        "bridge/9.jpg",
        "dome/9.jpg",
    ]
    assert len(data["database"]) == sum(CLASSES.values()) - 3
    assert data["protocols"]["all"][0]["positive"] == ["arch/10.jpg", "arch/11.jpg", "arch/12.jpg"]
    assert "7 database images, 3 queries with 1 to 3 positives" in text.out
    assert "too few images for a query: 1;" in text.out
    run = cli("run", "--dataset", photographs.parent / "town.json", "--method", "random-unit",
              "--measure", "none")  # fmt: skip
    assert run.status == 0, run.err
    assert ">> town: mAP all:" in run.out
    _, more = made(cli, photographs, "--queries-per-class", 2)
    assert [query["file"] for query in more["queries"]] == [
        "arch/9.jpg", "arch/10.jpg", "bridge/9.jpg", "bridge/10.jpg"]  # fmt: skip


def test_names_of_one_number_are_in_the_order_of_names(cli, photographs: Path) -> None:
    for name in ("arch/009.jpg", "arch/9.png"):
        Image.open(photographs / "arch" / "10.jpg").rotate(90).save(photographs / name)
    text, data = made(cli, photographs)
    assert data["queries"][0]["file"] == "arch/009.jpg"
    assert data["database"][:3] == ["arch/9.jpg", "arch/9.png", "arch/10.jpg"]
    assert "copies of others" not in text.out


def test_tables_of_groups_and_of_pairs(cli, photographs: Path, tmp_path: Path) -> None:
    groups = written(
        tmp_path / "g.csv", "group,file", "x,arch/9.jpg", "x,dome/9.jpg", "y,arch/10.jpg"
    )
    _, data = made(cli, photographs, "--groups", groups)
    assert data["queries"] == [{"file": "arch/9.jpg", "landmark": "x"}]
    assert data["database"] == ["dome/9.jpg", "arch/10.jpg"]
    pairs = written(tmp_path / "p.csv", "query,positive", "arch/9.jpg,arch/10.jpg",
                    "arch/9.jpg,arch/11.jpg", "arch/10.jpg,arch/11.jpg")  # fmt: skip
    text, data = made(cli, photographs, "--pairs", pairs)
    assert (
        "1 queries are also in the database; each of them is ignored for its own query" in text.out
    )
    assert data["protocols"]["all"] == [
        {"positive": ["arch/10.jpg", "arch/11.jpg"]},
        {"positive": ["arch/11.jpg"], "ignored": ["arch/10.jpg"]},
    ]
    assert len(data["database"]) == sum(CLASSES.values()) - 1  # the query that matches nothing


def test_positions_of_a_table_and_boxes(cli, photographs: Path, tmp_path: Path) -> None:
    rows = ("file,x,y", "arch/9.jpg,1000,2000", "arch/10.jpg,1020,2000",
            "bridge/9.jpg,1040,2000", "dome/9.jpg,5000,2000")  # fmt: skip
    table = written(tmp_path / "xy.csv", *rows)
    box = written(tmp_path / "b.csv", "file,left,top,right,bottom", "arch/9.jpg,1,2,30,30.5")
    text, data = made(cli, photographs, "--positions", table, "--within", 20, "--boxes", box)
    truth = {q["file"]: e for q, e in zip(data["queries"], data["protocols"]["all"], strict=True)}
    assert truth["arch/10.jpg"] == {"positive": ["arch/9.jpg", "bridge/9.jpg"],
                                    "ignored": ["arch/10.jpg"]}  # fmt: skip
    assert truth["dome/9.jpg"]["positive"] == []
    assert "1 queries have no image within 20 m" in text.out
    assert data["rules"]["threshold_m"] == 20
    assert next(q for q in data["queries"] if "box" in q)["box"] == [1, 2, 30, 30.5]


def gps(path: Path, latitude: float, longitude: float) -> None:
    """Write GPS into the EXIF of a photograph, as cameras do: degrees, minutes, seconds."""
    with Image.open(path) as image:
        exif = image.getexif()
        place = exif.get_ifd(0x8825)
        for key, value, sides in ((2, latitude, "NS"), (4, longitude, "EW")):
            whole = abs(value)
            minutes = (whole % 1) * 60
            place[key - 1] = sides[value < 0]
            place[key] = (float(int(whole)), float(int(minutes)), round(minutes % 1 * 60, 4))
        exif[0x8825] = place  # Pillow 11 does not keep what get_ifd gives
        image.save(path, exif=exif)


def test_a_hall_in_metres_is_none_in_degrees(photographs: Path, tmp_path: Path) -> None:
    places = {"arch/9.jpg": (0.5, 0.25), "arch/10.jpg": (14.5, 0.75), "dome/9.jpg": (61.25, 0.5)}
    lines = [f"{file},{x},{y}" for file, (x, y) in places.items()]
    table = written(tmp_path / "hall.csv", "file,x,y", *lines)
    assert make.table_positions(table, photographs, 20.0) == places


def test_positions_from_cameras(cli, photographs: Path) -> None:
    for number, metres in enumerate((0, 15, 45)):
        gps(photographs / "arch" / f"{number + 9}.jpg", -33.9 + metres / 111_195, -18.4)
    positions = make.gps_positions(photographs)
    assert len(positions) == 3
    north = [positions[f"arch/{n}.jpg"][1] for n in (9, 10, 11)]
    assert np.diff(north) == pytest.approx([15, 30], abs=0.1)
    _, data = made(cli, photographs, "--gps", "--within", 25)
    assert [e["positive"] for e in data["protocols"]["all"]] == [
        ["arch/10.jpg"],
        ["arch/9.jpg"],
        [],
    ]


def test_positions_from_names_are_no_classes(cli, refused, photographs: Path) -> None:
    for number, name in enumerate(("arch", "bridge")):
        kind = ("database", "queries")[number]
        (photographs / name).rename(photographs / kind)
        for east, path in enumerate(sorted((photographs / kind).iterdir())):
            path.rename(path.with_name(f"@{500_000 + 20 * east + 5 * number}@4000000@33@T@.jpg"))
    for other in ("church", "dome"):
        for path in (photographs / other).iterdir():
            path.unlink()
    _, data = made(cli, photographs, "--within", 10)
    near = [entry["positive"] for entry in data["protocols"]["all"]]
    assert near == [[f"database/@{500_000 + 20 * i}@4000000@33@T@.jpg"] for i in range(3)]
    assert data["rules"]["threshold_m"] == 10
    path = next((photographs / "queries").iterdir())
    path.rename(path.with_name(path.name.replace("@33@", "@34@")))
    result = cli("data", "make", photographs, "--output", photographs.parent / "two.json")
    assert "--positions" in refused(result)


def test_copies_are_warned_of(cli, photographs: Path) -> None:
    content = (photographs / "arch" / "9.jpg").read_bytes()
    for name in ("arch/12.jpg", "bridge/11.jpg", "dome/10.jpg"):
        (photographs / name).write_bytes(content)
    text, _ = made(cli, photographs)
    assert "2 database images are copies of others" in text.out
    assert "queries are also in the database" in text.out


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--pairs", "none.csv"], "none.csv"),
        (["--pairs", "p.csv", "--gps"], "--gps"),
        (["--gps"], "GPS"),
        (["--queries-per-class", "9"], "9"),
        (["--groups", "bad.csv"], "group"),
        (["--groups", "gone.csv"], "arch/77.jpg"),
        (["--groups", "out.csv"], "../x.jpg"),
        (["--positions", "degrees.csv"], "degrees"),
        (["--positions", "turned.csv"], "degrees"),
        (["--boxes", "box.csv"], "dome/10.jpg"),
    ],
)
def test_what_cannot_be_made_is_one_sentence(
    cli, refused, photographs: Path, tmp_path: Path, monkeypatch, words: list[str], value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "p.csv", "query,positive", "arch/9.jpg,arch/10.jpg")
    written(tmp_path / "bad.csv", "file,class", "arch/9.jpg,x")
    written(tmp_path / "gone.csv", "file,group", "arch/77.jpg,x")
    written(tmp_path / "out.csv", "file,group", "../x.jpg,x")
    written(tmp_path / "degrees.csv", "file,x,y", "arch/9.jpg,48.85,2.35", "dome/9.jpg,48.86,2.3")
    written(tmp_path / "turned.csv", "file,x,y", "arch/9.jpg,151.2,-33.8", "dome/9.jpg,151.3,-33.9")
    written(tmp_path / "box.csv", "file,left,top,right,bottom", "dome/10.jpg,1,2,3,4")
    result = cli("data", "make", photographs, "--output", tmp_path / "town.json", *words)
    assert value in refused(result)
    assert not (tmp_path / "town.json").exists()


def test_names_stand_for_rows_and_a_misspelt_one_is_named(cli, refused, photographs: Path) -> None:
    _, data = made(cli, photographs)
    data["protocols"]["all"][0]["positive"][0] = "arch/1O.jpg"
    path = photographs.parent / "town.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    sentence = refused(cli("run", "--dataset", path, "--method", "random-unit"))
    assert "protocols.all[0].positive" in sentence
    assert "arch/10.jpg" in sentence


def test_the_order_of_lists_is_printed(cli, photographs: Path, tmp_path: Path) -> None:
    box = written(tmp_path / "b.csv", "file,left,top,right,bottom", "arch/9.jpg,1,2,30,30")
    _, data = made(cli, photographs, "--boxes", box)
    path = photographs.parent / "town.json"
    assert cli("data", "names", path).out.splitlines() == data["database"]
    result = cli("data", "names", path, "--which", "queries", "--csv")
    rows = list(csv.DictReader(io.StringIO(result.out)))
    assert list(rows[0].values()) == [
        "arch/9",
        "arch/9.jpg",
        "1.0",
        "2.0",
        "30.0",
        "30.0",
        "60",
        "40",
    ]
    assert len(rows) == len(data["queries"])
