"""Every Markdown file: links lead somewhere, commands and options exist, code can be compiled."""

from __future__ import annotations

import re
import shlex
from functools import cache

import pytest

from tests.support import readme
from tests.support.checkout import ROOT

FOLDERS = ("bench", "methods", "datasets", "report", "results", "tests", "examples", ".github")
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *(p for top in FOLDERS for p in (ROOT / top).rglob("*.md")))
)
CODE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<!\\)\]\(([^)\s]+)\)")
PROGRAM = re.compile(r"(?:python3? -m bench|retrieval-bench) (?=[a-z])")
PLACEHOLDER = re.compile(r"\[.*|…")


@cache
def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@cache
def anchors(page: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", CODE.sub("", text(page)), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in LINK.findall(CODE.sub("", text(page))):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.replace("%2B", "+").partition("#")
        target = (ROOT / page).parent / file if file else ROOT / page
        assert target.exists(), f"{page}: {link}"
        if anchor and target.suffix == ".md":
            name = target.resolve().relative_to(ROOT).as_posix()
            assert anchor in anchors(name), f"{page}: {link}"


def calls(page: str) -> list[str]:
    """Return the calls of the command line in the code of a page."""
    out = []
    for _, code in CODE.findall(text(page)):
        for line in re.sub(r"\\\n\s*", " ", code).splitlines():
            found = PROGRAM.search(line)
            if found and not line.lstrip().startswith(("#", ">>")):
                out.append(re.split(r"  #| && | > | &$", line[found.end() :])[0])
    return out


@pytest.mark.parametrize("page", [page for page in PAGES if calls(page)])
def test_commands_and_options_exist(page: str) -> None:
    from bench.commands import main

    for line in calls(page):
        words = shlex.split(line, comments=True)
        words = [word for word in words if not PLACEHOLDER.fullmatch(word)]
        command, prog, rest = main.find(words)
        assert command.read(prog, rest), line


@pytest.mark.parametrize("page", [page for page in PAGES if "```python" in text(page)])
def test_python_is_python(page: str) -> None:
    for language, code in CODE.findall(text(page)):
        if language == "python":
            compile(code, page, "exec")


def test_the_readme_is_a_door() -> None:
    lines = text("README.md").splitlines()
    assert len(lines) <= 180
    assert len(text("README.md").encode()) < 12_000
    assert [line for line in lines if len(line) > 100] == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_generated_parts_are_current(page: str) -> None:
    assert text(page) == readme.renewed(ROOT / page), "run python -m tests.support.readme"


def test_the_printed_lines_of_the_readme_are_those_of_a_record() -> None:
    """The record that the main job shows is committed, and its scores are those printed."""
    from bench.commands import summary
    from bench.records import record

    shown = re.search(r"^results/runs/\S+\.json$", text("README.md"), flags=re.MULTILINE)
    assert shown is not None
    headline, precision, *_ = summary.lines(record.read(ROOT / shown[0]))
    assert headline in text("README.md")
    assert precision.split(", H:")[0] in text("README.md")


def test_the_table_of_metrics_is_the_table() -> None:
    from bench.scoring import metrics

    table = text("bench/scoring/README.md").split("## Metrics")[1].split("\n## ")[0]
    listed = re.findall(r"^\| `([^`]+)` \|", table, flags=re.MULTILINE)
    assert set(listed) == {family.replace("{k}", "k") for family in metrics.families()}
