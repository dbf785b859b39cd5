"""Lists made from a disk: found in any layout, and compared with what is published."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import datasets
from bench.errors import BenchError
from tests.support.miniatures_places import VARIANTS, WRITERS, photographs

DATABASE = [f"@{500_000 + 100 * i}.00@4000000.00@33@T@d{i}@.jpg" for i in range(4)]
QUERIES = [f"@{500_005 + 100 * i}.00@4000000.00@33@T@q{i}@.jpg" for i in range(2)]


def lay(folder: Path, split: str = "images/test") -> Path:
    """Write four database images and two queries whose names carry positions."""
    photographs(folder / split / "database", DATABASE)
    photographs(folder / split / "queries", QUERIES, 50)
    return folder


def lists(name: str) -> tuple[list[str], list[str], list[list[int]]]:
    """Return the lists and the positives of a data set, all of whose images are here."""
    dataset, missing = datasets.placed(datasets.load(name))
    assert missing == []
    return (
        [image.file for image in dataset.database],
        [image.file for image in dataset.queries],
        [truth.positive.tolist() for truth in dataset.protocols[0].truth],
    )


@pytest.mark.parametrize("variant", ["pitts30k.test", "pitts30k.val", "tokyo247.full"])
def test_published_sets_in_the_layout_of_the_downloader(variant: str, workspace) -> None:
    name, split = variant.split(".")
    split = "images/test" if split == "full" else f"images/{split}"
    lay(workspace.data / name / "from-a-disk", split)
    assert lists(variant) == (
        [f"database/{n}" for n in DATABASE], [f"queries/{n}" for n in QUERIES], [[0], [1]],
    )  # fmt: skip
    dataset = datasets.load(variant)
    assert f"names with positions in {split}" in dataset.variant
    assert len(dataset.unlike) >= 2, "of the counts, not of the names"
    assert not any("sha256" in text for text in dataset.unlike)


def test_what_such_names_do_not_say_is_not_guessed(workspace) -> None:
    lay(workspace.data / "tokyo247")
    with pytest.raises(BenchError, match=r"tokyo247\.mat"):
        datasets.load("tokyo247.suppressed")
    lay(workspace.data / "pitts250k")  # another set, though its photographs serve pitts30k
    with pytest.raises(BenchError, match=r"pitts30k_test\.mat"):
        datasets.load("pitts30k.test")


def test_published_lists_come_before_names_with_positions(workspace) -> None:
    WRITERS["pitts30k"](workspace.data)
    before = datasets.load("pitts30k.test")
    lay(workspace.data / "pitts30k")
    assert datasets.load("pitts30k.test").database == before.database


@pytest.mark.parametrize("split", ["images/test", "test", ""])
def test_a_folder_of_ones_own_needs_no_plug_in(split: str, workspace, cli: Callable) -> None:
    folder = lay(workspace.folder / "My City 2024", split)
    dataset = datasets.load(str(folder))
    assert dataset.name == "my-city-2024"
    assert [truth.positive.tolist() for truth in dataset.protocols[0].truth] == [[0], [1]]
    result = cli("run", "--method", "random-unit", "--dataset", folder)
    assert result.status == 0, result.err
    record = workspace.records()[0]
    assert json.loads(record.read_text())["card"]["dataset"]["rules"]["threshold_m"] == 25
    assert cli("verify", record, "--dataset", folder).status == 0
    result = cli("data", "verify", folder)
    assert f"{folder}: good" in result.out
    assert "all 6 images are present" in result.out


@pytest.mark.parametrize(
    ("name", "split", "database", "queries"),
    [
        ("pitts30k", "images/test", "database", "queries"),
        ("tokyo247", "images/test", "database", "queries"),
        ("nordland", "images/test", "database", "queries"),
        ("msls", "images/val", "database", "queries"),
        ("sf-xl", "processed/test", "database", "queries_v1"),
        ("svox", "images/test", "gallery", "queries"),
    ],
)
def test_layouts_of_the_downloader_by_path(
    name: str, split: str, database: str, queries: str, workspace
) -> None:
    folder = lay(workspace.folder / name, split)
    (folder / split / "database").rename(folder / split / database)
    (folder / split / "queries").rename(folder / split / queries)
    photographs(folder / split / "queries_night", QUERIES, 50)
    if split != "images/val":  # validation and training beside the test are not it
        lay(workspace.folder / name, "images/val")
    lay(workspace.folder / name, "images/train")
    dataset = datasets.load(str(folder))
    assert dataset.name == f"{name}-own"
    assert dataset.folder == folder / split
    assert dataset.database[0].file.startswith(f"{database}/@")
    assert {image.file.partition("/")[0] for image in dataset.queries} == {queries}
    assert "queries_night" in " ".join(dataset.notes)
    assert [truth.positive.tolist() for truth in dataset.protocols[0].truth] == [[0], [1]]


def test_a_folder_of_ones_own_takes_no_known_name(workspace) -> None:
    assert datasets.load(str(lay(workspace.folder / "mini"))).name == "mini-own"


@pytest.mark.parametrize(
    "name", ["eynsham", "svox", "sf-xl", "gldv2", "ilias", "msls", "amstertime"]
)
def test_an_archive_with_folders_on_top(name: str, workspace, cli: Callable) -> None:
    """Whatever a miniature holds is found as well when it is packed two folders deeper."""
    WRITERS[name](workspace.data)
    wanted = {full: lists(full) for full in VARIANTS if full.partition(".")[0] == name}
    assert wanted
    folder = next(
        p for p in (workspace.data / name, workspace.data / name.replace("-", "_")) if p.is_dir()
    )
    archive = workspace.folder / "own.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                packed.write(path, Path("a/b") / path.relative_to(folder))
    shutil.rmtree(workspace.data)
    assert cli("data", "get", name, "--from", archive).status == 0
    for full, (database, queries, positive) in wanted.items():
        got = lists(full)
        assert got[2] == positive, full
        assert (len(got[0]), len(got[1])) == (len(database), len(queries))
        assert {Path(f).name for f in got[0]} == {Path(f).name for f in database}


def test_train_and_val_are_not_the_test_split(workspace) -> None:
    lay(workspace.data / "eynsham" / "deep", "images/train")
    lay(workspace.data / "eynsham" / "deep", "images/val")
    with pytest.raises(BenchError, match="images/test/database"):
        datasets.load("eynsham")


# Compared with what is published


def test_a_part_is_never_called_whole(workspace, cli: Callable) -> None:
    folder = workspace.folder / "copy"
    WRITERS["sped"](workspace.folder)
    (workspace.folder / "sped").rename(folder)
    result = cli("data", "get", "sped", "--from", folder)
    assert (
        "sped: partial, 6 images; not the published list: database: 3 images instead of 607"
        in result.out
    )
    assert re.search(r"sped .*  6 of 6 images, not the published list$", cli("list").out, re.M)
    listed = cli("data", "list", "sped").out.split("here: ")[1].splitlines()[0]
    assert listed.startswith("partial, 6 images; not the published list")
    result = cli("run", "--method", "random-unit", "--dataset", "sped")
    assert result.status == 0, result.err
    assert "sped: not the published list: database: 3 images instead of 607" in result.err
    assert "(partial: not the published list; 3 database images and 3 queries)" in result.out
    path = workspace.records()[0]
    record = json.loads(path.read_text())
    assert record["partial"] is True
    assert record["card"]["dataset"]["list"] == "not-published"
    assert cli("verify", path).status == 0
    result = cli("data", "verify", "sped", "--quick")
    problems = [line for line in result.out.splitlines() if line.startswith("PROBLEM")]
    assert len(problems) == len(datasets.load("sped").unlike) == 5


def test_the_published_lists_are_whole(workspace, lay: Callable) -> None:
    lay("sped", "sped", vprbench_ground_truth_new="ground_truth_new.npy")
    dataset = datasets.load("sped")
    assert dataset.unlike == ()


def test_a_set_of_which_nothing_is_stated_is_compared_with_nothing(
    workspace, cli: Callable
) -> None:
    WRITERS["eynsham"](workspace.data)
    assert datasets.load("eynsham").unlike == ()
    result = cli("run", "--method", "random-unit", "--dataset", "eynsham")
    assert "published" not in result.out + result.err
    assert "list" not in json.loads(workspace.records()[0].read_text())["card"]["dataset"]
