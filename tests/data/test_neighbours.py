"""The keys `positions` and `order` of a dataset.json: read, restricted, in no revision, refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import datasets
from bench.data.dataset_json import parse
from bench.errors import BenchError
from bench.scoring import card
from tests.support.places import PLACES

BARE = {key: value for key, value in PLACES.items() if key not in ("areas", "groups")}
POSITIONS = [[0, 0.5], [10.0, 0.0], [20.0, 7]]
ORDER = [[0, 3], [0, 1], [1, 2]]


def test_they_are_read_and_in_no_revision() -> None:
    bare = parse(BARE, "x", Path())
    known = parse({**BARE, "positions": POSITIONS, "order": ORDER}, "x", Path())
    assert (bare.positions, bare.order) == (None, None)
    assert known.positions is not None
    assert known.order is not None
    assert (known.positions.tolist(), known.order.tolist()) == (POSITIONS, ORDER)
    assert card.revision(known) == card.revision(bare)
    cards = [card.make(item, None, unit_norm=True) for item in (bare, known)]
    assert cards[0] == cards[1]


def test_a_part_of_the_queries_has_their_part() -> None:
    known = parse({**BARE, "positions": POSITIONS, "order": ORDER}, "x", Path())
    part = datasets.limited(known, 2)
    assert part.positions is not None
    assert part.order is not None
    assert (part.positions.tolist(), part.order.tolist()) == (POSITIONS[:2], ORDER[:2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": POSITIONS[:2]}, "positions has 2 entries for 3 queries"),
        ({"order": [*ORDER, [1, 3]]}, "order has 4 entries for 3 queries"),
        ({"positions": [[0, 0], [1, float("nan")], [2, 2]]}, r"positions\[1\]\[1\]: .*NaN"),
        ({"positions": [[0, 0], [1, 1], [2e9, 2]]}, r"positions\[2\]"),
        ({"positions": [[0, 0], [1, 1], [2]]}, r"positions\[2\]"),
        ({"positions": [[0, 0], [1, 1], ["2", 2]]}, r"positions\[2\]\[0\]"),
        ({"order": [[0, 0], [0, 1], [0, 2.5]]}, r"order\[2\]\[1\]"),
        ({"order": [[0, 0], [0, 1], [0, 2**63]]}, r"order\[2\]"),
        ({"order": "abc"}, "order"),
    ],
)
def test_wrong_ones_are_one_sentence(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        parse({**BARE, **change}, "x", Path())
