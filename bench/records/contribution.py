"""May a record be added to results/: what `verify` cannot see, namely where it comes from.

A record that verifies can still be stale, or from unpublished code. Its commit must be in the
history of this checkout, without changes of its own, and with the same stages from file to
descriptor (CODE_VERSION) as the code here.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.describe.extract import CODE_VERSION
from bench.root import ROOT

EXTRACTION = ("bench/extract.py", "bench/describe/extract.py")  # where CODE_VERSION was, and is


def faults(path: Path, content: Mapping[str, Any]) -> list[str]:
    """Return why the record at `path`, already read, may not be added; nothing if it may."""
    return [
        *_place(path, content),
        *_source(content["source"]["commit"], content["source"]["dirty"]),
    ]


def _place(path: Path, content: Mapping[str, Any]) -> list[str]:
    """Check that the record is where a run of this or an older version writes it."""
    method = f"{content['method']['name']}.{content['method']['variant']}"
    places = [
        (
            "runs",
            content["card"]["dataset"]["name"],
            method,
            f"{content[key][:8]}-{content['run_id']}.json",
        )
        for key in ("card_id", "card_sha256")
    ]
    if path.absolute().parts[-4:] in places:
        return []
    return [f"it must be in {'/'.join(places[0])} below the results, where a run writes it"]


def _source(commit: str | None, dirty: bool | None) -> list[str]:
    if not commit:
        return ["it does not state its commit; run its command again in a git checkout"]
    if fault := _fault(commit, dirty):
        return [f"{fault}; run its command again with this code, committed"]
    return []


def _fault(commit: str, dirty: bool | None) -> str:
    if dirty:
        return f"it was made with uncommitted changes on top of commit {commit[:9]}"
    if not re.fullmatch(r"[0-9a-f]{40,64}", commit):
        return f"its commit is {commit!r}, which is not the hash of a commit"
    if _git("merge-base", "--is-ancestor", commit, "HEAD") is None:
        return f"its commit {commit[:9]} is not in the history of this checkout"
    then = _git("grep", "-hE", "^CODE_VERSION = [0-9]+", commit, "--", *EXTRACTION) or ""
    found = re.search(r"CODE_VERSION = ([0-9]+)", then)
    version = found.group(1) if found else "not known"
    if version == str(CODE_VERSION):
        return ""
    return (
        f"it is stale: at its commit {commit[:9]} the code from file to descriptor had version "
        f"{version}, and has {CODE_VERSION} now"
    )


def _git(*arguments: str) -> str | None:
    """Return what git says in this checkout, None where it fails or is not there."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
