"""Published numbers: those of their sources, all printed but what is known from memory only."""

from __future__ import annotations

import re
import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from bench.report.build import build
from tests.support.published import FILE, rows
from tests.support.reports import text_of

COLUMNS = ("roxford5k", "roxford5k+r1m", "rparis6k", "rparis6k+r1m")
EASY_TO_HARD = ("easy", "medium", "hard")

# As the tables print them: ROxf, ROxf+1M, RPar, RPar+1M; Medium, then Hard.
MEDIUM_HARD = """
dolg-r50-paper               80.50 76.58 89.81 80.79 | 58.82 52.21 77.70 62.83
dolg-r101-paper              81.50 77.43 91.02 83.29 | 61.10 54.81 80.30 66.69
dolg-r50-readme-crop         81.20 71.36 90.07 78.99 | 62.55 47.34 79.20 59.75
dolg-r101-readme-crop        82.37 73.63 90.97 80.44 | 64.93 51.57 81.71 62.95
dolg-r50-readme-whole        82.38 77.78 90.94 82.16 | 62.92 55.48 80.48 65.77
dolg-r101-readme-whole       83.22 78.96 91.64 82.89 | 64.83 57.86 82.56 67.34
dolg-r101-rerun-whole        83.5 - 91.8 - | 65.3 - 82.8 -
dolg-r101-rerun-crop         82.2 74.0 91.1 80.7 | 64.4 51.4 81.9 63.2
dolg-paper-delg-r50          77.51 74.80 87.90 77.3 | 54.76 50.40 73.82 61.01
dolg-paper-delg-r50-sp       79.08 75.90 88.78 77.69 | 58.40 52.40 76.20 61.60
delg-r50-gldv1               69.7 55.0 81.6 59.7 | 45.1 27.8 63.4 34.1
delg-r50-gldv2clean          73.6 60.6 85.7 68.6 | 51.0 32.7 71.5 44.4
delg-r101-gldv1              73.2 54.8 82.4 61.8 | 51.2 30.3 64.7 35.5
delg-r101-gldv2clean         76.3 63.7 86.6 70.6 | 55.6 37.5 72.4 46.9
delg-r50-gldv1-sp            75.1 61.1 82.3 60.5 | 54.2 36.8 64.9 34.8
delg-r50-gldv2clean-sp       78.3 67.2 85.7 69.6 | 57.9 43.6 71.0 45.7
delg-r101-gldv1-sp           78.5 62.7 82.9 62.6 | 59.3 39.3 65.5 37.0
delg-r101-gldv2clean-sp      81.2 69.1 87.2 71.5 | 64.0 47.5 72.8 48.7
token-r50                    79.79 67.36 88.08 74.33 | 62.68 45.70 75.49 52.68
token-r101                   82.16 70.58 89.40 77.24 | 65.75 47.46 78.44 56.81
token-delg-r101              78.55 66.02 88.58 73.65 | 60.89 41.75 76.05 51.46
token-solar-r101             79.65 67.61 88.63 73.21 | 59.99 41.14 76.15 50.98
token-rmac-r101              75.14 61.88 85.28 67.37 | 53.77 36.45 71.28 44.01
token-netvlad-r101           73.91 60.51 86.81 71.31 | 56.45 37.92 73.61 48.98
token-how-vlad-r101          73.54 60.38 82.33 62.56 | 51.93 33.17 66.95 41.82
token-how-asmk-r101          80.42 70.17 85.43 68.80 | 62.51 45.36 70.76 45.39
token-solar-r101-paper       - - - - | - - 75.26 -
token-r101-readme-typo       82.61 - - - | - - - -
token-r50-arxiv              80.52 72.68 88.67 76.02 | 62.47 48.34 76.49 56.77
token-r50-arxiv-other        79.42 73.68 88.67 77.56 | 59.48 49.55 76.49 58.92
token-r101-arxiv             82.28 75.64 89.34 79.76 | 66.57 51.37 78.56 61.56
token-r101-arxiv-pq8         82.02 75.17 89.16 78.83 | 65.90 50.46 78.07 59.72
token-r101-arxiv-pq1         82.30 75.68 89.33 79.76 | 66.62 51.65 78.55 61.54
token-delg-r50-arxiv         76.40 64.52 86.74 70.71 | 55.92 38.60 72.60 47.39
token-delg-r101-arxiv        78.24 68.36 88.21 75.83 | 60.15 44.41 76.15 52.40
token-delg-sp-arxiv          81.78 70.12 88.46 76.04 | 64.77 49.36 76.80 53.69
token-r101-env-cuda110       82.28 - 89.34 - | 66.57 - 78.56 -
token-r101-env-cuda102       81.36 - 90.19 - | 62.09 - 80.16 -
listed-delg-sp               81.2 69.1 87.2 - | - 47.5 72.8 -
listed-dolg-paper            - 77.4 91 83.3 | 61.1 54.8 80.3 66.7
listed-dolg-roxford-medium   82.4 - - - | - - - -
listed-token-retrained       60.8 - 75.8 44.1 | 37.3 - 54.8 19.7
"""

