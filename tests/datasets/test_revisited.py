"""The revisited ground truth: the genuine files, counted and hashed; damaged and hostile ones."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bench import datasets
from bench.errors import BenchError
from bench.system.hashing import sha256_lines
from bench.types import Dataset
from tests.support.traps import Trap

Finder = Callable[[str], Path]

# Of the specification: what the published files hold.
FACTS: dict[str, dict[str, Any]] = {
    "roxford5k": {
        "database": 4993, "ends": ("ashmolean_000283", "christ_church_000907"),
        "query ends": ("all_souls_000013", "radcliffe_camera_000031"),
        "easy": (3029, 0, 248), "hard": (2497, 1, 284), "junk": (1356, 1, 74),
        "without easy": [11, 66], "without junk": [], "fractional boxes": 23,
        "least box": (124, 129),
        "database sha256": "c277baf4f03919c7ff91b37cf9cac8d11ca9e6240aa75b5acef9c31b3788c115",
        "queries sha256": "55bcdffb88a3fd9cdfda482c452503234ec61a89ece0b0e49819e8dfc2e353b3",
    },
    "rparis6k": {
        "database": 6322, "ends": ("paris_general_001840", "paris_pantheon_000244"),
        "query ends": ("paris_defense_000605", "paris_triomphe_000445"),
        "easy": (6874, 2, 199), "hard": (10350, 34, 556), "junk": (7153, 0, 344),
        "without easy": [], "without junk": [25, 26, 27, 28, 29], "fractional boxes": 10,
        "least box": (189, 211),
        "database sha256": "4b8503e1c57a6a8397981621f940d6f5f62c421a71da999f21d329b187f85448",
        "queries sha256": "9445fc68e0ba0d10e604ec358b510618b05a8e15dadce0b02d060849aa9c291e",
    },
}  # fmt: skip


@pytest.fixture(params=["roxford5k", "rparis6k"])
def genuine(request, shared: Finder, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Load a genuine data set."""
    monkeypatch.setenv("RETRIEVAL_BENCH_DATA", str(shared("data")))
    shared(f"data/{request.param}/gnd_{request.param}.pkl")
    return datasets.load(request.param)


def sizes(lists: Sequence[Any]) -> tuple[int, int, int]:
    """Return the sum, the least and the largest length."""
    lengths = [len(item) for item in lists]
    return sum(lengths), min(lengths), max(lengths)


# --- the genuine files --------------------------------------------------------------------------


def test_lists_are_those_of_the_specification(genuine: Dataset) -> None:
    facts = FACTS[genuine.name]
    names = [image.id for image in genuine.database]
    queries = [image.id for image in genuine.queries]
    assert genuine.variant == "revisited"
    assert (len(names), len(set(names)), len(set(queries))) == (facts["database"],) * 2 + (70,)
    assert not set(names) & set(queries)
    assert (names[0], names[-1]) == facts["ends"]
    assert (queries[0], queries[-1]) == facts["query ends"]
    assert sha256_lines(names) == facts["database sha256"]
    assert sha256_lines(queries) == facts["queries sha256"]
    assert all(image.file == f"{image.id}.jpg" for image in genuine.database)


def test_labels_are_those_of_the_specification(genuine: Dataset) -> None:
    facts = FACTS[genuine.name]
    easy, medium, hard = (p.truth for p in genuine.protocols)
    assert [p.name for p in genuine.protocols] == ["easy", "medium", "hard"]
    assert sizes([t.positive for t in easy]) == facts["easy"]
    assert sizes([t.positive for t in hard]) == facts["hard"]
    assert sizes([t.ignored for t in medium]) == facts["junk"]
    assert [i for i, t in enumerate(easy) if len(t.positive) == 0] == facts["without easy"]
    assert [i for i, t in enumerate(medium) if len(t.ignored) == 0] == facts["without junk"]
    assert all(len(t.positive) for t in (*medium, *hard))


