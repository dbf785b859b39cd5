"""Print what identifies cards, stores, groups and records in a tree: run in two trees by a test."""

from __future__ import annotations

import json
from typing import Any

from bench import datasets, methods
from bench.describe import extract, local_store
from bench.describe.engine import Loaded
from bench.records import record, rows, verify
from bench.report.tables.main import board
from bench.scoring import card
from bench.settings import Settings
from bench.system import identity
from bench.types import Image, LocalRule, MethodInfo
from tests.support.checkout import ROOT


def loaded(name: str) -> Loaded:
    """Return a method without its network."""
    info, method, rule = methods.load(name)
    return Loaded(method, info, rule, "cpu", Settings())


def keys() -> dict[str, Any]:
    """Return the keys of the stores of mini: descriptors of several methods, local features."""
    mini, out = datasets.load("mini"), {}
    for name in ("random-unit", "gem.lite0", "delg.lite0"):
        of = loaded(name)
        for which, images in (("database", mini.database), ("queries", mini.queries)):
            out[f"{name} {which}"] = extract.key_of(of, extract.look_at(mini.folder, images))
    rule = LocalRule(**dict(of.method.local_rule))
    images: tuple[Image, ...] = mini.database
    job = local_store.prepare(of, mini.folder, images, local_store.np.arange(3), rule, "float32",
                              "local", False, False)  # fmt: skip
    return out | {"local": job.key}


def fresh() -> dict[str, str]:
    """Return the ids of cards made now."""
    out = {}
    for name in ("random-unit", "delg.lite0"):
        rule = loaded(name).rule
        made = card.make(datasets.load("mini"), rule, unit_norm=True, precision="float32")
        out[name] = card.card_id(made)
    return out


def main() -> None:
    """Print everything as one JSON object."""
    paths = record.find(ROOT / "results")
    shown, _ = rows.load(ROOT / "results")
    table = board(rows.newest(shown)[0], "mini")
    info = MethodInfo("m", "v", "1", 4, {"p": 3}, {"sha256": None})
    texts = {
        "records": {path.name: record.read(path)["card_id"] for path in paths},
        "verify": {path.name: verify.verify(path)[0] for path in paths},
        "groups": [[group.heading, [row.run.name for row in group.rows]] for group in table.groups],
        "keys": keys(),
        "fresh": fresh(),
        "method": identity.method_identity(info),
    }
    print(json.dumps(texts))


if __name__ == "__main__":
    main()
