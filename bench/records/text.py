"""Markdown from untrusted text: every name comes out as itself and starts nothing."""

from __future__ import annotations

import html
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from urllib.parse import quote_from_bytes

LONGEST = 300
_SPECIAL = re.compile(r"([\\`*_\[\]|~$#!])")


def clean(text: object, longest: int = LONGEST) -> str:
    """Return printable text on one line: control and surrogate characters become spaces."""
    line = str(text)
    if not (line.isascii() and line.isprintable()):
        line = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in line)
    line = " ".join(line.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def escape(text: object, longest: int = LONGEST) -> str:
    r"""Return `text` so that Markdown shows exactly its characters, in a cell or a paragraph.

    >>> escape("a|b*c <img>")
    'a\\|b\\*c &lt;img&gt;'
    """
    return _SPECIAL.sub(r"\\\1", html.escape(clean(text, longest), quote=False))


def code(text: str) -> str:
    """Return `text` as code; for hashes and ids, whose characters are known to be harmless."""
    if not re.fullmatch(r"[A-Za-z0-9._@{}+-]+", text):
        return escape(text)
    return f"`{text}`"


def link(text: object, target: str) -> str:
    """Return a link with `text` escaped; `target` is a finished address or relative path."""
    return f"[{escape(text)}]({target})"


def relative_target(path: PurePath) -> str:
    """Return a relative path as a link target, percent-encoded; any byte in a name survives."""
    return quote_from_bytes(os.fsencode(path.as_posix()), safe="/")


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Return a table of finished cells; the columns numbered in `right` are set flush right."""
    flush = set(right)
    rule = ["---:" if column in flush else "---" for column in range(len(header))]
    lines = [header, rule, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def folded(summary: str, body: str) -> str:
    """Return `body` (Markdown) in a block that opens by a click; `summary` is plain text."""
    shown = html.escape(clean(summary))
    return f"<details><summary>{shown}</summary>\n\n{body.strip()}\n\n</details>\n"


def plain(finished: str) -> str:
    """Return finished Markdown of a cell as plain text: what `escape` and `code` did, undone.

    >>> plain(escape("a_b <i>") + "<br>" + code("c"))
    'a_b <i>; c'
    """
    text = finished.replace("<br>", "; ")
    text = re.sub(r"(?<!\\)`", "", text)
    return html.unescape(re.sub(r"\\([\\`*_\[\]|~$#!])", r"\1", text))
