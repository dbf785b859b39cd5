"""Conversion of DELG's TensorFlow models: variables, the proof, files, and what is refused."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bench import methods
from bench.describe import pyramid
from bench.errors import BenchError
from bench.methods._delg import convert, model_file, models, saved_model, variables
from bench.methods._nets import families, resnet
from tests.support.checkout import ROOT
from tests.support.delg_models import OFFICIAL, matched, metadata

needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="the extra tensorflow is not installed"
)


# --- matching of variables ----------------------------------------------------------------------


@pytest.mark.parametrize("variant", models.MODELS)
def test_every_parameter_of_the_backbone_has_a_name_of_its_own(variant: str) -> None:
    model = models.MODELS[variant]
    family = variables.FAMILIES[model.family]
    with torch.device("meta"):
        own = [n for n in family.backbone(model.depth).state_dict() if "num_batches" not in n]
    names = {family.name_in_graph(name, model.depth) for name in own}
    assert len(names) == len(own)
    parts = 6 if model.family == "delg-keras" else 5  # of a convolution and its normalisation
    assert len(own) == parts * (model.depth + 3)  # 49 or 100 convolutions, and four shortcuts
    if model.depth == 101:
        last = "block3/unit_23/bottleneck_v1/conv3/BatchNorm/moving_mean"
        assert f"resnet_v1_101/{last}" in names


@pytest.mark.slow
def test_variables_under_scopes_with_training_leftovers_and_other_heads(variables: Any) -> None:
    """Names of the heads do not matter; the bias before a normalisation may be absent."""
    named = variables("delg_slim_r50")
    plain, _ = matched(named, "r50-gld")
    heads = {"whitening": "dense", "encode": "autoencoder/conv1", "attention2": "att/conv2"}
    other = {}
    for name, value in named.items():
        for old, new in heads.items():
            name = name.replace(f"head/{old}", new)
        if name != "head/attention1/bias":
            other[f"scope/{name.replace('kernel', 'weights').replace('/bias', '/biases')}"] = value
    other["scope/dense/weights"] = other["scope/dense/weights"][None, None]
    other |= {"global_step": np.zeros(()), "scope/dense/weights/Momentum": np.zeros((2048, 2048))}
    other["classifier/weights"] = np.zeros((7, 9), np.float32)
    state, unused = matched(other, "r50-gld")
    assert unused == ["classifier/weights"]
    assert state.keys() == plain.keys()
    assert not state["attention1.bias"].any()
    plain["attention1.bias"] = state["attention1.bias"]
    assert all(torch.equal(state[key], plain[key]) for key in plain)


def test_variables_that_do_not_fit_are_one_sentence(variables: Any) -> None:
    named = variables("delg_slim_r50")
    del named["resnet_v1_50/conv1/weights"]
    named["resnet_v1_50/block1/unit_1/bottleneck_v1/conv1/weights"] = np.zeros((3, 3, 64, 64))
    named["second/kernel"] = named["head/whitening/kernel"]
    del named["head/encode/bias"]
    with pytest.raises(BenchError) as caught:
        matched(named, "r50-gld")
    assert str(caught.value) == (
        "the variables of model do not fit DELG: 2 missing: resnet_v1_50/conv1/weights, "
        "encode.bias with shape (128,); 1 ambiguous: whitening.weight is "
        "head/whitening/kernel, second/kernel; 1 of another shape: "
        "resnet_v1_50/block1/unit_1/bottleneck_v1/conv1/weights is "
        "(3, 3, 64, 64) and should be (1, 1, 64, 64)."
    )


def test_another_family_or_depth_is_named() -> None:
    for names, family, says in (
        (["res2a_branch2a/kernel"], "delg-slim", "the TensorFlow 2 code, for delg.r50-tf2"),
        (["resnet_v1_101/conv1/weights"], "delg-slim", "TF-Slim on ResNet-101, for delg.r101-gld"),
        (["resnet_v1_50/conv1/weights"], "delg-keras", "TF-Slim on ResNet-50, for delg.r50-gld"),
        (["a/b"], "delg-slim", r"no model of DELG \(its variables are a/b\)"),
    ):
        content = {name: np.zeros(1, np.float32) for name in names}
        with pytest.raises(BenchError, match=f"model is .*{says}.*; delg.x cannot be made from it"):
            variables.check_family(content, family, 50, "delg.x", "model")


# --- the proof ----------------------------------------------------------------------------------


def answers_of(network: Any, rule: Any, stride: int) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """Answer as an original model would, by our network; local features in another order."""
    asked = []
    for image in convert.images():
        batch = pyramid.to_batch([image], rule, "cpu")
        with torch.inference_mode():
            rows = [3 * network(pyramid.at_scale(batch, s, rule)).numpy() for s in rule.scales]
            features, attention = (part[0].flatten(1).T.numpy() for part in network.local(batch))
            width = network.local(batch)[1].shape[3]
        order = np.argsort(-attention[:, 0])
        corner = np.stack([order // width, order % width], 1) * stride - 145.0
        answer = {"global": np.concatenate(rows), "boxes": np.c_[corner, corner + 290.0]}
        answer |= {"features": features[order], "scores": attention[order]}
        asked.append((image, answer))
    return asked


@pytest.fixture(scope="module")
def proving(variables: Any) -> Any:
    """Return a state with a decoder, and the answers of a network that does not use it."""
    model = models.MODELS["r50-tf2"]
    state, _ = matched(variables("delg_tf_r50"), "r50-tf2")
    network = resnet.blank(lambda: model_file.build(model, "block3", 16))
    network.load_state_dict({k: v for k, v in state.items() if not k.startswith("decode.")})
    rule = convert._rule(True)
    return model, state, answers_of(network, rule, 16), rule


@pytest.mark.slow
def test_the_proof_finds_stride_and_attention_input(proving: Any) -> None:
    model, state, asked, rule = proving
    feeds = ("block3", "decoder")
    stride, feed, proof = convert.prove(model, state, feeds, asked, rule, "model")
    assert (stride, feed) == (16, "block3")
    assert proof.startswith("proven on 3 images: unit vectors differ")
    assert convert.prove(model, state, feeds[1:], asked, rule, "model")[1] == "unknown"


@pytest.mark.slow
def test_the_proof_refuses_what_differs(proving: Any) -> None:
    model, state, asked, rule = proving
    refused = r"the conversion of model is wrong: a unit vector differs .* nothing was written"
    legacy = replace(rule, scale_sampling="legacy-corner")
    with pytest.raises(BenchError, match=refused):
        convert.prove(model, state, ("block3",), asked, legacy, "model")
    changed = {**state, "whitening.bias": state["whitening.bias"] * 1.05}
    with pytest.raises(BenchError, match=refused):
        convert.prove(model, changed, ("block3",), asked, rule, "model")


# --- files --------------------------------------------------------------------------------------


def test_files_that_are_not_converted_for_the_variant(files: Any, tmp_path: Path) -> None:
    _, slim = files("delg_slim_r50")
    tiny = torch.zeros(1)
    made = {
        "keras": {"backbone.layer1.0.conv1.bias": tiny, "attention_bn.bias": tiny.clone()},
        "bare": {"backbone.layer1.0.conv1.weight": tiny, "attention_bn.bias": tiny.clone()},
        "lite0": {"encode.weight": tiny, "whitening.bias": tiny.clone()},
        "token": {"backbone.block1.0.weight": tiny, "attention.att_conv1.weight": tiny.clone()},
        "odd": {"weight": tiny},
    }
    for name, state in made.items():
        save_file(state, tmp_path / f"{name}.safetensors")
    whole = slim.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "model").mkdir()
    for variant, weights, says in (
        ("r50-gld", None, r"r50delg_gld_20200814\.tar\.gz.*weights convert --method delg\.r50-gld"),
        ("r50-tf2", None, "exported from their TensorFlow 2 code.*weights convert"),
        ("r50-gld", "model", "model is not a converted file; .* weights convert"),
        ("r50-gld", "no.safetensors", "does not exist"),
        ("r50-gld", "cut.safetensors", "truncated"),
        (
            "r50-gld",
            "keras.safetensors",
            r"converted from the TensorFlow 2 code .* needs a DELG model",
        ),
        ("r50-gld", "lite0.safetensors", "is a file for delg.lite0"),
        (
            "r101-gld",
            "token.safetensors",
            "of Token's authors .*; delg.r101-gld needs a DELG model",
        ),
        ("r50-gld", "odd.safetensors", r"do not fit DelgTf: \d+ missing: .*1 unexpected: weight\."),
        (
            "r101-gld",
            slim,
            r"ResNet-50; delg\.r101-gld needs ResNet-101.*r50-gld or delg\.r50-gldv2",
        ),
        ("r50-gld", slim, r"was converted for delg\.r50-gldv2clean, and is not used for"),
        ("r50-tf2", slim, "converted from TF-Slim .*delg.r50-tf2 needs a DELG model converted"),
    ):
        path = None if weights is None else str(tmp_path / weights)
        with pytest.raises(BenchError, match=says) as caught:
            methods.load(f"delg.{variant}", path)
        assert str(caught.value).endswith(".")
    with pytest.raises(BenchError, match=r"no 'format' of a conversion in its metadata.*again"):
        model_file._said(tmp_path / "bare.safetensors", "r50-gld", made["bare"])


def test_keys_that_do_not_fit(files: Any, tmp_path: Path) -> None:
    _, slim = files("delg_slim_r50")
    state = load_file(slim)
    del state["whitening.bias"]
    state["extra"] = torch.zeros(1)
    state["encode.weight"] = torch.zeros(3)
    path = tmp_path / "odd.safetensors"
    save_file(state, path, metadata(*OFFICIAL["delg_slim_r50"]))
    with pytest.raises(BenchError) as caught:
        methods.load("delg.r50-gldv2clean", str(path))
    assert str(caught.value) == (
        "the weights odd.safetensors do not fit DelgTf: 1 missing: whitening.bias; 1 unexpected: "
        "extra; 1 of another shape: encode.weight is (3,) instead of (128, 1024, 1, 1)."
    )


def test_a_file_for_global_descriptors_only(files: Any, tmp_path: Path) -> None:
    variant, slim = files("delg_slim_r50")
    path = tmp_path / "whole.safetensors"
    save_file(load_file(slim), path, metadata(variant, "legacy-corner", "unknown", 32))
    assert not hasattr(methods.load(f"delg.{variant}", str(path))[1], "local")


# --- the command --------------------------------------------------------------------------------


def test_commands_that_are_refused(
    cli: Any, refused: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def say(method: str, *more: str, source: Path = tmp_path, output: str = "a.safetensors") -> str:
        arguments = ["--method", method, "--source", source, "--output", tmp_path / output]
        return str(refused(cli("weights", "convert", *arguments, *more)))

    assert "no method is called 'delgg'; did you mean delg" in say("delgg.x")
    assert "the method gem reads its published weights directly" in say("gem.lite0")
    assert "name the variant that the file is for" in say("delg")
    assert "delg.lite0 is not made from a TensorFlow model" in say("delg.lite0")
    assert "must be a safetensors file" in say("delg.r50-gld", output="a.pth")
    assert "holds no checkpoint; one FILE.index is needed" in say("delg.r50-gld")
    assert "does not exist" in say("delg.r50-gld", source=tmp_path / "no")
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(b"")
    assert "unpack archives first" in say("delg.r50-gld", source=archive)
    (tmp_path / "variables.index").write_bytes(b"")
    assert "cannot be proven; give the folder of the SavedModel" in say("delg.r50-gld")
    monkeypatch.setattr(saved_model, "find_spec", lambda name: None)
    assert "needs TensorFlow, which is not installed" in say("delg.r50-gld", "--unproven")
    result = cli("weights", "convert", "--methd", "delg.r50-gld")
    assert "no option is called '--methd'; did you mean --method" in refused(result)


@pytest.fixture(scope="module")
def saved(
    variables: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[str, Path]]:
    """Return a function that gives the variant and the SavedModel of a conformance model."""
    folder = tmp_path_factory.mktemp("saved")

    def find(name: str) -> tuple[str, Path]:
        kind = "slim" if "slim" in name else "keras"
        if not (folder / name).exists():
            values = {key.replace("/", "|"): value for key, value in variables(name).items()}
            np.savez(folder / "values.npz", **values)
            script = ROOT / "tests" / "support" / "delg_graph.py"
            arguments = [sys.executable, script, kind, folder / "values.npz", folder / name]
            subprocess.run(arguments, check=True, capture_output=True)
            (folder / "values.npz").unlink()
        return OFFICIAL[name][0], folder / name

    return find


@needs_tensorflow
@pytest.mark.parametrize("name", OFFICIAL)
def test_a_savedmodel_becomes_a_proven_file(
    name: str, saved: Any, files: Any, cli: Any, tmp_path: Path
) -> None:
    """The same state as from the variables, and the graph tells the rest."""
    variant, source = saved(name)
    output = tmp_path / "out.safetensors"
    arguments = ("--method", f"delg.{variant}", "--source", source, "--output", output)
    done = cli("weights", "convert", *arguments)
    assert (done.status, done.out) == (0, f"{output}\n"), done.err
    info, _, rule = methods.load(f"delg.{variant}", str(output))
    assert "; proven on 3 images: unit vectors differ" in info.weights["source"]
    found = (rule.scale_sampling, info.config["attention_input"], info.config["local_stride"])
    assert found == OFFICIAL[name][1:]
    ours, known = load_file(output), load_file(files(name)[1])
    assert ours.keys() == known.keys()
    assert all(torch.equal(ours[key], known[key]) for key in known)


@needs_tensorflow
def test_a_checkpoint_alone_and_damaged_models(
    saved: Any, cli: Any, refused: Any, tmp_path: Path
) -> None:
    variant, source = saved("delg_slim_r50")
    output = tmp_path / "out.safetensors"
    arguments = ("--method", f"delg.{variant}", "--output", output, "--source")
    assert cli("weights", "convert", *arguments, source / "variables", "--unproven").status == 0
    info, _, rule = methods.load(f"delg.{variant}", str(output))
    assert info.weights["source"].endswith(f"; {convert.UNPROVEN}")
    assert rule.scale_sampling == "legacy-corner"
    output.unlink()
    damaged = tmp_path / "damaged"
    shutil.copytree(source, damaged)
    (damaged / "saved_model.pb").write_bytes(b"\xff\x01nonsense")
    message = refused(cli("weights", "convert", *arguments, damaged))
    assert "saved_model.pb cannot be read: it is truncated or damaged" in message
    data = next((damaged / "variables").glob("*.data-*"))
    data.write_bytes(data.read_bytes()[:1000])
    message = refused(cli("weights", "convert", *arguments, damaged))
    assert f"the variables of {damaged} cannot be read" in message
    assert not output.exists()


def test_the_families_are_told_apart() -> None:
    for variant, model in models.MODELS.items():
        with torch.device("meta"):
            state = model_file.build(model, "block3", 32).state_dict()
        assert families.family_of(state) == model.family, variant
        assert families.depth_of(state) == model.depth
