"""Approximate search: lists of an index, infinite ranks, the loss in the record, forgeries."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import BenchError
from bench.records import record
from bench.records.verify import verify
from bench.records.words import say
from bench.report.build import build
from bench.scoring import scores
from bench.search import exact, faiss_index
from bench.store.matrix import from_array
from bench.types import NO_ROW, NOT_RETRIEVED, GroundTruth, LabelledRanks, Protocol

HEADLINE = "map.trapezoid.junk-removed"
METRICS = (HEADLINE, "mp@5.clipped.junk-removed", "recall@1.any-hit.junk-removed")


def unit(n: int, dim: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def index_of(name: str) -> faiss_index.Index:
    index = faiss_index.parse(name)
    assert index is not None
    return index


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "full"),
    [
        ("ivf8", "ivf8,flat,nprobe8,k1000"),
        ("ivf1024", "ivf1024,flat,nprobe16,k1000"),
        ("ivf1024,flat nprobe3", "ivf1024,flat,nprobe3,k1000"),
        ("ivf64,k7,pq16x8", "ivf64,pq16x8,nprobe16,k7"),
        ("ivf4,pq2x4,nprobe9", "ivf4,pq2x4,nprobe4,k1000"),
        ("hnsw32", "hnsw32,ef1000,k1000"),
        ("hnsw16,ef300,k100", "hnsw16,ef300,k100"),
        ("hnsw16,k50", "hnsw16,ef128,k50"),
    ],
)
def test_a_name_holds_every_parameter(value: str, full: str) -> None:
    assert index_of(value).name == full
    assert faiss_index.parse(full) == faiss_index.parse(value)


def test_exact_is_no_index() -> None:
    assert faiss_index.parse("exact") is None
    assert faiss_index.code(None, 4, 9) == "exact"


@pytest.mark.parametrize(
    "name",
    ["", "ivf", "ivf0", "flat", "ivf8,pq4x5", "ivf8,flat,pq4x8", "ivf8,nprobe0", "hnsw8,flat",
     "hnsw8,nprobe2", "lsh", "ivf8;flat", "ivf8,exact"],
)  # fmt: skip
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(BenchError, match="is unknown; use exact, or a faiss index"):
        faiss_index.parse(name)


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, words in (
        ("ivf100", "has 100 cells for 99 database rows"),
        ("ivf9,pq5x4", "12 dimensions cannot be divided"),
        ("ivf9,pq4x8", "needs at least 256 database rows"),
    ):
        with pytest.raises(BenchError, match=words):
            faiss_index.code(index_of(name), 12, 99)
    monkeypatch.setattr(faiss_index.machine, "available_bytes", lambda: 1000)
    with pytest.raises(BenchError, match="GiB of memory for its index"):
        faiss_index.retrieve(index_of("hnsw8"), [from_array(unit(99, 4), "x")], np.ones((1, 4)))


# --- lists --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ivf9,flat,nprobe9", "hnsw16,ef400"])
def test_an_index_that_looks_everywhere_gives_the_exact_lists(name: str) -> None:
    rows, queries = unit(400, 16), unit(5, 16, 1).astype(np.float64)
    if name.startswith("ivf"):  # many equal rows cut the graph of HNSW into pieces
        rows[::7] = rows[3]
    parts = [from_array(rows[:150], "a"), from_array(rows[150:], "b")]
    labelled = [np.arange(i, 400, 9) for i in range(5)]
    got = faiss_index.retrieve(index_of(name), parts, queries)
    whole = exact.search(parts, queries, labelled, 400)
    ranks, shortlist = faiss_index.ranks_of(got.lists, labelled, 400)
    assert np.array_equal(shortlist.row, whole.shortlist.row)
    assert np.array_equal(shortlist.score, whole.shortlist.score)
    for field in ("offsets", "row", "rank", "score", "tied"):
        assert np.array_equal(getattr(ranks, field), getattr(whole.ranks, field)), field


@pytest.mark.parametrize("name", ["ivf20,flat,nprobe3,k50", "ivf20,pq4x4,nprobe3,k50", "hnsw8,k50"])
def test_the_same_rows_give_the_same_lists(name: str) -> None:
    parts = [from_array(unit(600, 16), "a")]
    queries = unit(4, 16, 1).astype(np.float64)
    first, two = (faiss_index.retrieve(index_of(name), parts, queries) for _ in range(2))
    for (rows, values), (again, others) in zip(first.lists, two.lists, strict=True):
        assert np.array_equal(rows, again)
        assert np.array_equal(values, others)
        assert len(rows) == len(np.unique(rows)) <= 50
        assert np.all(np.diff(values) <= 0)
    assert min(len(rows) for rows, _ in first.lists) > 10


def test_a_list_holds_the_rows_of_the_lists_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two far clusters, two lists, one looked into: exactly the query's own cluster is found."""
    rows = unit(100, 8)
    rows[:, 0] += np.where(np.arange(100) % 2 == 0, 9, -9)
    query = np.zeros((1, 8))
    query[0, 0] = 1
    got = faiss_index.retrieve(index_of("ivf2,flat,nprobe1"), [from_array(rows, "a")], query)
    ((found, scores),) = got.lists
    assert sorted(found.tolist()) == list(range(0, 100, 2))
    assert scores.tolist() == sorted(rows[::2, 0].astype(float), reverse=True)
    assert got.index_bytes == 100 * (4 * 8 + 8) + 4 * 8 * 2
    assert set(got.seconds) == {"train", "add", "search"}


