"""dataset.json: what a correct one becomes, and a sentence with the place for every defect."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import datasets
from bench.data import dataset_json
from bench.errors import BenchError
from bench.scoring import card
from bench.scoring.metrics import REVISITED_METRICS
from bench.types import Dataset

Data = dict[str, Any]
NAME = (
    "must be of lower-case letters, digits, '.', '_', '+' and '-', a letter or digit first, but is "
)


def parse(data: Any) -> Dataset:
    """Parse data as if it stood in a file called f."""
    return dataset_json.parse(data, "f", Path("/base"))


# --- correct files ------------------------------------------------------------------------------


def test_a_correct_file_becomes_a_data_set(small: Data, small_file: Path) -> None:
    dataset = dataset_json.read(small_file)
    assert (dataset.name, dataset.variant) == ("small", "small")
    assert dataset.folder == small_file.parent / "jpg"
    assert [image.file for image in dataset.database] == small["database"]
    assert dataset.database[0].id == "d0"
    assert [p.name for p in dataset.protocols] == ["easy", "hard"]
    truth = dataset.protocols[0].truth
    assert truth[0].positive.tolist() == [1, 3, 4]
    assert truth[0].ignored.tolist() == [0]
    assert truth[1].positive.dtype == truth[2].ignored.dtype == np.int64
    assert dataset.protocols[0].metrics == REVISITED_METRICS
    assert dataset.protocols[0].empty == "skip"
    assert dataset.licence == dataset.citation == "not stated"
    assert (dataset.crop, dataset.limit) == ("box", None)


def test_rows_are_sorted_and_boxes_are_numbers(small: Data) -> None:
    small["protocols"]["easy"][0] = {"positive": [4, 1, 3], "ignored": [7, 0]}
    small["queries"][1]["box"] = [1, 2.5, 30, 40]
    small["queries"][2]["box"] = None
    dataset = parse(small)
    assert dataset.protocols[0].truth[0].positive.tolist() == [1, 3, 4]
    assert dataset.protocols[0].truth[0].ignored.tolist() == [0, 7]
    assert [q.box for q in dataset.queries] == [None, (1.0, 2.5, 30.0, 40.0), None]


def test_every_field_is_taken(small: Data) -> None:
    small |= {
        "variant": "2", "description": "d", "licence": "l", "citation": "c", "labelling": "by hand",
        "sources": {"a": "b"}, "metrics": ["recall@1.any-hit.junk-removed"], "empty": "miss",
        "images": "/elsewhere",
    }  # fmt: skip
    small["queries"][0] |= {"landmark": "x", "note": "y", "labels": {}}
    dataset = parse(small)
    assert (dataset.variant, dataset.description) == ("2", "d")
    assert (dataset.licence, dataset.citation) == ("l", "c")
    assert dataset.folder == Path("/elsewhere")
    assert dataset.protocols[0].metrics == ("recall@1.any-hit.junk-removed",)
    assert dataset.protocols[1].empty == "miss"


def test_plug_ins_may_give_tuples_paths_and_numpy(small: Data) -> None:
    small["database"] = tuple(small["database"])
    small["images"] = Path("jpg")
    small["protocols"]["easy"][0] = {"positive": np.array([3, 1]), "ignored": (np.int32(2),)}
    truth = parse(small).protocols[0].truth[0]
    assert (truth.positive.tolist(), truth.ignored.tolist()) == ([1, 3], [2])


# --- defects ------------------------------------------------------------------------------------

DEFECTS: dict[str, tuple[Callable[[Data], Any], str]] = {
    "no queries": (lambda d: d.pop("queries"), "f: the key 'queries' is missing."),
    "unknown key": (
        lambda d: d.update(databse=[]),
        "f: no key is called 'databse'; did you mean database?",
    ),
    "name of two words": (lambda d: d.update(name="a b"), f'f: name: {NAME}"a b".'),
    "name as a path": (lambda d: d.update(name="../x"), f'f: name: {NAME}"../x".'),
    "name with a line end": (lambda d: d.update(name="x\n"), f'f: name: {NAME}"x\\n".'),
    "name a number": (lambda d: d.update(name=5), f"f: name: {NAME}5."),
    "no images": (lambda d: d.update(database=[]), "f: database: must not be empty."),
    "database image twice": (
        lambda d: d["database"].append("d1.png"),
        "f: database[8] repeats 'd1.png' of database[1]; every row must be a different image.",
    ),
    "image outside": (
        lambda d: d["database"].__setitem__(2, "../../etc/passwd"),
        "f: database[2]: '../../etc/passwd' must be a file name inside the folder `images`.",
    ),
    "absolute image": (
        lambda d: d["queries"][1].update(file="/etc/passwd"),
        "f: queries[1].file: '/etc/passwd' must be a file name inside",
    ),
    "image with a zero": (
        lambda d: d["database"].__setitem__(0, "a\0"),
        "f: database[0]: 'a\\x00' must be a file name inside",
    ),
    "image that is no text": (
        lambda d: d["database"].__setitem__(0, "\ud800"),
        "f: database[0]: must be text, but is",
    ),
    "folder with a zero": (
        lambda d: d.update(images="a\0"),
        "f: images: 'a\\x00' cannot be the name of a folder.",
    ),
    "empty folder": (lambda d: d.update(images=""), "f: images: must not be empty."),
    "query without a file": (
        lambda d: d["queries"].__setitem__(0, {}),
        "f: queries[0]: the key 'file' is missing.",
    ),
    "box of three": (
        lambda d: d["queries"][0].update(box=[1, 2, 3]),
        "f: queries[0].box: must be [left, top, right, bottom] in pixels or null, but is [1, 2, 3]",
    ),
    "box as width and height": (
        lambda d: d["queries"][2].update(box=[50, 60, 20, 30]),
        "f: queries[2].box: the box [50, 60, 20, 30] is empty; write left, top, right, bottom",
    ),
    "box without width": (
        lambda d: d["queries"][0].update(box=[5, 1, 5, 9]),
        "f: queries[0].box: the box [5, 1, 5, 9] is empty",
    ),
    "box beyond floats": (
        lambda d: d["queries"][0].update(box=[1, 2, 10**400, 4]),
        "f: queries[0].box[2]: must be a number, but is a number of 1329 bits.",
    ),
    "infinite box": (
        lambda d: d["queries"][0].update(box=[1, 2, float("inf"), 4]),
        "f: queries[0].box[2]: must be a finite number, but is Infinity.",
    ),
    "no protocols": (lambda d: d.update(protocols={}), "f: protocols: must not be empty"),
    "protocol name": (
        lambda d: d["protocols"].update({"Easy": d["protocols"]["easy"]}),
        f'f: protocols: {NAME}"Easy".',
    ),
    "an entry too few": (
        lambda d: d["protocols"]["easy"].pop(),
        "f: protocols.easy has 2 entries for 3 queries; it needs one entry per query, in the same",
    ),
    "no positive": (
        lambda d: d["protocols"]["hard"][1].pop("positive"),
        "f: protocols.hard[1]: the key 'positive' is missing.",
    ),
    "junk": (
        lambda d: d["protocols"]["easy"][0].update(junk=[2]),
        "f: protocols.easy[0]: no key is called 'junk'. Known: ignored, positive.",
    ),
    "row beyond the list": (
        lambda d: d["protocols"]["easy"][0]["positive"].append(8),
        "f: protocols.easy[0].positive: row 8 is not in the database, whose rows are 0 to 7.",
    ),
    "rows from one": (
        lambda d: d["protocols"]["hard"][2]["ignored"].__setitem__(0, 8),
        "f: protocols.hard[2].ignored: row 8 is not in the database, whose rows are 0 to 7.",
    ),
    "row below zero": (
        lambda d: d["protocols"]["easy"][2]["positive"].append(-1),
        "f: protocols.easy[2].positive[1]: must not be below 0, but is -1.",
    ),
    "half a row": (
        lambda d: d["protocols"]["easy"][2]["positive"].append(0.5),
        "f: protocols.easy[2].positive[1]: must be a whole number or a string, but is 0.5.",
    ),
    "a row as true": (
        lambda d: d["protocols"]["easy"][2]["positive"].append(True),
        "f: protocols.easy[2].positive[1]: must be a whole number or a string, but is true.",
    ),
    "a row twice": (
        lambda d: d["protocols"]["easy"][0]["positive"].append(3),
        "f: protocols.easy[0].positive: row 3 is listed twice; remove one.",
    ),
    "positive and ignored": (
        lambda d: d["protocols"]["easy"][0]["ignored"].append(4),
        "f: protocols.easy[0]: row 4 is both positive and ignored; remove it from one of the "
        "lists.",
    ),
    "unknown metric": (
        lambda d: d.update(metrics=["map.trapezoid.junk-remove"]),
        "f: metrics: no metric is called 'map.trapezoid.junk-remove'; did you mean map.trapezoid.",
    ),
    "metric of a family": (
        lambda d: d.update(metrics=["mp@{k}.clipped.junk-removed"]),
        "f: metrics: mp@{k}.clipped.junk-removed has {k} in place of a number: write mp@1.clipped",
    ),
    "no metrics": (lambda d: d.update(metrics=[]), "f: metrics: must not be empty."),
    "metric twice": (
        lambda d: d.update(metrics=["map.trapezoid.junk-removed"] * 2),
        "f: metrics: ",
    ),
    "empty": (
        lambda d: d.update(empty="drop"),
        "f: empty: must be 'skip' or 'miss', but is \"drop\".",
    ),
    "number as a key": (lambda d: d.update({1: 2}), "f: no key is called '1'."),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_every_defect_is_one_sentence_with_its_place(small: Data, defect: str) -> None:
    spoil, expected = DEFECTS[defect]
    spoil(small)
    with pytest.raises(BenchError) as caught:
        parse(small)
    assert str(caught.value).startswith(expected), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [None, [], 5, "x", True, [{}]])
def test_what_is_not_an_object_is_refused(data) -> None:
    with pytest.raises(BenchError, match=r"^f: .*must be a mapping, but is "):
        parse(data)


# --- files that are no dataset.json -------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty (0 bytes)"),
        (b" ", "is not JSON: Expecting value at line 1, column 2."),
        (b'{\n "a": }', "is not JSON: Expecting value at line 2, column 7."),
        (b'{"a": 1, "a": 2}', "the key 'a' occurs twice in one object."),
        (b'{"b": {"c": 1, "c": 1}}', "the key 'c' occurs twice in one object."),
        (b'{"a": NaN}', "NaN is not a JSON number."),
        (b'{"a": -Infinity}', "-Infinity is not a JSON number."),
        (b"\xff{}", "is not UTF-8 text: "),
        (b"\xff\xfe{", "is not UTF-16 text: "),
        (b"\xef\xbb\xbf\xef\xbb\xbf{}", "is not JSON: "),
        (b'{"a": ' + b"9" * 5000 + b"}", "5000 digits"),
        (b"[" * 100_000, "is nested too deeply."),
        (b'{"a":' * 100_000, "is nested too deeply."),
    ],
    ids=lambda value: str(value)[:20],
)
def test_files_that_are_no_json(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "dataset.json"
    path.write_bytes(content)
    for item in (path, tmp_path):
        with pytest.raises(BenchError) as caught:
            dataset_json.read(item)
        assert str(caught.value).startswith(str(path))
        assert expected in str(caught.value)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"nowhere\.json does not exist"):
        dataset_json.read(tmp_path / "nowhere.json")
    with pytest.raises(BenchError, match=r"dataset\.json does not exist; `data make .* --output"):
        dataset_json.read(tmp_path)


# --- data sets by name --------------------------------------------------------------------------


def test_a_wrong_name_answers_with_the_nearest_right_ones() -> None:
    with pytest.raises(
        BenchError, match=r"no data set is called 'roxford'; did you mean roxford5k"
    ):
        datasets.load("roxford")


def test_a_path_is_a_data_set_too(small_file: Path) -> None:
    assert datasets.load(str(small_file)).name == "small"
    assert datasets.load(str(small_file.parent)).name == "small"


def plug_in(tmp_path: Path, body: str) -> str:
    """Write a data set plug-in and return its path."""
    path = tmp_path / "mine.py"
    path.write_text(body, encoding="utf-8")
    return str(path)


def test_a_plug_in_file_outside_the_checkout(tmp_path: Path, small: Data) -> None:
    body = (
        f'"""Mine."""\nimport json\ndef load(root):\n    return json.loads({json.dumps(small)!r})\n'
    )
    dataset = datasets.load(plug_in(tmp_path, body))
    assert dataset.name == "small"
    assert dataset.folder == tmp_path / "jpg"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("def load(root):\n    return 5\n", r"load\(\) returned int, not a mapping in the form"),
        ("def load(root):\n    1 / 0\n", r"loaded: ZeroDivisionError: .*\(mine.py, line 2\)\."),
        ("def load(root):\n    return {}\n", r"the key 'name' is missing\."),
        ("x = 1\n", r"cannot be loaded: AttributeError"),
        ("def load(root:\n", r"cannot be imported: SyntaxError.*\(mine.py, line 1\)"),
    ],
)
def test_a_broken_plug_in_is_one_sentence(tmp_path: Path, body: str, expected: str) -> None:
    with pytest.raises(BenchError, match=expected):
        datasets.load(plug_in(tmp_path, body))


def test_the_bundled_data_set_is_whole() -> None:
    dataset = datasets.load("mini")
    assert (len(dataset.database), len(dataset.queries)) == (49, 15)
    assert [p.name for p in dataset.protocols] == ["easy", "medium", "hard"]
    wanted = [*dataset.database, *dataset.queries]
    assert all((dataset.folder / image.file).is_file() for image in wanted)


# --- only a part --------------------------------------------------------------------------------


def test_a_limit_keeps_the_positives_of_its_queries(small: Data) -> None:
    part = datasets.limited(parse(small), 1)
    assert [image.file for image in part.database] == ["d1.png", "d3.png", "d4.png", "d5.png"]
    assert [query.file for query in part.queries] == ["q0.png"]
    assert (part.limit, part.limit_rule) == (1, "positives")
    assert [p.truth[0].positive.tolist() for p in part.protocols] == [[0, 1, 2], [3]]
    assert part.protocols[1].truth[0].ignored.tolist() == [0, 1, 2]
    six = datasets.limited(parse(small), 2)  # 1 3 4 5, and 2 6 of the second query
    assert [image.file for image in six.database] == [f"d{row}.png" for row in (1, 2, 3, 4, 5, 6)]
    for protocol, whole in zip(six.protocols, parse(small).protocols, strict=True):
        for mine, theirs in zip(protocol.truth, whole.truth, strict=False):
            assert len(mine.positive) == len(theirs.positive)


def test_the_first_others_fill_the_database_up_to_the_limit() -> None:
    files = [f"d{row}.png" for row in range(10)]
    data = {
        "name": "x", "images": ".", "database": files, "queries": [{"file": "a"}, {"file": "b"}],
        "protocols": {"p": [{"positive": [8], "ignored": [5]}, {"positive": [9]}]},
    }  # fmt: skip
    part = datasets.limited(parse(data), 4)
    assert [image.file for image in part.database] == ["d0.png", "d1.png", "d8.png", "d9.png"]
    assert part.protocols[0].truth[0].ignored.tolist() == []


def test_a_limit_of_the_first_records_keeps_the_first_rows(small: Data) -> None:
    part = datasets.limited(parse(small), 2, "first-rows")
    assert [image.file for image in part.database] == ["d0.png", "d1.png"]
    assert len(part.queries) == 2
    assert (part.limit, part.limit_rule) == (2, "first-rows")
    easy = part.protocols[0]
    assert len(easy.truth) == 2
    assert (easy.truth[0].positive.tolist(), easy.truth[0].ignored.tolist()) == ([1], [0])
    assert easy.truth[1].ignored.tolist() == []
    stated = [card.make(datasets.limited(parse(small), 1, rule), None, unit_norm=True)
              for rule in ("first-rows", "positives")]  # fmt: skip
    older = {key: value for key, value in stated[0].items() if key != "limit_rule"}
    assert card.card_id(older) == card.card_id(stated[0]) != card.card_id(stated[1])


def test_a_limit_beyond_the_data_set_changes_nothing(small: Data) -> None:
    whole = parse(small)
    assert datasets.limited(whole, 8) is whole
    assert datasets.limited(whole, 10**9) is whole
    with pytest.raises(BenchError, match="--limit must be 1 or more, but is 0"):
        datasets.limited(whole, 0)