# Easy/Medium/Hard of ROxf, then of RPar.
EASY_MEDIUM_HARD = """
dolg-r50-ablation-full               93.17/80.50/58.82 95.95/89.81/77.70
dolg-r50-ablation-no-local           90.65/78.21/56.31 95.65/89.00/76.17
dolg-r50-ablation-no-multi-atrous    93.48/80.48/58.36 96.66/89.27/76.52
dolg-r50-ablation-no-self-attention  90.64/78.15/55.34 95.73/89.48/77.16
dolg-r50-ablation-concat             91.29/78.40/56.55 95.88/89.37/76.80
dolg-r50-ablation-hadamard           92.21/79.20/56.76 95.94/89.91/77.40
delg-port-r50-512                    90.55/78.51/56.90
delg-port-r50-512-sv                 90.86/80.08/58.42
delg-port-r50-224                    81.03/68.31/39.98
delg-port-r50-224-sv                 84.81/71.97/46.63
delg-port-r50-old                    90.73/77.30/57.44 95.10/88.12/75.10
delg-port-r50-old-local              94.22/78.18/57.05 96.03/88.13/74.13
revisitop-example                    84.81/64.67/38.47 92.12/77.20/56.32
"""


@pytest.mark.parametrize("line", MEDIUM_HARD.split("\n")[1:-1], ids=lambda line: line.split()[0])
def test_medium_and_hard_stand_in_their_columns(line: str) -> None:
    name, *cells = line.replace("|", "").split()
    keys = [(column, name, "map") for name in EASY_TO_HARD[1:] for column in COLUMNS]
    expected = {key: cell for key, cell in zip(keys, cells, strict=True) if cell != "-"}
    values = rows()[name].values
    assert {key: cell for key, cell in values.items() if key[0] in COLUMNS} == expected


@pytest.mark.parametrize(
    "line", EASY_MEDIUM_HARD.split("\n")[1:-1], ids=lambda line: line.split()[0]
)
def test_easy_medium_and_hard_stand_in_their_columns(line: str) -> None:
    name, *groups = line.split()
    expected = {
        (dataset, protocol, "map"): cell
        for dataset, group in zip(("roxford5k", "rparis6k"), groups, strict=False)
        for protocol, cell in zip(EASY_TO_HARD, group.split("/"), strict=True)
    }
    assert rows()[name].values == expected