def test_product_quantised_scores_are_those_of_the_vectors_held() -> None:
    """Rows that are four points: the quantiser holds them exactly, so scores are exact."""
    points = unit(4, 4)
    rows = points[np.arange(200) % 4]
    query = unit(1, 4, 3).astype(np.float64)
    got = faiss_index.retrieve(index_of("ivf1,pq2x4,k9"), [from_array(rows, "a")], query)
    ((found, scores),) = got.lists
    best = int(np.argmax(points @ query[0]))
    assert found.tolist() == list(range(best, 36, 4))
    assert scores == pytest.approx(np.full(9, points[best].astype(float) @ query[0]), abs=1e-6)


def test_a_bad_row_is_named() -> None:
    rows = unit(50, 4)
    rows[31] = np.nan
    parts = [from_array(rows[:30], "a"), from_array(rows[30:], "b")]
    for name in ("ivf2", "hnsw8"):
        with pytest.raises(BenchError, match="row 1 of b contains NaN"):
            faiss_index.retrieve(index_of(name), parts, np.ones((1, 4)))


# --- ranks and scores ---------------------------------------------------------------------------


def test_ranks_worked_by_hand() -> None:
    lists = [
        (np.array([4, 2, 7]), np.array([0.9, 0.5, 0.5])),
        (np.array([1]), np.array([0.3])),
    ]
    labelled = [np.array([2, 3, 4, 7]), np.array([0, 1])]
    ranks, shortlist = faiss_index.ranks_of(lists, labelled, 3)
    never = NOT_RETRIEVED
    assert ranks.offsets.tolist() == [0, 4, 6]
    assert ranks.rank.tolist() == [1, never, 0, 2, never, 0]
    assert ranks.score.tolist() == [0.5, -np.inf, 0.9, 0.5, -np.inf, 0.3]
    assert ranks.tied.tolist() == [1, 0, 0, 1, 0, 0]
    assert shortlist.row.tolist() == [[4], [1]], "cut to the shortest"
    assert shortlist.score.tolist() == [[0.9], [0.3]]
    assert faiss_index.recall(shortlist.row, np.array([[4, 2], [0, 1]])) == 0.5
    assert faiss_index.recall(np.empty((2, 0), np.int64), np.array([[4], [0]])) is None
    nothing, exact = np.array([[4], [NO_ROW]]), np.array([[4], [0]])
    assert faiss_index.recall(nothing, exact) == 0.5, "a list in which nothing was found counts"
    assert faiss_index.recall(nothing, exact, [1]) == 1.0, "that of a missing query does not"


def test_what_is_not_retrieved_is_missed_and_counts_in_the_denominator() -> None:
    """Positives at 0 and never: trapezoid AP = 1/2, mP@5 = 1/5."""
    truth = GroundTruth(np.array([1, 2]), np.array([3]))
    ranks = LabelledRanks(
        np.array([0, 3]), np.array([1, 2, 3]), np.array([0, NOT_RETRIEVED, NOT_RETRIEVED]),
        np.array([0.5, -np.inf, -np.inf]), np.zeros(3, np.int64),
    )  # fmt: skip
    protocol = Protocol("p", (truth,), METRICS)
    assert [places.tolist() for places in scores.positive_ranks(ranks, protocol)] == [[0]]
    (table,) = scores.score(ranks, [protocol], 9).values()
    assert [table[m].mean for m in METRICS] == [0.5, 0.2, 1.0]


