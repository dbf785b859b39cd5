"""Every data set in its genuine form on disk, a few images each, from its files to a record."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from bench import datasets
from bench.data import locate
from bench.errors import BenchError
from tests.support import miniatures

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", miniatures.WRITERS)
def test_from_files_to_a_record(cli, workspace, name: str) -> None:
    miniatures.WRITERS[name](workspace.data)
    result = cli("run", "--dataset", name, "--method", "random-unit")
    assert result.status == 0, result.err
    (path,) = workspace.records()
    content = json.loads(path.read_text())
    dataset = datasets.load(name)
    full = name if "." in name or name[0] == "r" else f"{name}.official"
    assert dataset.name == content["card"]["dataset"]["name"] == full
    assert content["partial"] is True, "a miniature has not the published lists"
    assert (len(dataset.database), len(dataset.queries)) == ((6, 2) if full == name[:9] else (8, 2))
    assert f">> {full}: mAP " in result.out
    assert f"lists and ground truth are those of {full} on this machine" in cli("verify", path).out
    listed = f"here: partial, {len(miniatures.OXFORD)} images; not the published list"
    assert listed in cli("data", "list", name.partition(".")[0]).out


def test_the_query_counts_or_is_ignored_but_never_is_wrong(workspace) -> None:
    miniatures.paris6k(workspace.data)
    official, without = (datasets.load(f"paris6k.{v}") for v in ("official", "query-ignored"))
    assert [t.positive.tolist() for t in official.protocols[0].truth] == [[1, 2, 4], [0, 3, 5]]
    assert [t.ignored.tolist() for t in official.protocols[0].truth] == [[7], [1]]
    assert [t.positive.tolist() for t in without.protocols[0].truth] == [[2, 4], [0, 3]]
    assert [t.ignored.tolist() for t in without.protocols[0].truth] == [[1, 7], [1, 5]]
    assert official.queries[0].box == (2.0, 3.5, 40.0, 30.0)
    assert official.queries == without.queries


def test_text_files_say_the_same_as_the_pickle(workspace) -> None:
    miniatures.oxford5k(workspace.data)
    texts = datasets.load("oxford5k")
    assert "not the published list" in texts.variant
    truth = miniatures.original(miniatures.OXFORD)
    pickled = workspace.data / "oxford5k" / "gnd_oxford5k.pkl"
    pickled.write_bytes(pickle.dumps(truth))
    both = datasets.load("oxford5k")
    assert [image.id for image in both.database] == truth["imlist"]
    assert [image.id for image in texts.database] == sorted(truth["imlist"])
    assert texts.queries == both.queries
    for item, other in zip(texts.protocols[0].truth, both.protocols[0].truth, strict=True):
        for kind in ("positive", "ignored"):
            named = [
                {dataset.database[row].id for row in getattr(entry, kind)}
                for dataset, entry in ((texts, item), (both, other))
            ]
            assert named[0] == named[1]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("all_souls_000000 1 2 3\n", "must contain one line, a name and the four corners"),
        ("", "is empty"),
        ("all_souls_000000 1 2 3 x\n", "must contain one line"),
        ("all_souls_000000 9 2 3 4\n", "is empty; write left"),
        ("../evil 1 2 3 4\n", "must be a file name inside"),
    ],
)
def test_text_files_that_cannot_be_right(workspace, content: str, says: str) -> None:
    miniatures.oxford5k(workspace.data)
    folder = workspace.data / "oxford5k" / "gt_files_170407"
    (folder / "all_souls_1_query.txt").write_text(content)
    with pytest.raises(BenchError) as caught:
        datasets.load("oxford5k")
    assert says in str(caught.value)


def test_a_text_file_that_is_missing_is_named(workspace) -> None:
    miniatures.oxford5k(workspace.data)
    (workspace.data / "oxford5k" / "gt_files_170407" / "oxford_1_junk.txt").unlink()
    with pytest.raises(BenchError, match=r"oxford_1_junk\.txt is missing: oxford_1_query\.txt"):
        datasets.load("oxford5k")


@pytest.mark.parametrize("change", ["row", "stranger", "kind"])
def test_pickles_that_cannot_be_right(workspace, change: str) -> None:
    truth = miniatures.original(miniatures.PARIS)
    if change == "row":
        truth["gnd"][0]["ok"] = [-1]
    elif change == "stranger":
        truth["qimlist"][1] = "paris_louvre_999999"
    else:
        truth["gnd"][0]["junk"] = ["1"]
    miniatures._pickled(workspace.data, "paris6k", truth)
    with pytest.raises(BenchError) as caught:
        datasets.load("paris6k")
    says = "paris_louvre_999999 are not in imlist" if change == "stranger" else "is not a row"
    assert says in str(caught.value)


def test_hostile_pickles_of_the_original_sets_are_refused(workspace) -> None:
    target = workspace.folder / "touched"
    path = workspace.data / "oxford5k" / "gnd_oxford5k.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"cos\nsystem\n(Vtouch " + str(target).encode() + b"\ntR.")
    with pytest.raises(BenchError, match="data must not need code"):
        datasets.load("oxford5k")
    assert not target.exists()


def test_distractors_have_no_queries_and_cannot_be_scored(cli, workspace, refused) -> None:
    names = miniatures.revisitop1m(workspace.data)
    dataset = datasets.load("revisitop1m")
    assert [image.file for image in dataset.database] == names
    assert dataset.queries == dataset.protocols == ()
    result = cli("run", "--dataset", "revisitop1m", "--method", "random-unit")
    assert "the data set revisitop1m has no queries and cannot be scored" in refused(result)
    assert "revisitop1m: A million" in cli("data", "list", "revisitop1m").out
    out = workspace.folder / "r1m.npz"
    assert cli("extract", "--dataset", "revisitop1m", "--method", "random-unit",
               "--output", out).status == 0  # fmt: skip
    assert np.load(out)["ids"].tolist() == [name.removesuffix(".jpg") for name in names]


def test_truth_is_read_once_and_kept_under_its_hash(workspace, monkeypatch) -> None:
    miniatures.roxford5k(workspace.data)
    first = datasets.load("roxford5k")
    kept = list((workspace.cache / "truth").glob("*.json"))
    assert len(kept) == 1
    assert len(kept[0].stem) == 64
    from bench.data import ground_truth

    monkeypatch.setattr(ground_truth, "plain_pickle", lambda *_: pytest.fail("read again"))
    again = datasets.load("roxford5k")
    assert [p.name for p in again.protocols] == [p.name for p in first.protocols]
    assert again.database == first.database
    monkeypatch.undo()
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(workspace.cache))
    monkeypatch.setenv("RETRIEVAL_BENCH_DATA", str(workspace.data))
    text = kept[0].read_text()
    kept[0].write_text(text.replace("all_souls_000003", "all_souls_000004", 1))
    assert datasets.load("roxford5k").database == first.database
    assert kept[0].read_text() == text


# --- layouts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    ["roxford5k/jpg", "roxford5k", "roxford5k/images/a/b", "oxford5k/jpg", "oxbuild_images",
     "datasets/roxford5k/jpg", "test/oxford5k/jpg"],
)  # fmt: skip
@pytest.mark.parametrize("ending", [".jpg", ".png", ".JPG"])
def test_any_sensible_layout(workspace, place: str, ending: str) -> None:
    miniatures._pickled(workspace.data, "roxford5k", miniatures.revisited(miniatures.OXFORD))
    for name in miniatures.OXFORD:
        miniatures.photograph(workspace.data / place / f"{name}{ending}")
    bare = datasets.load("roxford5k")
    dataset = datasets.placed(bare)[0]
    for image in (*dataset.database, *dataset.queries):
        assert (dataset.folder / image.path).name == f"{image.id}{ending}"
    assert [i.file for i in dataset.database] == [i.file for i in bare.database]


def test_two_files_of_one_name(workspace) -> None:
    miniatures.rparis6k(workspace.data)
    there = workspace.data / "rparis6k"
    name = "paris_louvre_000003.jpg"
    copy = there / "copy" / name
    miniatures.photograph(copy)
    assert datasets.placed(datasets.load("rparis6k"))[1] == []  # the same bytes
    miniatures.photograph(copy, "another")
    with pytest.raises(BenchError) as caught:
        datasets.placed(datasets.load("rparis6k"))
    assert str(copy) in str(caught.value)
    assert str(there / "paris" / "louvre" / name) in str(caught.value)


def test_folders_decide_between_files_of_one_name(tmp_path: Path) -> None:
    for folder in ("set/database/000", "set/queries/000"):
        miniatures.photograph(tmp_path / folder / "000001.png", folder)
    wanted = ["database/000/000001.jpg", "queries/000/000001.jpg"]
    match = locate.match([tmp_path], wanted)
    assert match.missing == []
    assert match.ambiguous == {}
    assert [match.found[file].parent.parent.name for file in wanted] == ["database", "queries"]


def test_links_in_circles_do_not_trap_the_search(tmp_path: Path) -> None:
    miniatures.photograph(tmp_path / "a" / "b" / "x.jpg")
    (tmp_path / "a" / "b" / "round").symlink_to(tmp_path)
    match = locate.match([tmp_path, tmp_path / "a"], ["x.jpg", "y.jpg"])
    assert match.found["x.jpg"] == tmp_path / "a" / "b" / "x.jpg"
    assert match.missing == ["y.jpg"]
