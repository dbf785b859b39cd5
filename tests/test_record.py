"""The record: written whole, read back, verified; damaged, forged and foreign ones are refused."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import card as cards
from bench import datasets, evaluate, record, scoring
from bench.canonical import canonical_json, plain, sha256_json
from bench.errors import BenchError
from bench.types import Preprocess
from bench.verify import verify

Record = dict[str, Any]
Arrays = dict[str, np.ndarray]
HEADLINE = "map.trapezoid.junk-removed"
NOT_HERE = "ground truth not compared: no data set small is known here"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a record of random descriptors on the bundled data set."""
    folder = tmp_path_factory.mktemp("record")
    draw = np.random.default_rng(0)
    np.save(folder / "db.npy", draw.standard_normal((49, 16)).astype(np.float32))
    np.save(folder / "q.npy", draw.standard_normal((15, 16)).astype(np.float32))
    options = scoring.Options(output=folder / "results", shortlist=20, command="by hand")
    return scoring.score_brought("mini", folder / "db.npy", folder / "q.npy", [], "mine", options)


@pytest.fixture
def held(made: Path) -> tuple[Record, Arrays]:
    """Return that record and its arrays, to be changed at will."""
    content = record.read(made)
    arrays = record.read_arrays(made, content)
    return copy.deepcopy(content), {key: value.copy() for key, value in arrays.items()}


def sign(content: Record, arrays: Arrays, path: Path) -> Path:
    """Write a record with every checksum right, whatever it says."""
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    digest = hashlib.sha256(packed.getvalue()).hexdigest()
    path.with_suffix(".npz").write_bytes(packed.getvalue())
    content["ranks"] = {"file": f"{path.stem}.npz", "sha256": digest}
    content["card_sha256"] = sha256_json(content["card"])
    content.pop("sha256")
    content["sha256"] = sha256_json(content)
    path.write_text(json.dumps(content), encoding="ascii")
    return path


def rescore(content: Record, arrays: Arrays) -> None:
    """Make everything that follows from the arrays follow from them."""
    ranks, _ = record.ranks_of(arrays)
    protocols = record.protocols_of(arrays, content["card"])
    for protocol in protocols:
        skipped = evaluate.skipped(protocol)
        content["card"]["protocols"][protocol.name] |= {
            "truth_sha256": sha256_json(cards.truth_lists(protocol)),
            "scored": len(protocol.truth) - skipped,
            "skipped": skipped,
        }
    n_rows = content["card"]["dataset"]["database"]
    scores = evaluate.score(ranks, protocols, n_rows, content["seed"])
    content["scores"] = record.scores_to_json(scores)
    content["ties"] = scoring.ties_of(ranks)


# --- written and read ---------------------------------------------------------------------------


def test_what_is_written_is_read_again(made: Path, held) -> None:
    content, arrays = held
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}\.json", made.name)
    assert made.parent.name == "brought.mine"
    assert made.parent.parent.name == "mini"
    assert made.name.startswith(content["card_sha256"][:8])
    assert content["command"] == "by hand"
    assert content["schema"] == 1
    assert content["partial"] is False
    assert content["bytes_per_image"] == 64
    assert content["method"]["dim"] == 16
    assert content["card"]["descriptors"] == "as given, not normalised"
    assert content["card"]["preprocess"] is None
    assert record.find(made.parent.parent.parent.parent) == [made]
    ranks, shortlist = record.ranks_of(arrays)
    assert shortlist.row.shape == (15, 20)
    dataset = datasets.load("mini")
    scores = evaluate.score(ranks, dataset.protocols, 49)
    assert content["scores"] == record.scores_to_json(scores)
    again = record.protocols_of(arrays, content["card"])
    assert [plain_truth(p) for p in again] == [plain_truth(p) for p in dataset.protocols]


def plain_truth(protocol: Any) -> Any:
    """Return a protocol as values that compare."""
    return protocol.name, cards.truth_lists(protocol), protocol.metrics, protocol.empty


