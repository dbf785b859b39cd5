"""Training of the lite heads: frozen parts, the papers' losses, and the initial weights.

The trunk does not train, nor does the layer after it: a whitening, fitted at the beginning to
regions of augmented photographs. A few hundred photographs do not determine a covariance in 1280
dimensions; so each component is divided by a power of its standard deviation below 1.

`lite1` is shrunk towards plain GeM: a lower power, no mean subtracted, and of what training changes
after the whitening, and adds to it, a part only (`Shrinkage`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import BenchError
from bench.methods._lite import local, networks, packed
from bench.methods._nets import backbones, objectives
from bench.methods._nets.pooling import gem
from bench.nn import heads, losses

EVERY = 97  # positions of the map at stride 16 that are taken
PLACING = 9  # numbers of a homography behind the maps of a view


class Frozen(nn.Module):
    """The trunk up to the maps that heads need, as one row of numbers per image."""

    def __init__(self, trunk: networks.Trunk) -> None:
        """Take the trunk."""
        super().__init__()
        self.trunk = trunk.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Return the maps (n, 112, h, w), then (n, 320, h / 2, w / 2), flat: (n, 192 h w)."""
        return torch.cat([part.flatten(1) for part in self.parts(images)[:2]], dim=1)

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the maps at strides 16, 32 and 8."""
        fine = self.trunk.fine(images.contiguous(memory_format=torch.channels_last))
        middle = self.trunk.middle(fine).half().float()  # as it is kept
        return middle, self.trunk.narrow(middle), fine


class FrozenFine(Frozen):
    """The same, and behind it the map at stride 8."""

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, 352 h w)."""
        middle, narrow, fine = self.parts(images)
        gathered = local.gathered(fine, (middle.shape[2], middle.shape[3]))
        return torch.cat([part.flatten(1) for part in (middle, narrow, gathered)], dim=1)


@dataclass(frozen=True)
class Shrinkage:
    """How near a head stays to plain GeM. The defaults are those of `lite0`, which is not shrunk.

    exponent   of the eigenvalues by which the whitening divides: 0 only rotates, 0.5 whitens fully
    centred    whether the whitening subtracts a mean, as gem.lite0 does not
    strength   part of what training changed in the layers after the whitening that is kept: their
               final numbers are begin + strength (trained - begin)
    """

    exponent: float = 0.35
    centred: bool = True
    strength: float = 1.0


LITE0 = {"exponent": 0.35, "centred": True, "strength": 1.0, "fine": False, "bits": 16}


def shrinkage(chosen: Mapping[str, Any]) -> Shrinkage:
    """Return the shrinkage that options of a recipe ask for."""
    return Shrinkage(chosen["exponent"], chosen["centred"], chosen["strength"])


