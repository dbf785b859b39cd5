"""Known facts of data sets whose names carry positions: AmsterTime, St Lucia, SF-XL; and Baidu."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench import datasets
from bench.datasets._readers import numpy_files, utm
from bench.system.hashing import sha256_lines
from tests.support.truths import Finder, files


def test_amstertime_in_its_three_forms(lay: Callable) -> None:
    lay("amstertime", "amstertime")
    expected = datasets.entry_of("amstertime").facts.expected["vpr"]
    dataset = datasets.load("amstertime.vpr")
    assert sha256_lines(files(dataset.database)) == expected.database_sha256
    assert sha256_lines(files(dataset.queries)) == expected.queries_sha256
    ids = [name.split("@")[7] for name in files(dataset.queries)]
    assert (len(ids), ids[0], ids[-1]) == (1231, "0000", "1367")
    assert int(ids[-1]) + 1 > len(ids), "with gaps"
    for item, other in (("new", "old"), ("old", "new")):
        task = datasets.load(f"amstertime.{item}-to-{other}")
        assert (len(task.database), len(task.queries)) == (1231, 1231)
        stems = [
            [Path(name).stem for name in files(images)] for images in (task.database, task.queries)
        ]
        assert stems[0] == stems[1] == ids
        assert files(task.queries)[0].startswith(f"{item}/0000.")
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
    places = [np.array([utm.position(name) for name in files(images)])
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
    names = numpy_files.strings(path.read_bytes(), path)
    database = [name.replace("queries_v1", "database") for name in names[:3]]
    np.save(folder / "sf_xl_dbImages.npy", np.array(database))
    dataset = datasets.load("sf-xl.v1")
    assert len(dataset.queries) == datasets.entry_of("sf-xl").facts.expected["v1"].queries == 1000
    assert [int(i in t.positive) for i, t in enumerate(dataset.protocols[0].truth[:3])] == [1, 1, 1]
    for kind, count in (("dbImages", 689), ("qImages", 2292)):
        path = shared(f"data/baidu/baidu_{kind}.npy")
        assert len(numpy_files.strings(path.read_bytes(), path)) == count
