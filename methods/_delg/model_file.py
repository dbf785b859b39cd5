"""DELG's TensorFlow models as converted files: their stored facts, and loading.

A converted file is a safetensors file with the state of `_delg_tf.DelgTf` and, as its metadata,
where it comes from, the rule for its pixels, and whether it was shown to answer as the original.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from safetensors import safe_open
from torch import Tensor

from bench.errors import BenchError
from bench.methods._delg import models, tf, variables
from bench.methods._delg.tf import FEEDS, STRIDES
from bench.methods._nets import families

FORMAT = "retrieval-bench delg-tf 1"
RULE = {
    "channels": "rgb",
    "orientation": "ignore",
    "crop_rounding": "round",
    "max_side_px": 1024,
    "cap_filter": "bilinear",
    "query_cap": "relative",
    "mean": (128.0, 128.0, 128.0),
    "std": (128.0, 128.0, 128.0),
    "scales": (0.70710677, 1.0, 1.4142135),
    "scale_size": "round",
}
SAMPLING = {False: "legacy-corner", True: "size-ratio"}  # by half_pixel_centers of the graph
LOCAL_SCALES = (0.25, 0.35355338, 0.5, 0.70710677, 1.0, 1.4142135, 2.0)
PROJECT = "tensorflow/models, research/delf"
LICENCE = f"not stated for the weights; that of {PROJECT} is Apache-2.0"
UNKNOWN = "unknown"  # attention input of a file whose local features are not the original's
KEYS = ("format", "method", "family", "source", "source_sha256", "preprocess", "attention_input",
        "local_stride", "proof")  # fmt: skip


def build(model: models.Model, feed: str, local_stride: int) -> tf.DelgTf:
    """Return the network of a model, its weights not set."""
    family = variables.FAMILIES[model.family]
    return tf.DelgTf(family.backbone(model.depth), family.EPS, feed, local_stride)


def metadata(
    variant: str, origin: tuple[str, str], sampling: str, feed: str, stride: int, proof: str
) -> dict[str, str]:
    """Return the facts stored in a converted file; `proof` begins with "proven" or "unproven".

    `origin` is the name and the sha256 of what was converted.
    """
    rule = json.dumps({**RULE, "scale_sampling": sampling})
    family = models.MODELS[variant].family
    values = (FORMAT, f"delg.{variant}", family, *origin, rule, feed, str(stride), proof)
    return dict(zip(KEYS, values, strict=True))


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method with the weights of a converted file."""
    model = models.MODELS[variant]
    path = models.checked(variant, weights)
    release = families.Release(
        variant=f"delg.{variant}", family=model.family, depth=model.depth,
        project=PROJECT, licence=LICENCE, training_set=_training_set(model),
    )  # fmt: skip
    state = families.read(str(path), release)
    origin = _said(path, variant, state)
    feed, stride = origin["attention_input"], int(origin["local_stride"])
    network, facts = families.load(
        lambda: build(model, FEEDS[0] if feed == UNKNOWN else feed, stride),
        state, str(path), release, str, device,
    )  # fmt: skip
    facts["source"] = (
        f"file {path.name}, converted from {origin['source']} (sha256 {origin['source_sha256']}); "
        f"{origin['proof']}"
    )
    config = {
        "backbone": f"resnet{model.depth}",
        "family": model.family,
        "pooling": "gem",
        "p": tf.P,
        "eps": tf.EPS,
        "attention_input": feed,
        "local_stride": stride,
    }
    method = SimpleNamespace(
        version="1", config=config, weights=facts, dim=tf.DIM,
        preprocess=json.loads(origin["preprocess"]), describe=network, network=network,
    )  # fmt: skip
    if feed != UNKNOWN:
        method.local = network.local
        method.local_rule = {"dim": tf.LOCAL_DIM, "stride_px": stride,
                             "scales": LOCAL_SCALES, "threshold": model.threshold}  # fmt: skip
    return method


def _training_set(model: models.Model) -> str:
    known = f"{model.training_set}, if this is the published model"
    return known if model.archive else model.training_set


def _said(path: Path, variant: str, state: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the metadata of a converted file; it must have been made for this variant.

    For a file of no known family it is a stand-in, so that the error names the keys that do not
    fit.
    """
    if families.family_of(state) is None:
        return metadata(variant, ("", ""), "", FEEDS[0], STRIDES[1], "")
    fields: dict[str, str] = {}
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            fields = file.metadata() or {}
    wrong = [key for key in KEYS if key not in fields]
    wrong = wrong or [key for key, right in _ALLOWED.items() if fields[key] not in right]
    if wrong:
        raise BenchError(
            f"{path.name} has no {wrong[0]!r} of a conversion in its metadata, or another than "
            "this version knows; convert the model again."
        )
    if fields["method"] != f"delg.{variant}":
        raise BenchError(
            f"{path.name} was converted for {fields['method']}, and is not used for delg.{variant}."
        )
    return fields


_ALLOWED: dict[str, Any] = {
    "format": (FORMAT,),
    "attention_input": (*FEEDS, UNKNOWN),
    "local_stride": [str(stride) for stride in STRIDES],
}
