"""The help of every command and action, and its English."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator

import pytest

from bench.commands import main


def calls() -> Iterator[tuple[str, ...]]:
    """Yield every command, and every action of a command."""
    for verb in main.COMMANDS:
        yield (verb,)
        for action in getattr(importlib.import_module(f"bench.commands.{verb}"), "ACTIONS", ()):
            yield verb, action


# Relative clauses without a subject, participles as nouns, allusions.
STUMBLES = re.compile(
    r"\bwhat (is|was|of|there)\b|\bthat is there\b|\bby hand\b|\bsays so\b|\blies? (in|at|below|"
    r"beside)\b|\bmend\b|\bpictures?\b of scores|\bof ours\b|\bin words\b|\bnothing that\b",
    re.IGNORECASE,
)


@pytest.mark.parametrize("call", [(), *calls()], ids=" ".join)
def test_every_help_is_printed_in_plain_english(cli, call: tuple[str, ...]) -> None:
    result = cli(*call, "--help")
    assert result.status == 0, result.err
    assert result.out.startswith("usage: ")
    assert "%(" not in result.out
    assert "%%" not in result.out
    assert STUMBLES.findall(result.out) == []
