"""Published numbers read a second time, written down as their sources print them."""

from __future__ import annotations

import tomllib
from functools import cache
from typing import Any

import pytest

from tests.support.checkout import ROOT

# Per source: a line per data set and protocol, with the metrics, and | before each row's cells, in
# the order of the rows of published.toml; "-" where a row has none.
AGAIN = """
anyloc-28
baidu.test R@1,5 | 75.2 87.6
asmk-2
roxford5k.easy mAP | 84.28 | 84.57
roxford5k.medium mAP | 67.64 | 67.90
roxford5k.hard mAP | 42.98 | 43.35
roxford5k.easy mP@1,5,10 | 98.53 90.29 85.50 | 100.00 91.18 85.04
roxford5k.medium mP@1,5,10 | 100.00 93.14 87.93 | 98.57 94.00 88.29
roxford5k.hard mP@1,5,10 | 87.14 70.57 61.79 | 84.29 72.00 62.71
rparis6k.easy mAP | 95.16 | 95.26
rparis6k.medium mAP | 76.85 | 77.25
rparis6k.hard mAP | 55.42 | 56.14
rparis6k.easy mP@1,5,10 | 100.00 98.29 97.29 | 100.00 98.57 97.00
rparis6k.medium mP@1,5,10 | 100.00 100.00 99.29 | 100.00 100.00 99.14
rparis6k.hard mP@1,5,10 | 97.14 95.43 93.43 | 97.14 96.57 94.57
delg-instructions
roxford5k.medium mAP | 69.71 | 75.42
roxford5k.medium mP@1,5,10 | 95.71 92.00 86.86 | 97.14 95.24 93.81
roxford5k.hard mAP | 45.11 | 53.72
roxford5k.hard mP@1,5,10 | 85.71 72.29 60.14 | 91.43 83.81 74.38
roxford5k.hard mR@1,5,10 | 19.15 29.72 36.32 | - - -
dinomix-readme
pitts30k.val.all R@1,5,10 | 92.34 98.59 99.20 | 93.86 99.13 99.68 | 94.37 98.86 99.41 | 93.24 98.54 99.21
pitts30k.test.all R@1,5,10 | 87.71 94.25 96.11 | 91.27 96.43 97.62 | 92.03 95.89 97.17 | 90.61 95.61 97.01
dinov2-card
roxford5k.hard mAP | 43.2 | 49.5 | 54.0 | 52.3
dvgb-readme
pitts30k.test.all R@1 | 78.5 | 70.2 | 77.8 | 71.6 | 82.0 | 77.4 | 82.4 | 77.2 | 83.2 | 79.0 | 86.4 | 81.6 | 86.0 | 80.9 | 86.5 | 80.8 | 85.0 | 80.3 | 80.1 | 79.2 | 80.8 | 79.0 | 85.8 | 80.8 | 73.7 | 62.2 | 77.8 | 70.1 | 76.5 | 71.6 | 83.9 | 73.3 | 86.4 | 86.2 | 81.6 | 77.9 | 69.5 | 82.0 | 77.3 | 82.3 | 77.4 | 83.4 | 74.9 | 86.0 | 85.5 | 80.9
msls.val-gmberton.all R@1 | 43.4 | 66.7 | 35.3 | 65.3 | 38.0 | 72.0 | 39.6 | 72.5 | 50.9 | 74.6 | 47.4 | 75.8 | 50.7 | 76.9 | 51.8 | 77.7 | 52.5 | 85.1 | 33.7 | 73.5 | 35.8 | 74.4 | 54.0 | 77.8 | 30.5 | 50.6 | 35.3 | 61.8 | 34.2 | 65.3 | 43.6 | 61.5 | 47.4 | 47.3 | 75.8 | 34.3 | 57.4 | 38.0 | 69.7 | 39.0 | 72.0 | 45.0 | 63.6 | 50.7 | 48.6 | 76.9
fire-readme
roxford5k.medium mAP | 82.6
roxford5k.hard mAP | 62.2
rparis6k.medium mAP | 85.2
rparis6k.hard mAP | 70.0
fol-readme
pitts250k.test R@1,5,10 | 96.5 99.1 99.5 | 97.0 99.2 99.5 | - - - | - - - | - - - | - - -
msls.challenge R@1,5,10 | 78.7 90.8 93.0 | 80.0 90.9 93.0 | - - - | - - - | - - - | - - -
sped.all R@1,5,10 | 92.1 96.5 98.0 | 91.8 96.5 97.4 | - - - | - - - | - - - | - - -
amstertime.vpr.all R@1,5,10 | 64.6 84.3 88.2 | 70.1 89.0 91.8 | - - - | - - - | - - - | - - -
pitts30k.test.all R@1,5,10 | 93.9 97.2 98.1 | 94.5 97.4 98.2 | 93.6 96.9 97.9 | 93.9 96.9 98.1 | 92.1 96.4 97.6 | 93.1 96.9 97.7
msls.val-gsv-cities.all R@1,5,10 | 93.1 96.9 97.4 | 93.5 96.9 97.6 | 92.8 96.9 97.2 | 90.1 95.7 96.9 | 91.1 95.7 96.4 | 91.5 96.2 96.8
tokyo247.full.all R@1,5,10 | 96.2 98.7 98.7 | 98.4 99.1 99.4 | 96.5 98.1 98.4 | 97.1 97.8 98.7 | 94.6 96.5 96.8 | 97.5 98.1 98.4
eynsham.all R@1,5,10 | 91.7 95.3 96.2 | 92.4 95.8 96.6 | 91.5 95.1 96.1 | 91.7 95.4 96.4 | 91.3 95.2 96.0 | 91.3 95.1 96.1
nordland.vpr-bench.all R@1,5,10 | 78.3 90.8 94.0 | 85.8 94.9 96.8 | 74.1 88.8 92.2 | 80.8 92.0 94.7 | 62.5 80.3 85.0 | 78.2 90.2 92.9
nordland.gmberton.all R@1,5,10 | 87.8 94.5 96.4 | 92.6 96.9 98.0 | 83.8 92.6 95.1 | 87.9 94.8 96.6 | 72.7 85.5 89.6 | 85.4 92.7 94.8
sf-xl.v1.all R@1,5,10 | 91.5 94.8 95.6 | 95.0 96.5 96.8 | 90.4 93.8 94.7 | 93.4 95.6 96.1 | 86.1 91.4 92.7 | 90.0 93.4 94.4
sf-xl.v2.all R@1,5,10 | 95.0 98.0 98.3 | 95.0 97.8 98.5 | 94.1 98.2 98.5 | 93.5 97.7 98.5 | 94.1 97.7 98.5 | 94.8 97.2 98.0
sf-xl.night.all R@1,5,10 | 53.4 65.9 71.7 | 60.5 72.8 75.8 | 53.4 67.0 70.2 | 56.0 70.0 75.8 | 44.8 56.7 61.8 | 52.8 64.8 67.6
sf-xl.occlusion.all R@1,5,10 | 51.3 65.8 73.7 | 61.8 77.6 77.6 | 44.7 67.1 71.1 | 51.3 72.4 78.9 | 48.7 56.6 60.5 | 46.1 61.8 67.1
svox.all.all R@1,5,10 | 98.4 99.4 99.6 | 98.9 99.6 99.7 | 98.3 99.4 99.6 | 98.7 99.5 99.7 | 98.3 99.4 99.5 | 98.4 99.3 99.5
svox.sun.all R@1,5,10 | 98.1 99.4 99.5 | 98.8 99.8 99.9 | 97.8 99.4 99.6 | 97.9 99.4 99.5 | 96.7 98.9 99.3 | 96.6 98.9 99.5
svox.night.all R@1,5,10 | 98.3 99.6 99.6 | 98.8 99.8 99.9 | 98.4 99.5 99.8 | 98.2 99.6 99.9 | 93.1 98.2 99.0 | 96.5 98.4 99.3
svox.snow.all R@1,5,10 | 99.1 99.7 99.8 | 99.3 99.8 99.9 | 98.3 99.7 99.8 | 98.7 99.5 99.8 | 98.7 99.5 99.5 | 97.7 99.7 99.7
svox.overcast.all R@1,5,10 | 97.9 99.2 99.3 | 98.3 99.3 99.7 | 97.7 99.2 99.4 | 98.2 99.4 99.7 | 97.7 99.2 99.4 | 97.7 99.3 99.4
svox.rain.all R@1,5,10 | 96.5 99.6 99.7 | 98.2 99.9 99.9 | 97.4 99.6 99.6 | 98.6 99.7 99.8 | 96.2 99.1 99.6 | 97.9 99.7 99.8
locore-3
roxford5k.medium mAP | 92.0 | 83.95
rparis6k.medium mAP | 93.8 | 91.14
roxford5k.hard mAP | 81.8 | 68.14
rparis6k.hard mAP | 87.7 | 81.31
megaloc-13
baidu.test R@1,10 | 87.7 98.0
openibl-21
oxford5k.official.original mAP | 73.9 | 67.90 | 71.49
paris6k.official.original mAP | 82.5 | 76.64 | 79.40
openibl-zoo
pitts250k.test R@1,5,10 | 88.4 95.0 96.5 | 90.7 96.4 97.6
tokyo247.suppressed.all R@1,5,10 | 81.0 88.6 90.2 | 85.4 91.1 93.3
patchnetvlad-15
pitts30k.test.all R@1,5,10 | 87.09 94.05 95.67 | 88.0 - - | 87.3 - -
patchnetvlad-25
msls.val-patch-netvlad.all R@1 | 77.2 | 60.8
sage-readme
pitts30k.test.all R@1,5,10 | 95.8 97.8 98.4 | 93.4 97.0 97.9 | 94.7 97.7 98.4
msls.val-gsv-cities.all R@1,5,10 | 94.5 97.4 97.8 | 93.4 97.3 97.6 | 94.2 97.8 98.1
nordland.gmberton.all R@1,5,10 | 96.0 98.9 99.4 | 94.1 98.0 98.8 | 94.8 98.2 98.9
tokyo247.full.all R@1,5,10 | 97.5 99.0 99.4 | 97.1 98.4 99.0 | 98.1 98.1 98.7
sped.all R@1,5,10 | 98.8 99.7 100.0 | 91.8 95.7 96.5 | 92.1 96.2 96.9
pitts250k.test R@1,5,10 | 98.4 99.4 99.6 | 95.7 98.6 99.2 | 96.9 99.2 99.6
eynsham.all R@1,5,10 | 93.1 96.2 97.0 | 92.3 95.8 96.5 | 92.3 95.9 96.7
amstertime.vpr.all R@1,5,10 | 83.5 93.3 95.4 | 63.1 82.5 86.2 | 65.6 86.7 90.4
nordland.vpr-bench.all R@1,5,10 | - - - | 86.7 95.9 97.0 | 87.4 96.2 97.5
sfxlsmall.test R@1,5,10 | - - - | 88.8 90.5 90.9 | 89.0 91.8 92.2
selavpr-6
nordland.gmberton.all R@1,5,10 | 87.2 93.9 95.6
selavpr-readme
msls.val-gsv-cities.all R@1,5,10 | 90.8 96.4 97.2 | - - -
nordland.test R@1,5,10 | 85.2 95.5 98.5 | - - -
st-lucia.all R@1,5,10 | 99.8 100.0 100.0 | - - -
tokyo247.full.all R@1,5,10 | - - - | 94.0 96.8 97.5
pitts30k.test.all R@1,5,10 | - - - | 92.8 96.8 97.7
pitts250k.test R@1,5,10 | - - - | 95.7 98.8 99.2
staylode-results
svox.all.all R@1,5,10,20 | 86.6 93.7 95.5 96.9 | 97.1 98.4 98.7 99.0 | 97.8 98.9 99.2 99.3 | 98.7 99.5 99.6 99.7
svox.sun.all R@1,5,10,20 | 37.1 54.4 62.2 69.0 | 77.0 89.0 92.4 95.0 | 84.4 92.7 94.6 95.4 | 97.2 99.3 99.5 99.6
svox.night.all R@1,5,10,20 | 8.5 18.2 22.7 28.5 | 49.2 66.1 72.8 78.6 | 62.6 80.6 83.8 87.4 | 96.5 98.7 99.0 99.3
superglobal-3
roxford5k+r1m.easy mAP | 87.98 | 92.11 | 89.48
roxford5k+r1m.medium mAP | 73.13 | 78.7 | 77.69
roxford5k+r1m.hard mAP | 50.75 | 62.36 | 60.44
rparis6k+r1m.easy mAP | 90.6 | 92.71 | 92.7
rparis6k+r1m.medium mAP | 79.3 | 82.24 | 82.34
rparis6k+r1m.hard mAP | 62.62 | 68.0 | 66.6
token-aggregators
roxford5k.medium mAP | 79.4 | 80.7 | 80.4 | 83.2 | 67.8 | 75.2
rparis6k.medium mAP | 81.6 | 86.5 | 85.4 | 87.7 | 76.9 | 86.0
roxford5k.hard mAP | 56.9 | 60.9 | 62.5 | 64.8 | 43.1 | 55.0
rparis6k.hard mAP | 62.4 | 72.0 | 70.8 | 75.3 | 55.4 | 72.2
token-readme
roxford5k.medium mAP | 79.79 | 78.55 | 79.65 | 75.14 | 73.91 | 73.54 | 80.42
roxford5k+r1m.medium mAP | 67.36 | 66.02 | 67.61 | 61.88 | 60.51 | 60.38 | 70.17
rparis6k.medium mAP | 88.08 | 88.58 | 88.63 | 85.28 | 86.81 | 82.33 | 85.43
rparis6k+r1m.medium mAP | 74.33 | 73.65 | 73.21 | 67.37 | 71.31 | 62.56 | 68.80
roxford5k.hard mAP | 62.68 | 60.89 | 59.99 | 53.77 | 56.45 | 51.93 | 62.51
roxford5k+r1m.hard mAP | 45.70 | 41.75 | 41.14 | 36.45 | 37.92 | 33.17 | 45.36
rparis6k.hard mAP | 75.49 | 76.05 | 76.15 | 71.28 | 73.61 | 66.95 | 70.76
rparis6k+r1m.hard mAP | 52.68 | 51.46 | 50.98 | 44.01 | 48.98 | 41.82 | 45.39
token-readme-env
roxford5k.medium mAP | 82.28 | 81.36
roxford5k.hard mAP | 66.57 | 62.09
rparis6k.medium mAP | 89.34 | 90.19
rparis6k.hard mAP | 78.56 | 80.16
token-readme-old
roxford5k.medium mAP | 82.61
vladbuff-readme
msls.val-gsv-cities.all R@1,5 | 92.4 95.8 | 91.9 95.9
nordland.vpr-bench.all R@1,5 | 78.0 90.4 | 71.4 86.3
pitts250k.test R@1,5 | 95.6 98.7 | 95.0 98.2
sped.all R@1,5 | 92.8 96.2 | 90.9 96.0
sfsm.test R@1,5 | 88.3 91.0 | 87.3 90.1
tokyo247.full.all R@1,5 | 96.5 98.1 | 97.5 98.4
st-lucia.all R@1,5 | 100 100 | 99.9 100
amstertime.vpr.all R@1,5 | 61.7 81.9 | 59.2 78.7
baidu.test R@1,5 | 77.5 87.9 | 74.3 86.6
vm-2
pitts30k.test.all R@1 | 92.5 | 87.6
"""  # noqa: E501
METRICS = {"mAP": "map", "mP": "mp", "R": "recall", "mR": "mean-recall"}


@cache
def table() -> dict[str, list[dict[str, str]]]:
    """Return, per source, the values of each of its rows as they were read again."""
    out: dict[str, list[dict[str, str]]] = {}
    source = ""
    for line in AGAIN.strip().splitlines():
        if "|" not in line:
            source = line
            out[source] = []
            continue
        head, *rows = (part.split() for part in line.split("|"))
        family, _, depths = head[1].partition("@")
        names = [f"{METRICS[family]}@{k}" if k else METRICS[family] for k in depths.split(",")]
        for place, cells in enumerate(rows):
            if place == len(out[source]):
                out[source].append({})
            read = {f"{head[0]}.{name}": cell for name, cell in zip(names, cells, strict=True)}
            out[source][place] |= {key: cell for key, cell in read.items() if cell != "-"}
    return out


@cache
def written() -> dict[str, Any]:
    """Return published.toml as it stands."""
    return tomllib.loads((ROOT / "results" / "published.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("source", sorted(table()))
def test_a_second_reading_of_a_source_agrees(source: str) -> None:
    rows = [row["values"] for row in written()["row"] if row["source"] == source]
    assert rows == table()[source]
    assert written()["source"][source]["read"] == 2
