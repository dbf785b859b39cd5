"""Checkpoints: one of another family never loads, and of the right one every key must fit."""

from __future__ import annotations

import doctest
import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from bench import methods
from bench.errors import BenchError
from bench.methods._delg import objective, port
from bench.methods._nets import backbones, families, resnet, token, token_baselines, token_release
from bench.methods._nets.dolg import Dolg, name_in_file
from bench.weights import read_state

State = dict[str, torch.Tensor]


def keys(build: Callable[[], nn.Module], name_in_file: Callable[[str], str]) -> State:
    """Return a checkpoint with the right keys and no content, which is enough to be recognised."""
    with torch.device("meta"):
        names = build().state_dict()
    return {name_in_file(name): torch.zeros(()) for name in names}


# What a file is, by the method that takes it.
FILES: dict[str, Callable[[], State]] = {
    "dolg.r50": lambda: keys(lambda: Dolg(50, False), name_in_file),
    "dolg.r101": lambda: keys(lambda: Dolg(101, True), name_in_file),
    "delg.r50-port": lambda: keys(lambda: port.DelgPort(50), port.name_in_file),
    "delg.r101-port": lambda: keys(lambda: port.DelgPort(101), port.name_in_file),
    "token.r50": lambda: keys(lambda: token.Token(50), token_release.name_in_file),
    "token.r101": lambda: keys(lambda: token.Token(101), token_release.name_in_file),
    "solar.r101-token": lambda: keys(
        lambda: token_baselines.Solar(101), token_release.name_in_file
    ),
    "delg.r101-token": lambda: keys(lambda: token_baselines.Delg(101), token_release.name_in_file),
    "delg.r50": lambda: keys(lambda: objective.Delg(50), str),
    "delg.r101": lambda: keys(lambda: objective.Delg(101), str),
}
TITLES = {
    "dolg": "a DOLG checkpoint",
    "delg-port": "a checkpoint of the DELG PyTorch port",
    "token": "a Token checkpoint of April 2022",
    "solar-token": "a SOLAR checkpoint of Token's authors",
    "delg-token": "a DELG checkpoint of Token's authors",
    "delg-trained": "a DELG model that this project trained",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write one file per method, named after it."""
    folder = tmp_path_factory.mktemp("files")
    for name, state in FILES.items():
        torch.save(state(), folder / f"{name}.pth")
    return {name: folder / f"{name}.pth" for name in FILES}


def family(method: str) -> str:
    name, _, variant = method.partition(".")
    if name in ("dolg", "token"):
        return name
    return f"{name}-{variant.partition('-')[2] or 'trained'}"


@pytest.mark.slow
@pytest.mark.parametrize("wanted", FILES)
def test_files_of_other_families_and_depths_are_refused(
    files: dict[str, Path], wanted: str
) -> None:
    for item, path in files.items():
        with pytest.raises(BenchError) as caught:
            methods.load(wanted, str(path))
        says = str(caught.value)
        title = f"{path.name} is {TITLES[family(item)]}"
        if item == wanted:  # recognised; only the shapes are wrong, all of them
            assert says.startswith(f"the weights {path.name} do not fit")
            assert "missing" not in says
            assert "unexpected" not in says
        elif family(item) == family(wanted):
            has, needs = ("101", "50") if "r50" in wanted else ("50", "101")
            assert says == (
                f"{title} of ResNet-{has}; {wanted} needs ResNet-{needs}. "
                f"The method for this file is {item}."
            )
        else:
            assert says.startswith(f"{title} (keys ")
            assert says.endswith(
                f"…); {wanted} needs {TITLES[family(wanted)]}. The method for this file is {item}."
            )


OTHERS = {
    "ImageNet checkpoint of pycls": ["stem.conv.weight", "s1.b1.proj.weight", "head.fc.weight"],
    "plain ResNet": ["conv1.weight", "layer1.0.conv1.weight", "fc.weight"],
    "a file for delg.lite0": ["encode.weight", "whitening.weight"],
    "a file for dolg.lite0": ["fc.weight", "fc_t.weight"],
    "a file for token.lite0": ["tr.conv.0.weight", "whitening.weight"],
    "a Token checkpoint of December 2021": [
        "backbone.block1.0.weight",
        "tr.tokens.weight",
        "tr.conv.0.weight",
    ],
}


@pytest.mark.parametrize("title", OTHERS)
@pytest.mark.parametrize("wanted", ["dolg.r101", "token.r101", "delg.r50-port"])
def test_files_that_no_method_takes(tmp_path: Path, title: str, wanted: str) -> None:
    torch.save({"state_dict": {key: torch.zeros(1) for key in OTHERS[title]}}, tmp_path / "w.pth")
    with pytest.raises(BenchError, match=title) as caught:
        methods.load(wanted, str(tmp_path / "w.pth"))
    assert f"; {wanted} needs a" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_first_token_weights_are_refused_with_the_reason(tmp_path: Path) -> None:
    """Those of December 2021 hold nearly all keys of the later ones."""
    state = FILES["token.r101"]()
    del state["tr.query"]
    state |= {"tr.tokens.weight": torch.zeros(4, 1024, 1, 1), "tr.tokens.bias": torch.zeros(4)}
    torch.save({"state_dict": state}, tmp_path / "old.pth")
    with pytest.raises(BenchError) as caught:
        methods.load("token.r101", str(tmp_path / "old.pth"))
    assert str(caught.value) == (
        "old.pth is a Token checkpoint of December 2021, for a network with another tokenizer "
        "(a convolution) than the checkpoints that replaced it (keys tr.tokens.…); token.r101 "
        "needs a Token checkpoint of April 2022."
    )


TRAINED_HERE = {"delg.r50", "delg.r101"}


@pytest.mark.parametrize("wanted", sorted(TRAINED_HERE))
def test_what_nobody_published_says_how_to_train_it(wanted: str) -> None:
    with pytest.raises(BenchError, match=rf"^{wanted} has no published weights: train them"):
        methods.load(wanted)


@pytest.mark.parametrize("wanted", [*sorted(FILES.keys() - TRAINED_HERE), "dolg.r50-storedp"])
def test_without_weights_it_says_where_they_are(wanted: str) -> None:
    with pytest.raises(BenchError, match=rf"^{wanted} needs the published file ") as caught:
        methods.load(wanted)
    says = str(caught.value)
    assert says.endswith("give --weights PATH.")
    if wanted.endswith("-port"):
        assert (
            "it cannot be downloaded by a program: download it in a browser from Baidu (https://pan.baidu.com/"
            in says
        )
    else:
        assert f"`python -m bench weights get {wanted}` downloads it from https://" in says


# --- strict loading, on one real checkpoint ------------------------------------------------------


@pytest.fixture(scope="module")
def dolg() -> State:
    """Return a DOLG checkpoint of ResNet-50 with seeded weights and the GeM exponent 2.5."""
    network = resnet.blank(lambda: Dolg(50, False))
    backbones.randomise(network, seed=3)
    network.stored_p.fill_(2.5)
    return {name_in_file(name): value for name, value in network.state_dict().items()}


@pytest.mark.parametrize(
    ("drop", "add", "says"),
    [
        (["fc.bias"], {}, "do not fit Dolg: 1 missing: fc.bias."),
        (["pool_g.p"], {}, "1 missing: pool_g.p."),
        (["globalmodel.s3.b6.f.c.weight"], {}, "1 missing: globalmodel.s3.b6.f.c.weight."),
        ([], {"pool1.p": (1,)}, "1 unexpected: pool1.p."),
        ([], {"classifier.weight": (7, 512)}, "1 unexpected: classifier.weight."),
        ([], {"desc_cls.bias": (7,)}, "1 unexpected: desc_cls.bias."),
        (["fc_t.bias"], {"fc_t.scale": (1,)}, "1 missing: fc_t.bias; 1 unexpected: fc_t.scale."),
        (
            [],
            {"fc.weight": (512, 1024)},
            "1 of another shape: fc.weight is (512, 1024) instead of (512, 2048).",
        ),
        (
            [],
            {"localmodel.aspp.aspp.0.bias": (512,)},
            "11 missing: localmodel.aspp.im_pool.1.weight, localmodel.aspp.im_pool.1.bias, ",
        ),
        (["desc_cls.t"], {}, None),
        ([], {"desc_cls.weight": (3, 3)}, None),
    ],
)
def test_every_other_key_must_fit(
    dolg: State, tmp_path: Path, drop: list[str], add: dict[str, tuple[int, ...]], says: str | None
) -> None:
    state = dolg | {"desc_cls.weight": torch.zeros(7, 512), "desc_cls.t": torch.zeros(1)}
    state = {key: value for key, value in state.items() if key not in drop}
    state |= {key: torch.zeros(shape) for key, shape in add.items()}
    torch.save({"model_state": state}, tmp_path / "w.pyth")
    if says is None:
        assert methods.load("dolg.r50", str(tmp_path / "w.pyth"))[0].config["stored_p"] == 2.5
        return
    with pytest.raises(BenchError) as caught:
        methods.load("dolg.r50", str(tmp_path / "w.pyth"))
    assert says in str(caught.value)


@pytest.mark.parametrize("key", ["pool_g.p", "pool1.p"])
def test_the_stored_exponent_is_used_by_name_only(
    dolg: State, tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {name: value for name, value in dolg.items() if name != "pool_g.p"}
    torch.save({**state, key: dolg["pool_g.p"]}, tmp_path / "w.pyth")
    batch = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    rows = []
    for variant, p in (("r50", 3.0), ("r50-storedp", 2.5)):
        info, method, _ = methods.load(f"dolg.{variant}", str(tmp_path / "w.pyth"))
        assert (info.config["p"], info.config["stored_p"]) == (p, 2.5)
        text = f"dolg.{variant}: the checkpoint stores the GeM exponent 2.5; {p:g} is used\n"
        assert capsys.readouterr().err == text
        with torch.inference_mode():
            rows.append(functional.normalize(method.describe(batch)))
    assert (rows[0] - rows[1]).abs().max() > 1e-3


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_exponent_is_refused(dolg: State, tmp_path: Path, value: float) -> None:
    torch.save({**dolg, "pool_g.p": torch.tensor([value])}, tmp_path / "w.pyth")
    with pytest.raises(BenchError, match=r"stores the GeM exponent|NaN or infinity: pool_g\.p"):
        methods.load("dolg.r50", str(tmp_path / "w.pyth"))


@pytest.mark.parametrize("name", ["w.pyth", "w.safetensors"])
def test_a_truncated_file_is_one_sentence(dolg: State, tmp_path: Path, name: str) -> None:
    from safetensors.torch import save_file

    path = tmp_path / name
    if name == "w.pyth":
        torch.save({"model_state": dolg}, path)
    else:
        save_file({key: value.contiguous() for key, value in dolg.items()}, path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(BenchError, match=r"bytes\) cannot be read: it is truncated") as caught:
        methods.load("dolg.r50", str(path))
    assert "\n" not in str(caught.value)


def test_numbers_of_numpy_beside_the_state_are_read(tmp_path: Path) -> None:
    """A cosine schedule leaves one in the state of the optimiser."""
    rates = [np.float64(0.1), np.float32(0.1), np.int64(3), np.bool_(True)]
    torch.save({"model_state": {"w": torch.ones(2)}, "optim": {"lr": rates}}, tmp_path / "w.pyth")
    assert torch.equal(read_state(tmp_path / "w.pyth")["w"], torch.ones(2))


NAMED = ["_nets.resnet", "_nets.dolg", "_delg.port", "_nets.token_release"]


@pytest.mark.parametrize("name", NAMED)
def test_names_in_files(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"bench.methods.{name}"))
    assert result.attempted > 0
    assert result.failed == 0


def test_a_depth_without_a_network_is_not_guessed() -> None:
    assert families.depth_of(["globalmodel.s3.b1.f.a.weight"]) is None
    assert families.family_of(["weight"]) is None


def test_dolg_without_a_download_is_the_network_of_the_published_file(tmp_path: Path) -> None:
    info, method, rule = methods.load("dolg.untrained")
    assert info.weights["trained"] is False
    with torch.device("meta"):
        published = Dolg(50, multi_atrous=False)
    shapes = {name: tensor.shape for name, tensor in published.state_dict().items()}
    assert {k: v.shape for k, v in method.describe.state_dict().items()} == shapes
    assert rule.scales == (0.3535, 0.5, 0.7071, 1.0, 1.4142)
    with pytest.raises(BenchError, match=r"name the variant that it is for: dolg\.r101 or dolg"):
        methods.load("dolg.untrained", str(tmp_path / "r50_dolg_512.pt"))
