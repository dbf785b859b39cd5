"""A page of all figures of the report, and the sheets; each leads to where it is explained."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

PAGE = "report/gallery.md"
FIGURE = re.compile(r"!\[((?:\\.|[^\]\\])*)\]\((figures/[^)]+)\)")


def page(results: Path, pages: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the blocks of the page, none where the report has no figure and no sheet.

    `pages` has the blocks of every other page, by file.
    """
    out = []
    for name, blocks in sorted(pages.items()):
        for words, target in FIGURE.findall("\n".join(blocks)):
            title = name.removeprefix("report/").removesuffix(".md")
            out.append(f"[![{words}]({target})]({name})\n\n{words}: [{title}]({name}).\n")
    sheets = sorted(path.name for path in (results / "sheets").glob("*.html"))
    if sheets:
        listed = "\n".join(f"- [{name}](../sheets/{name})" for name in sheets)
        out.append(f"## Sheets of queries with their first images\n\n{listed}\n")
    return ["# Gallery\n", *out] if out else []
