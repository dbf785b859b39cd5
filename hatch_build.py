"""Stamps the commit into what is built, so that records of an installed package name it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

STAMP = "bench/_shipped/build.json"


def git(root: Path, *arguments: str) -> str | None:
    """Return what git says in a folder, None where it fails or is not there."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True,
                              check=True)  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


class Stamp(BuildHookInterface):
    """Writes commit and state of the tree; of a source distribution what that was stamped with."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - given by hatchling
        """Add the stamp to the files of the wheel or the source distribution."""
        root = Path(self.root)
        commit = git(root, "rev-parse", "HEAD") if (root / ".git").exists() else None
        stamp = root / STAMP
        if commit is not None:
            changed = git(root, "status", "--porcelain", "--untracked-files=no")
            stamp = Path(self.directory) / "build.json"
            stamp.parent.mkdir(parents=True, exist_ok=True)
            facts = {"commit": commit, "dirty": bool(changed)}
            stamp.write_text(json.dumps(facts), encoding="utf-8")
        if stamp.is_file():
            build_data["force_include"][str(stamp)] = STAMP
