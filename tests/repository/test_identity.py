"""Identity survives growth: new options, metrics, stages and wordings move no card and no key."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.records import record
from bench.scoring import card, first_sentences
from bench.settings import Settings
from bench.system import identity
from bench.system.hashing import sha256_json
from bench.system.identity import Introduced
from bench.types import LocalRule, MethodInfo, Preprocess
from tests.support.checkout import ROOT

RECORDS = sorted((ROOT / "results").rglob("runs/*/*/*.json"))

# The fields of version 0.1. A field that is not among them needs an entry in `INTRODUCED`.
FIRST = {
    "preprocess": (
        Preprocess,
        (
            "channels orientation crop_rounding max_side_px cap_filter query_cap mean std scales "
            "scale_size scale_sampling combine"
        ),
    ),
    "local": (
        LocalRule,
        (
            "dim stride_px offset_px scales threshold threshold_rule max_features match_distance "
            "mutual upright least_inliers inlier_weight"
        ),
    ),
    "method": (MethodInfo, "name variant version dim config weights"),
    "settings": (Settings, "batch_size batch_pixels workers precision tf32 compiled"),
}

GROWTH = [
    (
        "bench/types.py",
        "    combine_power: Annotated[float, Gt(0), Le(100)] = 1.0\n",
        '    combine_power: Annotated[float, Gt(0), Le(100)] = 1.0\n    sharpen: str = "none"\n',
    ),
    (
        "bench/types.py",
        "    inlier_weight: Annotated[float, Ge(0)] = 0.0\n",
        "    inlier_weight: Annotated[float, Ge(0)] = 0.0\n    max_ratio: float = 1.0\n",
    ),
    (
        "bench/types.py",
        "    weights: Mapping[str, Any] = field(default_factory=dict)\n",
        "    weights: Mapping[str, Any] = field(default_factory=dict)\n    family: str = 'none'\n",
    ),
    (
        "bench/system/identity.py",
        'Introduced("", "stages", []),',
        ('Introduced("", "stages", []), Introduced("preprocess", "sharpen", "none"), '
        'Introduced("local", "max_ratio", 1.0), Introduced("method", "family", "none"),'),
    ),
    (
        "bench/scoring/metrics.py",
        '    "mp@10.clipped.junk-removed",\n',
        '    "mp@10.clipped.junk-removed",\n    "mp@20.clipped.junk-removed",\n',
    ),
    ("bench/scoring/card.py", '        "limit": dataset.limit,\n',
     '        "limit": dataset.limit,\n        "stages": [],\n'),
    (
        "bench/records/sentences.py",
        '"query cropped to its box"',
        '"the query is cropped to its box"',
    ),
]  # fmt: skip
DEFAULT = ("bench/types.py", 'sharpen: str = "none"', 'sharpen: str = "unsharp-mask"')


def grown(folder: Path, *edits: tuple[str, str, str]) -> Path:
    """Return a copy of the code and the results, with edits: file, old text, new text."""
    for name in ("bench", "methods", "datasets", "report", "results", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "noxfile.py", folder)
    for file, old, new in edits:
        text = (folder / file).read_text(encoding="utf-8")
        assert old in text, (file, old)
        (folder / file).write_text(text.replace(old, new), encoding="utf-8")
    return folder


def identities(tree: Path) -> dict[str, Any]:
    """Return what tests/support/growth.py prints in a tree."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.growth"],
        cwd=tree, capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    out: dict[str, Any] = json.loads(done.stdout)
    return out


@pytest.mark.slow
def test_new_options_metrics_stages_and_words_move_nothing(tmp_path: Path) -> None:
    now = identities(ROOT)
    assert now["verify"]
    assert not any(now["verify"].values())
    assert identities(grown(tmp_path / "grown", *GROWTH)) == now
    moved = identities(grown(tmp_path / "moved", *GROWTH, DEFAULT))
    assert moved["records"] == now["records"], "an old card was made with the neutral value"
    assert not any(moved["verify"].values())
    for part in ("fresh", "keys"):
        for name, value in now[part].items():
            assert moved[part][name] != value, name


def test_every_field_is_one_of_the_first_or_introduced() -> None:
    for of, (kind, names) in FIRST.items():
        fields = {field.name for field in dataclasses.fields(kind)}
        first, later = set(names.split()), {e.field for e in identity.INTRODUCED if e.of == of}
        assert first <= fields, "a field of version 0.1 stays"
        assert fields - first == later, f"{of}: say the neutral value in bench/system/identity.py"
        assert not first & later


def test_neutral_options_are_left_out_and_others_are_not(monkeypatch) -> None:
    table = (Introduced("preprocess", "resize", "native"), Introduced("", "stages", []),
             Introduced("extra", "on", False))  # fmt: skip
    monkeypatch.setattr(identity, "INTRODUCED", table)
    plain = {"preprocess": {"scales": [1.0]}, "search": "exact"}
    neutral = {"preprocess": {"scales": [1.0], "resize": "native"}, "search": "exact",
               "stages": [], "extra": {"on": False}}  # fmt: skip
    assert identity.elided(neutral) == plain
    assert identity.elided(plain) == plain
    whole = {"preprocess": {"scales": [1.0], "resize": "native"}, "search": "exact", "stages": []}
    assert identity.completed(plain) == whole, "an object that is not there is not made"
    chosen = {"preprocess": {"scales": [1.0], "resize": "exact"}, "search": "exact"}
    assert identity.elided(chosen) == chosen
    listed = {"stages": [{"stage": "fuse", "preprocess": {"resize": "native", "mean": 0}}]}
    assert identity.elided(listed) == {"stages": [{"stage": "fuse", "preprocess": {"mean": 0}}]}
    assert identity.completed({"preprocess": None}) == {"preprocess": None, "stages": []}


