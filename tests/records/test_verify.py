"""verify: genuine records match, forgeries with right checksums differ."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import BenchError
from bench.pipeline.brought import score_brought
from bench.pipeline.options import Options
from bench.records import measured, record
from bench.records.verify import verify
from bench.scoring import card as cards
from bench.scoring import scores
from bench.scoring.metrics import REVISITED_METRICS
from bench.system.hashing import sha256_json
from tests.support.signed import HEADLINE, Arrays, Record, sign

NOT_HERE = "ground truth not compared: the data set small is unknown"


def rescore(content: Record, arrays: Arrays) -> None:
    """Make everything that follows from the arrays follow from them."""
    ranks, _ = record.ranks_of(arrays)
    protocols = record.protocols_of(arrays, content["card"])
    for protocol in protocols:
        skipped = scores.skipped(protocol)
        content["card"]["protocols"][protocol.name] |= {
            "truth_sha256": sha256_json(cards.truth_lists(protocol)),
            "scored": len(protocol.truth) - skipped,
            "skipped": skipped,
        }
    n_rows = content["card"]["dataset"]["database"]
    tables = scores.score(ranks, protocols, n_rows, content["seed"])
    content["scores"] = record.scores_to_json(tables)
    content["ties"] = scores.ties_of(ranks)


# --- verified -----------------------------------------------------------------------------------


def test_a_genuine_record_matches(recorded: Path) -> None:
    faults, notes = verify(recorded)
    assert faults == []
    assert notes == [
        f"{3 * len(REVISITED_METRICS)} scores over 3 protocols recomputed from stored ranks",
        "lists and ground truth are those of mini on this machine",
        measured.AS_STATED,
    ]


def test_signing_alone_changes_nothing(specimen, tmp_path: Path) -> None:
    assert verify(sign(*specimen, tmp_path / "r.json"))[0] == []


def test_the_last_digits_of_another_machine_are_allowed(specimen, tmp_path: Path) -> None:
    content, arrays = specimen
    content["scores"]["hard"][HEADLINE]["mean"] += 1e-12
    assert verify(sign(content, arrays, tmp_path / "r.json"))[0] == []


def test_a_data_set_that_is_not_known_here_is_said_to_be_so(
    small_file: Path, brought: tuple[Path, Path], tmp_path: Path
) -> None:
    options = Options(results=tmp_path / "out")
    path = score_brought(str(small_file), *brought, [], "x", options)
    faults, notes = verify(path)
    assert (faults, notes[1]) == ([], NOT_HERE)
    assert record.read(path)["card"]["descriptors"] == "unit-norm"


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


def a_distractor_more(content: Record, arrays: Arrays) -> None:
    content["card"]["distractors"]["count"] = 1


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
    fewer_ties: r"ties\.largest_group is 2 in the record, but its ranks give 1",
    fewer_queries: "the ranks have 15 queries, but the card 14",
    larger_database: "lists and ground truth differ from those of mini on this machine",
    other_variant: "lists and ground truth differ from those of mini on this machine",
    other_revision: "lists and ground truth differ from those of mini on this machine",
    partial: "record and card disagree on whether the result is partial",
    limited: "lists and ground truth differ from those of mini on this machine",
    misses: "the card states a wrong number of queries of easy",
    a_distractor_more: "the card counts 1 distractors of no data set",
    first_place: r"the ranks of query 0 contradict its (scores|shortlist)",
    equal_places: "the ranks of query 0 contradict its scores",
    place_beyond: r"the ranks of query \d+ contradict its scores",
    place_in_the_list: r"query \d+ (contradict its|contains labelled images that are)",
    other_scores: "the scores of query 0 contradict its shortlist",
    no_number: "the ranks of query 0 contradict its scores",
    negative_ties: "the ties of query 0 contradict its scores",
    list_repeats: "query 0 (contradict its shortlist|contains labelled images that are)",
    list_swapped: r"the ranks of query \d+ contradict its shortlist",
    list_out_of_order: "the shortlist of query 0 is not in order of score",
    labels_without_resigning: "the stored ground truth of hard differs from the card's",
    hard_positives_left_out: "lists and ground truth differ from those of mini on this machine",
}


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_a_forgery_with_right_checksums_differs(specimen, tmp_path: Path, forge) -> None:
    content, arrays = specimen
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
def test_arrays_of_another_form_are_one_sentence(specimen, tmp_path: Path, wrong: str) -> None:
    content, arrays = specimen
    WRONG_FORM[wrong](arrays)
    path = sign(content, arrays, tmp_path / "r.json")
    with pytest.raises(BenchError, match=r"the arrays of r\.json do not fit its record: "):
        verify(path)


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (10**13, "do not fit its record"),
        (2**62, "do not fit its record"),
        (2**70, "card.dataset.database: must not be above 9223372036854775807, but is a number"),
    ],
)
def test_a_database_beyond_all_memory_is_one_sentence(
    specimen, tmp_path: Path, count: int, words: str
) -> None:
    content, arrays = specimen
    content["card"]["dataset"]["database"] = count
    path = sign(content, arrays, tmp_path / "r.json")
    told = None
    try:
        faults, _ = verify(path)
    except BenchError as error:
        told = str(error)
    assert faults if told is None else words in told


def test_a_metric_that_is_not_in_the_table_is_one_sentence(specimen, tmp_path: Path) -> None:
    content, arrays = specimen
    content["card"]["metrics"][0] = "map.of-ours"
    with pytest.raises(BenchError, match=r"do not fit its record: KeyError: 'map\.of-ours'"):
        verify(sign(content, arrays, tmp_path / "r.json"))