# --- records ------------------------------------------------------------------------------------


def town(folder: Path) -> list[str]:
    """Write a data set of 300 rows with four protocols' worth of clusters; return the arguments."""
    draw = np.random.default_rng(4)
    centres = unit(12, 16, 5)
    database = centres[np.arange(300) % 12] + 0.25 * draw.standard_normal((300, 16))
    queries = centres[:6] + 0.25 * draw.standard_normal((6, 16))
    truth = [
        {"positive": list(range(q, 240, 12)), "ignored": list(range(240 + q, 300, 12))}
        for q in range(6)
    ]
    data = {
        "name": "town", "images": "jpg", "database": [f"{i}.jpg" for i in range(300)],
        "queries": [{"file": f"q{i}.jpg"} for i in range(6)],
        "protocols": {"all": truth, "few": [{"positive": t["positive"][:3]} for t in truth]},
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(data), encoding="utf-8")
    np.save(folder / "db.npy", database.astype(np.float32))
    np.save(folder / "q.npy", queries.astype(np.float32))
    return ["evaluate", "--dataset", str(folder / "dataset.json"), "--database",
            str(folder / "db.npy"), "--queries", str(folder / "q.npy")]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ivf30,flat,nprobe2", "ivf30,pq4x4,nprobe4,k90", "hnsw4,ef8,k20"])
def test_a_record_holds_both_scores_and_verifies(
    cli: Callable[..., Any], oracle: Any, workspace: Any, name: str
) -> None:
    arguments = town(workspace.folder)
    exact = record.read(Path(cli(*arguments).out.splitlines()[-1]))
    result = cli(*arguments, "--search", name)
    assert result.status == 0, result.err
    path = Path(result.out.splitlines()[-1])
    content = record.read(path)
    full = index_of(name).name
    assert f"(approximate: {full})" in result.out
    assert content["card"]["search"]["name"] == full
    words = say("search", content["card"]["search"], content["card"])
    assert words.startswith(f"approximate: {full}; faiss, inner product")
    about = content["approximate"]
    assert about["index"] == full
    for protocol, table in exact["scores"].items():
        for metric_id, score in table.items():
            assert about["exact_scores"][protocol][metric_id] == score["mean"]
            assert (
                about["scores"][protocol][metric_id]
                == content["scores"][protocol][metric_id]["mean"]
            )
        assert about["scores"][protocol][HEADLINE] != about["exact_scores"][protocol][HEADLINE]
    assert 0 < about["shortlist_recall"]["fraction"] < 1

    # Independently: the lists again, scored by walking down.
    rows = np.load(workspace.folder / "db.npy")
    queries = np.load(workspace.folder / "q.npy").astype(np.float64)
    lists = faiss_index.retrieve(index_of(name), [from_array(rows, "x")], queries).lists
    arrays = record.read_arrays(path, content)
    for protocol in record.protocols_of(arrays, content["card"]):
        missed = 0
        for query, truth in enumerate(protocol.truth):
            listed = lists[query][0].tolist()
            missed += len(set(truth.positive.tolist()) - set(listed))
            never = [row for row in range(300) if row not in set(listed)]
            filler = list(range(1000, 1_000_000))  # what is never found stands far behind
            wanted = oracle.value(HEADLINE, listed + filler + never, truth.positive, truth.ignored)
            got = content["scores"][protocol.name][HEADLINE]["per_query"][query]
            assert got == pytest.approx(wanted, abs=1e-4)
        assert about["positives_missed"][protocol.name] == missed > 0
    faults, _ = verify(path)
    assert faults == []
    (workspace.results / "published.toml").unlink(missing_ok=True)
    build(workspace.results)
    text = (workspace.results / "report" / "approximate.md").read_text(encoding="utf-8")
    table = text.split("## Approximate search: mAP lost against exact")[1]
    lost = about["exact_scores"]["all"][HEADLINE] - about["scores"]["all"][HEADLINE]
    row = next(line for line in table.splitlines() if f"| {full} | all |" in line)
    assert f" | {100 * lost:.2f} | {about['positives_missed']['all']} | " in row


