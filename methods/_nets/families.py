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
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from bench.errors import BenchError
from bench.methods._nets import backbones, resnet
from bench.methods._nets.resnet import Network
from bench.weights import load_strict, origin, read_state


@dataclass(frozen=True)
class Family:
    """A kind of checkpoint.

    marks     beginnings of keys; a file that has a key for each is of this family
    variants  the method variants that take it, per depth of the backbone
    unused    beginnings of keys that the descriptor does not need, which are dropped: classifiers
              of the training, a re-ranker, layers after the last that counts
    """

    title: str
    marks: tuple[str, ...]
    variants: Mapping[int, str]
    unused: tuple[str, ...] = ()


# The first family whose marks are all there is taken.
FAMILIES = {
    "dolg": Family(
        "a DOLG checkpoint",
        ("globalmodel.", "fc_t."),
        {50: "dolg.r50", 101: "dolg.r101"},
        ("desc_cls.weight", "desc_cls.t"),
    ),
    "delg-port": Family(
        "a checkpoint of the DELG PyTorch port",
        ("globalmodel.", "globalmodel.head."),
        {50: "delg.r50-port", 101: "delg.r101-port"},
        ("desc_cls.weight", "desc_cls.t", "att_cls.fc.weight", "att_cls.fc.bias"),
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
        ("classifier.weight",),
    ),
    "solar-token": Family(
        "a SOLAR checkpoint of Token's authors",
        ("backbone.block", "pooling.f."),
        {101: "solar.r101-token"},
        ("classifier.weight",),
    ),
    "delg-token": Family(
        "a DELG checkpoint of Token's authors",
        ("backbone.block", "attention.att_conv1."),
        {101: "delg.r101-token"},
        ("classifier_block5.weight", "classifier_block4.weight"),
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
    "places": Family(
        "a checkpoint of EigenPlaces or CosPlace, which have equal keys",
        ("aggregation.1.p", "aggregation.3."),
        {
            16: "eigenplaces.vgg16-… or cosplace.vgg16-…",
            **{
                depth: f"eigenplaces.resnet{depth}-… or cosplace.resnet{depth}-…"
                for depth in (18, 50, 101)
            },
            152: "cosplace.resnet152-…",
        },
    ),
    "mixvpr": Family(
        "a MixVPR checkpoint",
        ("aggregator.mix.", "aggregator.row_proj."),
        {50: "mixvpr.resnet50-4096, -512 or -128"},
        ("backbone.model.layer4.", "backbone.model.fc."),
    ),
    "megaloc": Family(
        "a MegaLoc checkpoint",
        ("backbone.blocks.", "aggregator.agg."),
        {12: "megaloc.dinov2-8448"},
        ("backbone.mask_token",),
    ),
    "salad": Family(
        "a checkpoint of SALAD or CliqueMining, which have equal keys",
        ("backbone.model.blocks.", "aggregator.dust_bin"),
        {12: "salad.dinov2-8448 or cliquemining.dinov2-8448"},
        ("backbone.model.mask_token",),
    ),
    "boq-dinov2": Family(
        "a BoQ checkpoint of DINOv2",
        ("backbone.dino.", "aggregator.boqs."),
        {12: "boq.dinov2-12288"},
        ("backbone.dino.mask_token", "backbone.dino.norm."),
    ),
    "image": Family(
        "an ImAge checkpoint",
        ("learnable_aggregation_tokens", "backbone.register_tokens"),
        {12: "image-vpr.merged or image-vpr.gsv"},
        ("backbone.mask_token",),
    ),
    "selavprpp-rerank": Family(
        "a SelaVPR++ checkpoint with binary codes",
        ("backbone.adapters_hashing.", "linear4."),
        {12: "selavprpp.base-rerank", 24: "selavprpp.large-rerank"},
        ("backbone.mask_token",),
    ),
    "selavprpp": Family(
        "a SelaVPR++ checkpoint",
        ("backbone.adapters.0.branch1.", "linear2."),
        {12: "selavprpp.base", 24: "selavprpp.large"},
        ("backbone.mask_token",),
    ),
    "edtformer": Family(
        "an EDTformer checkpoint",
        ("backbone.adapters.0.D_fc1.", "decoder.layers."),
        {12: "edtformer.dinov2-4096"},
        ("backbone.mask_token",),
    ),
    "supervlad": Family(
        "a SuperVLAD checkpoint",
        ("backbone.blocks.", "aggregation.conv."),
        {12: "supervlad.dinov2-3072"},
        ("backbone.mask_token",),
    ),
    "cricavpr": Family(
        "a CricaVPR checkpoint, whose descriptors depend on the images of a batch,",
        ("backbone.blocks.", "encoder.layers."),
        {},
    ),
    "anyloc": Family(
        "a state of AnyLoc, DINOv2 with centres,",
        ("blocks.0.ls1.", "c_centers"),
        {12: "anyloc.vits14", 40: "anyloc.vitg14-…"},
        ("mask_token",),
    ),
    "dinov2-reg": Family(
        "DINOv2 with registers",
        ("blocks.0.ls1.", "register_tokens"),
        {12: "dinov2.vits14-reg or dinov2.vitb14-reg", 24: "dinov2.vitl14-reg",
         40: "dinov2.vitg14-reg"},
        ("mask_token",),
    ),
    "dinov2": Family(
        "DINOv2 without registers",
        ("blocks.0.ls1.", "cls_token"),
        {12: "dinov2.vits14 or dinov2.vitb14", 24: "dinov2.vitl14", 40: "dinov2.vitg14"},
        ("mask_token",),
    ),
    "boq-resnet50": Family(
        "a BoQ checkpoint of ResNet-50",
        ("backbone.net.", "aggregator.boqs."),
        {50: "boq.resnet50-16384"},
    ),
    "netvlad": Family(
        "a NetVLAD checkpoint",
        ("netvlad.score_proj.", "netvlad.centers"),
        {16: "netvlad.pitts30k or netvlad.tokyotm"},
    ),
    "cirtorch-w": Family(
        "a cirtorch checkpoint with whitening in the network",
        ("features.", "pool.p", "whiten."),
        {
            depth: f"cirtorch.gl18-r{depth} or cirtorch.sfm120k-r{depth}-w"
            for depth in (50, 101, 152)
        },
    ),
    "cirtorch-lw": Family(
        "a cirtorch checkpoint without whitening in the network",
        ("features.", "pool.p"),
        {101: "cirtorch.sfm120k-r101-lw"},
    ),
    "apgem": Family(
        "a checkpoint of naver/deep-image-retrieval",
        ("adpool.p", "layer1."),
        {50: "apgem.r50 or apgem.r50-512", 101: "apgem.r101 or apgem.r101-lm18"},
    ),
    "cvnet": Family(
        "a CVNet checkpoint",
        ("encoder_q.stem.", "encoder_q.head."),
        {depth: f"cvnet.r{depth} or superglobal.r{depth}" for depth in (50, 101)},
        ("conv2ds.", "cv_learner."),
    ),
    "pycls": Family("an ImageNet checkpoint of pycls without a descriptor", ("stem.", "s1."), {}),
    "resnet": Family("a plain ResNet without a descriptor", ("conv1.", "layer1.0."), {}),
}  # fmt: skip
_THIRD_STAGE = re.compile(
    r"(?:(?:globalmodel|encoder_q)\.s3\.b|(?:backbone\.(?:model\.)?)?(?:block4|layer3)\."
    r"|(?:features|backbone|backbone\.net)\.6\.)(\d+)\."
)
VGG = 16  # the depth of a file with the thirteen convolutions of VGG16
_BLOCK = re.compile(r"(?:backbone\.)?(?:model\.|dino\.)?blocks\.(\d+)\.")
_LAST_OF_VGG = re.compile(r"(?:features|backbone)\.28\.weight")


@dataclass(frozen=True)
class Release:
    """A checkpoint as its authors publish it; `project` is the program whose layout it has.

    `read` gives the state in a file: names and tensors.
    """

    variant: str
    family: str
    depth: int
    project: str
    licence: str
    training_set: str
    read: Callable[[Path], dict[str, Tensor]] = read_state


def family_of(state: Collection[str]) -> str | None:
    """Return the key in FAMILIES of a checkpoint with these keys, or None for an unknown one."""
    for name, family in FAMILIES.items():
        if all(any(key.startswith(mark) for key in state) for mark in family.marks):
            return name
    return None


def depth_of(state: Collection[str]) -> int | None:
    """Return the depth of a backbone, or None where it is not known.

    That of a transformer is the number of its blocks, of a ResNet follows from those of its third
    stage, of VGG16 is VGG.
    """
    if tokens := {found[1] for key in state if (found := _BLOCK.match(key))}:
        return len(tokens)
    blocks = {found[1] for key in state if (found := _THIRD_STAGE.match(key))}
    if not blocks and any(_LAST_OF_VGG.fullmatch(key) for key in state):
        return VGG
    return next((depth for depth, count in resnet.BLOCKS.items() if count == len(blocks)), None)


def _backbone(depth: int) -> str:
    if depth in resnet.BLOCKS:
        return f"ResNet-{depth}"
    return "VGG-16" if depth == VGG else f"a transformer of {depth} blocks"


def read(weights: str, release: Release) -> dict[str, Tensor]:
    """Return the state in the file `weights`, without what the family does not use.

    A file of another family or of another depth is refused.
    """
    state = release.read(Path(weights))
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
            f"{name} is {wanted.title} of {_backbone(depth)}; {release.variant} needs "
            f"{_backbone(release.depth)}.{_taker(wanted, depth)}"
        )
    return _counted({k: v for k, v in state.items() if not k.startswith(wanted.unused)})


