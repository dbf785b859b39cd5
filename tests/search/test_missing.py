"""Images without a descriptor: refused by default, and with --allow-missing never in the way."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import BenchError
from bench.images import decode
from bench.records import record, verify
from bench.search import exact, missing
from bench.store import matrix

pytestmark = pytest.mark.slow

# --- ranks and lists ----------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [0, 5, 27, 30, 99])
@pytest.mark.parametrize(
    ("rows", "queries"),
    [((), ()), ((3,), ()), ((0, 7, 28, 29), (1,)), ((), (0, 4)), (tuple(range(29)), (2,))],
)
def test_missing_images_are_behind_all_others(rows, queries, depth: int) -> None:
    """Against a sort of the whole table, in which missing rows follow in their order."""
    draw = np.random.default_rng(3)
    database = draw.standard_normal((30, 4)).astype(np.float32)
    database[11] = database[12]  # a tie
    asked = draw.standard_normal((5, 4))
    labelled = [np.unique(draw.integers(0, 30, 9)) for _ in asked]
    labelled[3] = np.array([11, 12, 28])
    absent = missing.Missing(dict.fromkeys(rows, "why"), dict.fromkeys(queries, "why"))
    spoilt = database.copy()
    spoilt[list(rows)] = 0
    halves = [matrix.from_array(spoilt[:12], "a"), matrix.from_array(spoilt[12:], "b")]
    parts = missing.without(halves, rows)
    assert sum(part.shape[0] for part in parts) == 30 - len(rows)
    found = exact.search(
        parts,
        np.delete(asked, queries, axis=0),
        missing.labels_without(labelled, absent, 30),
        depth,
    )
    ranks, short = missing.restore(found.ranks, found.shortlist, labelled, absent, 30, depth)

    for query, wanted in enumerate(labelled):
        scores = database.astype(np.float64) @ asked[query]
        gone = np.arange(30) if query in queries else np.array(rows, dtype=np.int64)
        scores[gone] = -2.0 - gone
        order = np.array(
            sorted(range(30), key=lambda row: (row in gone, -scores[row], row)), dtype=np.int64
        )
        part = ranks.of_query(query)
        assert ranks.row[part].tolist() == wanted.tolist()
        place = np.argsort(order)
        assert ranks.rank[part].tolist() == place[wanted].tolist()
        assert np.allclose(ranks.score[part], scores[wanted], atol=1e-12)
        tied = [0 if row in gone else int((scores == scores[row]).sum()) - 1 for row in wanted]
        assert ranks.tied[part].tolist() == tied
        assert short.row[query].tolist() == order[: min(depth, 30)].tolist()
        assert np.allclose(short.score[query], scores[short.row[query]], atol=1e-12)
    for array in (ranks.offsets, ranks.row, ranks.rank, ranks.tied, short.row):
        assert array.dtype == np.int64


# --- a run --------------------------------------------------------------------------------------


@pytest.fixture
def command(tiny: Path) -> tuple[Any, ...]:
    """Return the command that describes the tiny data set."""
    return ("run", "--method", tiny / "halves.py", "--dataset", tiny, "--device", "cpu")


def record_of_run(workspace) -> dict[str, Any]:
    """Return the newest record, which must be right in itself."""
    path = max(workspace.records(), key=lambda path: path.stat().st_mtime_ns)
    assert verify.verify(path)[0] == []
    return record.read(path)


def test_images_that_cannot_be_decoded_are_all_named_and_the_rest_is_kept(
    workspace, cli, refused, tiny: Path, command, described
) -> None:
    """Of both lists: q003.png is a query."""
    names = ("003.png", "q003.png", "300.png", "301.png")
    whole = {name: (tiny / "jpg" / name).read_bytes() for name in names}
    (tiny / "jpg" / "003.png").write_bytes(whole["003.png"][:80])
    (tiny / "jpg" / "q003.png").write_bytes(whole["q003.png"][:80])
    (tiny / "jpg" / "300.png").write_bytes(b"<html>")
    (tiny / "jpg" / "301.png").write_bytes(b"")
    text = refused(cli(*command))
    assert text.startswith("4 of 605 images cannot be used: ")
    for name in whole:
        assert name in text
    assert "--allow-missing" in text
    assert workspace.records() == []
    assert described() == 605 - 4
    assert cli(*command, "--allow-missing").status == 0
    assert described() == 0, "the others are kept"
    for name, content in whole.items():
        (tiny / "jpg" / name).write_bytes(content)
    assert cli(*command).status == 0
    assert described() == 2 * 32 + 5, "two shards of the database, one of the queries"
    assert len(workspace.records()) == 2


def test_with_the_option_the_result_is_marked_and_nothing_moves(
    workspace, cli, refused, tiny: Path, command
) -> None:
    assert cli(*command, "--shortlist", "600").status == 0
    (whole,) = workspace.records()
    (tiny / "jpg" / "050.png").write_bytes(b"<html>")  # a positive of query 0
    (tiny / "jpg" / "300.png").unlink()
    (tiny / "jpg" / "004.png").write_bytes(b"")  # a positive of query 4
    (tiny / "jpg" / "q004.png").write_bytes(b"")
    assert re.match("1 of 605 images are missing in .*: 300.png", refused(cli(*command)))

    result = cli(*command, "--shortlist", "600", "--allow-missing")
    assert result.status == 0, result.err
    lines = result.out.splitlines()
    assert lines[0] == (
        "missing: 4 images without a descriptor (database 004.png, database 050.png, "
        f"database 300.png, queries q004.png); {missing.RULE}"
    )
    assert lines[1].endswith("(untrained) (partial: 4 images missing)")
    made = record_of_run(workspace)
    assert made["partial"] is True
    assert made["card"]["missing"] == {
        "rule": missing.RULE, "database": [4, 50, 300], "queries": [4]
    }  # fmt: skip
    assert [(item["list"], item["file"]) for item in made["missing"]] == [
        ("database", "004.png"), ("database", "050.png"), ("database", "300.png"),
        ("queries", "q004.png"),
    ]  # fmt: skip
    assert made["missing"][1]["reason"].startswith("050.png is a web page")
    assert str(tiny) not in json.dumps(made["missing"])
    scores = made["scores"]["p"]["map.trapezoid.junk-removed"]["per_query"]
    assert scores[4] == 0
    assert made["card_sha256"] != record.read(whole)["card_sha256"]

    arrays = [record.read_arrays(path, record.read(path)) for path in workspace.records()]
    first, other = sorted(arrays, key=lambda entry: float(entry["shortlist_score"].min()))
    for query in range(4):
        left = [row for row in other["shortlist_row"][query] if row not in (4, 50, 300)]
        assert first["shortlist_row"][query].tolist() == [*left, 4, 50, 300], "nothing is shifted"
    assert first["shortlist_row"][4].tolist() == list(range(600))


def test_a_shard_without_some_images_is_tried_again_by_a_run_without_the_option(
    workspace, cli, refused, tiny: Path, command, described, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file itself is good: a disk, say, refused to read it for a while."""
    load = decode.load

    def failing(path: Path, *rest: Any) -> Any:
        if path.name == "100.png":
            raise BenchError(f"{path} cannot be read: Input/output error.")
        return load(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(decode, "load", failing)
        assert cli(*command, "--allow-missing").status == 0
        assert record_of_run(workspace)["card"]["missing"]["database"] == [100]
        described()
        assert cli(*command, "--allow-missing").status == 0
        assert described() == 0, "what is known to be missing is not tried again with the option"
        assert "100.png cannot be read" in refused(cli(*command))
        assert described() == 31
        assert cli(*command, "--allow-missing").status == 0
        assert described() == 0, "a failure leaves what was there"
    assert cli(*command).status == 0
    assert described() == 32, "only that shard is described again"
    assert "missing" not in record_of_run(workspace)
    bytes_ = {p.name: p.read_bytes() for p in workspace.cache.glob("descriptors/*/shard-*.npy")}
    assert cli(*command, "--force", "--allow-missing").status == 0
    assert "missing" not in record_of_run(workspace), (
        "with the option and without missing images, no mark"
    )
    assert bytes_ == {
        p.name: p.read_bytes() for p in workspace.cache.glob("descriptors/*/shard-*.npy")
    }


@pytest.mark.parametrize(("of", "names"), [("queries", range(5)), ("database images", range(600))])
def test_where_nothing_is_left_there_is_no_result(
    workspace, cli, refused, tiny: Path, command, of: str, names
) -> None:
    for name in names:
        (tiny / "jpg" / f"{'q' if of == 'queries' else ''}{name:03}.png").write_bytes(b"")
    assert (
        refused(cli(*command, "--allow-missing"))
        == f"none of the {of} of tiny has a descriptor; a search needs at least one."
    )
    assert workspace.records() == []


# --- a record -----------------------------------------------------------------------------------


FORGERIES = [
    (lambda made: made["card"]["missing"].update(database=[]), "lacks the missing images"),
    (lambda made: made["card"]["missing"].update(database=[2, 50]), "contradict the missing"),
    (lambda made: made["card"]["missing"].update(queries=[0]), "contradict the missing images"),
    (lambda made: made["card"]["missing"].update(rule="they are first"), "they are first"),
    (lambda made: made["missing"].pop(), "lacks the missing images"),
    (lambda made: made.pop("missing"), "disagree on whether images are missing"),
    (lambda made: made["card"].pop("missing"), "disagree on whether images are missing"),
    (lambda made: made.update(partial=False), "disagree on whether the result is partial"),
]


def test_a_record_that_hides_what_is_missing_is_found_out(
    workspace, cli, tiny: Path, command
) -> None:
    for name in ("001.png", "q001.png", "050.png"):
        (tiny / "jpg" / name).write_bytes(b"")
    assert cli(*command, "--allow-missing").status == 0
    made = record_of_run(workspace)
    arrays = record.read_arrays(workspace.records()[0], made)
    for entry in ("schema", "card_sha256", "card_id", "ranks", "sha256"):
        del made[entry]
    for change, fault in FORGERIES:
        copy = json.loads(json.dumps(made))
        change(copy)
        forged = record.write(workspace.folder / "forged", copy, arrays)
        assert any(fault in item for item in verify.verify(forged)[0]), fault
