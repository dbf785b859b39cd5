"""The typed model of records and data sets: published schemas, an oracle, and hostile values."""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from bench.data.model import DatasetFile
from bench.errors import BenchError
from bench.records import record
from bench.records.model import Record
from bench.system import typed
from tests.support.checkout import ROOT
from tests.support.places import PLACES

SCHEMAS = {
    "results/record.schema.json": (Record, "bench.records.model"),
    "datasets/dataset.schema.json": (DatasetFile, "bench.data.model"),
}
ODD = (None, True, -1, 0, 2.5, 3.0, "x", [], {})


@pytest.mark.parametrize("file", SCHEMAS)
def test_the_published_schema_is_that_of_the_model(file: str) -> None:
    kind, module = SCHEMAS[file]
    published = (ROOT / file).read_text(encoding="utf-8")
    assert published == typed.schema_text(kind), f"run: python -m {module} > {file}"
    jsonschema.Draft202012Validator.check_schema(json.loads(published))


def short(value: dict[str, Any]) -> dict[str, Any]:
    """Return a record with one score of two queries, so that a validator in Python is quick."""
    value = {**value, "card": {**value["card"]}, "machine": {}, "libraries": {"numpy": "1"}}
    name, table = next(iter(value["scores"].items()))
    metric, entry = next(iter(table.items()))
    value["scores"] = {name: {metric: {**entry, "per_query": entry["per_query"][:2]}}}
    value["card"]["protocols"] = {name: value["card"]["protocols"][name]}
    return value


def richest() -> dict[str, Any]:
    """Return the committed record with the most keys."""
    read = [json.loads(path.read_bytes()) for path in record.find(ROOT / "results")]
    return max(map(short, read), key=lambda first: len(first["timing"]["latency"] or ()))


def changed(value: Any, odd: Iterator[Any], top: Any = None) -> Iterator[tuple[str, Any]]:
    """Yield (what was done, the whole with one part changed) for every part of a value.

    A part becomes the next of `odd`, is missing, or has one key too many.
    """
    top = value if top is None else top
    keys = list(value) if isinstance(value, dict) else range(min(1, len(value)))
    for key in keys:
        kept = value[key]
        if isinstance(kept, dict | list):
            yield from changed(kept, odd, top)
        value[key] = other = next(odd)
        yield f"{key} is {other!r} in place of {str(kept)[:40]}", top
        value[key] = kept
    if isinstance(value, dict):
        value["zz"] = 1
        yield f"a key too many beside {keys}", top
        del value["zz"]
        for key in keys:
            kept = value.pop(key)
            yield f"{key} is missing", top
            value[key] = kept


@pytest.mark.slow
@pytest.mark.parametrize("file", SCHEMAS)
def test_the_model_and_the_published_schema_accept_the_same(file: str) -> None:
    """The oracle is a validator of JSON schemas that knows nothing of the model."""
    oracle = jsonschema.Draft202012Validator(json.loads((ROOT / file).read_bytes()))
    kind, _ = SCHEMAS[file]
    whole = richest() if kind is Record else copy.deepcopy(PLACES)
    assert typed.checked(kind, whole)[1] == ""
    verdicts = []
    for done, value in changed(whole, itertools.cycle(ODD)):
        fault = typed.checked(kind, value)[1]
        assert oracle.is_valid(value) == (not fault), f"{done}: {fault}"
        verdicts.append(bool(fault))
    assert 0.05 < sum(verdicts) / len(verdicts) < 0.95


def test_committed_records_of_every_version_are_read() -> None:
    paths = record.find(ROOT / "results")
    assert {record.read(path)["card"]["schema"] for path in paths} == {2}
    assert 1 in {json.loads(path.read_bytes())["card"]["schema"] for path in paths}


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("card.dataset.database", 10**4000, "13288 bits"),
        ("bytes_per_image", math.inf, "a finite number, but is Infinity"),
        ("scores.easy", [[[[]]]], "a mapping, but is a list of 1"),
        ("method.dim", "64", 'a whole number, but is "64"'),
        ("machine", 5, "a mapping, but is 5"),
        ("timing.phases_s.search", -1.0, "not be below 0, but is -1.0"),
        ("card.limit", True, "a whole number or null, but is true"),
        ("created", "x" * 10**6, ""),
        ("card.metrics", "x" * 10**6, '"xxxxx'),
        ("method.weights.trained", "no", "true or false or null"),
        ("command", "\ud800", ""),  # a file name that is no UTF-8
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_hostile_values_are_one_short_sentence(
    specimen, place: str, value: Any, words: str
) -> None:
    content, _ = specimen
    *path, last = place.split(".")
    inner = content
    for key in path:
        inner = inner[key]
    inner[last] = value
    if not words:
        record.check(content, "here")
        return
    with pytest.raises(BenchError, match=f"^here does not fit .*: {place}: .*{words}") as caught:
        record.check(content, "here")
    assert len(str(caught.value)) < 300


def test_one_fault_is_told_however_many_there_are() -> None:
    data = {**PLACES, "database": [5] * 200_000}
    assert typed.checked(DatasetFile, data)[1] == "database[0]: must be a string, but is 5"


def test_a_misspelt_key_is_told_before_the_key_that_is_missing() -> None:
    data: dict[str, Any] = {**PLACES, "quries": []}
    del data["queries"]
    fault = typed.checked(DatasetFile, data)[1]
    assert fault.startswith("no key is called 'quries'; did you mean queries")
