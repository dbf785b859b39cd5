"""DELG's TensorFlow models made into files for the variants of `delg`, and proven on the spot.

The original graph and our network describe the same three generated images; where a unit vector
differs, nothing is made. From the same answers follow what weights do not tell: the stride of local
features and what feeds the attention. A checkpoint has no graph, so nothing can be proven.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench import contract
from bench.describe import pyramid
from bench.errors import BenchError, first_few
from bench.methods._delg import model_file, models, saved_model, tf
from bench.methods._delg.variables import check_family, state_of
from bench.methods._nets import resnet
from bench.types import Preprocess
from bench.weights import load_strict

TOLERANCE = 1e-4  # of unit vectors; of attention, in parts of the largest
SIZES = ((96, 128), (101, 75), (67, 110))  # height, width: even and odd
Answer = Mapping[str, NDArray[Any]]  # of `_tensorflow.answers`
UNPROVEN = "unproven: converted from variables alone, never compared with the original"
ASSUMED = {"delg-slim": (False, "block3"), "delg-keras": (True, "decoder")}


def convert(variant: str, source: Path, unproven: bool) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return state and metadata of a converted file for `variant` from a TensorFlow model.

    `source` is a SavedModel. With `unproven` it may be a checkpoint, whose resize rule, stride of
    local features and attention are then taken to be those usual for its family; or a SavedModel
    with other local features than ours, and the file is then for global descriptors only.
    """
    if variant not in models.MODELS:
        raise BenchError(
            f"delg.{variant} is not made from a TensorFlow model; the variants of delg that are: "
            f"{', '.join(models.MODELS)}."
        )
    model, method = models.MODELS[variant], f"delg.{variant}"
    if not saved_model.has_graph(source) and not unproven:
        saved_model.prefix(source)
        raise BenchError(
            f"{source} has variables and no graph ({saved_model.GRAPH}), so the conversion cannot "
            "be proven; give the folder of the SavedModel, or --unproven, which every record will "
            "say."
        )
    half_pixel, feed = ASSUMED[model.family]
    stride, proof = tf.STRIDES[1], UNPROVEN
    with saved_model.apart() as call:
        variables = call(saved_model.variables, source)
        check_family(variables, model.family, model.depth, method, source.name)
        full = resnet.blank(partial(model_file.build, model, "decoder", stride))
        state, unused = state_of(variables, full, model.family, model.depth, source.name)
        feeds = tf.FEEDS if "decode.weight" in state else tf.FEEDS[:1]
        if saved_model.has_graph(source):
            half_pixel = call(saved_model.half_pixel_centers, source)
            rule = _rule(half_pixel)
            shown = images()
            answers = call(saved_model.answers, source, shown, rule.scales)
            asked = list(zip(shown, answers, strict=True))
            stride, feed, proof = prove(model, state, feeds, asked, rule, source.name)
            if feed == model_file.UNKNOWN and not unproven:
                raise BenchError(
                    f"the local features of {source.name} are not what this conversion gives "
                    f"({proof}); nothing was written; with --unproven there will be a file for "
                    "global descriptors only."
                )
        elif unused:
            raise BenchError(
                f"{source.name} has {len(unused)} variables that DELG does not have, "
                f"{first_few(unused)}, and no graph to tell what they are for."
            )
        elif feed not in feeds:
            feed = feeds[0]
    if feed != "decoder":
        state = {name: tensor for name, tensor in state.items() if not name.startswith("decode.")}
    sampling = model_file.SAMPLING[half_pixel]
    origin = source.resolve().name, saved_model.sha256(source)
    return state, model_file.metadata(variant, origin, sampling, feed, stride, proof)


def images() -> list[NDArray[np.uint8]]:
    """Return three generated images, uint8 (height, width, 3): smooth colours, and fine noise."""
    draw = np.random.Generator(np.random.PCG64(0))
    made = []
    for height, width in SIZES:
        coarse = torch.from_numpy(draw.random((1, 3, 5, 6)))
        smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")
        fine = draw.normal(0.0, 0.08, (height, width, 3))
        values = 255 * (smooth[0].permute(1, 2, 0).numpy() + fine)
        made.append(values.clip(0, 255).round().astype(np.uint8))
    return made