def test_distractors_and_compression_go_with_it(cli: Callable[..., Any], workspace: Any) -> None:
    arguments = town(workspace.folder)
    np.save(workspace.folder / "more.npy", unit(100, 16, 8))
    result = cli(*arguments, "--distractors", workspace.folder / "more.npy",
                 "--compression", "float16", "--search", "ivf10,nprobe1")  # fmt: skip
    path = Path(result.out.splitlines()[-1])
    assert verify(path)[0] == []
    card = record.read(path)["card"]
    assert (card["search"]["trained_rows"], card["search"]["rows"]) == (400, 400)
    assert card["compression"] == {"name": "float16", "bytes": 32}


@pytest.mark.slow
def test_re_ranking_needs_lists_that_are_long_enough(
    cli: Callable[..., Any], refused: Callable[..., str]
) -> None:
    result = cli("run", "--method", "delg.untrained", "--limit", "6", "--rerank", "--search",
               "ivf6,nprobe1")  # fmt: skip
    assert "re-ranking needs lists of 13 images, but those of the index have" in refused(result)


@pytest.mark.slow
def test_an_exact_report_has_no_such_section(cli: Callable[..., Any], workspace: Any) -> None:
    cli(*town(workspace.folder))
    build(workspace.results)
    text = (workspace.results / "report.md").read_text(encoding="utf-8")
    assert "Approximate" not in text
    assert not (workspace.results / "report" / "approximate.md").exists()


# --- forgeries ----------------------------------------------------------------------------------


def better(content: Any, arrays: Any) -> None:
    """Say that the exact search is no better."""
    for protocol, table in content["approximate"]["scores"].items():
        content["approximate"]["exact_scores"][protocol] = dict(table)


def more_recall(content: Any, arrays: Any) -> None:
    content["approximate"]["shortlist_recall"]["fraction"] = 1.0


def none_missed(content: Any, arrays: Any) -> None:
    content["approximate"]["positives_missed"]["all"] = 0


def exact_after_all(content: Any, arrays: Any) -> None:
    content["card"]["search"] = "exact"


def no_loss(content: Any, arrays: Any) -> None:
    del content["approximate"]


def no_exact_ranks(content: Any, arrays: Any) -> None:
    del arrays["exact_rank"]


def exact_ranks_twice(content: Any, arrays: Any) -> None:
    arrays["exact_rank"][:2] = 5


def exact_ranks_elsewhere(content: Any, arrays: Any) -> None:
    arrays["exact_rank"][:] = np.concatenate([299 - np.arange(len(arrays["exact_rank"]) // 6)] * 6)


def score_of_nothing(content: Any, arrays: Any) -> None:
    arrays["labelled_score"][arrays["labelled_rank"] == NOT_RETRIEVED] = 0.1


def found_after_all(content: Any, arrays: Any) -> None:
    never = np.flatnonzero(arrays["labelled_rank"] == NOT_RETRIEVED)[0]
    arrays["labelled_rank"][never], arrays["labelled_score"][never] = 299, -1.0


FORGERIES = {
    better: r"approximate\.exact_scores\.",
    more_recall: r"approximate\.shortlist_recall\.fraction is 1\.0",
    none_missed: r"approximate\.positives_missed\.all is 0",
    exact_after_all: "the search is exact, but the record has a loss",
    no_loss: "the exact ranks are not stored",
    no_exact_ranks: "the exact ranks are not stored",
    exact_ranks_twice: "the exact ranks of query 0 do not form one list",
    exact_ranks_elsewhere: r"the exact ranks of query \d contradict its exact shortlist",
    score_of_nothing: "not retrieved have a score",
    found_after_all: r"scores\.|approximate\.",
}


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from bench.pipeline import brought
    from bench.pipeline.options import Options

    folder = tmp_path_factory.mktemp("genuine")
    paths = [Path(item) for item in town(folder)[2::2]]
    options = Options(results=folder, search="ivf30,flat,nprobe2")
    return brought.score_brought(str(paths[0]), paths[1], paths[2], [], "x", options)


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_a_forgery_with_right_checksums_differs(
    genuine: Path, tmp_path: Path, forge: Callable[[Any, Any], None]
) -> None:
    content = record.read(genuine)
    arrays = record.read_arrays(genuine, content)
    forge(content, arrays)
    for key in ("schema", "card_sha256", "card_id", "ranks", "sha256"):
        del content[key]
    faults, _ = verify(record.write(tmp_path, content, arrays))
    assert any(re.search(FORGERIES[forge], fault) for fault in faults), faults
