"""One file serves one name: what is missing is missing, however like a name another file has."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench import datasets
from bench.data import locate
from tests.support.miniatures_places import WRITERS, photograph, photographs


def paths(match: locate.Match, root: Path) -> dict[str, str]:
    """Return what was found, relative to a folder."""
    return {file: str(path.relative_to(root)) for file, path in match.found.items()}


def test_a_file_goes_to_the_name_that_agrees_best(tmp_path: Path) -> None:
    photographs(tmp_path, ["b/query/x/1.jpg", "b/ref/x/2.jpg", "b/x/3.jpg"])
    names = [f"{side}/x/{i}.jpg" for side in ("ref", "query") for i in (1, 2)]
    found = locate.match([tmp_path], [*names, "x/3.jpg", "query/x/3.jpg"])
    assert paths(found, tmp_path) == {
        "query/x/1.jpg": "b/query/x/1.jpg", "ref/x/2.jpg": "b/ref/x/2.jpg", "x/3.jpg": "b/x/3.jpg",
    }  # fmt: skip
    assert found.missing == ["ref/x/1.jpg", "query/x/2.jpg", "query/x/3.jpg"]


def test_a_file_that_two_names_could_mean_serves_none(tmp_path: Path) -> None:
    photographs(tmp_path, ["flat/7.png"])
    found = locate.match([tmp_path], ["old/7.jpg", "new/7.jpg"])
    assert not found.found
    assert set(found.shared) == {"old/7.jpg", "new/7.jpg"}
    assert paths(locate.match([tmp_path], ["old/7.jpg"]), tmp_path) == {"old/7.jpg": "flat/7.png"}


def test_the_file_of_one_name_stands_for_no_other_not_even_as_a_copy_or_a_link(
    tmp_path: Path,
) -> None:
    place, copy = tmp_path / "set" / "query" / "5.jpg", tmp_path / "other" / "query" / "5.jpg"
    photographs(tmp_path, ["set/query/5.jpg", "other/query/5.jpg"])
    (tmp_path / "linked").symlink_to(tmp_path / "set" / "query")
    for places in ([tmp_path / "set"], [copy.parent.parent], [tmp_path / "linked"]):
        found = locate.match(places, ["ref/5.jpg"], {"query/5.jpg": place})
        assert found.missing == ["ref/5.jpg"], places


def missing_after(root: Path, name: str, gone: str, workspace) -> tuple[list[str], int]:
    """Return what is missing, and how many images are called so, after a folder is removed."""
    import shutil

    shutil.rmtree(root / gone)
    dataset, missing = datasets.placed(datasets.load(name))
    named = [i.file for i in (*dataset.database, *dataset.queries) if Path(i.file).name in
             {Path(file).name for file in missing}]  # fmt: skip
    return missing, len(named)


def test_amstertime_without_its_archive_pictures(workspace, cli: Callable) -> None:
    WRITERS["amstertime"](workspace.data)
    missing, named = missing_after(
        workspace.data / "amstertime", "amstertime.new-to-old", "old", workspace
    )
    assert missing == ["old/0000.jpg", "old/0001.jpg", "old/0003.jpg"]
    assert named == 3
    result = cli("run", "--method", "random-unit", "--dataset", "amstertime.new-to-old")
    assert result.status == 1
    assert "3 of 6 images are missing" in result.err
    assert "old/0000.jpg" in result.err
    result = cli("run", "--method", "random-unit", "--dataset", "amstertime.new-to-old",
               "--allow-partial")  # fmt: skip
    assert "0 of 3 database images" in result.err
    result = cli("data", "verify", "amstertime.new-to-old", "--quick")
    assert "3 of 6 images are missing: old/0000.jpg" in result.out
    assert not workspace.records()


@pytest.mark.parametrize("limit", [(), ("--limit", "1")])
def test_a_single_file_of_nordland_and_a_copy_elsewhere(
    limit: tuple[str, ...], workspace, cli: Callable
) -> None:
    WRITERS["nordland"](workspace.data)
    folder = workspace.data / "nordland"
    names = sorted(path.name for path in (folder / "summer").iterdir())
    (workspace.data / "Nordland").mkdir()
    (workspace.data / "Nordland" / "winter").symlink_to(folder / "winter")
    (folder / "summer" / names[0]).unlink()
    missing = datasets.placed(datasets.load("nordland.gmberton"))[1]
    assert missing == [f"summer/{names[0]}"]
    result = cli("run", "--method", "random-unit", "--dataset", "nordland.gmberton", *limit)
    assert result.status == 1
    assert f"summer/{names[0]}" in result.err


def own(folder: Path, database: list[str], queries: list[str]) -> Path:
    """Write a dataset.json of these names; the first is the positive of every query."""
    made = {
        "name": "own", "images": "jpg", "database": database,
        "queries": [{"file": name} for name in queries],
        "protocols": {"all": [{"positive": [0]}] * len(queries)},
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(made, ensure_ascii=False), encoding="utf-8")
    return folder


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_forms_of_letters_and_of_separators(form: str, workspace, cli: Callable) -> None:
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    photographs(
        workspace.folder / "set" / "jpg",
        [unicodedata.normalize(other, "Zürich/Straße ä.png"), "a/b/two.png", "q.png", "three.png"],
    )
    names = [unicodedata.normalize(form, "Zürich/Straße ä.png"), "a\\b\\two.png", "three.png"]
    folder = own(workspace.folder / "set", names, ["q.png"])
    dataset, missing = datasets.placed(datasets.load(str(folder)))
    assert missing == []
    assert [image.file for image in dataset.database] == names
    result = cli("run", "--method", "random-unit", "--dataset", folder)
    assert result.status == 0, result.err
    result = cli("data", "verify", folder)
    assert "all 4 images are present" in result.out


def test_a_name_whose_letters_differ_in_case_is_named(workspace, cli: Callable) -> None:
    photographs(workspace.folder / "set" / "jpg", ["sub/House.png", "q.png", "three.png"])
    folder = own(workspace.folder / "set", ["sub/house.PNG", "three.png"], ["q.png"])
    result = cli("run", "--method", "random-unit", "--dataset", folder)
    assert result.status == 1
    assert "sub/house.PNG is sub/House.png on the disk" in result.err
    (folder / "jpg" / "sub" / "House.png").unlink()
    (folder / "jpg" / "sub" / "house.PNG").symlink_to("nowhere.png")
    result = cli("run", "--method", "random-unit", "--dataset", folder)
    assert "sub/house.PNG" in result.err
    assert "on the disk" not in result.err


def test_two_spellings_of_one_name_are_two_names(workspace) -> None:
    photographs(workspace.folder / "set" / "jpg", ["é.png", "q.png"])
    names = [unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD")]
    folder = own(workspace.folder / "set", names, ["q.png"])
    missing = datasets.placed(datasets.load(str(folder)))[1]
    assert len(missing) == 1, "the file is that of one of them"


def test_a_backslash_leads_nowhere_outside(tmp_path: Path) -> None:
    photograph(tmp_path / "secret.png", 1)
    (tmp_path / "jpg").mkdir()
    assert locate.alike(tmp_path / "jpg", ["..\\secret.png", "\\secret.png"]) == {}


# Rows that count the files of a folder


def numbered(root: Path, refs: list[str], queries: list[str], count: int) -> None:
    """Write a data set of VPR-Bench: the positive of query i is row i of `count`."""
    folder = root / "sped"
    photographs(folder, [f"ref/{name}" for name in refs] + [f"query/{name}" for name in queries])
    gt = np.empty((count, 2), dtype=object)
    for i in range(count):
        gt[i, 0], gt[i, 1] = i, [i]
    np.save(folder / "ground_truth_new.npy", gt, allow_pickle=True)


def test_names_that_are_not_padded_are_in_the_order_of_their_numbers(workspace) -> None:
    numbered(workspace.data, [f"{i}.png" for i in range(21)], [f"q{i}.png" for i in range(21)], 21)
    dataset = datasets.load("sped")
    assert [image.file for image in dataset.database] == [f"ref/{i}.png" for i in range(21)]
    assert [image.file for image in dataset.queries] == [f"query/q{i}.png" for i in range(21)]
    assert any("ref: names are in the order of their numbers" in note for note in dataset.notes)


@pytest.mark.parametrize(("first", "width"), [(0, 0), (0, 7), (1, 4)])
def test_a_gap_moves_no_row(first: int, width: int, workspace) -> None:
    names = [f"{i:0{width}}.jpg" for i in range(first, first + 12)]
    for gone in (names[0], names[5], names[-1]):
        folder = workspace.data / "sped"
        numbered(workspace.data, names, names, 12)
        (folder / "ref" / gone).unlink()
        dataset, missing = datasets.placed(datasets.load("sped"))
        assert [image.file for image in dataset.database] == [f"ref/{name}" for name in names]
        assert missing == [f"ref/{gone}"]
        (folder / "query" / gone).unlink()
        if gone != names[-1] or first == 0:
            assert datasets.placed(datasets.load("sped"))[1] == [f"ref/{gone}", f"query/{gone}"]


def test_rows_beyond_a_folder_are_refused(workspace) -> None:
    from bench.errors import BenchError

    numbered(workspace.data, [f"r{i}.jpg" for i in range(4)], [f"q{i}.jpg" for i in range(5)], 5)
    with pytest.raises(BenchError, match=r"counts 5 images of .*ref, which contains 4"):
        datasets.load("sped")


def test_gldv2_in_part_lists_the_positives_that_are_absent(workspace, cli: Callable) -> None:
    WRITERS["gldv2"](workspace.data)
    folder = workspace.data / "gldv2"
    (folder / "index.csv").unlink(missing_ok=True)
    whole = [image.file for image in datasets.load("gldv2").database]
    positives = {
        int(row) for p in datasets.load("gldv2").protocols for t in p.truth for row in t.positive
    }
    gone = whole[min(positives)]
    (folder / gone).unlink()
    dataset, missing = datasets.placed(datasets.load("gldv2"))
    assert [image.file for image in dataset.database] == whole
    assert missing == [gone]
    result = cli("run", "--method", "random-unit", "--dataset", "gldv2", "--allow-partial")
    assert result.status == 0, result.err
    assert f"{len(whole) - 1} database images" in result.out
    cli("data", "verify", "gldv2", "--quick", "--list", workspace.folder / "F")
    assert (workspace.folder / "F").read_text().splitlines() == [f"missing {gone}"]
