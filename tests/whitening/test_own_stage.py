"""A stage on descriptors in a user's own file: that of the README, edited and broken ones."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from bench.records import record
from bench.records.verify import verify
from tests.support.checkout import ROOT
from tests.support.town import path_of

README = (ROOT / "bench" / "whitening" / "README.md").read_text(encoding="utf-8")
OWN = """
import numpy as np
from bench.stage import SimpleRows

class Own(SimpleRows):
    name = "own"
    more = None
    def entry(self): return {"stage": "own"}
    def words(self, entry): return "own"
    def transform(self, block): return BODY

def make(first, options): return Own()
"""


def test_the_stage_of_the_readme_runs(cli, town, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    file, out = tmp_path / "centring.py", tmp_path / "out.npz"
    file.write_text(code, encoding="utf-8")
    result = cli(*town(30), "--stage", file, "--export", out)
    faults, notes = verify(path_of(result))
    assert faults == []
    assert "stage centring: unknown on this machine, taken as stated" in notes
    assert "(centring, transductive)" in result.out
    database, queries = (np.load(tmp_path / f"{n}.npy").astype(np.float64) for n in ("db", "q"))
    mean, kept = database.mean(axis=0), np.load(out)
    assert np.abs(kept["stage0_database"] - (database - mean)).max() < 1e-6
    assert np.abs(kept["stage0_queries"] - (queries - mean)).max() < 1e-6


def test_an_edited_file_makes_its_rows_anew(cli, town, tmp_path: Path) -> None:
    arguments, file, out = town(31), tmp_path / "own.py", tmp_path / "out.npz"
    queries = np.load(tmp_path / "q.npy")
    for factor in (2, 4):
        file.write_text(OWN.replace("BODY", f"block.rows * {factor}"), encoding="utf-8")
        path_of(cli(*arguments, "--stage", file, "--export", out))
        assert np.array_equal(np.load(out)["stage0_queries"], factor * queries)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("1 / 0", "own.py, line 10"),
        ("None", "shape ()"),
        ("block.rows[:, :3]", ", 3)"),
        ("block.rows * 1j", "complex128"),
        ("block.rows * np.nan", "NaN"),
    ],
)
def test_a_stage_that_makes_no_rows_is_one_sentence(
    cli, refused, town, tmp_path: Path, body: str, words: str
) -> None:
    (tmp_path / "own.py").write_text(OWN.replace("BODY", body), encoding="utf-8")
    assert words in refused(cli(*town(32), "--stage", tmp_path / "own.py"))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("place = 'codes'", "'codes'"),
        ("sides = {'nothing'}", "{'nothing'}"),
        ("learned = ('A b',)", "'A b'"),
        ("learned = ('x',)", "learns x"),
        ("uses = {'whatever'}", "'whatever'"),
        ("uses = None", "TypeError"),
        ("code = 'x'", "'x'"),
    ],
)
def test_an_attribute_that_no_stage_has_is_one_sentence(
    cli, refused, town, tmp_path: Path, more: str, words: str
) -> None:
    code = OWN.replace("BODY", "block.rows").replace("more = None", more)
    (tmp_path / "own.py").write_text(code, encoding="utf-8")
    assert words in refused(cli(*town(33), "--stage", tmp_path / "own.py"))


def test_product_quantisation_is_named_as_a_stage(cli, refused, town) -> None:
    arguments = town(34)
    cards = [
        record.read(path_of(cli(*arguments, *item)))["card_id"]
        for item in (("--stage", "pq4x4"), ("--compression", "pq4x4"))
    ]
    assert cards[0] == cards[1]
    assert "pq5x4" in refused(cli(*arguments, "--stage", "pq5x4"))


def test_options_follow_a_name_without_a_value(cli, town) -> None:
    arguments = town(35)
    cards = [
        record.read(path_of(cli(*arguments, "--stage", text)))["card_id"]
        for text in ("pca-whiten,power=0.25", "pca-whiten:power=0.25")
    ]
    assert cards[0] == cards[1]
