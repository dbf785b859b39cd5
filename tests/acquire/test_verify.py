"""`data verify`: whole data sets are good, and every defect is named; the real part of Paris."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bench import datasets
from bench.images import inspect
from bench.system.hashing import sha256_lines
from tests.support import miniatures
from tests.support.miniatures import jpeg, photograph

NAMES = [f"{place}_{i}" for place in ("hall", "hall_east", "mill") for i in range(3)]
DATABASE = [name for name in NAMES if not name.endswith("0")]
QUERIES = [name for name in NAMES if name.endswith("0")]

PLUG_IN = '''"""A town."""

from bench.facts import Expected, Facts

VARIANTS = {"all": "every query", "mill": "the mill alone"}
DATABASE, QUERIES = LISTS
FACTS = Facts(
    tier=2, headline="mAP", size_bytes=1, licence="free", licence_url="http://example.org",
    folders=("village",), expected={"all": Expected(**EXPECTED)},
    prefixes={"hall": 3, "hall_east": 3, "mill": 3}, not_images=("mill_9",), sizes=SIZES,
    unblurred=UNBLURRED, notes=("the mill was moved",),
)


def load(root, variant):
    asked = [i for i in range(3) if variant == "all" or i == 2]
    return {
        "name": "town", "images": str(root / "town" / "jpg"),
        "database": [f"{name}.jpg" for name in DATABASE],
        "queries": [{"file": f"{QUERIES[i]}.jpg"} for i in asked],
        "protocols": {"one": [{"positive": [2 * i, 2 * i + 1]} for i in asked]},
    }
'''


@dataclass
class Town:
    """A complete data set, and how to check it."""

    path: Path
    folder: Path
    run: Callable[..., Any]
    facts: dict[str, Any]

    def write(self) -> None:
        """Write the plug-in with the facts as they are now."""
        text = PLUG_IN.replace("LISTS", repr((DATABASE, QUERIES)))
        for key, value in self.facts.items():
            text = text.replace(key.upper(), repr(value))
        self.path.write_text(text)

    def verify(self, *more: object) -> tuple[int, list[str], list[str]]:
        """Return the status, the problems and the notes."""
        process = self.run("data", "verify", self.path, *more)
        assert not process.errors, process.err
        lines = [line.strip().split("  ", 1) for line in process.out.splitlines() if "  " in line]
        problems = [line[1] for line in lines if line[0] == "PROBLEM"]
        notes = [line[1] for line in lines if line[0] == "note"]
        assert process.status == (1 if problems else 0)
        summary = f"{self.path}: {f'{len(problems)} problems' if problems else 'good'}"
        assert summary in process.out
        return process.status, problems, notes


@pytest.fixture
def town(workspace, cli) -> Town:
    """Return a town that is as its facts say."""
    folder = workspace.data / "town"
    for name in NAMES:
        photograph(folder / "jpg" / f"{name}.jpg", size=(400, 300))
    known = hashlib.sha256((folder / "jpg" / "hall_1.jpg").read_bytes()).hexdigest()
    facts = {
        "expected": {
            "database": 6, "queries": 3, "names": "stem",
            "database_sha256": sha256_lines(DATABASE), "queries_sha256": sha256_lines(QUERIES),
            "positives": {"one": 6}, "ignored": {"one": 0},
        },
        "sizes": {"longest": 400, "400x300": 6, "landscape": 6, "portrait": 0, "pixels": 720_000},
        "unblurred": {"hall_1": known},
    }  # fmt: skip
    made = Town(workspace.folder / "town.py", folder, cli, facts)
    made.write()
    return made


@pytest.mark.parametrize("more", [(), ("--quick",)])
def test_a_whole_data_set_is_good(town: Town, more: tuple[str, ...]) -> None:
    status, problems, notes = town.verify(*more)
    assert (status, problems) == (0, [])
    assert "the mill was moved" in notes
    text = "the photographs are the edition from before June 2022, in which faces are not obscured"
    assert any(note.startswith(text) for note in notes)


def spoil(town: Town, kind: str) -> None:
    """Do one kind of damage to mill_1."""
    path = town.folder / "jpg" / "mill_1.jpg"
    content = path.read_bytes()
    if kind == "missing":
        path.unlink()
    elif kind == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "page":
        path.write_text("<html><body>302 Found</body></html>")
    elif kind == "text":
        path.write_bytes(b"not an image")
    elif kind == "small":
        photograph(path, size=(256, 192))
    elif kind == "upright":
        photograph(path, size=(300, 400))
    elif kind == "twice":
        photograph(town.folder.parent / "village" / "mill_2.jpg", "other")
        (town.folder / "jpg" / "mill_2.jpg").rename(town.folder / "mill_2.jpg")
    elif kind == "table":
        (town.folder / "train.parquet").write_bytes(b"PAR1")


@pytest.mark.parametrize(
    ("kind", "says", "also"),
    [
        ("missing", "1 of 9 images are missing: mill_1.jpg", "mill: 2 of 3 images"),
        ("cut", "1 files: truncated: mill_1.jpg", None),
        ("empty", "1 files: empty: mill_1.jpg", None),
        ("page", "1 files: a web page saved as an image: mill_1.jpg", None),
        ("text", "1 files: not an image: mill_1.jpg", None),
        ("small", "1 database images have a longest side other than 400 pixels: mill_1.jpg (256x",
         "size table, 400x300: 5 database images instead of 6"),
        ("upright", "size table, landscape: 5 database images instead of 6",
         "size table, portrait: 1 database images instead of 0"),
        ("twice", "mill_2.jpg exists in several folders with different content: ",
         "mill: 2 of 3 images"),
        ("table", "1 .parquet files: ", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("more", [(), ("--quick",)])
def test_every_defect_is_named(town: Town, kind: str, says: str, also: str | None, more) -> None:
    spoil(town, kind)
    _, problems, _ = town.verify(*more)
    assert any(problem.startswith(says) for problem in problems), problems
    assert also is None or also in problems
    if kind in ("cut", "empty", "page", "text", "table"):
        assert len(problems) == 1


def test_pixels_that_only_decoding_finds_wrong(town: Town) -> None:
    path = photograph(town.folder / "mill_1.png", size=(400, 300))
    content = path.read_bytes()
    path.unlink()
    half = len(content) // 2
    (town.folder / "jpg" / "mill_1.jpg").write_bytes(
        content[:half] + bytes(20) + content[half + 20 :]  # a PNG, whatever its name is
    )
    assert town.verify("--quick")[1] == []
    (problem,) = town.verify()[1]
    assert problem.endswith("mill_1.jpg")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("database", 7, "town.all: database: 6 images instead of 7"),
        ("queries", 2, "town.all: queries: 3 images instead of 2"),
        ("database_sha256", "0" * 64, f"instead of {'0' * 64}"),
        ("queries_sha256", ("0" * 64, "1" * 64), "town.all: the list of queries has sha256"),
        ("positives", {"one": 5}, "town.all: one, positive: 6 pairs instead of 5"),
        ("ignored", {"one": 1}, "town.all: one, ignored: 0 pairs instead of 1"),
    ],
)
def test_lists_and_truth_that_differ(town: Town, key: str, value: Any, says: str) -> None:
    town.facts["expected"][key] = value
    town.write()
    (problem,) = town.verify()[1]
    assert says in problem


def test_variants_are_checked_together_or_alone(town: Town) -> None:
    _, _, notes = town.verify()
    assert {"town.all: every query", "town.mill: the mill alone"} <= set(notes)
    for name in ("hall_0", "hall_east_0"):
        (town.folder / "jpg" / f"{name}.jpg").unlink()
    assert "2 of 9 images are missing" in town.verify()[1][0]
    process = town.run("data", "verify", f"{town.path}:mill")
    assert "all 7 images are present" in process.out


def test_a_copy_that_was_shrunk_is_recognised(town: Town) -> None:
    for name in NAMES:
        photograph(town.folder / "jpg" / f"{name}.jpg", size=(256, 192))
    _, problems, notes = town.verify("--quick")
    assert any("256 pixels or less: this looks like a downscaled copy" in p for p in problems)
    assert any("are not the edition from before June 2022" in note for note in notes)


def test_images_too_many_and_files_known_to_be_none(town: Town) -> None:
    photograph(town.folder / "jpg" / "mill_7.jpg")
    (town.folder / "jpg" / "mill_9.jpg").write_text("<html></html>")
    status, _, notes = town.verify()
    assert status == 0
    assert any(note.startswith("1 image files are in no list: ") for note in notes)
    assert any(note.startswith("1 of the 1 extra files") for note in notes)
    assert any("1 of them are web pages saved as .jpg: mill_9" in note for note in notes)


def test_every_image_is_named_in_a_file(town: Town, tmp_path: Path) -> None:
    spoil(town, "missing")
    (town.folder / "jpg" / "hall_2.jpg").write_bytes(b"")
    town.verify("--list", tmp_path / "list.txt")
    assert (tmp_path / "list.txt").read_text().splitlines() == [
        "missing mill_1.jpg", "broken hall_2.jpg: empty",
    ]  # fmt: skip


def test_without_ground_truth_images_are_counted(cli, workspace) -> None:
    for name in ("all_souls_000000", "radcliffe_camera_000001", "new_000002", "oxford_000003"):
        photograph(workspace.data / "roxford5k" / "jpg" / f"{name}.jpg")
    result = cli("data", "verify", "roxford5k")
    assert result.status == 1
    assert "PROBLEM  roxford5k: the ground truth" in result.out
    assert "new: 1 of 458 images" in result.out
    assert (
        "partial, 4 images; lists and ground truth are missing"
        in cli("data", "list", "roxford5k").out
    )
    assert re.search(r"roxford5k .* 4 images, no lists$", cli("data", "list").out, re.M)


def test_text_files_of_another_edition(cli, workspace, shared) -> None:
    miniatures.oxford5k(workspace.data)
    result = cli("data", "verify", "oxford5k", "--quick")
    assert result.status == 1
    assert "8 text files with sha256" in result.out
    for path in (workspace.data / "oxford5k" / "gt_files_170407").iterdir():
        path.unlink()
    for path in shared("data/oxford5k/gt_files_170407").glob("*.txt"):
        (workspace.data / "oxford5k" / "gt_files_170407" / path.name).write_bytes(path.read_bytes())
    assert "220 text files with the known sha256" in cli("data", "verify", "oxford5k.official").out


def test_a_folder_of_ones_own(cli, small_file: Path) -> None:
    for name in (*(f"d{i}" for i in range(8)), "q0", "q1"):
        photograph(small_file.parent / "jpg" / f"{name}.png")
    result = cli("data", "verify", small_file)
    assert result.status == 1
    assert "PROBLEM  1 of 11 images are missing: q2.png" in result.out
    photograph(small_file.parent / "jpg" / "q2.png")
    assert cli("data", "verify", small_file.parent).status == 0


def test_a_name_that_does_not_exist(cli, refused) -> None:
    result = cli("data", "verify", "roxfrd5k")
    assert "did you mean roxford5k" in refused(result)
    assert "did you mean official" in refused(cli("data", "where", "oxford5k.oficial"))


def test_images_of_every_kind(tmp_path: Path) -> None:
    for ending in ("png", "gif", "webp", "bmp", "tif"):
        path = photograph(tmp_path / f"x.{ending}")
        assert inspect.decode(path) == inspect.header(path) == miniatures.SIZE
    (tmp_path / "wrong.jpg").write_bytes((tmp_path / "x.png").read_bytes())
    assert inspect.decode(tmp_path / "wrong.jpg") == miniatures.SIZE
    (tmp_path / "cut.png").write_bytes((tmp_path / "x.png").read_bytes()[:-30])
    assert str(inspect.decode(tmp_path / "cut.png")).startswith("truncated")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "vast.png")
    assert str(inspect.header(tmp_path / "vast.png")).startswith("cannot be decoded")
    (tmp_path / "trailing.jpg").write_bytes(jpeg("x") + b"\0" * 100)
    assert inspect.header(tmp_path / "trailing.jpg") == miniatures.SIZE


# --- the real photographs that are at hand ------------------------------------------------------


@pytest.fixture
def part(workspace, shared) -> list[str]:
    """Lay out the part of Paris that is here as its archive does; return the names of the files."""
    folder = workspace.data / "paris"
    truth = workspace.data / "rparis6k" / "gnd_rparis6k.pkl"
    truth.parent.mkdir(parents=True)
    truth.write_bytes(shared("data/rparis6k/gnd_rparis6k.pkl").read_bytes())
    names = []
    for path in sorted(shared("data/rparis6k-part/jpg").glob("*.jpg")):
        place = folder / path.name.split("_")[1] / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path)
        names.append(path.name)
    return names


@pytest.mark.slow
def test_the_part_of_paris_is_reported_exactly(cli, workspace, part: list[str]) -> None:
    listing = workspace.folder / "missing.txt"
    result = cli("data", "verify", "rparis6k", "--list", listing)
    assert result.status == 1
    dataset = datasets.load("rparis6k")
    wanted = [image.file for image in (*dataset.database, *dataset.queries)]
    missing = [name for name in wanted if name not in set(part)]
    assert len(missing) == 6392 - 250
    assert listing.read_text().splitlines() == [f"missing {name}" for name in missing]
    assert f"6142 of 6392 images are missing: {missing[0]}, {missing[1]}" in result.out
    assert "paris_louvre: 50 of 266 images" in result.out
    assert "paris_general: 0 of 1497 images" in result.out
    assert "ok  all 250 images found can be decoded" in result.out
    assert "the longest side of all 238 database images is 1024 pixels" in result.out
    assert "are the edition from before June 2022" in result.out
    assert (
        f"images in {workspace.data / 'paris' / 'louvre'}: 50"
        in cli("data", "where", "rparis6k").out
    )
    assert re.search(r"rparis6k .*  250 of 6,392 images$", cli("data", "list").out, re.M)
    assert "here: partial, 250 of 6392 images" in cli("list", "rparis6k").out


@pytest.mark.slow
def test_a_run_on_the_part_of_paris(cli, workspace, refused, part: list[str]) -> None:
    run = ("run", "--dataset", "rparis6k", "--method", "random-unit")
    assert "6142 of 6392 images are missing" in refused(cli(*run))
    result = cli(*run, "--allow-partial")
    assert result.status == 0, result.err
    mark = "(partial: 238 database images and 12 queries; 6084 and 58 are absent)"
    assert result.out.count(mark) == 2
    (path,) = workspace.records()
    content = json.loads(path.read_text())
    assert content["partial"] is True
    assert content["card"]["absent"] == {"database": 6084, "queries": 58}
    assert (content["card"]["dataset"]["database"], content["card"]["dataset"]["queries"]) == (
        238,
        12,
    )
    again = cli("verify", path)
    assert again.status == 0
    assert "ground truth not compared: the record is of the images found then" in again.out
    content["partial"] = False
    # What is left of the truth is what the whole truth says of the images that are there.
    whole, dataset = datasets.load("rparis6k"), datasets.available(datasets.load("rparis6k"))
    here = {image.file for image in dataset.database}
    assert len(here) == 238
    assert here | {image.file for image in dataset.queries} == set(part)
    asked = {image.file: i for i, image in enumerate(whole.queries)}
    for protocol, of_whole in zip(dataset.protocols, whole.protocols, strict=True):
        for query, truth in zip(dataset.queries, protocol.truth, strict=True):
            full = of_whole.truth[asked[query.file]]
            for kind in ("positive", "ignored"):
                left = [dataset.database[row].file for row in getattr(truth, kind)]
                expected = [whole.database[row].file for row in getattr(full, kind)]
                assert left == [file for file in expected if file in here]


def test_descriptors_of_the_part_of_paris(cli, workspace, refused, part: list[str]) -> None:
    import numpy as np

    out = workspace.folder / "q.npz"
    extract = ("extract", "--dataset", "rparis6k", "--method", "random-unit", "--which", "queries")
    assert "58 of 70 images are missing" in refused(cli(*extract, "--output", out))
    result = cli(*extract, "--output", out, "--allow-partial")
    assert result.status == 0
    assert "partial: 58 of 70 images of the queries of rparis6k are absent" in result.err
    assert len(np.load(out)["ids"]) == 12


def test_nothing_to_score(cli, workspace, refused) -> None:
    miniatures.roxford5k(workspace.data)
    for path in (workspace.data / "roxford5k" / "jpg").glob("all_souls_0000*0.jpg"):
        path.unlink()
    (workspace.data / "roxford5k" / "jpg" / "oxford_000000.jpg").unlink()
    result = cli("run", "--dataset", "roxford5k", "--method", "random-unit", "--allow-partial")
    assert "roxford5k cannot be scored: 6 of 6 database images and 0 of 2" in refused(result)
