"""Records as real methods would leave them: fifteen methods on ten data sets, with their ranks.

Scores of images are drawn so that a better method places positives higher, landmark by landmark;
what is stored follows from them by the program's own scoring, so that every record verifies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.records import record
from bench.records.blocks import ARRAY
from bench.scoring import card as cards
from bench.scoring import intervals, scores
from bench.scoring.metrics import REVISITED_METRICS
from bench.types import Dataset, GroundTruth, Image, LabelledRanks, Preprocess, Protocol, Shortlist

RECALLS = tuple(f"recall@{k}.any-hit.junk-removed" for k in (1, 5, 10, 20))
DATASETS = (
    "roxford5k", "rparis6k", "mini", "pitts30k", "tokyo247", "msls.val-gsv-cities", "nordland",
    "amstertime", "eynsham", "sped",
)  # fmt: skip
# Name, dimension, size cap, quality, milliseconds, millions of parameters, backbone, training set.
METHODS: Sequence[tuple[str, int, int | None, float, float, float, str, str]] = (
    ("gem.lite0", 1280, 480, 1.2, 20, 3.4, "efficientnet_lite0", "ImageNet-1k"),
    ("delg.r101-gldv2clean", 2048, 1024, 2.3, 310, 44.5, "resnet101", "GLDv2-clean"),
    ("dolg.r101", 512, 1024, 2.5, 420, 48.0, "resnet101", "GLDv2-clean"),
    ("token.r101", 1024, 1024, 2.45, 380, 55.0, "resnet101", "GLDv2-clean"),
    ("solar.r101", 2048, 1024, 2.2, 360, 46.0, "resnet101", "GL18"),
    ("cirtorch.gl18-r101", 2048, 1024, 2.0, 300, 42.5, "resnet101", "GL18"),
    ("apgem.r101", 2048, None, 2.1, 330, 42.5, "resnet101", "Landmarks-18"),
    ("cvnet.r101", 2048, 1024, 2.6, 350, 43.0, "resnet101", "GLDv2-clean"),
    ("superglobal.r101", 2048, 1024, 2.7, 355, 43.0, "resnet101", "GLDv2-clean"),
    ("cosplace.resnet50-2048", 2048, None, 1.9, 60, 27.7, "resnet50", "SF-XL"),
    ("eigenplaces.resnet50-2048", 2048, None, 2.0, 60, 27.7, "resnet50", "SF-XL"),
    ("mixvpr.resnet50-4096", 4096, 320, 2.1, 22, 10.9, "resnet50", "GSV-Cities"),
    ("salad.dinov2-8448", 8448, 322, 2.5, 45, 88.0, "dinov2_vitb14", "GSV-Cities"),
    ("boq.dinov2-12288", 12288, 322, 2.6, 47, 95.2, "dinov2_vitb14", "GSV-Cities"),
    ("megaloc.dinov2-8448", 8448, 322, 2.8, 48, 228.6, "dinov2_vitb14",
     "GSV-Cities, MSLS, MegaScenes, ScanNet and SF-XL, five sets sampled in turn"),
)  # fmt: skip


def dataset_of(name: str, landmarks: int = 12, rows: int = 90) -> Dataset:
    """Return a small data set with a known name: five queries of every landmark."""
    draw = np.random.default_rng(len(name))
    queries = 5 * landmarks
    truth = []
    for query in range(queries):
        landmark = query // 5
        here = np.arange(landmark * 6, landmark * 6 + 6)
        truth.append((here[:4], here[4 : 5 + query % 2]))
    return _with_protocols(name, truth, rows + int(draw.integers(5)), queries)


def _with_protocols(name: str, truth: Sequence[Any], rows: int, queries: int) -> Dataset:
    if name in ("roxford5k", "rparis6k", "mini"):
        easy = [GroundTruth(positive[:2], np.sort(np.r_[positive[2:], ignored]))
                for positive, ignored in truth]  # fmt: skip
        medium = [GroundTruth(positive, ignored) for positive, ignored in truth]
        hard = [GroundTruth(positive[2:], np.sort(np.r_[positive[:2], ignored]))
                for positive, ignored in truth]  # fmt: skip
        protocols = tuple(
            Protocol(kind, tuple(of), REVISITED_METRICS)
            for kind, of in (("easy", easy), ("medium", medium), ("hard", hard))
        )
    else:
        whole = tuple(GroundTruth(np.union1d(p, i), np.array([], np.int64)) for p, i in truth)
        protocols = (Protocol("all", whole, RECALLS, "miss"),)
    return Dataset(
        name, name, Path("."),
        tuple(Image(f"d{i}", f"d{i}.jpg") for i in range(rows)),
        tuple(Image(f"q{i}", f"q{i}.jpg", (0, 0, 9, 9)) for i in range(queries)),
        protocols, "", "",
    )  # fmt: skip


def write(
    results: Path,
    name: str,
    dataset: Dataset,
    number: int,
    quality: float = 2.0,
    *,
    preprocess: Preprocess | None = None,
    trained: bool | None = True,
    dim: int = 256,
    ms: float = 50.0,
    parameters: float = 20.0,
    backbone: str = "resnet50",
    training_set: str = "GLDv2-clean",
    changes: Mapping[str, Any] | None = None,
    machine: str = "a processor",
    seed: int = 0,
) -> Path:
    """Write the record of a method of that quality; `changes` are to its card."""
    ranks, listed = _ranked(dataset, quality, 1000 * seed + number)
    method, _, variant = name.partition(".")
    card = cards.make(dataset, preprocess or Preprocess(), unit_norm=True, precision="float32")
    card |= changes or {}
    scored = scores.score(ranks, dataset.protocols, len(dataset.database))
    blocks = intervals.landmarks(dataset.protocols, len(dataset.database))
    clock = (number // 3600, number // 60 % 60, number % 60)
    content = {
        "run_id": f"20260101T{''.join(f'{part:02}' for part in clock)}Z-{number:06x}",
        "created": f"2026-01-01T{':'.join(f'{part:02}' for part in clock)}Z",
        "command": f"python -m bench run --method {name} --dataset {dataset.name}",
        "card": card,
        "method": {
            "name": method, "variant": variant, "version": "1", "dim": dim,
            "config": {"backbone": backbone},
            "weights": {"source": "a file", "licence": "MIT", "sha256": f"{number:064x}",
                        "training_set": training_set, "trained": trained},
        },
        "scores": record.scores_to_json(scored),
        "intervals": intervals.stated(blocks),
        "ties": scores.ties_of(ranks),
        "timing": _timing(ms, dim),
        "memory": {"peak_resident_bytes": 10**9, "peak_device_bytes": None,
                   "parameters": int(parameters * 1e6), "index_rows": len(dataset.database),
                   "index_bytes": 4 * dim * len(dataset.database)},
        "bytes_per_image": 4 * dim,
        "partial": card["limit"] is not None,
        "machine": {"device": "cpu", "device_name": machine, "cores": 2},
        "libraries": {"numpy": "2.0"},
        "source": {"commit": "f" * 40, "dirty": False},
        "seed": 0,
    }  # fmt: skip
    arrays = {**record.arrays_of(ranks, listed, dataset), ARRAY: blocks.of_query}
    return record.write(results, content, arrays)


def _timing(ms: float, dim: int) -> dict[str, Any]:
    def timed(p50: float) -> dict[str, Any]:
        return {"p50": p50, "p95": 1.4 * p50, "p50_interval": [0.95 * p50, 1.05 * p50],
                "n": 90, "rounds": 10}  # fmt: skip

    return {
        "definitions": 2,
        "phases_s": {"search": 0.1},
        "latency": {
            "measure": "sample", "batch": 1, "images": 9, "warm_up": 11, "image_px": [1024, 768],
            "precision": "float32", "threads": 2, "load_average": 0.5, "decode_ms": timed(9.0),
            "preprocess_ms": timed(0.05 * ms), "network_ms": timed(0.95 * ms),
            "describe_ms": timed(ms), "scales": [{"scale": 1.0, "network_ms": timed(0.95 * ms)}],
            "throughput": {"images_per_s": 2500 / ms, "batch": 8, "stopped": "no gain",
                           "tried": [{"batch": 1, "images_per_s": 1000 / ms}]},
            "flops_per_image": int(2e9 * ms / 20),
        },
        "search": {"measure": "sample", "rows": 60, "dim": dim, "shortlist": 60, "queries": 9,
                   "warm_up": 1, "ms_per_query": timed(dim / 400)},
    }  # fmt: skip


def _ranked(dataset: Dataset, quality: float, seed: int) -> tuple[LabelledRanks, Shortlist]:
    """Draw a score for every query and row, and return what a search would have found."""
    draw = np.random.default_rng(seed)
    queries, rows = len(dataset.queries), len(dataset.database)
    easier = np.repeat(draw.normal(0, 0.7, queries // 5), 5)
    score = draw.normal(0, 1, (queries, rows))
    labelled = scores.labelled_rows(dataset.protocols)
    for query, here in enumerate(labelled):
        score[query, here] += quality + easier[query]
    score = np.tanh(score / 8)
    order = np.argsort(-score, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(rows)[None], axis=1)
    offsets = np.cumsum([0, *map(len, labelled)], dtype=np.int64)
    flat = np.concatenate(labelled)
    of = np.repeat(np.arange(queries), np.diff(offsets))
    ranks = LabelledRanks(offsets, flat, rank[of, flat].astype(np.int64), score[of, flat],
                          np.zeros(len(flat), np.int64))  # fmt: skip
    depth = min(100, rows)
    listed = Shortlist(order[:, :depth].astype(np.int64),
                       np.take_along_axis(score, order[:, :depth], axis=1))  # fmt: skip
    return ranks, listed


def fill(
    results: Path, methods: int = 15, names: Sequence[str] = DATASETS, gaps: bool = True
) -> int:
    """Write a record of every method on every data set, but for a few gaps; return how many."""
    number = 0
    for at, name in enumerate(names):
        dataset = dataset_of(name)
        for place, (method, dim, cap, quality, ms, size, net, trained) in enumerate(
            METHODS[:methods]
        ):
            if gaps and (at + place) % 11 == 5:
                continue
            number += 1
            plain = Preprocess(max_side_px=cap)
            pixels = replace(plain, scales=(0.7071067811865476, 1.0, 1.4142135623730951))
            write(
                results, method, dataset, number, quality, dim=dim, ms=ms, parameters=size,
                backbone=net, training_set=trained, preprocess=pixels if cap == 1024 else plain,
            )  # fmt: skip
    return number
