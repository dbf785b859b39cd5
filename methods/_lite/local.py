"""The local features of `delg.lite0`: what they are made of, and how they are trained.

DELG compresses a frozen map with an autoencoder. Of the frozen map of a small network that finds
too much alike: domes are domes. Here a feature is made of three maps, with detail and with context,
and trained on pairs of views of one photograph, whose geometry is known: the feature of a place is
to be nearer to that of the same place in the other view than to any other in the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.nn import losses

FINE, MIDDLE, NARROW = 160, 112, 320  # channels: of stride 8, four places in one; 16; 32
ALL, HIDDEN = FINE + MIDDLE + NARROW, 384
PLACES, TEMPERATURE = 96, 0.07  # places of a photograph in a step
CLOSE = 2  # cells around the right one that are neither right nor wrong
LARGEST = 1.7  # of changes of scale between two views


def network(dim: int) -> nn.Sequential:
    """Return the two layers, without numbers yet, from (n, ALL, h, w) to (n, dim, h, w)."""
    return nn.Sequential(
        nn.Conv2d(ALL, HIDDEN, 1, device="meta").to_empty(device="cpu"),
        nn.ReLU(),
        nn.Conv2d(HIDDEN, dim, 1, device="meta").to_empty(device="cpu"),
    )


def gathered(fine: Tensor, size: tuple[int, int]) -> Tensor:
    """Return (n, FINE, h, w) of the map at stride 8 (n, FINE / 4, about 2 h, 2 w), size (h, w)."""
    missing = [2 * side - have for side, have in zip(size, fine.shape[2:], strict=True)]
    padded = functional.pad(fine, (0, missing[1], 0, missing[0]), mode="replicate")
    return functional.pixel_unshuffle(padded, 2)


def stacked(middle: Tensor, gathered_fine: Tensor, narrow: Tensor) -> Tensor:
    """Return the three maps as one at stride 16, (n, ALL, h, w)."""
    wide = functional.interpolate(
        narrow, size=middle.shape[2:], mode="bilinear", align_corners=False
    )
    return torch.cat([middle, gathered_fine, wide], dim=1)


class Standard(nn.Module):
    """Brings every channel to mean 0 and standard deviation 1 of what it was fitted to."""

    mean: Tensor
    factor: Tensor

    def __init__(self, channels: int) -> None:
        """Take how many channels there are."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("factor", torch.ones(channels))

    def fit(self, rows: Tensor) -> None:
        """Fit to rows (n, channels)."""
        self.mean.copy_(rows.mean(dim=0))
        self.factor.copy_(1 / (rows.std(dim=0) + 1e-3))

    def forward(self, rows: Tensor) -> Tensor:
        """Return rows (n, channels)."""
        made: Tensor = (rows - self.mean) * self.factor
        return made

    def folded(self, layer: nn.Conv2d) -> tuple[Tensor, Tensor]:
        """Return weight and bias of a layer that does the same to maps that are as they were."""
        weight = layer.weight * self.factor[:, None, None]
        assert layer.bias is not None
        return weight, layer.bias - (weight[:, :, 0, 0] @ self.mean)


def matches(first: Tensor, second: Tensor, side: int) -> Tensor:
    """Return for each of side² cells of one view the cell of the other, int64 (n, side²); or -1.

    `first` and `second` (n, 3, 3) are the placings of two views of the same photographs. A cell
    has none where its centre leaves the photograph or the other view, where the scale changes more
    than LARGEST times, and where one view is mirrored and the other is not.
    """
    first, second = first.double(), second.double()
    steps = (torch.arange(side, dtype=torch.float64, device=first.device) + 0.5) / side
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    points = torch.stack([x.flatten(), y.flatten(), torch.ones_like(x).flatten()])
    across = torch.linalg.inv_ex(second).inverse @ first
    there, placed = _mapped(across, points), _mapped(first, points)
    small = 0.01 / side
    along, down = (
        (_mapped(across, points + small * unit[:, None]) - there) / small
        for unit in torch.eye(3, dtype=torch.float64, device=first.device)[:2]
    )
    area = along[:, 0] * down[:, 1] - along[:, 1] * down[:, 0]
    cell = (there * side).floor().long()
    good = ((placed >= 0) & (placed <= 1)).all(dim=1) & ((there >= 0) & (there < 1)).all(dim=1)
    good &= (area > LARGEST**-2) & (area < LARGEST**2)
    return torch.where(good, cell[:, 1] * side + cell[:, 0], -1)


def _mapped(homography: Tensor, points: Tensor) -> Tensor:
    """Return points (n, 2, m) of (3, m) under homographies (n, 3, 3)."""
    mapped = homography @ points
    return mapped[:, :2] / mapped[:, 2:]


def chosen(weights: Tensor, valid: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return (image, cell), each (k,): up to `count` valid cells of each image, drawn by weight.

    `weights` (n, m) are not negative; without replacement (Gumbel's maximum, `count` times).
    """
    noise = -torch.log(-torch.log(torch.rand_like(weights).clamp(1e-12, 1 - 1e-7)))
    score = torch.where(valid, weights.clamp_min(1e-12).log() + noise, -torch.inf)
    best, cell = score.topk(min(count, score.shape[1]), dim=1)
    image = torch.arange(len(weights), device=weights.device)[:, None].expand_as(cell)
    kept = best > -torch.inf
    return image[kept], cell[kept]


def contrast(
    features: nn.Module, standard: Standard, maps: Tensor, placings: Tensor, attention: Tensor
) -> Tensor:
    """Return the loss of matching two views of n photographs at places that attention prefers.

    `maps` (2 n, ALL, side, side) and `placings` (2 n, 3, 3) have the second views after the first
    ones; `attention` is (n, 1, side, side).
    """
    count, side = len(maps) // 2, maps.shape[3]
    other = matches(placings[:count], placings[count:], side)
    image, cell = chosen(attention.detach().float().flatten(1), other >= 0, PLACES)
    there = other[image, cell]
    rows = maps.flatten(2).movedim(1, 2)
    both = torch.cat([rows[image, cell], rows[image + count, there]])
    made = features(standard(both)[:, :, None, None])[:, :, 0, 0]
    close = neighbours(image, there, side)
    return losses.matching(made[: len(image)], made[len(image) :], close, TEMPERATURE)


def neighbours(image: Tensor, cell: Tensor, side: int) -> Tensor:
    """Return which of k places, by image and cell (k,), are within CLOSE cells, bool (k, k)."""
    y, x = cell // side, cell % side
    apart = torch.maximum((y[:, None] - y).abs(), (x[:, None] - x).abs())
    return (image[:, None] == image) & (apart <= CLOSE)
