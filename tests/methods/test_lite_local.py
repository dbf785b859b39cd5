"""Local features of `delg.lite0`: places that views share, which are drawn, how they train."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from bench import methods
from bench.describe import pyramid
from bench.methods._lite import local
from bench.nn import losses
from bench.training import augment

pytestmark = pytest.mark.slow

SIDE = 8
SAME = torch.eye(3)[None]


def moved(*rows: tuple[float, float, float]) -> torch.Tensor:
    return torch.tensor([rows], dtype=torch.float32)


def test_a_view_matches_itself_cell_by_cell() -> None:
    assert local.matches(SAME, SAME, SIDE)[0].tolist() == list(range(SIDE**2))


def test_a_shifted_view_shares_what_both_show() -> None:
    """The other view lies a quarter of a photograph, two cells, further right."""
    right = moved((1, 0, 0.25), (0, 1, 0), (0, 0, 1))
    found = local.matches(SAME, right, SIDE)[0].reshape(SIDE, SIDE)
    assert (found[:, :2] == -1).all()
    assert found[0, 2:].tolist() == list(range(SIDE - 2))
    back = local.matches(right, SAME, SIDE)[0].reshape(SIDE, SIDE)
    assert back[0].tolist() == [2, 3, 4, 5, 6, 7, -1, -1]  # there the photograph ends


def test_what_is_mirrored_or_much_larger_has_no_match() -> None:
    mirrored = moved((-1, 0, 1), (0, 1, 0), (0, 0, 1))
    assert (local.matches(SAME, mirrored, SIDE) == -1).all()
    assert (local.matches(mirrored, mirrored, SIDE) >= 0).all()
    for factor, some in ((0.7, True), (0.5, False)):
        part = moved((factor, 0, 0.1), (0, factor, 0.1), (0, 0, 1))
        assert bool((local.matches(SAME, part, SIDE) >= 0).any()) is some
        assert bool((local.matches(part, SAME, SIDE) >= 0).any()) is some


def test_an_unknown_placing_has_no_match() -> None:
    assert (local.matches(SAME, SAME * torch.nan, SIDE) == -1).all()


def test_matches_are_where_the_augmented_pixels_say() -> None:
    """Two channels of a photograph hold x and y; so does every view of it."""
    rows, columns = np.mgrid[0:200, 0:250]
    pixels = np.stack([columns, rows, 0 * rows], axis=2).astype(np.uint8)
    how = augment.Augmentation(area=(0.4, 1.0), aspect=(0.7, 1.4), rotation_deg=20, tilt=0.15)
    views, placed = [], []
    for view in range(6):
        views.append(augment.augmented(pixels, how, 64, augment.generator(1, view, 0))[0])
        where = augment.placing((250, 200), how, augment.generator(1, view, 0))
        placed.append(torch.from_numpy(where)[None])
    shared = 0
    for item, other in ((0, 1), (2, 3), (4, 5), (1, 4), (0, 3)):
        found = local.matches(placed[item], placed[other], 16)[0]
        for cell in torch.nonzero(found >= 0)[:, 0].tolist():
            at, there = divmod(cell, 16), divmod(int(found[cell]), 16)
            a = views[item][at[0] * 4 : at[0] * 4 + 4, at[1] * 4 : at[1] * 4 + 4, :2].mean((0, 1))
            b = views[other][there[0] * 4 : there[0] * 4 + 4, there[1] * 4 : there[1] * 4 + 4, :2]
            assert np.abs(a - b.mean((0, 1))).max() < 16  # less than a cell of the photograph
            shared += 1
    assert shared > 200


def test_places_are_valid_differ_and_follow_the_weights() -> None:
    torch.manual_seed(0)
    weights = torch.tensor([[1.0, 1.0, 100.0, 0.0, 1.0]]).repeat(300, 1)
    valid = torch.tensor([[True, False, True, True, True]]).repeat(300, 1)
    valid[7] = False
    image, cell = local.chosen(weights, valid, 2)
    assert len(cell) == 299 * 2
    assert 7 not in image
    assert valid[image, cell].all()
    assert all(len(set(cell[image == n].tolist())) == 2 for n in (0, 1, 2))
    often = torch.bincount(cell, minlength=5)
    assert often[2] > 290
    assert often[3] == 0
    assert local.chosen(weights, valid, 9)[1].shape == (299 * 4,)


def test_neighbours_are_of_one_photograph_and_two_cells_apart_at_most() -> None:
    """Rows and columns of eight: (0, 0), (2, 2), (0, 3), and (2, 2) of another photograph."""
    found = local.neighbours(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 18, 3, 18]), 8)
    assert found.int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]]


def test_neighbours_are_neither_right_nor_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all places of a photograph left out, its own one is all that is left to find."""
    torch.manual_seed(0)
    features, standard = local.network(4), local.Standard(local.ALL)
    for layer in (features[0], features[2]):
        layer.reset_parameters()
    maps = torch.randn(2, local.ALL, SIDE, SIDE)
    shown = (features, standard, maps, SAME.repeat(2, 1, 1), torch.rand(1, 1, SIDE, SIDE))
    assert float(local.contrast(*shown).detach()) > 1
    monkeypatch.setattr(local, "CLOSE", SIDE)
    assert float(local.contrast(*shown).detach()) == 0


