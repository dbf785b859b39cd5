"""What the published networks share when they are trained: init, options, one descriptor, one loss.

An option `init` says where the backbone begins: the path of an ImageNet checkpoint of a ResNet
(timm's, torchvision's or pycls's names), "random", or nothing for the weights that timm fetches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import BenchError, unknown
from bench.methods._nets import backbones, resnet
from bench.weights import load_strict, read_state

FETCHED = "a1_in1k"  # of timm's, by its recipe A1


class Classified:
    """A network with one descriptor per image, trained by one loss over classes.

    The attributes are those of `bench.types.Trainable`; `head(descriptors, labels)` is the loss.
    """

    def __init__(
        self,
        model: nn.Module,
        head: nn.Module,
        preprocess: Mapping[str, Any],
        name_in_file: Callable[[str], str],
        device: str,
    ) -> None:
        """Take the network of the method, its head for training, its pixels and its key names."""
        self.network = nn.ModuleDict({"model": model, "head": head}).to(device)
        self.preprocess = preprocess
        self.name_in_file = name_in_file

    def losses(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the one term."""
        return {"global": self.network["head"](self.network["model"](inputs), labels)}

    def weights(self) -> dict[str, Tensor]:
        """Return the state of the network under the names of the method's official files."""
        state = self.network["model"].state_dict()
        return {self.name_in_file(name): tensor for name, tensor in state.items()}


def options(overrides: Mapping[str, Any], **defaults: Any) -> dict[str, Any]:
    """Return the defaults with the given options; unknown options are refused."""
    defaults = {"init": None, **defaults}
    for key in overrides:
        if key not in defaults:
            raise unknown("option of this method's training", key, defaults)
    return {**defaults, **overrides}


def begin(backbone: nn.Module, depth: int, init: str | None) -> None:
    """Load ImageNet weights into a ResNet under timm's names, as `init` says."""
    if init == "random":
        return
    if init is None:
        source = backbones.of_timm(f"resnet{depth}.{FETCHED}", "cpu")
        backbone.load_state_dict(source.model.state_dict())
        return
    path = Path(init)
    state = {
        name: tensor
        for name, tensor in read_state(path).items()
        if not name.startswith(("fc.", "head."))
    }
    pycls = any(name.startswith("stem.") for name in state)
    counters = {name for name in backbone.state_dict() if name.endswith("num_batches_tracked")}
    name_in_file = resnet.pycls if pycls else str
    for name in counters:  # old files have none
        state.setdefault(name_in_file(name), torch.tensor(0))
    load_strict(backbone, state, path.name, name_in_file)


def depth_of(variant: str, known: tuple[str, ...], method: str) -> int:
    """Return 50 or 101 for a variant that can be trained; refuse others."""
    if variant not in known:
        names = " or ".join(f"{method}.{name}" for name in known)
        raise BenchError(f"{method}.{variant} cannot be trained from here; train {names}.")
    return int(variant.removeprefix("r"))
