"""An image is described once: queries that are whole images of the database are copies of rows."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pictures

from bench.describe import copies
from bench.records import record, verify
from bench.types import Image

Edit = Callable[..., None]


def images(*files: str, box: Any = None) -> list[Image]:
    """Return images of these files."""
    return [Image(file, file, box) for file in files]


def test_rows_are_those_of_the_same_content_by_hand() -> None:
    database = [*images("a"), *images("b", box=(0, 0, 1, 1)), *images("c", "d", "e")]
    prints = ["1", "2", "3", "3", None]
    found = copies.rows_of(images("d", "x", "e"), ["3", "1", None], database, prints)
    assert found is not None
    assert found.tolist() == [2, 0, 4], "the first of equal rows; a file is itself"
    assert found.dtype == np.int64
    assert copies.rows_of(images("b"), ["2"], database, prints) is None, "only a box of it"
    assert copies.rows_of(images("a", box=(0, 0, 1, 1)), ["1"], database, prints) is None
    assert copies.rows_of(images("a", "z"), ["1", "9"], database, prints) is None, "not all are"
    assert copies.rows_of(images("z"), [None], database, prints) is None


@pytest.fixture
def edit(tiny: Path) -> Edit:
    """Return a function that changes what the tiny data set says."""

    def change(**entries: Any) -> None:
        path = tiny / "dataset.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | entries))

    return change


@pytest.fixture
def command(tiny: Path, edit: Edit) -> tuple[Any, ...]:
    """Return the command for the tiny data set whose queries are five of its images."""
    edit(queries=[{"file": f"{i:03}.png"} for i in (9, 3, 599, 3, 7)])
    return ("run", "--method", tiny / "halves.py", "--dataset", tiny, "--device", "cpu")


def stores(cache: Path) -> dict[int, tuple[Path, dict[str, Any]]]:
    """Return folder and key of every store, by the number of its images."""
    keys = {path.parent: json.loads(path.read_text()) for path in cache.rglob("key.json")}
    return {key["images"]["count"]: (folder, key) for folder, key in keys.items()}


def rows_in(folder: Path) -> np.ndarray:
    """Return the rows of a store."""
    return np.concatenate([np.load(path) for path in sorted(folder.glob("shard-*.npy"))])


def test_queries_of_a_leave_one_out_set_are_copied(workspace, cli, command, described) -> None:
    assert "to describe: 600 images" in cli(*command, "--limit", "600").err
    assert described() == 600
    kept = stores(workspace.cache)
    (database, of_database), (queries, of_queries) = kept[600], kept[5]
    assert len(of_queries["rows_of"]) == 64
    assert of_queries["rows_of"].startswith(database.name)
    assert "rows_of" not in of_database
    assert rows_in(queries).tobytes() == rows_in(database)[[9, 3, 599, 3, 7]].tobytes()
    (path,) = workspace.records()
    assert record.read(path)["timing"]["images_from_store"] == 5
    assert verify.verify(path)[0] == []
    assert cli(*command).status == 0
    assert described() == 0


def test_what_the_cache_holds_decides_nothing(
    workspace, cli, command, tiny: Path, edit: Edit, described
) -> None:
    """Queries described before, as those of another data set, are not taken."""
    listed = json.loads((tiny / "dataset.json").read_text())["queries"]
    edit(
        database=[f"{i:03}.png" for i in range(100, 200)], protocols={"p": [{"positive": [0]}] * 5}
    )
    assert cli(*command).status == 0
    assert described() == 105, "the queries are not among the database"
    edit(database=[f"{i:03}.png" for i in range(600)], queries=listed)
    assert cli(*command).status == 0
    assert described() == 600
    keys = [json.loads(path.read_text()) for path in workspace.cache.rglob("key.json")]
    assert sorted("rows_of" in key for key in keys if key["images"]["count"] == 5) == [False, True]


def test_one_query_that_is_no_image_of_the_database_has_all_described(
    workspace, cli, command, tiny: Path, edit: Edit, described
) -> None:
    edit(queries=[{"file": f"{i:03}.png"} for i in range(4)] + [{"file": "q000.png"}])
    assert cli(*command).status == 0
    assert described() == 605
    assert not any("rows_of" in key for _, key in stores(workspace.cache).values())
    edit(queries=[{"file": "000.png", "box": [0, 0, 8, 8]}], protocols={"p": [{"positive": [0]}]})
    assert cli(*command).status == 0
    assert described() == 1, "a box is not the whole image"
    assert cli(*command, "--query-crop", "whole").status == 0
    assert described() == 0


def test_another_copy_of_a_photograph_is_the_same_photograph(
    workspace, cli, command, tiny: Path, edit: Edit, described
) -> None:
    shutil.copyfile(tiny / "jpg" / "042.png", tiny / "jpg" / "copy.png")
    edit(queries=[{"file": "copy.png"}], protocols={"p": [{"positive": [42]}]})
    assert cli(*command).status == 0
    assert described() == 600


@pytest.mark.slow
def test_rows_that_changed_since_are_copied_again(workspace, cli, command, described) -> None:
    """The database is described again, to other bytes: so are its copies."""
    assert cli(*command).status == 0
    described()
    (database, _), (queries, _) = stores(workspace.cache)[600], stores(workspace.cache)[5]
    before = rows_in(queries)
    for path in sorted(database.glob("shard-*.npy")):
        np.save(path, -np.load(path))
        manifest = json.loads(path.with_suffix(".json").read_text())
        manifest["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        del manifest["manifest_sha256"]  # as of older versions
        path.with_suffix(".json").write_text(json.dumps(manifest))
    assert cli(*command).status == 0
    assert described() == 0
    assert np.array_equal(rows_in(queries), -before)
    assert rows_in(queries).tobytes() == rows_in(database)[[9, 3, 599, 3, 7]].tobytes()
    (queries / "shard-00000.npy").write_bytes(b"damaged")
    described()
    assert cli(*command).status == 0
    assert described() == 0
    assert rows_in(queries).tobytes() == rows_in(database)[[9, 3, 599, 3, 7]].tobytes()
    assert cli(*command, "--force").status == 0
    assert described() == 600


@pytest.mark.slow
def test_an_image_without_a_descriptor_is_none_as_a_query_either(
    workspace, cli, refused, command, tiny: Path, described
) -> None:
    whole = (tiny / "jpg" / "003.png").read_bytes()
    (tiny / "jpg" / "003.png").write_bytes(b"<html>")
    assert refused(cli(*command)).startswith("3 of 605 images cannot be used: ")
    assert described() == 599
    assert cli(*command, "--allow-missing").status == 0
    assert described() == 0
    made = record.read(workspace.records()[-1])
    assert made["card"]["missing"]["database"] == [3]
    assert made["card"]["missing"]["queries"] == [1, 3]
    (tiny / "jpg" / "003.png").unlink()
    assert cli(*command, "--allow-missing").status == 0
    assert record.read(workspace.records()[-1])["card"]["missing"]["queries"] == [1, 3]
    (tiny / "jpg" / "003.png").write_bytes(whole)
    described()
    assert cli(*command).status == 0
    assert described() == 32, "the shard of that image"


def test_the_two_directions_of_pairs_describe_every_picture_once(
    workspace, cli, tiny: Path, edit: Edit, described
) -> None:
    """One set's queries are the other's database, in one order: they share the store."""
    old, new = ([f"{i:03}.png" for i in range(low, low + 40)] for low in (0, 40))
    pairs = {"p": [{"positive": [i]} for i in range(40)]}
    arguments = ("run", "--method", tiny / "halves.py", "--dataset", tiny, "--device", "cpu")
    edit(database=old, queries=[{"file": file} for file in new], protocols=pairs)
    assert cli(*arguments).status == 0
    assert described() == 80
    edit(database=new, queries=[{"file": file} for file in old], protocols=pairs)
    assert cli(*arguments).status == 0
    assert described() == 0


@pytest.mark.slow
def test_local_features_of_such_queries_are_those_of_the_database(
    workspace, cli, tmp_path: Path
) -> None:
    folder = tmp_path / "views"
    (folder / "jpg").mkdir(parents=True)
    draw = np.random.default_rng(3)
    names = [f"{i}.png" for i in range(6)]
    for name in names:
        small = Pictures.fromarray(draw.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        small.resize((160, 160)).save(folder / "jpg" / name)
    data = {"name": "views", "images": "jpg", "database": names,
            "queries": [{"file": "4.png"}, {"file": "1.png"}],
            "protocols": {"p": [{"positive": [4]}, {"positive": [1]}]}}  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(data))
    assert cli("run", "--method", "delg.untrained", "--dataset", folder, "--rerank",
               "--device", "cpu").status == 0  # fmt: skip
    (only,) = (workspace.cache / "local").iterdir()
    assert json.loads((only / "key.json").read_text())["images"]["count"] == 6
    made = record.read(workspace.records()[0])
    first = record.read_arrays(workspace.records()[0], made)["shortlist_row"][:, 0]
    assert first.tolist() == [4, 1]