def _counted(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state with the counts of batches that no file from before torch 0.4.1 has."""
    if any(key.endswith(".num_batches_tracked") for key in state):
        return state
    means = [key for key in state if key.endswith(".running_mean")]
    counts = {key.replace("running_mean", "num_batches_tracked") for key in means}
    return state | {key: torch.zeros((), dtype=torch.int64) for key in counts}


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


def method(
    network: Network,
    facts: Mapping[str, Any],
    config: Mapping[str, Any],
    preprocess: Mapping[str, Any],
) -> SimpleNamespace:
    """Return a method whose `describe` is the network itself, which has `dim`.

    A network may have `refusal(height, width)`: why it takes no image of that size, or None; and
    `whitening`, a module for descriptors of all scales combined.
    """
    optional = {"refusal": "refusal", "whiten": "whitening"}
    found = {key: getattr(network, name, None) for key, name in optional.items()}
    return SimpleNamespace(
        version="1",
        config=config,
        weights=facts,
        dim=network.dim,
        preprocess=preprocess,
        describe=network,
        network=network,
        **{key: part for key, part in found.items() if part is not None},
    )


def _taker(family: Family, depth: int | None) -> str:
    """Say which method takes the file, where there is one."""
    variant = family.variants.get(depth or 0)
    return f" The method for this file is {variant}." if variant else ""
