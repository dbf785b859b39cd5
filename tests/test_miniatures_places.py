"""Every data set of place recognition, in its genuine form on disk, from its files to a record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import datasets
from tests.miniatures_places import VARIANTS, WRITERS


@pytest.mark.parametrize("name", list(VARIANTS))
def test_from_files_to_a_verified_record(name: str, cli: Callable, workspace) -> None:
    WRITERS[name.partition(".")[0]](workspace.data)
    method = "gem.untrained" if name in ("tokyo247.suppressed", "msls.test") else "random-unit"
    said = cli("run", "--method", method, "--dataset", name)
    assert said.status == 0, said.err
    record = json.loads(Path(said.out.splitlines()[-1]).read_text(encoding="utf-8"))
    held = record["card"]["dataset"]
    assert held["name"] == name
    assert (held["database"], held["queries"]) == VARIANTS[name]
    assert held["rules"]
    verified = cli("verify", workspace.records()[0])
    assert verified.status == 0, verified
    assert "match" in verified.out


def test_every_variant_of_every_data_set_has_a_miniature() -> None:
    plug_ins = set(WRITERS)
    named = {
        f"{name}.{variant}" for name in plug_ins for variant in datasets.entry_of(name).variants
    } | {name for name in plug_ins if not datasets.entry_of(name).variants}
    left = {f"svox.{kind}" for kind in ("overcast", "rain", "snow", "sun")}
    assert named - left - {"sf-xl.v2", "sf-xl.night"} == set(VARIANTS)
