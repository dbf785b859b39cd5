"""Images without a descriptor under compression, an index, areas, suppression and re-ranking.

The measure of all is the same data set without these images: what is left must find the same.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.records import record, verify
from bench.search import areas, exact, missing
from bench.store import matrix
from bench.types import NO_ROW, NOT_RETRIEVED, Areas

pytestmark = pytest.mark.slow

GONE, SILENT = (4, 50, 300), 4  # rows of the database, 50 being a positive of query 0; a query
RECALL = ["recall@1.any-hit.junk-removed", "recall@50.any-hit.junk-removed"]


# --- areas, by hand -----------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [0, 3, 11, 40])
@pytest.mark.parametrize(
    ("rows", "queries"),
    [((2, 7, 12, 13), ()), ((0, 1, 31), (3,)), ((8, 9, 10), (0,)), ((), (1, 2)), ((8, 9, 10), ())],
)
def test_what_is_missing_ends_the_lists_of_its_own_area(rows, queries, depth: int) -> None:
    """Three areas (rows 0-7, 8-10, 11-24) and seven distractors, against a sort of each."""
    draw = np.random.default_rng(1)
    vectors = draw.standard_normal((32, 5)).astype(np.float32)
    asked = draw.standard_normal((5, 5))
    content = Areas(np.repeat([0, 3, 4], [8, 3, 14]), np.array([4, 0, 3, 4, 0]))
    seen = [
        np.append(np.flatnonzero(content.database == a), np.arange(25, 32)) for a in content.queries
    ]
    labelled = [item[:-7][::2] for item in seen]
    absent = missing.Missing(dict.fromkeys(rows, "why"), dict.fromkeys(queries, "why"))
    parts = [matrix.from_array(part, "x") for part in (vectors[:25], vectors[25:])]
    left = missing.without(parts, rows)
    questions = np.delete(asked, queries, axis=0)
    wanted = missing.labels_without(labelled, absent, 32)
    jobs = areas.jobs(missing.areas_without(content, absent), left, wanted)
    done = [
        (job, exact.search(job.parts, questions[job.queries], job.labelled, depth)) for job in jobs
    ]
    found = areas.join(done, len(questions))
    ranks, short = missing.restore(
        found.ranks, found.shortlist, labelled, absent, 32, depth, content
    )
    for query, mine in enumerate(seen):
        gone = mine if query in queries else mine[np.isin(mine, rows)]
        scores = vectors.astype(np.float64) @ asked[query]
        scores[gone] = -2.0 - gone
        keys = [(row in gone, -scores[row], row) for row in mine.tolist()]
        order = [row for _, _, row in sorted(keys)]
        part = ranks.of_query(query)
        assert ranks.row[part].tolist() == labelled[query].tolist()
        assert ranks.rank[part].tolist() == [order.index(row) for row in labelled[query]]
        assert np.allclose(ranks.score[part], scores[labelled[query]], atol=1e-12)
        listed = short.row[query][short.row[query] != NO_ROW]
        assert listed.tolist() == order[:depth]
        assert short.row.shape[1] == min(depth, 21)


def test_an_area_of_which_nothing_is_left_has_empty_lists() -> None:
    content = Areas(np.array([0, 0, 1]), np.array([0, 1]))
    absent = missing.Missing({2: "why"}, {})
    parts = missing.without([matrix.from_array(np.eye(3, dtype=np.float32), "x")], [2])
    jobs = areas.jobs(
        missing.areas_without(content, absent), parts, [np.array([0]), np.array([], int)]
    )
    assert [job.queries.tolist() for job in jobs] == [[0]]
    done = [(job, exact.search(job.parts, np.eye(1, 3), job.labelled, 2)) for job in jobs]
    found = areas.join(done, 2)
    labelled = [np.array([0]), np.array([2])]
    ranks, short = missing.restore(found.ranks, found.shortlist, labelled, absent, 3, 2, content)
    assert ranks.rank.tolist() == [0, 0]
    assert short.row.tolist() == [[0, 1], [2, NO_ROW]]


def test_rows_that_are_left_are_not_what_their_store_holds() -> None:
    """Codes of compressed rows are kept by the key of the store, or by the rows themselves."""
    parts = [matrix.from_array(np.eye(3, dtype=np.float32), "x", "key")] * 2
    assert [part.key for part in missing.without(parts, [])] == ["key", "key"]
    assert [part.key for part in missing.without(parts, [1])] == [None, None]
    assert [part.key for part in missing.without(parts, [0, 1, 2])] == [None]


# --- whole runs ---------------------------------------------------------------------------------


def without_them(tiny: Path) -> Path:
    """Make the same data set without the images that are gone."""
    data = json.loads((tiny / "dataset.json").read_text())
    left = [row for row in range(600) if row not in GONE]
    place = {row: at for at, row in enumerate(left)}
    data["database"] = [data["database"][row] for row in left]
    del data["queries"][SILENT], data["protocols"]["p"][SILENT]
    for truth in data["protocols"]["p"]:
        truth["positive"] = [place[row] for row in truth["positive"] if row in place]
    if "groups" in data:
        data["groups"] = [data["groups"][row] for row in left]
    if "areas" in data:
        data["areas"]["database"] = [data["areas"]["database"][row] for row in left]
        del data["areas"]["queries"][SILENT]
    folder = tiny.with_name("less")
    shutil.copytree(tiny, folder)
    (folder / "dataset.json").write_text(json.dumps(data))
    return folder


PAIRS = {"groups": [i // 2 for i in range(600)], "metrics": RECALL}
STAGES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "float16": ({}, ["--compression", "float16"]),
    "codes": ({}, ["--compression", "pq3x4"]),
    "inverted file": ({}, ["--search", "ivf8,flat,nprobe2,k60", "--compression", "float16"]),
    "graph": ({}, ["--search", "hnsw4,ef60,k60"]),
    "areas": (
        {"areas": {"database": [0] * 200 + [1] * 400, "queries": [0, 0, 0, 0, 0]}}, []
    ),
    "suppression": (PAIRS, []),
    "index, suppression": (PAIRS, ["--search", "ivf2,flat,nprobe2"]),
    "measured": ({}, ["--measure", "sample"]),
}  # fmt: skip


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_left_finds_what_it_would_without_them(
    workspace, cli, tiny: Path, stage: str
) -> None:
    changes, options = STAGES[stage]
    data = json.loads((tiny / "dataset.json").read_text())
    (tiny / "dataset.json").write_text(json.dumps({**data, **changes}))
    less = without_them(tiny)
    for name in (*(f"{row:03}" for row in GONE), f"q{SILENT:03}"):
        (tiny / "jpg" / f"{name}.png").write_bytes(b"")
    arguments = (
        "run",
        "--method",
        tiny / "halves.py",
        "--device",
        "cpu",
        "--shortlist",
        "50",
        *options,
    )
    made = []
    for folder in (tiny, less):
        result = cli(*arguments, "--dataset", folder, "--allow-missing")
        assert result.status == 0, result.err
        (path,) = set(workspace.records()) - {path for path, _, _ in made}
        assert verify.verify(path)[0] == []
        content = record.read(path)
        made.append((path, content, record.read_arrays(path, content)))
    (_, first, arrays), (_, other, fewer) = made
    assert first["card"]["missing"] == {
        "rule": missing.RULE, "database": list(GONE), "queries": [SILENT]
    }  # fmt: skip
    assert (first["partial"], other["partial"]) == (True, False)
    for word in ("compression", "search"):  # with the number of rows that there are
        assert first["card"][word] == other["card"][word]
    for metric in first["card"]["metrics"]:
        values = first["scores"]["p"][metric]["per_query"]
        assert values[1:SILENT] == other["scores"]["p"][metric]["per_query"][1:]
        assert values[SILENT] == 0
    left = np.array([row for row in range(600) if row not in GONE])
    lists = fewer["shortlist_row"]
    mine = arrays["shortlist_row"][:SILENT, : lists.shape[1]]
    assert mine.tolist() == np.where(lists == NO_ROW, NO_ROW, left[lists]).tolist()
    if "search" not in " ".join(options):
        return
    for key in ("positives_missed", "shortlist_recall"):
        mine, theirs = first["approximate"][key], other["approximate"][key]
        assert mine == (theirs if key == "shortlist_recall" else {"p": theirs["p"] + 3})
    assert arrays["labelled_rank"][arrays["labelled_row"] == 50].tolist() == [NOT_RETRIEVED]
    assert np.all(arrays["shortlist_row"][SILENT] == NO_ROW)
    arrays["labelled_rank"][arrays["labelled_row"] == 50] = 590
    arrays["labelled_score"][arrays["labelled_row"] == 50] = -9.0
    for entry in ("schema", "card_sha256", "card_id", "ranks", "sha256"):
        del first[entry]
    forged = record.write(workspace.folder / "forged", first, arrays)
    assert any("contradict the missing images" in fault for fault in verify.verify(forged)[0])


def test_an_index_that_does_not_fit_what_is_left_is_refused(
    workspace, cli, refused, tiny: Path
) -> None:
    data = json.loads((tiny / "dataset.json").read_text())
    short = {**data, "database": data["database"][:60], "protocols": {"p": [{"positive": [0]}] * 5}}
    (tiny / "dataset.json").write_text(json.dumps(short))
    for row in GONE[:2]:
        (tiny / "jpg" / f"{row:03}.png").write_bytes(b"")
    arguments = ("run", "--method", tiny / "halves.py", "--dataset", tiny, "--allow-missing")
    text = refused(cli(*arguments, "--search", "ivf59,flat"))
    assert text.startswith("--search ivf59,flat,nprobe16,k1000 has 59 cells for 58 database rows")
    assert cli(*arguments, "--search", "ivf58,flat").status == 0
    short["areas"] = {"database": [0] * 60, "queries": [0] * 5}
    (tiny / "dataset.json").write_text(json.dumps(short))
    shutil.rmtree(workspace.cache)
    assert "is searched area by area" in refused(cli(*arguments, "--search", "ivf2,flat"))
    assert not (workspace.cache / "descriptors").exists(), "said before anything is described"
