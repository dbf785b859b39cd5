"""retrieval-SfM-120k: from its lists to pairs, a validation, and a learned whitening."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from bench import datasets
from bench.errors import BenchError
from tests.support import miniatures
from tests.support.miniatures import SFM, SFM_LISTS


def test_a_pair_is_a_query_and_its_positive(workspace: Any) -> None:
    miniatures.sfm120k(workspace.data)
    found = datasets.load("sfm120k")
    assert [image.id.rpartition("/")[2] for image in found.database] == SFM
    assert found.database[1].file == f"22/22/22/{SFM[1]}"
    assert [query.file for query in found.queries] == [found.database[i].file for i in (0, 0, 3)]
    assert [t.positive.tolist() for t in found.protocols[0].truth] == [[1], [2], [4]]
    assert [t.ignored.tolist() for t in found.protocols[0].truth] == [[], [], []]


def test_a_query_of_the_validation_stands_once(workspace: Any) -> None:
    """Its pairs are right; what else is of its model is neither right nor wrong."""
    miniatures.sfm120k(workspace.data)
    found = datasets.load("sfm120k.val")
    assert [query.file for query in found.queries] == [found.database[i].file for i in (0, 3)]
    assert [t.positive.tolist() for t in found.protocols[0].truth] == [[1, 2], [4]]
    assert [t.ignored.tolist() for t in found.protocols[0].truth] == [[0, 5], [3]]


@pytest.mark.parametrize("name", ["sfm120k", "sfm120k.val"])
def test_from_files_to_a_record(cli: Any, workspace: Any, name: str) -> None:
    miniatures.sfm120k(workspace.data)
    printed = cli("run", "--dataset", name, "--method", "random-unit")
    assert printed.status == 0, printed.err
    (path,) = workspace.records()
    record = json.loads(path.read_text())
    assert record["partial"] is False
    assert f"here: complete, {len(SFM)} images" in cli("data", "list", "sfm120k").out


@pytest.mark.slow
def test_a_whitening_is_learned_from_the_pairs(cli: Any, workspace: Any) -> None:
    """As the command of a published row "+ Lw" does it."""
    miniatures.sfm120k(workspace.data)
    miniatures.roxford5k(workspace.data)
    printed = cli("run", "--dataset", "roxford5k", "--method", "gem.untrained", "--stage",
                  "lw-whiten:2,on=sfm120k")  # fmt: skip
    assert printed.status == 0, printed.err
    (path,) = workspace.records()
    (stage,) = json.loads(path.read_text())["card"]["stages"]
    assert (stage["stage"], stage["dim"], stage["on"]["pairs"]) == ("lw-whiten", 2, 3)
    assert stage["on"]["rows"] == len(SFM)
    assert stage["on"]["name"] == "sfm120k.whiten"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pidxs": [1, 2, 6]}, "outside the list"),
        ({"pidxs": [1, 2]}, "zip"),
        ({"qidxs": ["x", 0, 3]}, "ValueError"),
        ({"cids": [*SFM[:5], "../x"]}, "is not the name of an image"),
        ({"cids": SFM[:5]}, "differ in length"),
    ],
)
def test_lists_that_cannot_be_right(workspace: Any, change: dict[str, Any], says: str) -> None:
    miniatures.sfm120k(workspace.data)
    path = workspace.data / "sfm120k" / "retrieval-SfM-120k.pkl"
    path.write_bytes(pickle.dumps({"val": SFM_LISTS | change}))
    with pytest.raises(BenchError, match=r"retrieval-SfM-120k\.pkl is not a list") as caught:
        datasets.load("sfm120k.val")
    assert says in str(caught.value)


def test_code_in_a_list_is_not_run(workspace: Any) -> None:
    miniatures.sfm120k(workspace.data)
    target = workspace.folder / "touched"
    path = workspace.data / "sfm120k" / "retrieval-SfM-120k-whiten.pkl"
    path.write_bytes(b"cos\nsystem\n(Vtouch " + str(target).encode() + b"\ntR.")
    with pytest.raises(BenchError, match="data must not need code"):
        datasets.load("sfm120k")
    assert not target.exists()


def test_an_absent_list_names_the_command(workspace: Any) -> None:
    with pytest.raises(BenchError, match="`data get sfm120k` downloads it"):
        datasets.load("sfm120k.val")