def test_the_files_are_ascii_and_nothing_else_lies_there(made: Path) -> None:
    made.read_bytes().decode("ascii")
    assert sorted(p.name for p in made.parent.iterdir()) == [made.name, f"{made.stem}.npz"]


def test_the_same_descriptors_give_the_same_scores_and_ranks(made: Path, tmp_path: Path) -> None:
    folder = made.parents[4]
    options = scoring.Options(output=tmp_path, shortlist=20, memory_budget_mib=1)
    other = scoring.score_brought("mini", folder / "db.npy", folder / "q.npy", [], "mine", options)
    one, two = record.read(made), record.read(other)
    assert one["run_id"] != two["run_id"]
    assert one["card_sha256"] == two["card_sha256"]
    assert record.same(one["scores"], two["scores"])
    assert one["ranks"]["sha256"] == two["ranks"]["sha256"], "the arrays are equal to the byte"


def test_run_ids_sort_by_time_and_do_not_repeat() -> None:
    ids = {record.new_run_id() for _ in range(200)}
    assert len(ids) == 200


def test_a_record_that_does_not_fit_the_schema_is_not_written(held, tmp_path: Path) -> None:
    content, arrays = held
    for key in ("schema", "card_sha256", "ranks", "sha256"):
        del content[key]
    content["seed"] = "zero"
    with pytest.raises(BenchError, match=r"the new record does not fit results/record\.schema"):
        record.write(tmp_path, content, arrays)
    assert list(tmp_path.rglob("*")) == []


def test_nan_is_null_and_null_is_no_score(made: Path) -> None:
    table = record.read(made)["scores"]["easy"][HEADLINE]
    empty = [i for i, v in enumerate(table["per_query"]) if v is None]
    easy = datasets.load("mini").protocols[0]
    assert empty == [i for i, t in enumerate(easy.truth) if len(t.positive) == 0]
    assert b"NaN" not in made.read_bytes()


# --- read: what is no record --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is not a record: "),
        (b"{", "is not a record: "),
        (b"\xff", "is not a record: "),
        (b"[]", "has record schema None, and this version reads 1"),
        (b"{}", "has record schema None, and this version reads 1"),
        (b'{"schema": 2}', "has record schema 2, and this version reads 1; read it with the"),
        (b'{"schema": 1}', "does not fit results/record.schema.json at the top: "),
    ],
)
def test_files_that_are_no_record(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(content)
    with pytest.raises(BenchError) as caught:
        record.read(path)
    assert str(caught.value).startswith(f"{path} {expected}")


def test_an_absent_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"there is no record .*r\.json\."):
        record.read(tmp_path / "r.json")


@pytest.mark.parametrize("old", [b'"mean": 0.', b'"cores": ', b'"seed": 0', b'"by hand"'])
def test_every_changed_byte_is_seen(made: Path, tmp_path: Path, old: bytes) -> None:
    """The sha256 is of the content; white space is not content."""
    text = made.read_bytes()
    new = {b'"mean": 0.': b'"mean": 0.9', b'"cores": ': b'"cores": 1', b'"seed": 0': b'"seed": 1',
           b'"by hand"': b'"at hand"'}[old]  # fmt: skip
    assert old in text
    path = tmp_path / "r.json"
    path.write_bytes(text.replace(old, new, 1))
    with pytest.raises(BenchError, match="was changed after it was written"):
        record.read(path)


def test_a_card_changed_with_the_sha256_of_the_record_is_seen(held, tmp_path: Path) -> None:
    content, _ = held
    content["card"]["crop_rule"] = "other"
    content.pop("sha256")
    content["sha256"] = sha256_json(content)
    (tmp_path / "r.json").write_text(json.dumps(content), encoding="ascii")
    with pytest.raises(BenchError, match="its card has another sha256"):
        record.read(tmp_path / "r.json")


