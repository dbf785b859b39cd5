"""The generated parts of README.md and CONTRIBUTING.md.

`python -m tests.support.readme` writes them anew: the table of results from the overview of
results/report.md, and the tree from the docstrings of the folders.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.support.checkout import ROOT

RESULTS = re.compile(r"(<!-- results: .* -->\n).*?(<!-- end of results -->)", re.DOTALL)
TREE = re.compile(r"(<!-- tree: .* -->\n```\n).*?(```\n)", re.DOTALL)
TOPS = {
    "requirements": "the locked versions",
    "bench": "the program; modules beside the packages are front doors and contracts",
    "methods": "one file per method, and shared code",
    "datasets": "one file per data set, and shared code; mini-data/ holds photographs",
    "report": "reads results/ only; build.py writes the report",
    "results": "records, and what is made from them: see results/README.md",
    "tests": "pytest; tests/perf measures speed as ratios within one run",
}


def results() -> str:
    """Return the first table of the overview of results/report.md, as README.md has it."""
    report = (ROOT / "results" / "report.md").read_text(encoding="utf-8")
    overview = report.split("\n## Overview\n")[1].split("\n## ")[0]
    table = [line for line in overview.split("\n### ")[1].splitlines() if line.startswith("|")]
    return "\n".join(table).replace("](report/", "](results/report/") + "\n"


def tree() -> str:
    """Return every folder of code with its first docstring line."""
    lines = [f"noxfile.py            sessions: {' '.join(sessions())}"]
    for top, words in TOPS.items():
        lines.append(f"{top + '/':<22}{words}")
        for path in sorted((ROOT / top).glob("*/__init__.py")) if top != "tests" else ():
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            lines.append(f"  {path.parent.name + '/':<20}{text.splitlines()[0]}")
    return "\n".join(lines) + "\n"


def sessions() -> list[str]:
    """Return the names of the sessions of nox, in the order of noxfile.py."""
    source = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    return re.findall(r"@(?:nox\.)?session.*\ndef (\w+)", source)


def renewed(path: Path) -> str:
    """Return the text of a Markdown file with its generated parts made anew."""
    text = path.read_text(encoding="utf-8")
    text = RESULTS.sub(lambda found: f"{found[1]}\n{results()}\n{found[2]}", text)
    return TREE.sub(lambda found: f"{found[1]}{tree()}{found[2]}", text)


if __name__ == "__main__":
    for file in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        file.write_text(renewed(file), encoding="utf-8")