def _rule(half_pixel: bool) -> Preprocess:
    """Return the rule for pixels as the stages between image and descriptor take it."""
    sampling = model_file.SAMPLING[half_pixel]
    return contract.preprocess({**model_file.RULE, "scale_sampling": sampling}, "delg")


def prove(
    model: models.Model,
    state: Mapping[str, Tensor],
    feeds: tuple[str, ...],
    answers: list[tuple[NDArray[np.uint8], Answer]],
    rule: Preprocess,
    source: str,
) -> tuple[int, str, str]:
    """Return stride, attention input and the sentence about the proof.

    The global descriptor of each scale and of their sum must agree on every image. The attention's
    input is the one of `feeds` with which all local features of scale 1 agree, or unknown.
    """
    stride = _stride([answer for _, answer in answers], source)
    differences = {}
    for feed in feeds:
        network = resnet.blank(partial(model_file.build, model, feed, stride))
        fitting = {k: v for k, v in state.items() if feed == "decoder" or k[:7] != "decode."}
        load_strict(network, fitting, source)
        found = [_difference(network, *asked, rule) for asked in answers]
        whole, local = (max(values) for values in zip(*found, strict=True))
        if not whole <= TOLERANCE:
            raise BenchError(
                f"the conversion of {source} is wrong: a unit vector differs from the original "
                f"model's by {whole:.1e}, and may by {TOLERANCE:g}; nothing was written."
            )
        differences[feed] = local
    feed = min(differences, key=lambda key: differences[key])
    proof = (
        f"proven on {len(answers)} images: unit vectors differ from the original's by at most "
        f"{whole:.1e}, local features by {differences[feed]:.1e}"
    )
    return stride, feed if differences[feed] <= TOLERANCE else model_file.UNKNOWN, proof


def _stride(answers: list[Answer], source: str) -> int:
    """Return the distance in pixels between neighbouring centres of local features."""
    centres = np.concatenate([_centres(answer["boxes"]).ravel() for answer in answers])
    steps = np.unique(centres[centres > 0.5].round())
    if len(steps) and int(steps[0]) in tf.STRIDES:
        return int(steps[0])
    raise BenchError(
        f"the original model {source} gives local features at a stride of "
        f"{int(steps[0]) if len(steps) else 'unknown'} pixels; known are "
        f"{' and '.join(map(str, tf.STRIDES))}."
    )


def _centres(boxes: NDArray[Any]) -> NDArray[Any]:
    """Return (n, 2) row and column in pixels from boxes (n, 4): top, left, bottom, right."""
    centres: NDArray[Any] = (boxes[:, :2] + boxes[:, 2:]) / 2
    return centres


def _difference(
    network: tf.DelgTf, image: NDArray[np.uint8], answer: Answer, rule: Preprocess
) -> tuple[float, float]:
    """Return the largest difference of global unit vectors, and that of local features."""
    batch = pyramid.to_batch([image], rule, "cpu")
    theirs = _unit(answer["global"])
    with torch.inference_mode():
        ours = _unit(np.concatenate([network(pyramid.at_scale(batch, scale, rule)).numpy()
                                     for scale in rule.scales]))  # fmt: skip
        features, attention = (dense[0].numpy() for dense in network.local(batch))
    if theirs.shape != ours.shape:
        return np.inf, np.inf
    both = np.vstack([theirs, theirs.sum(0)]), np.vstack([ours, ours.sum(0)])
    whole = float(np.abs(_unit(both[0]) - _unit(both[1])).max())
    rows, columns = (_centres(answer["boxes"]).T / network.local_stride).round().astype(int)
    height, width = attention.shape[1:]
    if rows.max() >= height or columns.max() >= width:
        return whole, np.inf
    scores = answer["scores"].ravel()
    local = np.abs(_unit(answer["features"]) - _unit(features[:, rows, columns].T)).max()
    weight = np.abs(scores - attention[0, rows, columns]).max() / np.abs(scores).max()
    return whole, float(max(local, weight))


def _unit(rows: NDArray[Any]) -> NDArray[Any]:
    """Return rows of unit norm."""
    unit: NDArray[Any] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
