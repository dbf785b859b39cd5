"""Files of places and landmarks: what does not fit is refused, what officials pickle is read.

The states here have the right names and shapes and nearly no bytes: every tensor is one number,
repeated by its strides.
"""

from __future__ import annotations

import doctest
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from torch import nn

from bench import methods
from bench.errors import BenchError
from bench.methods._nets import (
    apgem,
    boq_resnet,
    cirtorch,
    cvnet,
    gem,
    mixvpr,
    netvlad,
    netvlad_file,
    places,
    superglobal,
)
from tests.support.traps import Trap

State = dict[str, torch.Tensor]


def state_of(build: Callable[[], nn.Module], name_in_file: Callable[[str], str]) -> State:
    """Return the state of an untaught network under the names of its files."""
    with torch.device("meta"):
        network = build()
    state = {}
    for name, tensor in network.state_dict().items():
        named = name_in_file(name)
        counts = named.endswith("num_batches_tracked")
        value = 3.0 if named.endswith(".p") or named == "p" else 0.5
        item = torch.zeros(1, dtype=torch.int64) if counts else torch.tensor([value])
        state[named] = item.expand(tensor.shape) if tensor.dim() else item[0]
    return state


def boq_state() -> State:
    """Return a file of BoQ, in which a cross-attention is one layer."""
    parted = state_of(boq_resnet.BoqResNet, boq_resnet.name_in_file)
    joined = {name: value for name, value in parted.items() if "cross_attn" not in name}
    for name, value in parted.items():
        if "cross_attn.q_proj." in name:
            kind = name.rpartition(".")[2]
            whole = (3 * boq_resnet.WIDTH, *value.shape[1:])
            joined[name.replace(f"q_proj.{kind}", f"in_proj_{kind}")] = value[:1].expand(whole)
        elif "cross_attn.out_proj" in name:
            joined[name] = value
    return joined


def learned_state() -> State:
    """Return a file of cirtorch with its learned whitening under flat names."""
    return state_of(
        lambda: gem.GemNet(101, 2048, linear=False, whitened=512), cirtorch.name_in_file
    ) | {"Lw.m": torch.ones(1).expand(2048, 1)}


def pca_state(depth: int = 50) -> State:
    """Return a file of AP-GeM with its whitening under flat names."""
    state = state_of(lambda: gem.GemNet(depth, 2048, whitened=2048), apgem.name_in_file)
    return state | {"pca.explained_variance_": torch.ones(1).expand(2048)}


def place(depth: int, dim: int) -> Callable[[], State]:
    """Return what makes a file of EigenPlaces or CosPlace."""
    return lambda: state_of(
        lambda: gem.GemNet(depth, dim, unit_positions=True), places.name_in_file
    )


def global_part(depth: int) -> State:
    """Return a file of CVNet with some of its re-ranker."""
    state = state_of(lambda: gem.GemNet(depth, 2048), cvnet.name_in_file)
    return state | {"conv2ds.0.weight": torch.ones(2), "cv_learner.fc.bias": torch.ones(2)}


FILES: dict[str, Callable[[], State]] = {
    "eigenplaces.resnet18-256": place(18, 256),
    "cosplace.resnet50-2048": place(50, 2048),
    "cosplace.vgg16-64": place(16, 64),
    "mixvpr.resnet50-512": lambda: state_of(lambda: mixvpr.MixVpr(256, 2), mixvpr.name_in_file),
    "boq.resnet50-16384": boq_state,
    "netvlad.pitts30k": lambda: state_of(lambda: netvlad.NetVlad(4), str),
    "cirtorch.gl18-r50": lambda: state_of(lambda: gem.GemNet(50, 2048), cirtorch.name_in_file),
    "cirtorch.sfm120k-r101-lw": learned_state,
    "apgem.r50": pca_state,
    "apgem.r50-512": pca_state,
    "cvnet.r50": lambda: global_part(50),
    "superglobal.r101": lambda: global_part(101),
}
QUICK = ("eigenplaces.resnet18-256", "apgem.r50", "netvlad.pitts30k")
METHODS = [pytest.param(m, marks=() if m in QUICK else pytest.mark.slow) for m in FILES]
OTHER_DEPTH = {
    "eigenplaces.resnet18-256": (place(50, 256), "ResNet-50", "ResNet-18"),
    "cosplace.resnet50-2048": (place(16, 2048), "VGG-16", "ResNet-50"),
    "cosplace.vgg16-64": (place(152, 64), "ResNet-152", "VGG-16"),
    "cirtorch.gl18-r50": (
        lambda: state_of(lambda: gem.GemNet(152, 2048), cirtorch.name_in_file),
        "ResNet-152", "ResNet-50",
    ),
    "apgem.r50": (lambda: pca_state(101), "ResNet-101", "ResNet-50"),
    "cvnet.r50": (lambda: global_part(101), "ResNet-101", "ResNet-50"),
    "superglobal.r101": (lambda: global_part(50), "ResNet-50", "ResNet-101"),
}  # fmt: skip
KINDS = {
    "eigenplaces": "a checkpoint of EigenPlaces or CosPlace",
    "cosplace": "a checkpoint of EigenPlaces or CosPlace",
    "mixvpr": "a MixVPR checkpoint",
    "boq": "a BoQ checkpoint of ResNet-50",
    "netvlad": "a NetVLAD checkpoint",
    "cirtorch": "a cirtorch checkpoint",
    "apgem": "a checkpoint of naver/deep-image-retrieval",
    "cvnet": "a CVNet checkpoint",
    "superglobal": "a CVNet checkpoint",
}