def test_matching_is_the_formula() -> None:
    draw = torch.Generator().manual_seed(1)
    first, second = torch.randn(2, 5, 3, generator=draw).unbind()
    close = torch.zeros(5, 5, dtype=torch.bool)
    close[1, 3] = close[0, 0] = close[4, 2] = True
    total = 0.0
    for item, other, out in ((first, second, close), (second, first, close.T)):
        for i in range(5):
            powers = {
                j: math.exp(float(item[i] @ other[j] / (item[i].norm() * other[j].norm())) / 0.1)
                for j in range(5)
                if i == j or not out[i, j]
            }
            total -= math.log(powers[i] / sum(powers.values())) / 10
    assert float(losses.matching(first, second, close, 0.1)) == pytest.approx(total, rel=1e-5)
    assert float(losses.matching(first[:0], second[:0], close[:0, :0], 0.1)) == 0


@pytest.mark.parametrize("size", [(64, 96), (72, 88), (70, 50)])
def test_detail_of_four_places_stands_at_each_place(size: tuple[int, int]) -> None:
    fine = torch.arange(math.ceil(size[0] / 8) * math.ceil(size[1] / 8), dtype=torch.float32)
    fine = fine.reshape(1, 1, math.ceil(size[0] / 8), -1)
    whole = (math.ceil(size[0] / 16), math.ceil(size[1] / 16))
    made = local.gathered(fine, whole)
    assert made.shape == (1, 4, *whole)
    assert made[0, :, 1, 1].tolist() == fine[0, 0, 2:4, 2:4].flatten().tolist()


def test_the_standard_is_folded_into_the_layer() -> None:
    torch.manual_seed(0)
    standard = local.Standard(6)
    standard.fit(5 + 3 * torch.randn(500, 6))
    layer = nn.Conv2d(6, 4, 1)
    maps = torch.randn(2, 6, 3, 3)
    rows = standard(maps.movedim(1, 3).flatten(0, 2))
    assert abs(float(standard(5 + 3 * torch.randn(500, 6)).std()) - 1) < 0.1
    wanted = layer(rows[:, :, None, None])[:, :, 0, 0]
    weight, bias = standard.folded(layer)
    made = nn.functional.conv2d(maps, weight, bias).movedim(1, 3).flatten(0, 2)
    torch.testing.assert_close(made, wanted, atol=1e-5, rtol=1e-5)


def test_training_finds_the_same_place_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps of noise under a shift: after some steps a place is told from all others."""
    monkeypatch.setattr(local, "HIDDEN", 32)
    torch.manual_seed(0)
    features, standard = local.network(16), local.Standard(local.ALL)
    for layer in (features[0], features[2]):
        layer.reset_parameters()
    field = torch.randn(3, local.ALL, SIDE, SIDE + 2)
    maps = torch.cat([field[:, :, :, :SIDE], field[:, :, :, 2:]])
    maps = maps + 0.5 * torch.randn(maps.shape)
    right = moved((1, 0, 0.25), (0, 1, 0), (0, 0, 1))
    placings = torch.cat([SAME.repeat(3, 1, 1), right.repeat(3, 1, 1)])
    attention = torch.rand(3, 1, SIDE, SIDE)

    def loss() -> torch.Tensor:
        torch.manual_seed(1)
        return local.contrast(features, standard, maps, placings, attention)

    before = float(loss().detach())
    optimiser = torch.optim.SGD(features.parameters(), lr=0.5, momentum=0.9)
    for _ in range(15):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
    assert float(loss().detach()) < before / 3


def test_what_is_shipped_finds_a_shifted_scene() -> None:
    """Noise of many sizes, seen twice 64 pixels apart: most places find themselves."""
    info, method, rule = methods.load("delg")
    kept = methods.local_of(method, info)
    draw = np.random.default_rng(0)
    scene = np.zeros((256, 448, 3))
    for size in (4, 8, 16, 32):
        noise = draw.uniform(0, 64, (256 // size, 448 // size, 3))
        scene += np.kron(noise, np.ones((size, size, 1)))
    views = [scene[:, :384].astype(np.uint8), scene[:, 64:].astype(np.uint8)]
    with torch.inference_mode():
        maps, _ = method.local(pyramid.to_batch(views, rule, "cpu"))  # type: ignore[attr-defined]
        first, other = nn.functional.normalize(maps, dim=1)[:, :, 2:-2, 2:-2].unbind()
        here, there = first[:, :, 4:].flatten(1), other[:, :, :-4].flatten(1)
        right = (here.T @ there).argmax(dim=1) == torch.arange(here.shape[1])
    assert kept.mutual
    assert float(right.float().mean()) > 0.8
