"""SOLAR and DELG as retrained by the authors of Token: ResNet, GeM, whitening.

Wu et al., "Learning Token-Based Representation for Image Retrieval", AAAI 2022, compares with
these under one recipe (its table marks them with a dagger). They are not the models of the papers
they are named after; those have other heads and other weights.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from bench.methods._nets import pooling, resnet

DIM = 2048
GEM = {"p": 3.0, "eps": 1e-6}


class Baseline(nn.Module):
    """ResNet, GeM, unit norm, and a whitening layer; `pooling` may change the map before GeM."""

    dim = DIM

    def __init__(self, depth: int) -> None:
        """Take the depth of the ResNet."""
        super().__init__()
        self.backbone = resnet.resnet(depth)
        self.pooling: nn.Module = nn.Identity()
        self.whiten = nn.Conv2d(2048, DIM, 1)

    def forward(self, batch: Tensor) -> Tensor:
        """Return (n, 2048), not normalised, from a normalised batch (n, 3, height, width)."""
        features = self.pooling(resnet.stages(self.backbone, batch)[1])
        pooled = functional.normalize(pooling.gem(features, **GEM), dim=1)
        whitened: Tensor = self.whiten(pooled[:, :, None, None])
        return whitened.flatten(1)


class Solar(Baseline):
    """With a second-order attention block on the last feature map."""

    def __init__(self, depth: int) -> None:
        """Take the depth of the ResNet."""
        super().__init__(depth)
        self.pooling = SecondOrderAttention()


class Delg(Baseline):
    """With the layers of DELG's local branch, which the global descriptor does not use."""

    def __init__(self, depth: int) -> None:
        """Take the depth of the ResNet."""
        super().__init__(depth)
        self.attention = nn.ModuleDict({"att_conv1": nn.Conv2d(1024, 1, 1, bias=False)})
        self.reduction = nn.Conv2d(1024, 128, 1)


class SecondOrderAttention(nn.Module):
    """A weighted sum over all positions is added to each (Ng et al., "SOLAR", ECCV 2020, 3.2)."""

    def __init__(self) -> None:
        """Make the layers, with half the channels inside."""
        super().__init__()
        inner = DIM // 2
        self.f = nn.Sequential(nn.Conv2d(DIM, inner, 1), nn.BatchNorm2d(inner), nn.ReLU())
        self.g = nn.Sequential(nn.Conv2d(DIM, inner, 1), nn.BatchNorm2d(inner), nn.ReLU())
        self.h = nn.Conv2d(DIM, inner, 1)
        self.v = nn.Conv2d(inner, DIM, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return a feature map (n, 2048, h, w) of the same shape."""
        f, g, h = (layer(features).flatten(2) for layer in (self.f, self.g, self.h))
        weights = (f.transpose(1, 2) @ g / f.shape[1] ** 0.5).softmax(dim=2)  # (n, asking, asked)
        gathered = (h @ weights.transpose(1, 2)).unflatten(2, features.shape[2:])
        attended: Tensor = self.v(gathered)
        return features + attended
