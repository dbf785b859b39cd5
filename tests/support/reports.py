"""Records made by hand, the report of them, and its tables as cells."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from bench.report.build import build
from bench.scoring.card import CROPPED, JUNK_RULE, NO_RERANKING, TIE_RULE, card_id
from bench.scoring.metrics import REVISITED_METRICS
from bench.system.hashing import plain, sha256_json
from bench.system.identity import elided
from bench.types import Preprocess

HEADLINE = REVISITED_METRICS[0]
Record = dict[str, Any]


def make_card(**changes: Any) -> dict[str, Any]:
    """Return a card of a small dataset; a key "preprocess.x" changes that field."""
    card: dict[str, Any] = {
        "schema": 2,
        "dataset": {"name": "mini", "variant": "mini", "revision": "a" * 64,
                    "database": 60, "queries": 14},
        "distractors": {"count": 0, "sources": []},
        "protocols": {
            name: {"scored": scored, "skipped": 14 - scored, "empty": "skip",
                   "truth_sha256": digit * 64}
            for name, scored, digit in (("easy", 12, "b"), ("medium", 14, "c"), ("hard", 14, "d"))
        },
        "metrics": list(REVISITED_METRICS),
        "junk_rule": JUNK_RULE,
        "crop_rule": CROPPED,
        "preprocess": elided({"preprocess": plain(Preprocess())})["preprocess"],
        "descriptors": "unit-norm",
        "candidates_rule": NO_RERANKING,
        "tie_rule": TIE_RULE,
        "compression": "none (float32)",
        "search": "exact",
        "limit": None,
    }  # fmt: skip
    for key, value in changes.items():
        *folders, last = key.split(".")
        place = card
        for folder in folders:
            place = place[folder]
        place[last] = value
    return card


def make_record(
    method: str = "gem",
    variant: str = "lite0",
    means: tuple[float | None, ...] = (0.8, 0.6, 0.4),
    card: dict[str, Any] | None = None,
    *,
    number: int = 1,
    trained: bool | None = True,
    source: str = "a package",
    partial: bool = False,
) -> Record:
    """Return a record without its checksums; `number` makes the run id and the time."""
    card = make_card() if card is None else card
    scores: dict[str, Any] = {}
    for (name, counts), mean in zip(card["protocols"].items(), means, strict=True):
        interval = None if mean is None else [max(0.0, mean - 0.0512), min(1.0, mean + 0.0512)]
        item = {"mean": mean, "interval": interval, "per_query": [mean] * counts["scored"]}
        scores[name] = {metric: copy.deepcopy(item) for metric in card["metrics"]}
    return {
        "schema": 1,
        "run_id": f"20260101T0000{number:02}Z-0000{number:02x}",
        "created": f"2026-01-01T00:00:{number:02}Z",
        "command": "python -m bench run",
        "card": card,
        "method": {
            "name": method, "variant": variant, "version": "1", "dim": 256, "config": {},
            "weights": {"source": source, "licence": "MIT", "sha256": "e" * 64,
                        "training_set": "ImageNet", "trained": trained},
        },
        "scores": scores,
        "ties": {"labelled": 3, "largest_group": 2},
        "timing": {
            "phases_s": {"search": 0.1},
            "latency": {"batch": 1, "images": 10, "warm_up": 2,
                        "decode_ms": {"p50": 1.0, "p95": 2.0},
                        "describe_ms": {"p50": 12.34, "p95": 23.45}},
        },
        "memory": {"peak_resident_bytes": 1, "peak_device_bytes": None},
        "bytes_per_image": 1024,
        "partial": partial,
        "machine": {"device": "cpu", "device_name": "a processor", "cores": 2},
        "libraries": {"numpy": "2.0"},
        "source": {"commit": "f" * 40, "dirty": False},
        "seed": 0,
        "ranks": {"file": "x.npz", "sha256": "0" * 64},
    }  # fmt: skip


def hashed(record: Record) -> Record:
    """Return a record with the hashes of its card."""
    card = record["card"]
    return {**record, "card_sha256": sha256_json(card), "card_id": card_id(card)}


def store(results: Path, record: Record) -> Path:
    """Write a record with right checksums where the harness would."""
    full = hashed(record)
    full["sha256"] = sha256_json(full)
    method = f"{record['method']['name']}.{record['method']['variant']}"[:100]
    folder: Path = results / "runs" / record["card"]["dataset"]["name"] / method
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{full['card_id'][:8]}-{record['run_id']}.json"
    path.write_text(json.dumps(full), encoding="ascii")
    return path


WHOLE = make_card(**{
    "crop_rule": "whole",
    "preprocess.scales": [0.7071067811865476, 1.0, 1.4142135623730951],
    "preprocess.query_cap": "own", "preprocess.max_side_px": 480,
})  # fmt: skip


def results_of(folder: Path, *records: Record) -> Path:
    """Return a folder of results that holds the records and no published rows."""
    folder.mkdir(parents=True, exist_ok=True)
    for record in records:
        store(folder, record)
    return folder


def report_of(folder: Path, *records: Record) -> str:
    """Build the report of the records and return the text of all its pages."""
    paths = build(results_of(folder, *records))
    assert paths[0] == folder / "report.md"
    return text_of(folder)


def text_of(folder: Path) -> str:
    """Return the text of a report that is built: the index, then every page."""
    pages = [folder / "report.md", *sorted((folder / "report").glob("*.md"))]
    return "\n".join(page.read_text(encoding="utf-8") for page in pages)


def section(text: str, heading: str) -> str:
    """Return what stands below a heading, up to the next heading."""
    below = text.split(f"\n{heading}\n", 1)[1]
    return below.split("\n#", 1)[0]


def detail(text: str, title: str) -> str:
    """Return the folded table of a dataset and protocol, "mini, easy"."""
    return text.split(f"<summary>{title}: ", 1)[1].split("</details>", 1)[0]


def main_rows(text: str, dataset: str = "mini") -> list[dict[str, str]]:
    """Return the rows of the main tables as {heading: cell}; "group" has the heading above."""
    page = text.split(f"\n# {dataset}\n", 1)[1].split("\n## ", 1)[0]
    out = []
    for part in page.split("\n### ")[1:]:
        header, _, *rows = rows_of(part)
        group = {"group": part.splitlines()[0]}
        out += [group | dict(zip(header, row, strict=True)) for row in rows]
    return [row | {"method": name_of(row["method"])} for row in out]


def name_of(cell: str) -> str:
    """Return the name in a cell that links a record: "[gem.lite0](runs/…)<sup>1</sup>"."""
    return cell.split("](")[0].removeprefix("[")


def printed(cell: str) -> str:
    """Return a cell of a score without its interval and what holds them together."""
    return cell.replace("\u2060", "").replace("&nbsp;", " ")


def rows_of(text: str) -> list[list[str]]:
    """Return the cells of every table line."""
    return [line[2:-2].split(" | ") for line in text.splitlines() if line.startswith("| ")]