def test_what_is_ignored_in_each_protocol(
    genuine: Dataset, oracle: ModuleType, shared: Finder
) -> None:
    content = oracle.ground_truth(shared(f"data/{genuine.name}/gnd_{genuine.name}.pkl"))
    for i, entry in enumerate(content["gnd"]):
        expected = {
            "easy": (entry["easy"], entry["junk"] + entry["hard"]),
            "medium": (entry["easy"] + entry["hard"], entry["junk"]),
            "hard": (entry["hard"], entry["junk"] + entry["easy"]),
        }
        for protocol in genuine.protocols:
            positive, ignored = expected[protocol.name]
            assert protocol.truth[i].positive.tolist() == sorted(positive)
            assert protocol.truth[i].ignored.tolist() == sorted(ignored)
        assert genuine.queries[i].box == tuple(map(float, entry["bbx"]))


def test_boxes_are_those_of_the_specification(genuine: Dataset) -> None:
    facts = FACTS[genuine.name]
    boxes = [query.box for query in genuine.queries]
    assert all(box is not None for box in boxes)
    fractional = [box for box in boxes if any(x != int(x) for x in box)]
    assert len(fractional) == facts["fractional boxes"]
    least = min(round(b[2] - b[0]) for b in boxes), min(round(b[3] - b[1]) for b in boxes)
    assert least == facts["least box"]


def test_the_genuine_files_are_known_by_their_sha256(shared: Finder) -> None:
    for name in FACTS:
        digest = hashlib.sha256(shared(f"data/{name}/gnd_{name}.pkl").read_bytes()).hexdigest()
        module = __import__(f"bench.datasets.{name}", fromlist=["x"])
        assert digest == module.GROUND_TRUTH_SHA256


# --- other files --------------------------------------------------------------------------------

GOOD: dict[str, Any] = {
    "imlist": ["a", "b", "c", "d"],
    "qimlist": ["q"],
    "gnd": [{"bbx": [1, 2.5, 30, 40], "easy": [0], "hard": [2], "junk": [3]}],
}


@pytest.fixture
def write(workspace) -> Callable[[bytes | Any], Path]:
    """Return a function that puts a ground truth where roxford5k looks for it."""

    def put(content: Any) -> Path:
        path: Path = workspace.data / "roxford5k" / "gnd_roxford5k.pkl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content))
        return path

    return put


def test_another_file_is_read_and_says_so(write) -> None:
    write(GOOD)
    dataset = datasets.load("roxford5k")
    assert dataset.variant == "revisited, ground truth with another sha256"
    easy, medium, hard = (p.truth[0] for p in dataset.protocols)
    assert (easy.positive.tolist(), easy.ignored.tolist()) == ([0], [2, 3])
    assert (medium.positive.tolist(), medium.ignored.tolist()) == ([0, 2], [3])
    assert (hard.positive.tolist(), hard.ignored.tolist()) == ([2], [0, 3])


def test_a_missing_file_says_where_it_goes(workspace) -> None:
    with pytest.raises(BenchError) as caught:
        datasets.load("roxford5k")
    text = str(caught.value)
    assert str(workspace.data / "roxford5k" / "gnd_roxford5k.pkl") in text
    assert "RETRIEVAL_BENCH_DATA" in text


def opcodes(module: bytes, name: bytes, argument: bytes) -> bytes:
    """Return a pickle that calls module.name(argument), by hand."""
    return b"c" + module + b"\n" + name + b"\n(V" + argument + b"\ntR."


