"""Losses against loops written from the formulas, their edges, and what each term trains."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from bench.errors import BenchError
from bench.methods import dolg, token
from bench.methods._delg import objective
from bench.nn import heads, losses

Rows = list[list[float]]


def arcface_by_hand(cosines: Rows, labels: list[int], margin: float) -> Rows:
    out = [list(row) for row in cosines]
    for row, label in zip(out, labels, strict=True):
        angle = math.acos(row[label])
        if angle <= math.pi - margin:
            row[label] = math.cos(angle + margin)
    return out


def curricular_by_hand(
    cosines: Rows, labels: list[int], margin: float, t: float
) -> tuple[Rows, float]:
    t = 0.99 * t + 0.01 * sum(r[y] for r, y in zip(cosines, labels, strict=True)) / len(labels)
    out = []
    for row, label in zip(cosines, labels, strict=True):
        angle = math.acos(row[label])
        moved, made = math.cos(angle + margin), []
        for at, c in enumerate(row):
            if at == label:
                beyond = row[label] - margin * math.sin(math.pi - margin)
                made.append(moved if row[label] > math.cos(math.pi - margin) else beyond)
            else:
                made.append(c * (t + c) if c > moved else c)
        out.append(made)
    return out, t


def entropy_by_hand(logits: Rows, labels: list[int]) -> float:
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        most = max(row)
        total += math.log(sum(math.exp(x - most) for x in row)) + most - row[label]
    return total / len(labels)


# The last three rows have labels at angles beyond pi - 0.15, of about 0 and of exactly pi.
SOME = torch.rand(5, 7, generator=torch.Generator().manual_seed(1)).mul(1.98).sub(0.99).tolist()
COSINES: Rows = [
    *SOME,
    [-0.999, 0.5, -0.9999, 0.1, 0.9, -0.2, 0.0],
    [1.0, -1.0, 0.99, 0.3, 0.2, 0.1, 0.0],
    [0.2, -1.0, 0.99, 0.3, 0.2, 0.1, 0.0],
]
LABELS = [0, 6, 3, 3, 1, 0, 0, 1]


@pytest.mark.parametrize("margin", [0.1, 0.15, 0.2, 0.5])
def test_arcface_is_the_formula(margin: float) -> None:
    ours = losses.arcface(torch.tensor(COSINES), torch.tensor(LABELS), margin)
    hand = arcface_by_hand(COSINES, LABELS, margin)
    torch.testing.assert_close(ours, torch.tensor(hand), atol=2e-6, rtol=0)
    entropy = losses.cross_entropy(32 * ours, torch.tensor(LABELS))
    by_hand = entropy_by_hand([[32 * x for x in row] for row in hand], LABELS)
    assert float(entropy) == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("margin", [0.15, 0.5])
def test_curricularface_is_the_formula_over_several_steps(margin: float) -> None:
    curriculum, t = torch.tensor([0.3]), 0.3
    for _ in range(3):
        ours = losses.curricularface(
            torch.tensor(COSINES), torch.tensor(LABELS), margin, curriculum
        )
        hand, t = curricular_by_hand(COSINES, LABELS, margin, t)
        torch.testing.assert_close(ours, torch.tensor(hand), atol=2e-6, rtol=0)
        assert float(curriculum) == pytest.approx(t, abs=1e-6)
    losses.curricularface(
        torch.tensor(COSINES), torch.tensor(LABELS), margin, curriculum, training=False
    )
    assert float(curriculum) == pytest.approx(t, abs=1e-6)  # only training moves it


def test_attention_and_reconstruction_are_the_formulas() -> None:
    draw = torch.Generator().manual_seed(2)
    features = torch.randn(2, 3, 4, 5, generator=draw)
    attention = torch.rand(2, 1, 4, 5, generator=draw)
    decoded = torch.randn(2, 3, 4, 5, generator=draw)
    pooled = losses.attended(features, attention)
    for n in range(2):
        for c in range(3):
            total = 0.0
            for y in range(4):
                for x in range(5):
                    norm = math.sqrt(sum(float(features[n, k, y, x]) ** 2 for k in range(3)))
                    total += float(attention[n, 0, y, x]) * float(features[n, c, y, x]) / norm
            assert float(pooled[n, c]) == pytest.approx(total / 20, rel=1e-5)
    squares = [
        (float(a) - float(b)) ** 2
        for a, b in zip(decoded.flatten(), features.flatten(), strict=True)
    ]
    mean = float(losses.reconstruction(decoded, features))
    assert mean == pytest.approx(sum(squares) / len(squares), rel=1e-5)


def test_cosines_are_those_of_unit_vectors_and_scales_multiply_them() -> None:
    head = heads.ArcFace(4, 3, margin=0.2, scale=32.0)
    rows, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 3, 0])
    weight = head.weights.weight.detach()
    cosines = [
        [float(a @ b / (a.norm() * b.norm())) for b in weight.double()] for a in rows.double()
    ]
    hand = [[32 * x for x in row] for row in arcface_by_hand(cosines, labels.tolist(), 0.2)]
    assert float(head(rows, labels).detach()) == pytest.approx(
        entropy_by_hand(hand, labels.tolist()), rel=1e-4
    )


HEADS: list[Any] = [
    lambda: heads.ArcFace(4, 8, 0.15, 30.0),
    lambda: heads.CurricularFace(4, 8, 0.15, 30.0),
]


@pytest.mark.parametrize("make", HEADS)
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_gradients_are_finite_where_a_descriptor_is_its_class(
    make: Any, sign: float, kind: torch.dtype
) -> None:
    head = make()
    rows = (sign * head.weights.weight.detach()[[2, 0]]).to(kind).requires_grad_()
    loss = head(rows, torch.tensor([2, 0]))
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    for parameter in (rows, head.weights.weight):
        assert torch.isfinite(parameter.grad).all()
    assert head.weights.weight.grad.abs().max() > 0


@pytest.mark.parametrize("make", HEADS)
def test_an_empty_batch_costs_nothing_and_a_wrong_label_is_a_sentence(make: Any) -> None:
    head = make()
    loss = head(torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert float(loss.detach()) == 0
    assert float(head.weights.weight.grad.abs().sum()) == 0
    for label in (4, -1):
        with pytest.raises(BenchError, match=f"a label is {label}, .* 4 classes .* 0 to 3"):
            head(torch.ones(2, 8), torch.tensor([1, label]))
    maps = torch.zeros(0, 3, 2, 2)
    assert float(losses.reconstruction(maps, maps)) == 0


def test_a_scale_learns_only_where_it_is_asked_to() -> None:
    for learned in (True, False):
        head = heads.ArcFace(4, 8, 0.1, 45.25, learned=learned)
        head(torch.randn(3, 8), torch.tensor([0, 1, 2])).backward()
        assert (head.scale.grad is not None) is learned


def test_the_bytes_of_class_weights_are_those_of_the_documentation() -> None:
    for dim, gigabytes in ((512, "0.83"), (1024, "1.67"), (2048, "3.33")):
        assert f"{heads.bytes_needed(81_313, dim) / 1e9:.2f}" == gigabytes
        assert f"{gigabytes} GB at" in str(heads.__doc__)


def trained_by(network: Any, loss: Tensor) -> set[str]:
    """Return the parts, two names deep, of which a parameter has a gradient other than 0."""
    names, parameters = zip(
        *((n, p) for n, p in network.named_parameters() if p.requires_grad), strict=True
    )
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return {
        ".".join(name.split(".")[:2])
        for name, gradient in zip(names, found, strict=True)
        if gradient is not None and gradient.abs().max() > 0
    }


def test_which_terms_of_delg_train_what() -> None:
    made = objective.trainable("r50", 5, {"init": "random", "learned": True}, "cpu")
    torch.manual_seed(0)
    made.network.train()
    terms = made.losses(torch.randn(2, 3, 64, 64), torch.tensor([0, 3]))
    network = made.network
    assert trained_by(network, terms["global"]) == {
        "model.backbone", "model.whitening", "arcface.weights", "arcface.scale",
    }  # fmt: skip
    autoencoder = {"model.encode", "decode.weight", "decode.bias"}
    assert trained_by(network, terms["reconstruction"]) == autoencoder
    assert trained_by(network, terms["attention"]) == autoencoder | {
        "model.attention1", "model.attention_bn", "model.attention2", "attention.classes",
    }  # fmt: skip
    assert float(network["model"].threshold) > 0
    weighted = objective.trainable(
        "r50", 5, {"init": "random", "attention": 3.0, "reconstruction": 7.0}, "cpu"
    )
    weighted.network.load_state_dict(made.network.state_dict())
    weighted.network.eval()
    made.network.eval()
    batch = torch.randn(2, 3, 64, 64), torch.tensor([0, 3])
    with torch.no_grad():
        other, usual = weighted.losses(*batch), made.losses(*batch)
    assert float(other["attention"]) == pytest.approx(3 * float(usual["attention"]), rel=1e-5)
    assert float(other["reconstruction"]) == pytest.approx(
        0.7 * float(usual["reconstruction"]), rel=1e-5
    )


def test_the_one_loss_of_dolg_trains_all_of_it() -> None:
    made = dolg.trainable("r50", 5, {"init": "random", "multi_atrous": True}, "cpu")
    made.network.train()
    torch.manual_seed(0)
    (loss,) = made.losses(torch.randn(2, 3, 64, 64), torch.tensor([0, 3])).values()
    parts = {".".join(n.split(".")[:2]) for n, p in made.network.named_parameters()}
    assert trained_by(made.network, loss) == parts
    assert float(made.network["head"].curriculum) != 0


def test_the_one_loss_of_token_trains_all_of_it_and_is_arcface_on_the_descriptor() -> None:
    made = token.trainable("r50", 5, {"init": "random"}, "cpu")
    torch.manual_seed(0)
    batch, labels = torch.randn(2, 3, 64, 64), torch.tensor([0, 3])
    made.network.train()
    (loss,) = made.losses(batch, labels).values()
    parts = {".".join(n.split(".")[:2]) for n, p in made.network.named_parameters()}
    assert trained_by(made.network, loss) == parts - {"head.scale"}, "which is 32 and stays"
    made.network.eval()
    with torch.no_grad():
        (found,) = made.losses(batch, labels).values()
        rows = functional.normalize(made.network["model"](batch).double())
        classes = functional.normalize(made.network["head"].weights.weight.double())
    by_hand = arcface_by_hand((rows @ classes.T).tolist(), labels.tolist(), 0.2)
    wanted = entropy_by_hand([[32 * x for x in row] for row in by_hand], labels.tolist())
    assert float(found) == pytest.approx(wanted, rel=1e-4)
