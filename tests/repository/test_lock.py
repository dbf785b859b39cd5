"""The locks: every direct dependency has a lower bound, and one version with hashes everywhere."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.support.checkout import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CORE = PROJECT["project"]["dependencies"]
DIRECT = {
    "core": CORE,
    "dev": CORE + PROJECT["dependency-groups"]["dev"],
    **{name: CORE + of for name, of in PROJECT["project"]["optional-dependencies"].items()},
}


def pins(name: str) -> dict[str, set[str]]:
    """Return the versions of each package of a lock, and check that each has a hash."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    assert "://" not in text, "a lock names no host"
    out: dict[str, set[str]] = {}
    for entry in re.split(r"\n(?=[a-z0-9])", text.strip()):
        package, version = re.match(r"([a-z0-9-]+)(?:\[[a-z,]+\])?==(\S+)", entry).groups()
        assert "--hash=sha256:" in entry, package
        out.setdefault(package, set()).add(version)
    return out


@pytest.mark.parametrize("name", DIRECT)
def test_a_lock_holds_every_direct_dependency_within_its_bound(name: str) -> None:
    locked = pins(name)
    for text in DIRECT[name]:
        wanted = Requirement(text)
        assert [spec.operator for spec in wanted.specifier] == [">="], text
        versions = {Version(version) for version in locked[wanted.name]}
        assert all(version in wanted.specifier for version in versions), text


@pytest.mark.parametrize("name", [name for name in DIRECT if name != "dev"])
def test_locks_agree(name: str) -> None:
    development, other = pins("dev"), pins(name)
    for package in development.keys() & other.keys():
        assert other[package] <= development[package], package


def test_the_folder_holds_the_locks_and_nothing_else() -> None:
    names = {"timm-models"}  # of the models that the locked timm has
    assert {path.stem for path in (ROOT / "requirements").iterdir()} == set(DIRECT) | names