def test_hostile_pickles_are_refused_and_do_nothing(write, tmp_path: Path) -> None:
    target = tmp_path / "touched"
    hostile = [
        *(pickle.dumps({**GOOD, "imlist": Trap(target)}, protocol=n) for n in range(6)),
        opcodes(b"os", b"system", b"touch " + str(target).encode()),
        opcodes(b"builtins", b"eval", f"open({str(target)!r}, 'w')".encode()),
        b"(i__main__\nx\n.",  # INST
        b"\x80\x02(cbuiltins\nlist\no.",  # OBJ
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",  # STACK_GLOBAL
        b"\x80\x02\x82\x01.",  # EXT1
        b"Pevil\n.",  # a persistent id
        b"N}b.",  # BUILD on None
        b"NNR.",  # REDUCE of None
        b"\x80\x02NN\x81.",  # NEWOBJ of None
    ]
    for content in hostile:
        path = write(content)
        with pytest.raises(BenchError) as caught:
            datasets.load("roxford5k")
        assert str(caught.value).startswith(f"{path} cannot be read as ground truth: "), content
        assert not target.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"", b".", b"\x80", b"\x80\x05", b"garbage", b"\x80\xff.", b"(" * 100, b"h\x05.", b"0.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # a string of 2**63 bytes
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",  # a frame of as many
        b"\x80\x04r\xff\xff\xff\x7f.",
        pickle.dumps(GOOD)[:-20],
        b"<html><body>Found</body></html>",
    ],
)  # fmt: skip
def test_damaged_pickles_are_refused(write, content: bytes) -> None:
    write(content)
    with pytest.raises(BenchError, match=r"cannot be read as ground truth: |not the file itself"):
        datasets.load("roxford5k")


@pytest.mark.parametrize("content", [[], None, 5, "x", ("gnd",)])
def test_pickles_of_something_else_are_refused(write, content) -> None:
    write(content)
    with pytest.raises(BenchError, match=r"contains a \w+ instead of the ground truth's dict"):
        datasets.load("roxford5k")


def changed(**fields: Any) -> dict[str, Any]:
    """Return the small ground truth with fields of its query changed."""
    return {**GOOD, "gnd": [{**GOOD["gnd"][0], **fields}]}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            {},
            "is not a revisited ground truth: KeyError: 'imlist'. It must contain imlist, qimlist",
        ),
        ({**GOOD, "qimlist": ["q", "r"]}, "is not a revisited ground truth: ValueError"),
        ({**GOOD, "gnd": [[]]}, "is not a revisited ground truth: TypeError"),
        ({**GOOD, "imlist": None}, "is not a revisited ground truth: TypeError"),
        (changed(easy=None), "is not a revisited ground truth: TypeError"),
        (changed(easy=[[0]]), "is not a revisited ground truth: TypeError"),
        (changed(bbx=["x"] * 4), "is not a revisited ground truth: ValueError"),
        (changed(bbx=[1, 2, 10**400, 4]), "more than 128 bits"),
        (changed(bbx=[1, 2, 3]), "queries[0].box: must be [left, top, right, bottom]"),
        (changed(bbx=[9, 2, 3, 4]), "queries[0].box: the box [9, 2, 3, 4] is empty"),
        (changed(bbx=[1, 2, float("nan"), 4]), "queries[0].box[2]: must be a finite number"),
        (changed(easy=[4]), "protocols.easy[0].positive: row 4 is not in the database"),
        (changed(easy=[-1]), "-1 is not a row number"),
        (changed(easy=[2]), "protocols.easy[0]: row 2 is both positive and ignored"),
        (changed(junk=["a"]), "'a' is not a row number"),
        ({**GOOD, "imlist": ["a", "a", "b", "c"]}, "database[1] repeats 'a.jpg' of database[0]"),
        ({**GOOD, "imlist": ["../a", "b", "c", "d"]}, "must be a file name inside"),
        ({"imlist": [], "qimlist": [], "gnd": []}, "database: must not be empty"),
    ],
    ids=lambda value: str(value)[-40:] if isinstance(value, str) else "",
)
def test_ground_truth_that_cannot_be_right_is_refused(write, content, expected: str) -> None:
    write(content)
    with pytest.raises(BenchError) as caught:
        datasets.load("roxford5k")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
