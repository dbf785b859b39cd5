"""A forged size, time or word on training contradicts another field of the record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.records import measured
from bench.records.verify import verify
from tests.support.signed import sign


def forged_dim(content: dict[str, Any]) -> None:
    content["method"]["dim"] = 2048


def forged_half(content: dict[str, Any]) -> None:
    """Half the numbers in float64: what a run does not write."""
    content["method"]["dim"] = 8
    content["card"]["preprocess"] = {}


def forged_bytes(content: dict[str, Any]) -> None:
    content["bytes_per_image"] = 1


def forged_index(content: dict[str, Any]) -> None:
    content["memory"] |= {"index_rows": 49, "index_bytes": 7}


def forged_median(content: dict[str, Any]) -> None:
    content["timing"]["search"] = {"ms_per_query": {"p50": 3.0, "p95": 1.0}}


def forged_interval(content: dict[str, Any]) -> None:
    content["timing"]["latency"] = {"decode_ms": {"p50": 3.0, "p95": 9.0, "p50_interval": [4, 5]}}


def forged_rows(content: dict[str, Any]) -> None:
    content["timing"]["search"] = {"rows": 50, "dim": 16}


def forged_search(content: dict[str, Any]) -> None:
    content["timing"]["search"] = {"rows": 49, "dim": 8}


def forged_alone(content: dict[str, Any]) -> None:
    content["timing"]["query"] = query(1.0, total=1.0)
    content["timing"]["query"]["parts"][0]["part"] = "describe"
    content["timing"]["latency"] = {"describe_ms": {"p50": 0.5, "p95": 9.0}}


def forged_training(content: dict[str, Any]) -> None:
    content["method"]["weights"] |= {"trained": True, "source": "untrained: seed 0"}


def query(*times: float, total: float) -> dict[str, Any]:
    parts = [{"part": "stage", "of": "x", "ms": {"p50": ms, "p95": 9.0}} for ms in times]
    return {"parts": parts, "ms": {"p50": total, "p95": 9.0}, "busy": []}


def forged_query(content: dict[str, Any]) -> None:
    content["timing"]["query"] = query(1.0, 2.0, total=2.5)


def forged_part(content: dict[str, Any]) -> None:
    content["timing"]["query"] = query(1.0, 20.0, total=21.0)


def forged_quiet(content: dict[str, Any]) -> None:
    content["timing"]["query"] = query(1.0, total=1.0)
    content["timing"]["search"] = {"busy": ["load"]}


def forged_unknown(content: dict[str, Any]) -> None:
    content["timing"]["query"] = query(1.0, total=1.0)
    content["timing"]["query"]["parts"][0]["ms"] = None


@pytest.mark.parametrize(
    ("forge", "message"),
    [
        (forged_dim, "bytes_per_image is 64, but 2048 numbers"),
        (forged_half, "bytes_per_image is 64, but 8 numbers"),
        (forged_bytes, "bytes_per_image is 1"),
        (forged_index, "index_bytes is 7"),
        (forged_median, "a median of 3.0 above its 95th percentile of 1.0"),
        (forged_query, "a query takes 2.5 ms, but its parts take 3 ms"),
        (
            forged_part,
            "timing.query.parts.ms has a median of 20.0 above its 95th percentile of 9.0",
        ),
        (forged_interval, "decode_ms has a median of 3.0, not from 4 to 5"),
        (forged_rows, "the timed search is of 50 rows, and the lists have 49"),
        (forged_search, "the timed search is of 8 numbers, and descriptors have 16"),
        (forged_alone, "to describe takes another time in a query than alone"),
        (forged_quiet, "the machine was busy (load)"),
        (
            forged_unknown,
            "the time of a query is stated, but the time of one of its parts is missing",
        ),
        (forged_training, "marked trained, but come from 'untrained: seed 0'"),
    ],
)
def test_what_contradicts_another_field_is_found(
    specimen, tmp_path: Path, forge: Callable[[dict[str, Any]], None], message: str
) -> None:
    content, _ = specimen
    assert measured.faults(content) == []
    forge(content)
    assert any(message in fault for fault in measured.faults(content)), measured.faults(content)


def test_verify_says_what_is_as_stated(specimen, tmp_path: Path) -> None:
    content, arrays = specimen
    assert measured.AS_STATED in verify(sign(content, arrays, tmp_path / "r.json"))[1]
    forged_dim(content)
    faults, _ = verify(sign(content, arrays, tmp_path / "forged.json"))
    assert any("2048 numbers" in fault for fault in faults)
