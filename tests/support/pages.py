"""A leaderboard page of records made by hand, and the data in it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.report.build import load
from bench.report.leaderboard import page as page_module

HOSTILE = "<img src=x onerror=document.title='owned'>&amp;"
ENDING = "</script><script>document.title='owned'</script><!--"


def page_of(folder: Path, made: ModuleType, *records: dict[str, Any]) -> Path:
    """Write the page as `build` does, but nothing else: pictures take longer."""
    made.results_of(folder, *records)
    content = load(folder)
    made_page = page_module.page(folder, content, content.left_out)
    folder.joinpath("index.html").write_bytes(made_page)
    return folder / "index.html"


def data_of(page: Path) -> dict[str, Any]:
    """Return the data of a page, as a browser would read it."""
    text = page.read_text(encoding="utf-8")
    made = [
        re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.DOTALL)
        for name in ("data", "facts")
    ]
    data, facts = (json.loads(item.group(1)) for item in made if item is not None)
    return {**data, "facts": facts}


def some(made: ModuleType) -> list[dict[str, Any]]:
    """Return six rows: two cards, several crops and devices, one partial, one of chance."""
    card, whole = made.make_card(), made.WHOLE
    records = [
        made.make_record("gem", "a", (0.8, 0.6, 0.4), card, number=1),
        made.make_record("gem", "b", (0.7, 0.9, 0.3), card, number=2),
        made.make_record("delg", "c", (0.9, 0.7, 0.5), whole, number=3),
        made.make_record("delg", HOSTILE, (0.2, 0.3, None), whole, number=4, source=ENDING),
        made.make_record("solar", "d", (0.5, 0.5, 0.95), card, number=5, partial=True),
        made.make_record("random", "e", (0.1, 0.1, 0.1), card, number=6, source="chance, a seed"),
    ]
    for number, record in enumerate(records):
        record["method"]["config"] = {"backbone": ["resnet50", "resnet101"][number % 2]}
        record["machine"]["device_name"] = ["H200", "a processor"][number % 2]
        record["timing"]["latency"]["describe_ms"]["p50"] = 10.0 * (number + 1)
        record["bytes_per_image"] = 512 * (6 - number)
    return records
