"""The networks of the variants `lite0` of DOLG, DELG and Token: a frozen trunk and small heads.

The trunk is EfficientNet-Lite0 with ImageNet weights, which stay in their package; a head is what
is trained, and what a file of weights holds. A head takes two maps of one image: `middle` at stride
16 (112 channels) and `last` at stride 32 (1280 channels), and gives descriptors (n, dim).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.errors import unknown
from bench.methods._lite import local
from bench.methods._nets import dolg, token
from bench.methods._nets.pooling import gem

MIDDLE, NARROW, LAST = local.MIDDLE, local.NARROW, 1280  # channels
DIM, TOKEN_DIM, LOCAL_DIM, EACH = 512, 256, 96, 64
P, EPS = 3.0, 1e-6
SPREAD = 8.0  # about the standard deviation of a number at stride 16, which is divided by it
FUSIONS = ("orthogonal", "concatenation", "none")


class Trunk(nn.Module):
    """EfficientNet-Lite0 of timm up to its last feature map."""

    def __init__(self, model: nn.Module) -> None:
        """Take timm's network."""
        super().__init__()
        self.model = model

    def fine(self, batch: Tensor) -> Tensor:
        """Return the map at stride 8 (n, 40, 2 h, 2 w) of a normalised batch."""
        model: Any = self.model
        features: Tensor = model.bn1(model.conv_stem(batch))
        for stage in model.blocks[:3]:
            features = stage(features)
        return features

    def middle(self, fine: Tensor) -> Tensor:
        """Return the map at stride 16 (n, 112, h, w) of that at stride 8."""
        model: Any = self.model
        for stage in model.blocks[3:5]:
            fine = stage(fine)
        return fine

    def narrow(self, middle: Tensor) -> Tensor:
        """Return (n, 320, h / 2, w / 2) of the map at stride 16."""
        model: Any = self.model
        for stage in model.blocks[5:]:
            middle = stage(middle)
        return middle

    def widen(self, narrow: Tensor) -> Tensor:
        """Return the last feature map (n, 1280, h, w) of (n, 320, h, w)."""
        model: Any = self.model
        last: Tensor = model.bn2(model.conv_head(narrow))
        return last

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps (n, 112, h, w) and (n, 1280, h / 2, w / 2) of a normalised batch."""
        middle = self.middle(self.fine(batch))
        return middle, self.widen(self.narrow(middle))


class Lite(nn.Module):
    """A trunk and a head."""

    def __init__(self, trunk: Trunk, head: nn.Module) -> None:
        """Take both."""
        super().__init__()
        self.trunk, self.head = trunk, head

    def forward(self, batch: Tensor) -> Tensor:
        """Return descriptors (n, dim) of a normalised batch."""
        descriptors: Tensor = self.head(*self.trunk(batch))
        return descriptors

    def local(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return local descriptors (n, 96, h, w) and attention (n, 1, h, w) of DELG's head."""
        head: Any = self.head
        fine = self.trunk.fine(batch)
        middle = self.trunk.middle(fine)
        gathered = local.gathered(fine, (middle.shape[2], middle.shape[3]))
        maps = local.stacked(middle, gathered, self.trunk.narrow(middle))
        return head.features(maps), head.attended(middle)


class DelgHead(nn.Module):
    """DELG: GeM and whitening; beside it attention, and local features (`_lite/local`)."""

    dim = DIM

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.whitening = nn.Linear(LAST, DIM)
        self.attention = nn.Sequential(
            nn.Conv2d(MIDDLE, MIDDLE, 1), nn.ReLU(), nn.Conv2d(MIDDLE, 1, 1), nn.Softplus()
        )
        self.features = local.network(LOCAL_DIM)

    def forward(self, _middle: Tensor, last: Tensor) -> Tensor:
        """Return descriptors (n, 512)."""
        descriptors: Tensor = self.whitening(gem(last, P, EPS))
        return descriptors

    def attended(self, middle: Tensor) -> Tensor:
        """Return attention (n, 1, h, w)."""
        attention: Tensor = self.attention(middle / SPREAD)
        return attention

    def begin(self, fitted: Mapping[str, Tensor]) -> None:
        """Set out from the whitening of the whole, and local features by chance.

        Chance is that of the seed alone, whatever has been drawn since it was set.
        """
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            whitened(self.whitening, fitted)
            torch.manual_seed(torch.initial_seed())
            for layer in self.features:
                if isinstance(layer, nn.Conv2d):
                    layer.reset_parameters()