def test_the_arrays_are_those_the_record_was_written_with(made: Path, tmp_path: Path) -> None:
    content = record.read(made)
    path = tmp_path / made.name
    path.write_bytes(made.read_bytes())
    with pytest.raises(BenchError, match=r"the ranks .*\.npz of .*\.json cannot be read: No such"):
        record.read_arrays(path, content)
    packed = bytearray(made.with_suffix(".npz").read_bytes())
    packed[len(packed) // 2] ^= 1
    path.with_suffix(".npz").write_bytes(packed)
    with pytest.raises(BenchError, match=r"is not the file that .* was written with \(sha256\)"):
        record.read_arrays(path, content)


def test_a_record_cannot_name_arrays_elsewhere(held, tmp_path: Path) -> None:
    content, _ = held
    content["ranks"]["file"] = "../../x.npz"
    content.pop("sha256")
    content["sha256"] = sha256_json(content)
    (tmp_path / "r.json").write_text(json.dumps(content), encoding="ascii")
    with pytest.raises(BenchError, match=r"does not fit .* at ranks\.file"):
        record.read(tmp_path / "r.json")


class Runs:
    """Unpickled, this writes a file."""

    def __init__(self, target: Path) -> None:
        """Name the file."""
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def test_arrays_are_never_unpickled(held, tmp_path: Path) -> None:
    content, arrays = held
    target = tmp_path / "touched"
    arrays["labelled_row"] = np.array([Runs(target)], dtype=object)
    path = sign(content, arrays, tmp_path / "r.json")
    with pytest.raises(BenchError, match=r"cannot be read as \.npz"):
        verify(path)
    assert not target.exists()


# --- verified -----------------------------------------------------------------------------------


def test_a_genuine_record_matches(made: Path) -> None:
    faults, notes = verify(made)
    assert faults == []
    assert notes == [
        "30 scores over 3 protocols recomputed from stored ranks",
        "lists and ground truth are those of mini here",
    ]


def test_signing_alone_changes_nothing(held, tmp_path: Path) -> None:
    assert verify(sign(*held, tmp_path / "r.json"))[0] == []


def test_the_last_digits_of_another_machine_are_allowed(held, tmp_path: Path) -> None:
    content, arrays = held
    content["scores"]["hard"][HEADLINE]["mean"] += 1e-12
    assert verify(sign(content, arrays, tmp_path / "r.json"))[0] == []


def test_a_data_set_that_is_not_known_here_is_said_to_be_so(
    small_file: Path, brought: tuple[Path, Path], tmp_path: Path
) -> None:
    options = scoring.Options(output=tmp_path / "out")
    path = scoring.score_brought(str(small_file), *brought, [], "x", options)
    faults, notes = verify(path)
    assert (faults, notes[1]) == ([], NOT_HERE)
    assert record.read(path)["card"]["descriptors"] == "unit norm"


def better_mean(content: Record, arrays: Arrays) -> None:
    content["scores"]["hard"][HEADLINE]["mean"] += 1e-6


def better_query(content: Record, arrays: Arrays) -> None:
    content["scores"]["hard"][HEADLINE]["per_query"][3] = 0.123


def narrow_interval(content: Record, arrays: Arrays) -> None:
    content["scores"]["easy"][HEADLINE]["interval"][0] += 0.001


def no_interval(content: Record, arrays: Arrays) -> None:
    content["scores"]["easy"][HEADLINE]["interval"] = None


def other_seed(content: Record, arrays: Arrays) -> None:
    content["seed"] = 1


def protocol_left_out(content: Record, arrays: Arrays) -> None:
    del content["scores"]["hard"]


def metric_left_out(content: Record, arrays: Arrays) -> None:
    content["card"]["metrics"] = [HEADLINE]


def fewer_ties(content: Record, arrays: Arrays) -> None:
    content["ties"]["largest_group"] += 1


def fewer_queries(content: Record, arrays: Arrays) -> None:
    content["card"]["dataset"]["queries"] -= 1


def larger_database(content: Record, arrays: Arrays) -> None:
    content["card"]["dataset"]["database"] += 1000


def other_variant(content: Record, arrays: Arrays) -> None:
    content["card"]["dataset"]["variant"] = "corrected"


def other_revision(content: Record, arrays: Arrays) -> None:
    content["card"]["dataset"]["revision"] = "0" * 64


def partial(content: Record, arrays: Arrays) -> None:
    content["partial"] = True


def limited(content: Record, arrays: Arrays) -> None:
    content["card"]["limit"] = 5
    content["partial"] = True


def misses(content: Record, arrays: Arrays) -> None:
    content["card"]["protocols"]["easy"]["empty"] = "miss"


def first_place(content: Record, arrays: Arrays) -> None:
    arrays["labelled_rank"][0] = 0
    rescore(content, arrays)


def equal_places(content: Record, arrays: Arrays) -> None:
    first, second = arrays["labelled_offsets"][:2]
    arrays["labelled_rank"][first:second] = 30
    rescore(content, arrays)


def place_beyond(content: Record, arrays: Arrays) -> None:
    last = np.argmax(arrays["labelled_rank"])
    arrays["labelled_rank"][last] = 49


def place_in_the_list(content: Record, arrays: Arrays) -> None:
    """Pull the best labelled image that is not in the list into it."""
    for i in range(15):
        part = slice(*arrays["labelled_offsets"][i : i + 2])
        rank = arrays["labelled_rank"][part]
        if rank.min() >= 20:
            rank[np.argmin(rank)] = 0
            break
    else:
        part = slice(*arrays["labelled_offsets"][:2])
        arrays["labelled_rank"][part] += 20
    rescore(content, arrays)


def other_scores(content: Record, arrays: Arrays) -> None:
    arrays["labelled_score"] *= 2


def no_number(content: Record, arrays: Arrays) -> None:
    arrays["labelled_score"][:] = np.nan


def negative_ties(content: Record, arrays: Arrays) -> None:
    arrays["labelled_tied"][:] = -1
    rescore(content, arrays)


def list_repeats(content: Record, arrays: Arrays) -> None:
    arrays["shortlist_row"][:, 1:] = arrays["shortlist_row"][:, :1]


def list_swapped(content: Record, arrays: Arrays) -> None:
    """Swap a labelled image of a list with its neighbour; scores and places stay."""
    for i in range(15):
        part = slice(*arrays["labelled_offsets"][i : i + 2])
        inside = arrays["labelled_rank"][part][arrays["labelled_rank"][part] < 19]
        if len(inside):
            at = [inside[0], inside[0] + 1]
            arrays["shortlist_row"][i, at] = arrays["shortlist_row"][i, at[::-1]]
            return
    raise AssertionError


def list_out_of_order(content: Record, arrays: Arrays) -> None:
    arrays["shortlist_score"] = arrays["shortlist_score"][:, ::-1].copy()


def labels_without_resigning(content: Record, arrays: Arrays) -> None:
    arrays["truth_hard_positive"][0] = 48


def hard_positives_left_out(content: Record, arrays: Arrays) -> None:
    """Leave out the worst positive of every query that has two, and sign the rest anew."""
    offsets = arrays["truth_hard_positive_offsets"]
    kept, lengths = [], []
    for i in range(15):
        rows = arrays["truth_hard_positive"][offsets[i] : offsets[i + 1]]
        part = slice(*arrays["labelled_offsets"][i : i + 2])
        place = dict(zip(arrays["labelled_row"][part], arrays["labelled_rank"][part], strict=True))
        if len(rows) > 1:
            rows = rows[rows != max(rows, key=place.__getitem__)]
        kept.append(rows)
        lengths.append(len(rows))
    before = content["scores"]["hard"][HEADLINE]["mean"]
    arrays["truth_hard_positive"] = np.concatenate(kept)
    arrays["truth_hard_positive_offsets"] = np.cumsum([0, *lengths])
    rescore(content, arrays)
    assert content["scores"]["hard"][HEADLINE]["mean"] > before


FORGERIES: dict[Callable[[Record, Arrays], None], str] = {
    better_mean: r"scores\.hard\.map\.trapezoid\.junk-removed\.mean is 0\.\d+ in the record, but",
    better_query: r"scores\.hard\.map\.trapezoid\.junk-removed\.per_query\[3\] is 0\.123 in the",
    narrow_interval: r"scores\.easy\.map\.trapezoid\.junk-removed\.interval\[0\] is",
    no_interval: r"scores\.easy\.map\.trapezoid\.junk-removed\.interval is None in the record",
    other_seed: r"scores\.easy\.map\.trapezoid\.junk-removed\.interval\[",
    protocol_left_out: "scores is ",
    metric_left_out: r"scores\.easy is ",
    fewer_ties: r"ties\.largest_group is 2 in the record, but 1 from its ranks",
    fewer_queries: "ranks are of 15 queries, the card says 14",
    larger_database: "lists and ground truth are not those of mini here",
    other_variant: "lists and ground truth are not those of mini here",
    other_revision: "lists and ground truth are not those of mini here",
    partial: "the record and its card disagree on whether it is partial",
    limited: "lists and ground truth are not those of mini here",
    misses: "the card miscounts the queries of easy",
    first_place: r"the ranks of query 0 contradict its (scores|shortlist)",
    equal_places: "the ranks of query 0 contradict its scores",
    place_beyond: r"the ranks of query \d+ contradict its scores",
    place_in_the_list: r"query \d+ (contradict its|holds labelled images ranked elsewhere)",
    other_scores: "the scores of query 0 contradict its shortlist",
    no_number: "the ranks of query 0 contradict its scores",
    negative_ties: "the ties of query 0 contradict its scores",
    list_repeats: "query 0 (contradict its shortlist|holds labelled images ranked elsewhere)",
    list_swapped: r"the ranks of query \d+ contradict its shortlist",
    list_out_of_order: "the shortlist of query 0 is not in order of score",
    labels_without_resigning: "the stored ground truth of hard is not the card's",
    hard_positives_left_out: "lists and ground truth are not those of mini here",
}


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_a_forgery_with_right_checksums_differs(held, tmp_path: Path, forge) -> None:
    content, arrays = held
    forge(content, arrays)
    faults, _ = verify(sign(content, arrays, tmp_path / "r.json"))
    assert any(re.search(FORGERIES[forge], fault) for fault in faults), faults


WRONG_FORM: dict[str, Callable[[Arrays], Any]] = {
    "an array missing": lambda a: a.pop("labelled_tied"),
    "labels missing": lambda a: a.pop("truth_hard_positive"),
    "rows as text": lambda a: a.update(labelled_row=a["labelled_row"].astype(str)),
    "offsets as text": lambda a: a.update(labelled_offsets=a["labelled_offsets"].astype(str)),
    "labels as text": lambda a: a.update(truth_easy_ignored_offsets=np.array(["a", "b"])),
    "ranks and a quarter": lambda a: a.update(labelled_rank=a["labelled_rank"] + 0.25),
    "scores as text": lambda a: a.update(shortlist_score=a["shortlist_score"].astype(str)),
    "a list for all": lambda a: a.update(shortlist_row=np.int64(3)),
    "lists too few": lambda a: a.update(shortlist_row=a["shortlist_row"][:3]),
    "scores too few": lambda a: a.update(shortlist_score=a["shortlist_score"][:, :5]),
    "scores in columns": lambda a: a.update(labelled_score=a["labelled_score"].reshape(-1, 1)),
    "offsets in a row": lambda a: a.update(labelled_offsets=a["labelled_offsets"][None]),
    "an offset below zero": lambda a: a["labelled_offsets"].__setitem__(1, -5),
    "offsets beyond the end": lambda a: a["labelled_offsets"].__setitem__(-1, 10**6),
    "no offsets": lambda a: a.update(labelled_offsets=a["labelled_offsets"][:0]),
    "lists and scores too few": lambda a: a.update(
        shortlist_row=a["shortlist_row"][:3], shortlist_score=a["shortlist_score"][:3]
    ),
}


@pytest.mark.parametrize("wrong", WRONG_FORM)
def test_arrays_of_another_form_are_one_sentence(held, tmp_path: Path, wrong: str) -> None:
    content, arrays = held
    WRONG_FORM[wrong](arrays)
    path = sign(content, arrays, tmp_path / "r.json")
    with pytest.raises(BenchError, match=r"the arrays of r\.json are not those of a record: "):
        verify(path)


@pytest.mark.parametrize("count", [10**13, 2**62, 2**70])
def test_a_database_beyond_all_memory_is_one_sentence(held, tmp_path: Path, count: int) -> None:
    content, arrays = held
    content["card"]["dataset"]["database"] = count
    path = sign(content, arrays, tmp_path / "r.json")
    told = None
    try:
        faults, _ = verify(path)
    except BenchError as error:
        told = str(error)
    assert faults if told is None else "are not those of a record" in told


def test_a_metric_that_is_not_in_the_table_is_one_sentence(held, tmp_path: Path) -> None:
    content, arrays = held
    content["card"]["metrics"][0] = "map.of-ours"
    with pytest.raises(BenchError, match=r"are not those of a record: KeyError: 'map\.of-ours'"):
        verify(sign(content, arrays, tmp_path / "r.json"))


# --- cards --------------------------------------------------------------------------------------


def test_the_card_is_the_same_whatever_the_order_of_its_keys(held) -> None:
    card = held[0]["card"]
    turned = dict(reversed(card.items()))
    assert sha256_json(card) == sha256_json(turned) == held[0]["card_sha256"]
    assert cards.short(card) == held[0]["card_sha256"][:8]


def test_whatever_can_move_a_score_moves_the_card(small: dict[str, Any]) -> None:
    def card(**changes: Any) -> str:
        data = copy.deepcopy(small)
        data.update(changes)
        dataset = datasets.folder.parse(data, "f", Path())
        return sha256_json(cards.make(dataset, None, unit_norm=True))

    truth = copy.deepcopy(small["protocols"])
    truth["easy"][0]["ignored"] = [2]
    boxed = copy.deepcopy(small["queries"])
    boxed[0]["box"] = [0, 0, 5, 5]
    others = [
        card(name="other"), card(variant="other"), card(database=small["database"][::-1]),
        card(protocols=truth), card(queries=boxed), card(empty="miss"),
        card(metrics=["recall@1.any-hit.junk-removed"]),
    ]  # fmt: skip
    assert len({card(), *others}) == 1 + len(others)
    still = [card(images="elsewhere"), card(licence="x"), card(description="x"), card(citation="x")]
    assert set(still) == {card()}


def test_what_differs_between_two_cards_is_named(small: dict[str, Any]) -> None:
    dataset = datasets.folder.parse(small, "f", Path())
    one = cards.make(dataset, Preprocess(), unit_norm=True)
    other = cards.make(dataset, Preprocess(max_side_px=724), unit_norm=True,
                       distractors=[("r1m.npy", 5)])  # fmt: skip
    assert cards.differences(one, one) == []
    assert cards.differences(one, other) == [
        "distractors.count: 0 / 5",
        'distractors.sources: [] / ["r1m.npy"]',
        "preprocess.max_side_px: 1024 / 724",
    ]


def test_canonical_json_refuses_nan_and_sorts() -> None:
    assert canonical_json({"b": (1, 2.5), "a": "ü"}) == '{"a":"\\u00fc","b":[1,2.5]}'
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"a": float("nan")})
    assert plain(Preprocess())["mean"] == [123.675, 116.28, 103.53]
