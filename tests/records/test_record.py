"""Records and cards: written, read, and what is no record."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import datasets
from bench.errors import BenchError
from bench.pipeline import brought
from bench.pipeline.options import Options
from bench.records import record
from bench.records.verify import verify
from bench.scoring import card as cards
from bench.scoring.scores import score
from bench.system.hashing import canonical_json, plain, sha256_json
from bench.types import Preprocess
from tests.support.signed import HEADLINE, sign
from tests.support.traps import Trap

# --- written and read ---------------------------------------------------------------------------


def test_what_is_written_is_read_again(recorded: Path, specimen) -> None:
    content, arrays = specimen
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}\.json", recorded.name)
    assert recorded.parent.name == "brought.mine"
    assert recorded.parent.parent.name == "mini"
    assert recorded.name.startswith(content["card_id"][:8])
    assert content["command"] == "by hand"
    assert content["schema"] == 1
    assert content["partial"] is False
    assert content["bytes_per_image"] == 64
    assert content["method"]["dim"] == 16
    assert content["card"]["descriptors"] == "as-given"
    assert content["card"]["preprocess"] is None
    assert record.find(recorded.parent.parent.parent.parent) == [recorded]
    ranks, shortlist = record.ranks_of(arrays)
    assert shortlist.row.shape == (15, 20)
    dataset = datasets.load("mini")
    scores = score(ranks, dataset.protocols, 49)
    assert content["scores"] == record.scores_to_json(scores)
    again = record.protocols_of(arrays, content["card"])
    assert [plain_truth(p) for p in again] == [plain_truth(p) for p in dataset.protocols]


def plain_truth(protocol: Any) -> Any:
    """Return a protocol as values that compare."""
    return protocol.name, cards.truth_lists(protocol), protocol.metrics, protocol.empty


def test_the_files_are_ascii_and_nothing_else_lies_there(recorded: Path) -> None:
    recorded.read_bytes().decode("ascii")
    assert sorted(p.name for p in recorded.parent.iterdir()) == [
        recorded.name,
        f"{recorded.stem}.npz",
    ]


def test_the_same_descriptors_give_the_same_scores_and_ranks(
    recorded: Path, tmp_path: Path
) -> None:
    folder = recorded.parents[4]
    options = Options(results=tmp_path, shortlist=20, memory_budget_mib=1)
    other = brought.score_brought("mini", folder / "db.npy", folder / "q.npy", [], "mine", options)
    first, two = record.read(recorded), record.read(other)
    assert first["run_id"] != two["run_id"]
    assert first["card_sha256"] == two["card_sha256"]
    assert record.same(first["scores"], two["scores"])
    assert first["ranks"]["sha256"] == two["ranks"]["sha256"], "the arrays are equal to the byte"


def test_run_ids_sort_by_time_and_do_not_repeat() -> None:
    ids = {record.new_run_id() for _ in range(200)}
    assert len(ids) == 200


def test_a_record_that_does_not_fit_the_schema_is_not_written(specimen, tmp_path: Path) -> None:
    content, arrays = specimen
    for key in ("schema", "card_sha256", "card_id", "ranks", "sha256"):
        del content[key]
    content["seed"] = "zero"
    with pytest.raises(BenchError, match=r"the new record does not fit results/record\.schema"):
        record.write(tmp_path, content, arrays)
    assert list(tmp_path.rglob("*")) == []


def test_nan_is_null_and_null_is_no_score(recorded: Path) -> None:
    table = record.read(recorded)["scores"]["easy"][HEADLINE]
    empty = [i for i, v in enumerate(table["per_query"]) if v is None]
    easy = datasets.load("mini").protocols[0]
    assert empty == [i for i, t in enumerate(easy.truth) if len(t.positive) == 0]
    assert b"NaN" not in recorded.read_bytes()


# --- read: what is no record --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is not a record: "),
        (b"{", "is not a record: "),
        (b"\xff", "is not a record: "),
        (b"[]", "has record schema None, but this version reads 1"),
        (b"{}", "has record schema None, but this version reads 1"),
        (b'{"schema": 2}', "has record schema 2, but this version reads 1; use the version"),
        (b'{"schema": 1}', "does not fit results/record.schema.json: the key "),
    ],
)
def test_files_that_are_no_record(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(content)
    with pytest.raises(BenchError) as caught:
        record.read(path)
    assert str(caught.value).startswith(f"{path} {expected}")


def test_an_absent_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"the record .*r\.json does not exist"):
        record.read(tmp_path / "r.json")


@pytest.mark.parametrize("old", [b'"mean": 0.', b'"cores": ', b'"seed": 0', b'"by hand"'])
def test_every_changed_byte_is_seen(recorded: Path, tmp_path: Path, old: bytes) -> None:
    """The sha256 is of the content; white space is not content."""
    text = recorded.read_bytes()
    new = {b'"mean": 0.': b'"mean": 0.9', b'"cores": ': b'"cores": 1', b'"seed": 0': b'"seed": 1',
           b'"by hand"': b'"at hand"'}[old]  # fmt: skip
    assert old in text
    path = tmp_path / "r.json"
    path.write_bytes(text.replace(old, new, 1))
    with pytest.raises(BenchError, match="was changed after it was written"):
        record.read(path)


def test_a_card_changed_with_the_sha256_of_the_record_is_seen(specimen, tmp_path: Path) -> None:
    content, _ = specimen
    content["card"]["crop_rule"] = "other"
    content.pop("sha256")
    content["sha256"] = sha256_json(content)
    (tmp_path / "r.json").write_text(json.dumps(content), encoding="ascii")
    with pytest.raises(BenchError, match="the sha256 of its card differs"):
        record.read(tmp_path / "r.json")


def test_the_arrays_are_those_the_record_was_written_with(recorded: Path, tmp_path: Path) -> None:
    content = record.read(recorded)
    path = tmp_path / recorded.name
    path.write_bytes(recorded.read_bytes())
    with pytest.raises(BenchError, match=r"the ranks .*\.npz of .*\.json cannot be read: No such"):
        record.read_arrays(path, content)
    packed = bytearray(recorded.with_suffix(".npz").read_bytes())
    packed[len(packed) // 2] ^= 1
    path.with_suffix(".npz").write_bytes(packed)
    with pytest.raises(
        BenchError, match=r"is not the file that was written with .*: its sha256 differs"
    ):
        record.read_arrays(path, content)


def test_a_record_cannot_name_arrays_elsewhere(specimen, tmp_path: Path) -> None:
    content, _ = specimen
    content["ranks"]["file"] = "../../x.npz"
    content.pop("sha256")
    content["sha256"] = sha256_json(content)
    (tmp_path / "r.json").write_text(json.dumps(content), encoding="ascii")
    with pytest.raises(BenchError, match=r"does not fit .*: ranks\.file"):
        record.read(tmp_path / "r.json")


def test_arrays_are_never_unpickled(specimen, tmp_path: Path) -> None:
    content, arrays = specimen
    target = tmp_path / "touched"
    arrays["labelled_row"] = np.array([Trap(target)], dtype=object)
    path = sign(content, arrays, tmp_path / "r.json")
    with pytest.raises(BenchError, match=r"cannot be read as \.npz"):
        verify(path)
    assert not target.exists()


# --- cards --------------------------------------------------------------------------------------


def test_the_card_is_the_same_whatever_the_order_of_its_keys(specimen) -> None:
    card = specimen[0]["card"]
    turned = dict(reversed(card.items()))
    assert cards.card_id(card) == cards.card_id(turned) == specimen[0]["card_id"]
    assert cards.short(card) == specimen[0]["card_id"][:8]


def test_whatever_can_move_a_score_moves_the_card(small: dict[str, Any]) -> None:
    def card(**changes: Any) -> str:
        data = copy.deepcopy(small)
        data.update(changes)
        dataset = datasets.dataset_json.parse(data, "f", Path())
        return cards.card_id(cards.make(dataset, None, unit_norm=True))

    truth = copy.deepcopy(small["protocols"])
    truth["easy"][0]["ignored"] = [2]
    boxed = copy.deepcopy(small["queries"])
    boxed[0]["box"] = [0, 0, 5, 5]
    others = [
        card(name="other"), card(variant="other"), card(database=small["database"][::-1]),
        card(protocols=truth), card(queries=boxed), card(empty="miss"),
    ]  # fmt: skip
    assert len({card(), *others}) == 1 + len(others)
    still = [
        card(images="elsewhere"), card(licence="x"), card(description="x"), card(citation="x"),
        card(metrics=["recall@1.any-hit.junk-removed"]),
    ]  # fmt: skip
    assert set(still) == {card()}


def test_what_differs_between_two_cards_is_named(small: dict[str, Any]) -> None:
    dataset = datasets.dataset_json.parse(small, "f", Path())
    item = cards.make(dataset, Preprocess(), unit_norm=True)
    other = cards.make(dataset, Preprocess(max_side_px=724), unit_norm=True,
                       distractors=[("r1m.npy", 5)])  # fmt: skip
    assert cards.differences(item, item) == []
    assert cards.differences(item, other) == [
        "distractors.count: 0 / 5",
        'distractors.sources: [] / ["r1m.npy"]',
        "preprocess.max_side_px: 1024 / 724",
    ]


def test_canonical_json_refuses_nan_and_sorts() -> None:
    assert canonical_json({"b": (1, 2.5), "a": "ü"}) == '{"a":"\\u00fc","b":[1,2.5]}'
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"a": float("nan")})
    assert plain(Preprocess())["mean"] == [123.675, 116.28, 103.53]