class Training:
    """One head and its losses; the attributes are those of `bench.types.Trainable`.

    The final file has the matrices in half precision, or, with `bits` 8, as `packed.py` says. With
    `fine` the kept outputs are those that `delg` needs, so that all heads share them.
    """

    preprocess: Mapping[str, Any] = backbones.LITE0_PIXELS
    # Outputs that `begin` needs: each has five regions, and a layer no more axes than regions.
    least_outputs = -(-(max(networks.DIM, networks.TOKEN_DIM) + 1) // 5)

    shrunk: tuple[str, ...] = ("head.fc",)  # the layers that `strength` is about

    def __init__(
        self, head: nn.Module, loss: nn.Module, chosen: Mapping[str, Any], device: str
    ) -> None:
        """Take the head, the loss of its descriptors, and the options of a recipe."""
        self.trunk = networks.Trunk(backbones.lite0("cpu").model)
        self.fine, self.bits, self.shrinkage = chosen["fine"], chosen["bits"], shrinkage(chosen)
        self.begun: dict[str, Tensor] = {}
        self.frozen = (FrozenFine if self.fine else Frozen)(self.trunk).to(device)
        self.frozen.requires_grad_(False)
        for name in ("whitening", "fc_t"):
            if (layer := getattr(head, name, None)) is not None:
                layer.requires_grad_(False)
        self.network = nn.ModuleDict({"trunk": self.trunk, "head": head, "loss": loss}).to(device)

    @torch.no_grad()
    def begin(self, kept: Iterable[Tensor]) -> None:
        """Fit the whitening to outputs of the frozen part, and set the head out from it."""
        head: Any = self.network["head"]
        rows, means, positions = [], [], []
        for inputs in kept:
            middle, last = self.maps(inputs)
            for region in corners(last):
                pooled = gem(region, networks.P, networks.EPS)
                rows.append(pooled if self.shrinkage.centred else networks.unit(pooled))
                means.append(region.mean(dim=(2, 3)))
            positions.append(middle.movedim(1, 3).flatten(0, 2)[::EVERY])
        width = getattr(head, "width", networks.TOKEN_DIM)
        near = self.shrinkage
        layers = {
            "": fit(torch.cat(rows), networks.DIM, near.exponent, 1.0, near.centred),
            "token.": fit(torch.cat(means), width, 0.35, width**0.5),
            "local.": fit(torch.cat(positions), networks.LOCAL_DIM, 0.45, networks.LOCAL_DIM**0.5),
        }
        fitted = {f"{name}weight": weight for name, (weight, _) in layers.items()}
        fitted |= {f"{name}bias": bias for name, (_, bias) in layers.items()}
        head.begin(fitted)
        self.fitted = fitted
        self.keep_begun()

    def keep_begun(self) -> None:
        """Keep the numbers from which the shrunk layers set out."""
        state = self.network.state_dict()
        names = [name for name in state if name.rpartition(".")[0] in self.shrunk]
        self.begun = {name: state[name].clone() for name in names}

    def state(self) -> dict[str, Tensor]:
        """Return copies of the network's numbers, the shrunk layers as they are to be used."""
        state = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        if self.shrinkage.strength != 1.0:
            for name, begun in self.begun.items():
                state[name] = begun + self.shrinkage.strength * (state[name] - begun)
        return state

    def split(self, inputs: Tensor) -> list[Tensor]:
        """Return the maps of square images, from their rows of numbers: strides 16, 32, and 8."""
        quarter = networks.NARROW / 4
        per_place = networks.MIDDLE + quarter + (local.FINE if self.fine else 0)
        side = round((inputs.shape[1] / per_place) ** 0.5)
        sizes = [(networks.MIDDLE, side), (networks.NARROW, side // 2), (local.FINE, side)]
        sizes = sizes[: 3 if self.fine else 2]
        parts = torch.split(inputs, [channels * each**2 for channels, each in sizes], dim=1)
        return [
            torch.unflatten(part, 1, (channels, each, each))
            for part, (channels, each) in zip(parts, sizes, strict=True)
        ]

    def maps(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two maps of the heads, with all channels, from rows of numbers."""
        middle, narrow = self.split(inputs)[:2]
        with torch.no_grad():
            return middle, self.trunk.widen(narrow)

    def losses(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the loss of the descriptors."""
        descriptors = self.network["head"](*self.maps(inputs))
        return {"global": self.network["loss"](descriptors, labels)}

    def weights(self) -> dict[str, Tensor]:
        """Return the state of the head."""
        state = self.state().items()
        return packed.pack(
            {n.removeprefix("head."): t for n, t in state if n.startswith("head.")}, self.bits
        )


def corners(last: Tensor) -> list[Tensor]:
    """Return a map (n, c, h, w), and of each corner a square of 0.6 of its sides."""
    height, width = (math.ceil(0.6 * side) for side in last.shape[2:])
    return [
        last,
        last[:, :, :height, :width],
        last[:, :, :height, -width:],
        last[:, :, -height:, :width],
        last[:, :, -height:, -width:],
    ]


def fit(
    rows: Tensor, dim: int, exponent: float, norm: float, subtract: bool = True
) -> tuple[Tensor, Tensor]:
    """Return weight (dim, c) and bias (dim,) float32 of the layer fitted to rows (n, c).

    Principal components, each divided by its eigenvalue to the power `exponent`: 0.5 whitens fully,
    0 only rotates. Outputs have `norm` as the root mean square of their norms. A component's sign
    is free: its entry of largest magnitude is made positive. Without `subtract` the mean stays, in
    the components as in the outputs, and the bias is 0.
    """
    exact = rows.double()
    mean = exact.mean(dim=0) if subtract else exact.new_zeros(exact.shape[1])
    centred = exact - mean
    values, axes = torch.linalg.eigh(centred.T @ centred / len(rows))
    values, axes = values.flip(0)[:dim], axes.flip(1)[:, :dim].T
    largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
    layer = axes * largest.sign() / values[:, None] ** exponent
    layer *= norm / (centred @ layer.T).square().sum(dim=1).mean().sqrt()
    return layer.float(), -(layer @ mean).float()


class Delg(Training):
    """The joint objective, and local features from pairs of views.

    The map at stride 16 is frozen, so nothing local reaches the trunk. Of the global branch a layer
    after the whitening is trained, on unit vectors, where the rate of the class weights suits it as
    well; without a bias the two are one layer in the final file. The autoencoder only serves the
    attention; the shipped local features are those of `_lite/local`.
    """

    pairs = True
    shrunk = ("after",)

    def __init__(
        self, loss: nn.Module, classes: int, chosen: Mapping[str, Any], device: str
    ) -> None:
        """Take the loss of descriptors, and the weights of the other terms."""
        super().__init__(networks.DelgHead(), loss, chosen, device)
        self.of_attention, self.of_decoding = chosen["attention"], chosen["reconstruction"]
        self.of_matching = chosen["matching"]
        self.network["encode"] = nn.Conv2d(networks.MIDDLE, networks.LOCAL_DIM, 1).to(device)
        self.network["after"] = nn.Linear(networks.DIM, networks.DIM, bias=False).to(device)
        self.network["decode"] = nn.Conv2d(networks.LOCAL_DIM, networks.MIDDLE, 1).to(device)
        self.network["attention"] = heads.Attention(classes, networks.MIDDLE).to(device)
        self.network["standard"] = local.Standard(local.ALL).to(device)

    @torch.no_grad()
    def begin(self, kept: Iterable[Tensor]) -> None:
        """Set out from the whitening, and an autoencoder that is nearly the identity."""
        positions = []

        def seen() -> Iterable[Tensor]:
            for inputs in kept:
                maps = self.stacked(inputs)
                positions.append(maps.movedim(1, 3).flatten(0, 2)[::EVERY])
                yield inputs

        super().begin(seen())
        network: Any = self.network
        after, encode, decode = (network[name] for name in ("after", "encode", "decode"))
        after.weight.copy_(torch.eye(networks.DIM))
        encode.weight.copy_(networks.SPREAD * self.fitted["local.weight"][:, :, None, None])
        encode.bias.copy_(self.fitted["local.bias"])
        back = torch.linalg.pinv(encode.weight[:, :, 0, 0])
        decode.weight.copy_(back[:, :, None, None])
        decode.bias.copy_(-back @ encode.bias)
        network["standard"].fit(torch.cat(positions))
        self.keep_begun()

    def stacked(self, inputs: Tensor) -> Tensor:
        """Return the map that local features are made of, (n, 592, side, side)."""
        middle, narrow, fine = self.split(inputs)
        return local.stacked(middle, fine, narrow)

    def losses(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the four terms, weighted; all but the last see the first views only."""
        count = len(labels)
        if len(inputs) != 2 * count:
            raise BenchError("delg learns from pairs of views; use a recipe with 2 or more.")
        placings = torch.unflatten(inputs[:, -PLACING:], 1, (3, 3))
        inputs = inputs[:, :-PLACING]
        middle, last = self.maps(inputs[:count])
        head: Any = self.network["head"]
        descriptors = self.network["after"](networks.unit(head(middle, last)))
        wanted, attention = middle / networks.SPREAD, head.attended(middle)
        decoded = self.network["decode"](self.network["encode"](wanted))
        attended = self.network["attention"](decoded, attention, labels)
        standard: Any = self.network["standard"]
        matching = local.contrast(
            head.features, standard, self.stacked(inputs), placings, attention
        )
        return {
            "global": self.network["loss"](descriptors, labels),
            "attention": self.of_attention * attended,
            "reconstruction": self.of_decoding * losses.reconstruction(decoded, wanted),
            "matching": self.of_matching * matching,
        }

    def weights(self) -> dict[str, Tensor]:
        """Return the state of the head, with what stands before or after a layer folded into it."""
        every = self.state()
        state = {n.removeprefix("head."): t for n, t in every.items() if n.startswith("head.")}
        for name in ("whitening.weight", "whitening.bias"):
            state[name] = every["after.weight"] @ state[name]
        head: Any = self.network["head"]
        standard: Any = self.network["standard"]
        weight, bias = standard.folded(head.features[0])
        state |= {"features.0.weight": weight.detach(), "features.0.bias": bias.detach()}
        return packed.pack(state, self.bits)


def delg(classes: int, options: Mapping[str, Any], device: str) -> Training:
    """Return what trains the lite variants of DELG."""
    chosen = objectives.options(
        options,
        **{**LITE0, "fine": True},
        margin=0.15, scale=30.0, attention=10.0, reconstruction=10.0, matching=50.0,
    )  # fmt: skip
    loss = heads.ArcFace(classes, networks.DIM, chosen["margin"], chosen["scale"])
    return Delg(loss, classes, chosen, device)


def dolg(classes: int, options: Mapping[str, Any], device: str) -> Training:
    """Return what trains the lite variants of DOLG, or what an ablation leaves of one."""
    chosen = objectives.options(
        options,
        **LITE0,
        margin=0.15, scale=30.0, fusion=networks.FUSIONS[0], multi_atrous=True, each=networks.EACH,
    )  # fmt: skip
    loss = heads.CurricularFace(classes, networks.DIM, chosen["margin"], chosen["scale"])
    head = networks.DolgHead(chosen["fusion"], chosen["multi_atrous"], chosen["each"])
    return Training(head, loss, chosen, device)


def token(classes: int, options: Mapping[str, Any], device: str) -> Training:
    """Return what trains the lite variants of Token."""
    chosen = objectives.options(options, **LITE0, margin=0.15, scale=30.0, width=networks.TOKEN_DIM)
    loss = heads.ArcFace(classes, networks.DIM, chosen["margin"], chosen["scale"])
    return Training(networks.TokenHead(chosen["width"]), loss, chosen, device)