def refused(method: str, state: Any, path: Path) -> str:
    """Return why a method does not load from a file with this in it."""
    torch.save(state, path)
    with pytest.raises(BenchError) as caught:
        methods.load(method, str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def states() -> dict[str, State]:
    return {name: make() for name, make in FILES.items()}


@pytest.mark.parametrize("method", METHODS)
def test_the_file_of_the_method_loads(
    states: dict[str, State], method: str, tmp_path: Path
) -> None:
    torch.save({"epoch": 3, "state_dict": states[method]}, tmp_path / "w.pth")
    info, _, _ = methods.load(method, str(tmp_path / "w.pth"))
    assert f"{info.name}.{info.variant}" == method
    assert info.weights["source"].startswith("file w.pth, in the layout of ")
    assert info.weights["licence"].startswith("not stated")
    assert info.weights["trained"] is True


@pytest.mark.parametrize("method", METHODS)
def test_what_does_not_fit_is_refused(
    states: dict[str, State], method: str, tmp_path: Path
) -> None:
    """One name too few, one too many, one number that is none: each is named."""
    state, path = states[method], tmp_path / "w.pth"
    norms = ("1.weight", "bn.weight", "backbone.2.weight")
    fragile = next(name for name in state if name.endswith(norms))
    less = {name: value for name, value in state.items() if name != fragile}
    assert f"1 missing: {fragile}" in refused(method, less, path)
    assert "1 unexpected: head.odd" in refused(method, {**state, "head.odd": torch.ones(1)}, path)
    bad = torch.tensor([torch.nan]).expand(state[fragile].shape)
    assert f"1 with NaN or infinity: {fragile}" in refused(method, {**state, fragile: bad}, path)
    wide = torch.ones(1).expand(*state[fragile].shape, 2)
    assert f"1 of another shape: {fragile} is " in refused(method, {**state, fragile: wide}, path)


@pytest.mark.parametrize("method", METHODS)
def test_files_of_other_methods_are_refused(
    states: dict[str, State], method: str, tmp_path: Path
) -> None:
    for other, state in states.items():
        mine, theirs = KINDS[method.partition(".")[0]], KINDS[other.partition(".")[0]]
        if mine != theirs or method.endswith("-lw") != other.endswith("-lw"):
            text = refused(method, state, tmp_path / "w.pth")
            assert text.startswith(f"w.pth is {theirs}")
            assert f"; {method} needs {mine}" in text
            assert other.partition("-")[0].partition(".")[0] in text.rpartition("for this file")[2]


@pytest.mark.parametrize("method", OTHER_DEPTH)
def test_files_of_another_depth_are_refused(method: str, tmp_path: Path) -> None:
    make, has, needs = OTHER_DEPTH[method]
    text = refused(method, make(), tmp_path / "w.pth")
    assert f" of {has}; {method} needs {needs}." in text


@pytest.mark.parametrize("method", METHODS)
def test_code_in_a_file_is_not_run(states: dict[str, State], method: str, tmp_path: Path) -> None:
    """Not beside the state either, where programs keep arrays and objects of scikit-learn."""
    touched = tmp_path / "touched"
    for key in ("meta", "pca"):
        state = {"state_dict": states[method], key: Trap(touched)}
        assert "could run code" in refused(method, state, tmp_path / "w.pth")
    assert not touched.exists()


def test_an_impossible_exponent_is_refused(states: dict[str, State], tmp_path: Path) -> None:
    state = {**states["eigenplaces.resnet18-256"], "aggregation.1.p": torch.zeros(1)}
    text = refused("eigenplaces.resnet18-256", state, tmp_path / "w.pth")
    assert "(aggregation.1.p) stores the GeM exponent 0" in text


def test_counts_of_batches_are_younger_than_some_files(
    states: dict[str, State], tmp_path: Path
) -> None:
    """Of all of them none may be there; one of many may not be missing."""
    state = states["eigenplaces.resnet18-256"]
    counts = [name for name in state if name.endswith("num_batches_tracked")]
    old = {name: value for name, value in state.items() if name not in counts}
    sums = []
    for number, content in enumerate((state, old)):
        torch.save(content, tmp_path / f"{number}.pth")
        info, _, _ = methods.load("eigenplaces.resnet18-256", str(tmp_path / f"{number}.pth"))
        sums.append(info.weights["sha256"])
    assert sums[0] == sums[1]
    some = {name: value for name, value in state.items() if name != counts[0]}
    assert "1 missing" in refused("eigenplaces.resnet18-256", some, tmp_path / "w.pth")


@pytest.fixture
def scikit() -> Iterator[type]:
    """Return a class that is pickled under the name of scikit-learn's PCA of 2019."""
    module = ModuleType("sklearn.decomposition.pca")
    fake = type("PCA", (), {"__module__": module.__name__})
    module.PCA = fake  # type: ignore[attr-defined]
    names = ["sklearn", "sklearn.decomposition", module.__name__]
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update({name: ModuleType(name) for name in names} | {module.__name__: module})
    yield fake
    for name, value in before.items():
        if value is None:
            del sys.modules[name]
        else:
            sys.modules[name] = value


def official_apgem(state: State, scikit: type, **changes: Any) -> dict[str, Any]:
    """Return what deep-image-retrieval saves."""
    fitted = scikit()
    parts = {"mean_", "components_", "explained_variance_"}
    vars(fitted).update({part: state[f"pca.{part}"].numpy().copy() for part in parts})
    vars(fitted).update(whiten=True, n_components=None, noise_variance_=np.float64(0.25))
    network = {name: value for name, value in state.items() if not name.startswith("pca.")}
    options = {"arch": "resnet50_rmac", "out_dim": 2048, "pooling": "gem", "gemp": 3}
    return {
        "model_options": options | changes,
        "state_dict": network,
        "preprocess": {"mean": [0.485, 0.456, 0.406], "input_size": (3, 224, 224)},
        "pca": {"Landmarks_clean": fitted},
    }


@pytest.mark.slow
def test_the_objects_of_scikit_learn_in_a_file_of_apgem(
    states: dict[str, State], scikit: type, tmp_path: Path
) -> None:
    """They give what the flat state gives; options that make another network are refused."""
    flat = states["apgem.r50"]
    torch.save(flat, tmp_path / "flat.pth")
    saved = official_apgem(flat, scikit)
    torch.save(saved, tmp_path / "w.pt", pickle_protocol=2, _use_new_zipfile_serialization=False)
    for variant in ("apgem.r50", "apgem.r50-512"):
        first, two = (methods.load(variant, str(tmp_path / f)) for f in ("flat.pth", "w.pt"))
        assert first[0].weights["sha256"] == two[0].weights["sha256"]
        assert first[0].config == two[0].config
        assert two[0].dim == (512 if variant.endswith("512") else 2048)
    saved["model_options"]["norm_features"] = True
    torch.save(saved, tmp_path / "unit.pt")
    assert methods.load("apgem.r50", str(tmp_path / "unit.pt"))[0].config["unit_before_linear"]
    biased = official_apgem(flat, scikit, center_bias=0.1)
    assert "another network: it has center_bias" in refused("apgem.r50", biased, tmp_path / "w.pt")
    saved["pca"] = {"Landmarks": saved["pca"]["Landmarks_clean"]}
    text = refused("apgem.r50", saved, tmp_path / "w.pt")
    assert "has no whitening of Landmarks_clean; it has Landmarks" in text


@pytest.mark.parametrize("part", ["mean_", "components_", "explained_variance_"])
def test_apgem_without_all_of_its_whitening(
    states: dict[str, State], part: str, tmp_path: Path
) -> None:
    state = {name: v for name, v in states["apgem.r50"].items() if name != f"pca.{part}"}
    assert f"pca.{part}" in refused("apgem.r50", state, tmp_path / "w.pth")


@pytest.mark.slow
def test_the_arrays_of_numpy_in_a_file_of_cirtorch(
    states: dict[str, State], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The learned whitening for several scales is taken; without one, descriptors are without."""
    flat, method = states["cirtorch.sfm120k-r101-lw"], "cirtorch.sfm120k-r101-lw"
    torch.save(flat, tmp_path / "flat.pth")
    several = {"m": flat["Lw.m"].numpy().copy(), "P": flat["Lw.P"].numpy().copy()}
    single = {key: value + 1 for key, value in several.items()}
    network = {name: value for name, value in flat.items() if not name.startswith("Lw.")}
    meta = {"architecture": "resnet101", "mean": [0.485, 0.456, 0.406],
            "Lw": {"retrieval-SfM-120k": {"ss": single, "ms": several}}}  # fmt: skip
    torch.save({"meta": meta, "state_dict": network}, tmp_path / "w.pth", pickle_protocol=2,
               _use_new_zipfile_serialization=False)  # fmt: skip
    first, two = (methods.load(method, str(tmp_path / f)) for f in ("flat.pth", "w.pth"))
    assert first[0].weights["sha256"] == two[0].weights["sha256"]
    assert two[0].dim == 512
    assert two[2].combine == "power-mean"
    assert two[2].combine_power == 3.0
    assert capsys.readouterr().err == ""
    torch.save({"meta": {}, "state_dict": network}, tmp_path / "w.pth")
    info = methods.load(method, str(tmp_path / "w.pth"))[0]
    assert (info.dim, info.config["whitening"]) == (2048, "none")
    assert "w.pth holds no learned whitening (Lw.m, Lw.P)" in capsys.readouterr().err
    for part in ("Lw.m", "Lw.P"):
        less = {name: value for name, value in flat.items() if name != part}
        assert part in refused(method, less, tmp_path / "w.pth")
    meta["Lw"] = {"retrieval-SfM-120k": {"ss": single}}
    text = refused(method, {"meta": meta, "state_dict": network}, tmp_path / "w.pth")
    assert "no learned whitening of retrieval-SfM-120k for several scales" in text


def test_a_matlab_file_of_netvlad(tmp_path: Path) -> None:
    """The output axis of kernels is last, centres are negated, the mean pixel is the file's."""
    rng = np.random.default_rng(0)
    small = {"whiten.weight": (4, 512 * 64), "whiten.bias": (4,),
             "netvlad.score_proj.weight": (64, 512, 1), "netvlad.centers": (512, 64)}  # fmt: skip
    names = state_of(lambda: netvlad.NetVlad(4), str)
    state = {
        name: torch.from_numpy(
            rng.standard_normal(small.get(name, tuple(value.shape)), dtype=np.float32) / 50
        )
        for name, value in names.items()
    }
    torch.save(state, tmp_path / "w.pth")
    layers = np.empty(34, dtype=object)
    for i in range(34):
        layers[i] = {"type": "relu"}
    for i in netvlad_file.CONVOLUTIONS:
        kernel, bias = (state[f"backbone.{i}.{kind}"].numpy() for kind in ("weight", "bias"))
        layers[i] = pair(np.transpose(kernel, (2, 3, 1, 0)), bias[:, None])
    scores = state["netvlad.score_proj.weight"].numpy()[:, :, 0].T
    layers[30] = pair(scores, -state["netvlad.centers"].numpy())
    whitening = state["whiten.weight"].numpy().T[None, None]
    layers[33] = pair(whitening, state["whiten.bias"].numpy()[None])
    average = np.full((2, 2, 3), [121.5, 110.25, 100.75], np.float32)
    net = {"layers": layers, "meta": {"normalization": {"averageImage": average}}}
    scipy.io.savemat(tmp_path / "w.mat", {"net": net})
    first, two = (methods.load("netvlad", str(tmp_path / f)) for f in ("w.pth", "w.mat"))
    assert first[0].weights["sha256"] == two[0].weights["sha256"]
    assert first[2].mean == (123.68, 116.779, 103.939)
    assert two[2].mean == (121.5, 110.25, 100.75)
    assert two[0].dim == 4


def pair(first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """Return a layer of MatConvNet with two arrays of weights."""
    weights = np.empty(2, dtype=object)
    weights[0], weights[1] = first, second
    return {"weights": weights}


def test_other_matlab_files_are_refused(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "other.mat", {"x": np.ones(3)})
    (tmp_path / "text.mat").write_text("not a matrix")
    for name in ("other.mat", "text.mat", "absent.mat"):
        with pytest.raises(BenchError, match=name):
            methods.load("netvlad", str(tmp_path / name))


def test_sizes_that_a_method_does_not_take() -> None:
    assert mixvpr.MixVpr.refusal(SimpleNamespace(), 320, 320) is None  # type: ignore[arg-type]
    assert "320 x 320" in str(mixvpr.MixVpr.refusal(SimpleNamespace(), 320, 322))  # type: ignore[arg-type]
    whole = torch.ones(1, 2, 3, 3)
    assert superglobal.regional(whole).shape == whole.shape
    network = superglobal.SuperGlobal.refusal
    assert network(SimpleNamespace(), 65, 65) is None  # type: ignore[arg-type]
    assert "more than 64" in str(network(SimpleNamespace(), 64, 300))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["places", "mixvpr", "boq", "boq_resnet", "cirtorch", "apgem",
                                  "cvnet"])  # fmt: skip
def test_names_in_files(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"bench.methods._nets.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