class DolgHead(nn.Module):
    """DOLG: a local branch with multi-atrous module, and orthogonal fusion.

    Ablations: `fusion` "concatenation" puts local features beside the whole as they are, "none"
    leaves the local branch out; `multi_atrous` leaves that module out.
    """

    dim = DIM

    def __init__(
        self, fusion: str = FUSIONS[0], multi_atrous: bool = True, each: int = EACH
    ) -> None:
        """Make the layers; `each` is the width of the dilated convolutions."""
        super().__init__()
        if fusion not in FUSIONS:
            raise unknown("fusion", fusion, FUSIONS)
        self.fusion = fusion
        self.fc_t = nn.Linear(LAST, DIM)
        alone = fusion == "none"
        self.localmodel = None if alone else dolg.Local(multi_atrous, MIDDLE, each, DIM)
        self.fc = nn.Linear(DIM if alone else 2 * DIM, DIM)

    def forward(self, middle: Tensor, last: Tensor) -> Tensor:
        """Return descriptors (n, 512)."""
        whole = unit(self.fc_t(gem(last, P, EPS)))
        descriptors: Tensor = self.fc(self.beside(whole, middle))
        return descriptors

    def beside(self, whole: Tensor, middle: Tensor) -> Tensor:
        """Return the whole (n, 512), and beside it what local features add (n, 1024), if any."""
        if self.localmodel is None:
            return whole
        features, attention = self.localmodel(middle)
        if self.fusion == "orthogonal":
            return dolg.fused(whole, features, attention)
        return torch.cat([whole, (features * attention).mean(dim=(2, 3))], dim=1)

    def begin(self, fitted: Mapping[str, Tensor]) -> None:
        """Set out from a whitening of the whole, to which nothing local is added."""
        with torch.no_grad():
            whitened(self.fc_t, fitted)
            identity(self.fc)


class TokenHead(nn.Module):
    """Token's aggregation at a quarter of its width, and the whitened whole beside it.

    The paper has no such whole. Tokens alone, trained on a few hundred photographs, found less than
    GeM without any training; here they add to it. The decoder has one block.
    """

    dim = DIM

    def __init__(self, width: int = TOKEN_DIM) -> None:
        """Make the layers; `width` is that of the tokens."""
        super().__init__()
        self.width = width
        self.whitening = nn.Linear(LAST, DIM)
        self.tr = token.Aggregation(LAST, width, blocks=1)
        self.fc = nn.Linear(DIM + width, DIM)

    def forward(self, _middle: Tensor, last: Tensor) -> Tensor:
        """Return descriptors (n, 512)."""
        whole = unit(self.whitening(gem(last, P, EPS)))
        descriptors: Tensor = self.fc(torch.cat([whole, unit(self.tr(last))], dim=1))
        return descriptors

    def begin(self, fitted: Mapping[str, Tensor]) -> None:
        """Set out from a whitening of the whole, and of every position, whose mean tokens carry.

        Tokens add nothing at first, and blocks nothing to them; they differ by their queries.
        """
        with torch.no_grad():
            whitened(self.whitening, fitted)
            identity(self.fc)
            conv: Any = self.tr.conv[0]
            conv.weight.copy_(fitted["token.weight"][:, :, None, None])
            conv.bias.copy_(fitted["token.bias"])
            for block in [*self.tr.encoder, *self.tr.decoder]:
                for name, tensor in block.named_parameters():
                    if ".proj." in name or name.startswith(("mlp.fc2.", "mlp.weight", "mlp.bias")):
                        tensor.zero_()
            identity(self.tr.token_norm[0])
            proj: Any = self.tr.proj[0]
            identity(proj)
            proj.weight.copy_(torch.eye(self.width).repeat(1, token.TOKENS))


def unit(rows: Tensor) -> Tensor:
    """Return rows of unit norm."""
    return functional.normalize(rows, dim=1)


def whitened(layer: Any, fitted: Mapping[str, Tensor]) -> None:
    """Set a linear layer to the fitted whitening."""
    layer.weight.copy_(fitted["weight"])
    layer.bias.copy_(fitted["bias"])


def identity(layer: Any) -> None:
    """Set a linear layer to give its first inputs as they are."""
    layer.weight.copy_(torch.eye(*layer.weight.shape))
    layer.bias.zero_()
