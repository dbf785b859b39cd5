"""Published numbers: those of their sources, all printed but what is known from memory only."""

from __future__ import annotations

import re
import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from bench.report.build import build
from tests.report import test_published_again
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
cirtorch-vgg16-gem-lw        60.9 - 69.3 - | 32.9 - 44.2 -
cirtorch-r101-gem-lw         65.4 - 76.7 - | 40.1 - 55.2 -
cirtorch-vgg16-gem-lw-matconvnet 61.9 - 69.3 - | 33.7 - 44.3 -
cirtorch-r101-gem-lw-matconvnet 64.7 - 77.2 - | 38.5 - 56.3 -
cirtorch-sfm120k-tl-r50-gem-w 64.7 - 76.3 - | 39.0 - 54.9 -
cirtorch-sfm120k-tl-r101-gem-w 67.8 - 77.6 - | 41.7 - 56.3 -
cirtorch-sfm120k-tl-r152-gem-w 68.8 - 78.0 - | 41.3 - 57.2 -
cirtorch-gl18-tl-r50-gem-w   63.6 - 78.0 - | 40.9 - 57.5 -
cirtorch-gl18-tl-r101-gem-w  67.3 - 80.6 - | 44.3 - 61.5 -
cirtorch-gl18-tl-r152-gem-w  68.7 - 79.7 - | 44.2 - 60.3 -
apgem-r101-tl-mac-readme     63.3 - 76.6 - | 35.7 - 55.5 -
apgem-r101-tl-gem-readme     64.5 - 78.8 - | 40.9 - 59.2 -
apgem-r50-readme             65.5 - 77.6 - | 41.0 - 57.1 -
apgem-r101-readme            67.1 - 80.3 - | 42.3 - 60.9 -
apgem-r101-lm18-readme       66.3 - 80.2 - | 42.5 - 60.8 -
rrt-r50-gldv1-readme         75.5 - 82.7 - | 56.4 - 68.6 -
rrt-r50-gldv2clean-readme    78.1 - 86.7 - | 60.2 - 75.1 -
rrt-r101-gldv1-readme        78.8 - 83.2 - | 62.5 - 68.4 -
rrt-r101-gldv2clean-readme   79.9 - 87.6 - | 64.1 - 76.1 -
openclip-g14-dinov2-44-paper 50.7 - - - | 19.7 - - -
openclip-g14-dinov2-44-crop  39.4 - - - | 11.7 - - -
openclip-g14-dinov2-44-whole 53 - - - | 21 - - -
dinov2-44-paper              72.9 - - - | 49.5 - - -
dinov2-44-whole              69 - - - | 43.7 - - -
dino-219-paper               35.4 - - - | 11.1 - - -
dino-219-run                 30.77 - - - | 10.28 - - -
"""

# Read a second time in the threads and files: the values of one data set, protocol and metric list.
READ_AGAIN = """
unipr-mixvpr       msls.challenge R@1,5 64.0 75.9
unipr-mixvpr       msls.val-gsv-cities.all R@1,5 88.0 92.7
unipr-mixvpr       nordland.vpr-bench.all R@1,5 58.4 74.6
unipr-mixvpr       pitts250k.test R@1,5 94.6 98.3
unipr-mixvpr       sped.all R@1,5 85.2 92.1
unipr-eigenplaces  msls.challenge R@1,5 67.4 77.1
unipr-eigenplaces  msls.val-gsv-cities.all R@1,5 89.3 93.7
unipr-eigenplaces  nordland.vpr-bench.all R@1,5 54.4 68.8
unipr-eigenplaces  pitts250k.test R@1,5 94.1 98.0
unipr-eigenplaces  sped.all R@1,5 69.9 82.9
unipr-salad        msls.challenge R@1,5 73.0 86.8
unipr-salad        msls.val-gsv-cities.all R@1,5 91.2 95.3
unipr-salad        nordland.vpr-bench.all R@1,5 69.6 84.4
unipr-salad        pitts250k.test R@1,5 94.5 98.7
unipr-salad        sped.all R@1,5 89.5 94.4
unipr3d-readme     msls.challenge R@1,5 74.3 87.5
unipr3d-readme     msls.val-gsv-cities.all R@1,5 91.4 96.0
unipr3d-readme     nordland.vpr-bench.all R@1,5 76.2 87.3
unipr3d-readme     pitts250k.test R@1,5 94.9 98.1
unipr3d-readme     sped.all R@1,5 89.6 94.5
mixvpr-4096-readme pitts250k.test R@1,5,10 94.3 98.2 98.9
mixvpr-4096-readme pitts30k.test.all R@1,5,10 91.6 95.5 96.4
mixvpr-4096-readme msls.val-gsv-cities.all R@1,5,10 88.2 93.1 94.3
mixvpr-512-readme  pitts250k.test R@1,5,10 93.2 97.9 98.6
mixvpr-512-readme  pitts30k.test.all R@1,5,10 90.7 95.5 96.3
mixvpr-512-readme  msls.val-gsv-cities.all R@1,5,10 84.1 91.8 93.7
mixvpr-128-readme  pitts250k.test R@1,5,10 88.7 95.8 97.4
mixvpr-128-readme  pitts30k.test.all R@1,5,10 87.8 94.3 95.7
mixvpr-128-readme  msls.val-gsv-cities.all R@1,5,10 78.5 88.2 90.4
mixvpr-5-gmberton  msls.val R@1 83.4
salad-6-paper      sped.all R@1,5,10 92.1 96.2 96.5
salad-6-retrained  msls.val-gsv-cities.all R@1,5,10 91.22 96.35 96.7
salad-6-retrained  nordland.vpr-bench.all R@1,5,10 71.41 85.65 88.91
salad-6-retrained  sped.all R@1,5,10 90.94 95.72 96.38
salad-6-retrained  pitts30k.test.all R@1,5,10 92.19 96.26 97.40
selavpr-1-downloader msls.val-gmberton.all R@1,5,10 86.6 93.8 95.6
selavpr-1-retrained msls.val-gmberton.all R@1,5,10 87.0 94.0 95.6
cricavpr-9-none    pitts30k.test.all R@1,5,10 90.6 95.9 97.2
cricavpr-9-default pitts30k.test.all R@1,5,10 94.8 97.4 98.1
cricavpr-9-shuffled pitts30k.test.all R@1,5,10 92.2 96.2 97.2
megaloc-vm-19-paper msls.val R@1,10 91.0 95.8
megaloc-vm-19-run  msls.val-gsv-cities.all R@1,5,10,20 93.5 97.0 97.8 98.2
openibl-9-sfrs-run1 pitts250k.test R@1,5,10 90.0 95.8 97.0
openibl-9-sfrs-run1 tokyo247.suppressed.all R@1,5,10 81.0 89.5 91.1
openibl-9-sfrs-run2 pitts250k.test R@1,5,10 89.9 95.8 97.0
openibl-9-sfrs-run2 tokyo247.suppressed.all R@1,5,10 79.0 88.9 89.8
openibl-34-sfrs    tokyo247.suppressed.all R@1,5,10 84.1 91.1 92.4
cosplace-13-vgg16-512 pitts250k.test R@1,5,10,20 89.7 96.4 97.7 98.4
cosplace-13-vgg16-512 pitts30k.test.all R@1,5,10,20 88.5 94.5 95.7 96.7
cosplace-13-vgg16-512 tokyo247.full.all R@1,5,10,20 82.8 90.0 93.3 95.8
cosplace-13-vgg16-512 msls.val R@1,5,10,20 79.5 87.2 89.5 91.5
cosplace-13-r101-2048 pitts250k.test R@1,5,10,20 91.8 97.5 98.6 98.9
cosplace-13-r101-2048 pitts30k.test.all R@1,5,10,20 90.4 95.7 96.7 97.4
cosplace-13-r101-2048 tokyo247.full.all R@1,5,10,20 88.6 95.9 96.5 96.5
cosplace-13-r101-2048 msls.val R@1,5,10,20 86.6 92.0 93.4 94.7
cosplace-15-vgg16-128 sf-xl.v1.all R@1,5,10,20 55.9 67.2 71.2 75.4
gem-diffusion-cg   roxford5k mAP 86.42 72.52 48.56
gem-diffusion-spectral roxford5k mAP 86.5 72.0 45.7
solar-r101-readme  roxford5k mAP 85.88 69.9 47.91
solar-r101-readme  rparis6k mAP 92.95 81.57 64.45
solar-r101-readme  roxford5k.easy mP@1,5,10 94.12 92.45 88.8
solar-r101-readme  roxford5k.medium mP@1,5,10 94.29 90.86 86.71
solar-r101-readme  roxford5k.hard mP@1,5,10 88.57 74.29 63
solar-r101-readme  rparis6k.easy mP@1,5,10 100 96.57 95.43
solar-r101-readme  rparis6k.medium mP@1,5,10 100 98 97.14
solar-r101-readme  rparis6k.hard mP@1,5,10 97.14 94.57 93
solar-r101-readme-1m roxford5k+r1m mAP 72.04 53.49 29.89
solar-r101-readme-1m rparis6k+r1m mAP 83.35 59.19 33.41
apgem-r101-printed rparis6k mAP 90.7568 80.3098 60.8556
"""
READ_ONCE = 102  # rows of the second collection whose source could not be read a second time

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


@pytest.mark.parametrize("line", READ_AGAIN.split("\n")[1:-1], ids=lambda line: line[:50])
def test_a_second_reading_agrees(line: str) -> None:
    name, where, what, *cells = line.split()
    values = rows()[name].values
    family, _, depths = what.partition("@")
    if family == "mAP":
        keys = [(where, protocol, "map") for protocol in EASY_TO_HARD]
    else:
        dataset, _, protocol = where.rpartition(".")
        metric = {"R": "recall", "mP": "mp"}[family]
        keys = [(dataset, protocol, f"{metric}@{k}") for k in depths.split(",")]
    assert [values[key] for key in keys] == cells


def test_every_row_has_been_written_down_twice() -> None:
    written = (MEDIUM_HARD + EASY_MEDIUM_HARD + READ_AGAIN).split("\n")
    told = {line.split()[0] for line in written if line}
    sources = test_published_again.table()
    told |= {row["id"] for row in test_published_again.written()["row"] if row["source"] in sources}
    twice = {name for name, row in rows().items() if row.source.read > 1}
    assert twice <= told
    once = {name for name, row in rows().items() if name not in told} - OLD
    assert len(once) == READ_ONCE


OLD = {
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


@pytest.mark.slow
def test_rows_from_memory_are_carried_and_never_printed(tmp_path: Path) -> None:
    contents = [row for row in rows().values() if row.tag == "mem"]
    assert {text for row in contents for text in (*row.values.values(), *row.costs.values())} == {
        "118", "211", "193", "383", "7.6", "485", "22.6", "26.8",
    }  # fmt: skip
    marked = FILE.read_text(encoding="utf-8")
    for row in contents:
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
        if path.suffix in (".png", ".pdf"):  # drawn from what the .svg beside them has as text
            continue
        text = path.read_text(encoding="utf-8")
        assert "66.613" not in text
        assert "never delg-recalled" not in text
    text = text_of(tmp_path)
    assert f"{len(contents)} published rows are not yet confirmed" in text


@pytest.mark.slow
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