def test_every_row_has_been_written_down_twice() -> None:
    told = {line.split()[0] for line in (MEDIUM_HARD + EASY_MEDIUM_HARD).split("\n") if line}
    others = {name for name in rows() if name not in told}
    assert others == {
        "dolg-storage", "delg-storage", "token-storage", "token-storage-pq8", "token-storage-pq1",
        "delg-instructions-global", "delg-instructions-sp", "delg-rn101-arcface",
        "delg-recalled-r50-latency", "delg-recalled-r101-latency", "delg-recalled-storage",
        "delg-recalled-gldv2", "listed-dolg-vpr", "listed-delg-vpr", "listed-token-memory",
        "listed-token-latency", "token-aggregators-r50-how-asmk",
        "token-aggregators-r50-how-token", "token-aggregators-r101-how-asmk",
        "token-aggregators-r101-how-token", "token-aggregators-r50-delf-asmk",
        "token-aggregators-r50-delf-token",
    }  # fmt: skip


def test_harder_protocols_and_distractors_never_help() -> None:
    for row in rows().values():
        for (dataset, protocol, metric), digits in row.values.items():
            if metric != "map" or protocol not in EASY_TO_HARD:
                continue
            for easier in EASY_TO_HARD[: EASY_TO_HARD.index(protocol)]:
                other = row.values.get((dataset, easier, "map"), "100")
                assert Decimal(digits) < Decimal(other), (row.id, dataset, protocol)
            if dataset.endswith("+r1m"):
                alone = row.values.get((dataset.removesuffix("+r1m"), protocol, "map"), "100")
                assert Decimal(digits) < Decimal(alone), (row.id, dataset, protocol)


def test_digits_are_those_of_the_source() -> None:
    row = rows()["dolg-r50-paper"]
    assert row.values["roxford5k", "medium", "map"] == "80.50"
    assert rows()["dolg-paper-delg-r50"].values["rparis6k+r1m", "medium", "map"] == "77.3"


@pytest.mark.parametrize(
    ("name", "crop"),
    [
        ("dolg-r101-paper", "whole"),
        ("dolg-r101-readme-crop", "box"),
        ("dolg-r101-rerun-whole", "whole"),
        ("delg-r101-gldv2clean-sp", "box"),
        ("delg-port-r50-512", "whole"),
        ("token-r101", "box"),
        ("token-r101-arxiv", "whole"),
        ("token-aggregators-r50-how-asmk", "not stated"),
    ],
)
def test_query_crop(name: str, crop: str) -> None:
    assert rows()[name].crop == crop


def test_rows_from_memory_are_carried_and_never_printed(tmp_path: Path) -> None:
    held = [row for row in rows().values() if row.tag == "mem"]
    assert {digits for row in held for digits in (*row.values.values(), *row.costs.values())} == {
        "118", "211", "193", "383", "7.6", "485", "22.6", "26.8",
    }  # fmt: skip
    marked = FILE.read_text(encoding="utf-8")
    for row in held:
        before, after = marked.split(f'id = "{row.id}"')
        head, tail = after.split("\n[[row]]", 1) if "\n[[row]]" in after else (after, "")
        head = re.sub(r'= "[0-9.]+"$', '= "66.613"', head, flags=re.MULTILINE)
        head = head.replace(f'variant = "{row.variant}"', f'variant = "never {row.id}"')
        marked = f'{before}id = "{row.id}"{head}' + (f"\n[[row]]{tail}" if tail else "")
    assert marked.count('"66.613"') == 8
    (tmp_path / "published.toml").write_text(marked, encoding="utf-8")
    paths = build(tmp_path, html=True)
    assert len(paths) > 3
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert "66.613" not in text
        assert "never delg-recalled" not in text
    text = text_of(tmp_path)
    assert f"{len(held)} published rows are known from memory only" in text


def test_everything_else_is_printed(tmp_path: Path) -> None:
    shutil.copy(FILE, tmp_path)
    build(tmp_path)
    text = text_of(tmp_path)
    for row in rows().values():
        for digits in (*row.values.values(), *row.costs.values()):
            assert row.tag == "mem" or re.search(rf"(?<![0-9.]){digits}(?![0-9.])", text), row.id
    listed = text.split("## A third-party leaderboard")[1]
    for row in rows().values():
        if row.part == "leaderboard":
            verdict = row.verdict.split(";")[0]
            assert verdict in listed
