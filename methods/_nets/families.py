"""Published checkpoints: which program wrote a file, told from its keys, and strict reading.

Many networks share a backbone, so a file of one loads into another with a few keys "missing" and
computes nonsense. A file is recognised by keys that only its family has, and by the number of
blocks of its third stage; what is not the wanted one is refused with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from bench.errors import BenchError
from bench.methods._nets import backbones, resnet
from bench.methods._nets.resnet import Network
from bench.weights import load_strict, origin, read_state


@dataclass(frozen=True)
class Family:
    """A kind of checkpoint.

    marks       beginnings of keys; a file that has a key for each is of this family
    variants    the method variant that takes it, per depth of the ResNet
    classifier  keys of the training's classifiers, which the official test programs drop as well
    """

    title: str
    marks: tuple[str, ...]
    variants: Mapping[int, str]
    classifier: frozenset[str] = frozenset()


# The first family whose marks are all there is taken.
FAMILIES = {
    "dolg": Family(
        "a DOLG checkpoint",
        ("globalmodel.", "fc_t."),
        {50: "dolg.r50", 101: "dolg.r101"},
        frozenset({"desc_cls.weight", "desc_cls.t"}),
    ),
    "delg-port": Family(
        "a checkpoint of the DELG PyTorch port",
        ("globalmodel.", "globalmodel.head."),
        {50: "delg.r50-port", 101: "delg.r101-port"},
        frozenset({"desc_cls.weight", "desc_cls.t", "att_cls.fc.weight", "att_cls.fc.bias"}),
    ),
    "token-2021": Family(
        "a Token checkpoint of December 2021, for a network with another tokenizer (a convolution) "
        "than the checkpoints that replaced it",
        ("backbone.block", "tr.tokens."),
        {},
    ),
    "token": Family(
        "a Token checkpoint of April 2022",
        ("backbone.block", "tr."),
        {50: "token.r50", 101: "token.r101"},
        frozenset({"classifier.weight"}),
    ),
    "solar-token": Family(
        "a SOLAR checkpoint of Token's authors",
        ("backbone.block", "pooling.f."),
        {101: "solar.r101-token"},
        frozenset({"classifier.weight"}),
    ),
    "delg-token": Family(
        "a DELG checkpoint of Token's authors",
        ("backbone.block", "attention.att_conv1."),
        {101: "delg.r101-token"},
        frozenset({"classifier_block5.weight", "classifier_block4.weight"}),
    ),
    "delg-keras": Family(
        "a DELG model converted from the TensorFlow 2 code",
        ("attention_bn.", "backbone.layer1.0.conv1.bias"),
        {50: "delg.r50-tf2"},
    ),
    "delg-trained": Family(
        "a DELG model that this project trained",
        ("backbone.layer1.", "attention_bn.", "threshold"),
        {50: "delg.r50", 101: "delg.r101"},
    ),
    "delg-slim": Family(
        "a DELG model converted from TF-Slim",
        ("backbone.layer1.", "attention_bn."),
        {50: "delg.r50-gld or delg.r50-gldv2clean", 101: "delg.r101-gld or delg.r101-gldv2clean"},
    ),
    "delg-lite0": Family("a file for delg.lite0", ("encode.", "whitening."), {}),
    "dolg-lite0": Family("a file for dolg.lite0", ("fc.", "fc_t."), {}),
    "token-lite0": Family("a file for token.lite0", ("tr.", "whitening."), {}),
    "pycls": Family("an ImageNet checkpoint of pycls without a descriptor", ("stem.", "s1."), {}),
    "resnet": Family("a plain ResNet without a descriptor", ("conv1.", "layer1.0."), {}),
}  # fmt: skip
_THIRD_STAGE = re.compile(r"(?:globalmodel\.s3\.b|backbone\.(?:block4|layer3)\.)(\d+)\.")


@dataclass(frozen=True)
class Release:
    """A checkpoint as its authors publish it; `project` is the program whose layout it has."""

    variant: str
    family: str
    depth: int
    project: str
    licence: str
    training_set: str


def family_of(state: Collection[str]) -> str | None:
    """Return the key in FAMILIES of a checkpoint with these keys, or None for an unknown one."""
    for name, family in FAMILIES.items():
        if all(any(key.startswith(mark) for key in state) for mark in family.marks):
            return name
    return None


def depth_of(state: Collection[str]) -> int | None:
    """Return 50 or 101 by the blocks of the third stage, or None for another number of them."""
    blocks = {found[1] for key in state if (found := _THIRD_STAGE.match(key))}
    return next((depth for depth, count in resnet.BLOCKS.items() if count == len(blocks)), None)


def read(weights: str, release: Release) -> dict[str, Tensor]:
    """Return the state in the file `weights`, without the training's classifiers.

    A file of another family or of another depth is refused.
    """
    state = read_state(Path(weights))
    wanted = FAMILIES[release.family]
    name, found, depth = Path(weights).name, family_of(state), depth_of(state)
    if found is not None and found != release.family:
        other = FAMILIES[found]
        raise BenchError(
            f"{name} is {other.title} (keys {other.marks[-1]}…); {release.variant} needs "
            f"{wanted.title}.{_taker(other, depth)}"
        )
    if found is not None and depth is not None and depth != release.depth:
        raise BenchError(
            f"{name} is {wanted.title} of ResNet-{depth}; {release.variant} needs "
            f"ResNet-{release.depth}.{_taker(wanted, depth)}"
        )
    return {key: tensor for key, tensor in state.items() if key not in wanted.classifier}


def load(
    build: Callable[[], Network],
    state: Mapping[str, Tensor],
    weights: str,
    release: Release,
    name_in_file: Callable[[str], str],
    device: str,
) -> tuple[Network, dict[str, Any]]:
    """Return the network that `build` makes with this state, and the facts about its weights.

    Every name and shape must fit; `name_in_file` gives the state's name for one of the network.
    """
    network = resnet.blank(build)
    name = Path(weights).name
    load_strict(network, state, name, name_in_file)
    source = f"file {name}, in the layout of {release.project}"
    known = backbones.facts(network, source, release.licence, release.training_set, True)
    return network.to(device), known | origin(Path(weights))


def _taker(family: Family, depth: int | None) -> str:
    """Say which method takes the file, where there is one."""
    variant = family.variants.get(depth or 0)
    return f" The method for this file is {variant}." if variant else ""
