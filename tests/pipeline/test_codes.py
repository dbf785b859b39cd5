"""Bits that a method gives beside its vectors: searched first, with full rows behind them."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bench.describe import bits
from bench.errors import BenchError
from bench.records import record
from bench.records.verify import verify
from tests.support import coded
from tests.support.signed import sign
from tests.support.town import path_of

pytestmark = pytest.mark.slow

FIRST = 60


def run(tiny: Path, *more: object) -> list[object]:
    """Return the words of a run whose lists are those of the bits."""
    return ["run", "--method", coded.written(tiny), "--dataset", tiny, "--stage", "codes", *more]


def test_bits_first_and_vectors_behind_them(
    cli: Any, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list is that of Hamming distances, its first rows are in the order of the vectors."""
    files = [tiny / "jpg" / f"{i:03}.png" for i in range(600)]
    asked = [tiny / "jpg" / f"q{i:03}.png" for i in range(5)]
    marks, vectors = (np.stack([*map(of, files)]) for of in (coded.bits_of, coded.halves_of))
    name = coded.installed(tiny, monkeypatch)
    path = path_of(cli("run", "--method", name, "--dataset", tiny, "--stage", "codes",
                       "--stage", f"rescore:{FIRST}"))  # fmt: skip
    content = record.read(path)
    arrays = record.read_arrays(path, content)
    for query, file in enumerate(asked):
        distance = (marks != coded.bits_of(file)).sum(axis=1)
        order = sorted(range(600), key=lambda row: (distance[row], row))[:100]
        assert arrays["shortlist_row"][query].tolist() == order
        assert (
            arrays["shortlist_score"][query].tolist() == (coded.BITS - 2 * distance[order]).tolist()
        )
        near = vectors[order[:FIRST]] @ coded.halves_of(file)
        assert np.abs(arrays["stage0_strength"][query, :FIRST] - near).max() < 1e-6
    assert content["card"]["compression"] == {"name": "codes", "bytes": 2}
    assert (content["bytes_per_image"], content["stages"][0]["bytes_per_image"]) == (2, 4 * 6)
    assert verify(path)[0] == []
    said = cli("verify", "--descriptors", path, "--dataset", tiny / "dataset.json")
    assert said.status == 0, said.out + said.err
    arrays["stage0_strength"] *= 1 - 1e-12  # the same order, and not the same bits
    forged = sign(content, arrays, path.with_name("forged.json"))
    said = cli("verify", "--descriptors", forged, "--dataset", tiny / "dataset.json")
    assert "DIFFERS: stage0_strength" in said.out
    assert cli("cache", "verify").status == 0


def test_an_image_that_cannot_be_decoded_takes_no_part(cli: Any, tiny: Path) -> None:
    (tiny / "jpg" / "007.png").write_bytes(b"no image")
    path = path_of(cli(*run(tiny, "--allow-missing", "--stage", "aqe:3,alpha=1")))
    assert verify(path)[0] == []
    arrays = record.read_arrays(path, record.read(path))
    assert not np.any(arrays["shortlist_row"] == 7)


def test_codes_that_are_not_there_are_one_sentence(cli: Any, refused: Any, tiny: Path,
                                                   town: Any) -> None:  # fmt: skip
    assert "gem.untrained" in refused(cli("run", "--method", "gem.untrained", "--stage", "codes"))
    several = refused(cli(*run(tiny, "--scales", "1,0.5")))
    assert "--scales" in several
    assert "`run`" in refused(cli(*town(20), "--stage", "codes"))


def test_check_holds_bits_to_their_batch(cli: Any, tmp_path: Path) -> None:
    assert "codes: 0 of 88 bits differ" in cli("check", coded.written(tmp_path)).out
    other = tmp_path / "other.py"
    other.write_text(coded.CODED.replace("> 0.5", "> batch.mean()"), encoding="utf-8")
    (line,) = [one for one in cli("check", other).out.split("\n") if "codes: " in one]
    assert "FAILS" in line


@pytest.mark.parametrize("rows", [torch.ones(2, 11), torch.ones(2, 10, dtype=torch.bool)])
def test_bits_of_another_kind_or_number_are_refused(rows: torch.Tensor) -> None:
    bad = bits.Bits(SimpleNamespace(codes=lambda batch: rows), 11)
    with pytest.raises(BenchError, match=re.escape("not bool (2, 11)")):
        bad.describe(torch.zeros(2, 3, 8, 8))