@pytest.mark.parametrize("name", ["preprocess", "config", "rules", "method"])
def test_names_of_others_are_not_looked_into(monkeypatch, name: str) -> None:
    table = (Introduced("preprocess", "resize", "native"), Introduced("method", "resize", "native"))
    monkeypatch.setattr(identity, "INTRODUCED", table)
    protocols = {"protocols": {name: {"scored": 3, "resize": "native"}}}
    assert identity.elided(protocols) == protocols
    assert identity.completed(protocols) == protocols
    foreign = {"method": {"config": {"preprocess": {"resize": "native"}}}}
    assert identity.elided(foreign) == foreign


def test_an_empty_object_of_others_stays() -> None:
    value = {"method": {"config": {}}, "rules": {}}
    assert identity.elided(value) == value


def test_a_card_of_sentences_has_the_identity_of_its_codes() -> None:
    for path in RECORDS:
        stored = json.loads(path.read_text(encoding="utf-8"))
        assert stored["card_sha256"] == sha256_json(stored["card"])
        now = card.current(stored["card"])
        assert card.card_id(now) == card.card_id(stored["card"]) == record.read(path)["card_id"]
        assert now["junk_rule"] == card.JUNK_RULE
        assert now["tie_rule"] == card.TIE_RULE


# Sentences as version 0.1 wrote them, from its own functions, with what they mean.
@pytest.mark.parametrize(
    ("path", "sentence", "code"),
    [
        (
            "search",
            ("approximate: ivf16,pq8x4,nprobe2,k1000; faiss, inner product, inverted file of 16 "
            "lists, residuals in 8 sub-vectors of 4 bits, 2 lists looked into; trained by one "
            "thread on 4096 of the 5000 database rows (distractors included), seeds 0 and 1234; "
            "the 1000 best that it finds are ordered by float64 dot products with the vectors it "
            "holds; what is not retrieved has an infinite rank, and a positive not retrieved is "
            "missed"),
            {"name": "ivf16,pq8x4,nprobe2,k1000", "list": 1000, "trained_rows": 4096,
             "rows": 5000, "seed": 0, "kmeans_seed": 1234},
        ),
        (
            "search",
            ("approximate: hnsw32,ef128,k49; faiss, inner product, HNSW of 32 links, "
            "efConstruction 200, efSearch 128, built by one thread; the 49 best that it finds are "
            "ordered by float64 dot products with the vectors it holds; what is not retrieved has "
            "an infinite rank, and a positive not retrieved is missed"),
            {"name": "hnsw32,ef128,k49", "list": 49, "build_depth": 200},
        ),
        ("search", "exact", "exact"),
        (
            "compression",
            ("pq8x4: product quantisation, 8 sub-vectors of 4 bits, 4 bytes per image; trained on "
            "32 of the 32 database rows (distractors included), seed 0; searched as decoded, not "
            "normalised again; queries are not compressed"),
            {"name": "pq8x4", "bytes": 4, "trained_rows": 32, "rows": 32, "seed": 0},
        ),
        (
            "compression",
            ("float16: 1024 bytes per image; searched as decoded, not normalised again; queries "
            "are not compressed"),
            {"name": "float16", "bytes": 1024},
        ),
        ("compression", "none (float16)", "none (float16)"),
        (
            "rerank.order",
            "similarity + 0.25 log2(1 + inliers / 8) descending, then the order before",
            {"name": "similarity", "few_inliers": 8},
        ),
        ("candidates_rule", "deployable: the first 100 of the list (uses no labels)", "deployable"),
        (
            "candidates_rule",
            "official: of each protocol the first 400 that it does not ignore (uses labels)",
            "official",
        ),
        ("crop_rule", "anything else", "anything else"),
        ("dataset.rules.positive", "in words of a user", "in words of a user"),
    ],
)  # fmt: skip
def test_sentences_of_version_0_1_have_codes(path: str, sentence: str, code: Any) -> None:
    assert first_sentences.code_of(path, sentence) == code
    from bench.records.words import say

    depth = 400 if "400" in sentence else 100
    rest = {"rerank": {"depth": depth, "local": {"inlier_weight": 0.25}}}
    assert say(path, code, rest) == sentence, "until somebody words it anew"


def test_method_identity_is_of_six_facts_and_no_words() -> None:
    info = MethodInfo("m", "v", "1", 4, {"p": 3.0}, {"sha256": "a", "licence": "x", "source": "y"})
    same = dataclasses.replace(info, weights={"sha256": "a", "licence": "z", "training_set": "t"})
    assert identity.method_identity(info) == identity.method_identity(same)
    others = [
        dataclasses.replace(info, name="n"), dataclasses.replace(info, variant="w"),
        dataclasses.replace(info, version="2"), dataclasses.replace(info, dim=5),
        dataclasses.replace(info, config={"p": 4.0}),
        dataclasses.replace(info, weights={"sha256": "b"}),
    ]  # fmt: skip
    assert len({identity.method_identity(item) for item in (info, *others)}) == 7
