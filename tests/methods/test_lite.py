"""The lite variants of DOLG, DELG and Token: what is shipped, how it begins, what it is from."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from bench import methods
from bench.describe import pyramid
from bench.errors import BenchError
from bench.methods._lite import method, networks, packed, training
from bench.methods._nets import backbones
from bench.methods._nets.pooling import gem
from bench.methods.weights import photographs
from tests.support.checkout import ROOT

pytestmark = pytest.mark.slow

SHIPPED = ("dolg", "delg", "token")
VARIANTS = ("lite1", "lite0")
GOLDEN = {  # the first numbers of the descriptor of the generated image
    "dolg.lite1": [0.017331, 0.035731, -0.017390, -0.091125, 0.075962, 0.044964],
    "delg.lite1": [0.112333, 0.011023, -0.004796, -0.035773, 0.042982, 0.050111],
    "token.lite1": [0.071333, 0.008068, -0.001595, -0.032998, 0.035463, 0.054223],
    "dolg.lite0": [-0.098316, 0.049129, -0.153739, 0.067713, -0.088926, -0.085266],
    "delg.lite0": [-0.040661, 0.037072, -0.033783, 0.012613, -0.078141, -0.004491],
    "token.lite0": [-0.095776, 0.019865, -0.072459, -0.005775, -0.096566, -0.040401],
}


def generated() -> Any:
    rows, columns = np.mgrid[0:96, 0:128]
    planes = [(rows * 3 + columns * k) % 256 for k in (1, 5, 9)]
    return np.stack(planes, axis=2).astype(np.uint8)


def test_the_default_is_the_head_that_generalises() -> None:
    assert {methods.full_name(name) for name in SHIPPED} == {f"{name}.lite1" for name in SHIPPED}


@pytest.mark.parametrize("name", [f"{name}.{variant}" for name in SHIPPED for variant in VARIANTS])
def test_what_is_shipped_describes_as_it_did(name: str) -> None:
    info, method, rule = methods.load(name)
    assert (info.dim, info.weights["trained"]) == (512, True)
    assert "demonstration" in info.weights["training_set"]
    assert (rule.max_side_px, rule.scales) == (480, (1.0,))
    assert methods.load("gem.lite0")[2] == rule  # what they are compared with sees the same
    batch = pyramid.to_batch([generated()], rule, "cpu")
    rows = pyramid.describe_pyramid(method.describe, batch, rule, 512)
    np.testing.assert_allclose(rows[0, :6].numpy(), GOLDEN[name], atol=2e-5)


@pytest.mark.parametrize("name", ["dolg.lite1", "token.lite1"])
def test_what_the_paper_adds_moves_the_descriptors(name: str) -> None:
    _, method, rule = methods.load(name)
    batch = pyramid.to_batch([generated()], rule, "cpu")
    whole = pyramid.describe_pyramid(method.describe, batch, rule, 512)
    with torch.no_grad():
        method.network.head.fc.weight[:, networks.DIM :] = 0  # type: ignore[attr-defined]
    without = pyramid.describe_pyramid(method.describe, batch, rule, 512)
    assert 0.9 < float((whole * without).sum()) < 0.9995


def test_what_is_shipped_is_small() -> None:
    files = list(method.FOLDER.glob("*.safetensors"))
    wanted = {f"{name}_{variant}.safetensors" for name in SHIPPED for variant in VARIANTS}
    assert {file.name for file in files} == wanted
    assert sum(file.stat().st_size for file in files) < 16_000_000


def test_local_features_of_delg_are_of_the_promised_shape() -> None:
    info, method, rule = methods.load("delg.lite1")
    kept = methods.local_of(method, info)
    batch = pyramid.to_batch([generated()], rule, "cpu")
    with torch.inference_mode():
        features, attention = method.local(batch)  # type: ignore[attr-defined]
    assert features.shape == (1, kept.dim, 6, 8)
    assert attention.shape == (1, 1, 6, 8)
    assert float(attention.min()) >= 0


def test_weights_of_another_variant_are_refused(tmp_path: Path) -> None:
    other = method.FOLDER / "dolg_lite0.safetensors"
    with pytest.raises(BenchError, match=r"dolg_lite0\.safetensors do not fit DelgHead"):
        methods.load("delg.lite0", weights=str(other))
    with pytest.raises(BenchError, match="has random weights"):
        methods.load("delg.untrained", weights=str(other))


# --- the beginning of a training ------------------------------------------------------------------


def kept_outputs(training: training.Training) -> torch.Tensor:
    torch.manual_seed(0)
    with torch.no_grad():
        return training.frozen(torch.randn(12, 3, 160, 160))


def stepped(name: str, outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs and labels of a step; for DELG pairs of views, which show the same here."""
    if name != "delg":
        return outputs, torch.arange(len(outputs)) % 5
    whole = torch.eye(3).reshape(1, 9).expand(len(outputs), 9)
    return torch.cat([outputs, whole], dim=1), torch.arange(len(outputs) // 2) % 5


@pytest.fixture(scope="module")
def small() -> Any:
    """Heads with so few dimensions that a dozen images determine a whitening."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("DIM", 8), ("TOKEN_DIM", 16), ("LOCAL_DIM", 8)):
            patch.setattr(networks, name, value)
        yield


@pytest.mark.parametrize("name", SHIPPED)
def test_a_head_begins_as_whitened_gem(name: str, small: Any) -> None:
    trainable = getattr(training, name)(5, {}, "cpu")
    outputs = kept_outputs(trainable)
    middle, last = trainable.maps(outputs)
    direct = trainable.trunk(torch.randn(1, 3, 64, 96))
    assert [tuple(item.shape) for item in direct] == [(1, 112, 4, 6), (1, 1280, 2, 3)]
    trainable.begin([outputs[:6], outputs[6:]])
    network = trainable.network.eval()
    with torch.inference_mode():
        rows = functional.normalize(network["head"](middle, last), dim=1)
        layer = network["head"].fc_t if name == "dolg" else network["head"].whitening
        whole = functional.normalize(layer(gem(last)), dim=1)
    torch.testing.assert_close(rows, whole, atol=1e-5, rtol=0)
    spread = layer(gem(last)).square().sum(dim=1).mean().sqrt()
    assert 0.3 < float(spread) < 3  # unit norm on the average of all regions


NEAR = {"exponent": 0.2, "centred": False, "bits": 8}


@pytest.mark.parametrize("name", SHIPPED)
def test_strength_is_the_part_of_a_change_that_is_kept(name: str, small: Any) -> None:
    """Descriptors before the last layer are the same: so halves of its change are half as far."""
    trainable = getattr(training, name)(5, {**NEAR, "bits": 16}, "cpu")
    trainable.begin([kept_outputs(trainable)])
    layer = trainable.network["after"] if name == "delg" else trainable.network["head"].fc
    torch.manual_seed(1)
    with torch.no_grad():
        layer.weight.add_(torch.randn(layer.weight.shape))
    rows = {}
    for strength in (0.0, 0.5, 1.0):
        trainable.shrinkage = replace(trainable.shrinkage, strength=strength)
        state = trainable.weights()
        rows[strength] = state["whitening.weight" if name == "delg" else "fc.weight"].float()
    middle = (rows[0.0] + rows[1.0]) / 2
    torch.testing.assert_close(rows[0.5], middle, atol=2e-3, rtol=2e-3)
    assert not torch.allclose(rows[0.0], rows[1.0])


@pytest.mark.parametrize("name", SHIPPED)
def test_a_head_in_8_bits_is_the_head_within_a_percent(
    name: str, small: Any, tmp_path: Path
) -> None:
    """From training to a file to the head: the descriptors of both are compared."""
    trainable = getattr(training, name)(5, NEAR, "cpu")
    outputs = kept_outputs(trainable)
    trainable.begin([outputs])
    written = trainable.weights()
    assert {t.dtype for n, t in written.items() if t.ndim >= 2} == {torch.int8}
    read = packed.unpack(written)
    head = trainable.network.eval()["head"]
    for key, tensor in head.state_dict().items():
        if tensor.ndim >= 2 and not key.startswith("features"):  # these have a standard folded in
            step = tensor.flatten(1).abs().amax(dim=1) / 127
            off = (read[key] - tensor).flatten(1).abs().amax(dim=1)
            assert bool((off <= 0.501 * step).all()), key
    assert set(read) == set(head.state_dict())
    maps = trainable.maps(outputs)
    with torch.inference_mode():
        before = networks.unit(head(*maps))
        head.load_state_dict(read)
        after = networks.unit(head(*maps))
    assert float((before * after).sum(dim=1).min()) > 0.999


def test_a_whitening_that_subtracts_nothing_keeps_the_order_of_cosines() -> None:
    """Exponent 0 with all components only rotates: cosines stay as they are."""
    rows = torch.rand(40, 6, generator=torch.Generator().manual_seed(0))
    weight, bias = training.fit(rows, 6, 0.0, 1.0, subtract=False)
    assert not bias.any()
    made, plain = networks.unit(rows @ weight.T + bias), networks.unit(rows)
    torch.testing.assert_close(made @ made.T, plain @ plain.T, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", SHIPPED)
def test_what_trains_and_what_is_shipped(name: str, small: Any, tmp_path: Path) -> None:
    trainable = getattr(training, name)(5, {}, "cpu")
    outputs = kept_outputs(trainable)
    trainable.begin([outputs])
    trainable.network.train()
    of_delg = {"attention", "reconstruction", "matching"} if name == "delg" else set()
    terms = trainable.losses(*stepped(name, outputs))
    assert set(terms) == {"global"} | of_delg
    torch.stack(list(terms.values())).sum().backward()
    moved = {n for n, p in trainable.network.named_parameters() if p.grad is not None}
    assert not any(n.startswith("trunk.") for n in moved)
    assert not any(n.startswith(("head.whitening", "head.fc_t")) for n in moved)
    assert any(n.startswith(("head.", "after.")) for n in moved)
    assert {t.dtype for t in trainable.weights().values() if t.ndim >= 2} == {torch.float16}
    assert not any("trunk" in n or "loss" in n for n in trainable.weights())


def test_the_layer_after_delgs_whitening_is_multiplied_into_it(small: Any) -> None:
    trainable = training.delg(5, {}, "cpu")
    outputs = kept_outputs(trainable)
    trainable.begin([outputs])
    trainable.network.eval()
    with torch.inference_mode():
        torch.manual_seed(1)
        trainable.network["after"].weight.add_(0.3 * torch.randn(8, 8))
        middle, last = trainable.maps(outputs)
        trained = trainable.network["after"](networks.unit(trainable.network["head"](middle, last)))
        head = networks.DelgHead()
        head.load_state_dict({n: t.float() for n, t in trainable.weights().items()})
        torch.testing.assert_close(
            networks.unit(head(middle, last)), networks.unit(trained), atol=3e-3, rtol=0
        )


def test_nothing_shared_is_no_loss_and_single_views_are_refused(small: Any) -> None:
    trainable = training.delg(5, {}, "cpu")
    kept = kept_outputs(trainable)
    trainable.begin([kept])
    unknown = torch.full((12, 9), torch.nan)
    labels = torch.arange(6) % 5
    terms = trainable.losses(torch.cat([kept, unknown], dim=1), labels)
    assert float(terms["matching"].detach()) == 0
    with pytest.raises(BenchError, match="learns from pairs of views"):
        trainable.losses(kept[:6], labels)


def test_chance_is_that_of_the_seed_whatever_was_drawn_since(small: Any) -> None:
    """Views that are there already draw nothing; the weights must not differ for that."""
    found = []
    for seed, drawn in ((3, 0), (3, 9), (4, 0)):
        trainable = training.delg(5, {}, "cpu")
        outputs = kept_outputs(trainable)
        torch.manual_seed(seed)
        torch.rand(drawn)
        state = torch.get_rng_state()
        trainable.begin([outputs])
        assert torch.equal(torch.get_rng_state(), state)
        found.append(trainable.network["head"].features[0].weight.detach().clone())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_features_of_training_are_those_of_the_method(small: Any) -> None:
    """The maps that are kept, standard and all, against the network that is shipped."""
    trainable: Any = training.delg(5, {}, "cpu")
    torch.manual_seed(0)
    batch = torch.randn(12, 3, 160, 160)
    with torch.no_grad():
        kept = trainable.frozen(batch)
        trainable.begin([kept])
        rows = trainable.stacked(kept).movedim(1, 3).flatten(0, 2)
        trained = trainable.network["head"].features(
            trainable.network["standard"](rows)[:, :, None, None]
        )
        head = networks.DelgHead()
        head.load_state_dict({n: t.float() for n, t in trainable.weights().items()})
        made, attention = networks.Lite(trainable.trunk, head).eval().local(batch)
    made = made.movedim(1, 3).flatten(0, 2)
    like = torch.cosine_similarity(made, trained[:, :, 0, 0], dim=1)
    assert float(like.min()) > 0.999
    assert attention.shape == (12, 1, 10, 10)


def test_ablations_leave_out_what_they_say() -> None:
    torch.manual_seed(0)
    middle, last = torch.randn(2, 112, 6, 8), torch.rand(2, 1280, 3, 4)
    alone = networks.DolgHead("none").eval()
    assert not any(name.startswith("localmodel") for name in alone.state_dict())
    assert "localmodel.aspp.aspp.0.weight" not in networks.DolgHead(multi_atrous=False).state_dict()
    fused = networks.DolgHead("orthogonal").eval()
    beside = networks.DolgHead("concatenation").eval()
    beside.load_state_dict(fused.state_dict())
    whole = networks.unit(fused.fc_t(gem(last)))
    features, attention = fused.localmodel(middle)
    local = (features * attention).mean(dim=(2, 3))
    across = local - (local * whole).sum(dim=1, keepdim=True) * whole
    for head, second in ((fused, across), (beside, local)):
        expected = head.fc(torch.cat([whole, second], dim=1))
        torch.testing.assert_close(head(middle, last), expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(BenchError, match="did you mean orthogonal"):
        networks.DolgHead("orthogonl")


def test_principal_components_are_divided_by_a_power_of_their_variance() -> None:
    torch.manual_seed(0)
    rows = torch.randn(4000, 3) * torch.tensor([9.0, 3.0, 1.0]) + 5
    weight, bias = training.fit(rows, 2, 0.5, 1.0)
    made = rows @ weight.T + bias
    torch.testing.assert_close(made.mean(dim=0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(made.std(dim=0), torch.full((2,), 0.5**0.5), atol=1e-2, rtol=0)
    plain, _ = training.fit(rows, 2, 0.0, 1.0)
    assert float(plain[0].norm() / plain[1].norm()) == pytest.approx(1.0)


# --- the photographs ------------------------------------------------------------------------------


def test_the_list_of_photographs_is_well_formed_and_has_none_of_mini() -> None:
    listed = photographs.listed()
    assert len(photographs.listed(heads="lite0")) == 353 < len(listed)
    assert (
        len({item.name for item in listed}) == len({item.sha256 for item in listed}) == len(listed)
    )
    for item in listed:
        assert re.fullmatch(r"[0-9a-f]{64}", item.sha256)
        assert re.fullmatch(r"[a-z0-9_]+", item.name)
        assert item.licence
        assert item.version
    mini = json.loads((ROOT / "datasets" / "mini-data" / "dataset.json").read_text())
    used = {f"mvtbdata/{source}" for source in mini["sources"].values()}
    stems = {Path(source).stem for source in used}
    ours = [item.member for item in listed if item.package == "mvtb-data"]
    assert ours
    assert not used & set(ours)
    assert not stems & {Path(member).stem for member in ours}


def rcc(files: dict[str, bytes]) -> bytes:
    """Return a Qt resource file with these files at its root."""
    names, data, nodes = b"", b"", [struct.pack(">IHII", 0, 2, len(files), 1)]
    for name, content in files.items():
        nodes.append(struct.pack(">IHII", len(names), 0, 0, len(data)))
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
        data += struct.pack(">I", len(content)) + content
    tree = b"".join(nodes)
    starts = 20, 20 + len(tree), 20 + len(tree) + len(data)
    return b"qres" + struct.pack(">4I", 1, *starts) + tree + data + names


def test_photographs_are_collected_cut_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    packed = {}
    for name, size in (("wide", (2400, 60)), ("small", (90, 60))):
        stream = io.BytesIO()
        Image.new("RGB", size, (200, 10, 60)).save(stream, "PNG")
        packed[name] = stream.getvalue()
    (tmp_path / "packages").mkdir()
    with zipfile.ZipFile(tmp_path / "packages" / "some_data-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("a/wide.png", packed["wide"])
        archive.writestr("a/held.rcc", rcc({"other": b"x", "small.png": packed["small"]}))
    lines = ["name,package,version,member,licence,sha256,since"]
    for name, member in (("wide", "a/wide.png"), ("small", "a/held.rcc:/small.png")):
        digest = hashlib.sha256(packed[name]).hexdigest()
        lines.append(f"{name},some-data,1.0,{member},CC0-1.0,{digest},lite0")
    listed = tmp_path / "list.csv"
    listed.write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(photographs, "listed", lambda heads: _photographs_listed(listed, heads))
    assert photographs.collect(tmp_path / "packages", tmp_path / "out") == 5
    out = tmp_path / "out"
    made = sorted(p.relative_to(out).as_posix() for p in out.rglob("*.png"))
    assert made == ["small/photograph.png", *(f"wide-{k}/photograph.png" for k in range(4))]
    with Image.open(tmp_path / "out" / "wide-3" / "photograph.png") as quarter:
        assert quarter.size == (1024, 26)
    listed.write_text(listed.read_text().replace("a/wide.png,CC0-1.0,", "a/wide.png,CC0-1.0,0"))
    with pytest.raises(BenchError, match=r"a/wide\.png is another file in some_data"):
        photographs.collect(tmp_path / "packages", tmp_path / "again")
    listed.write_text(listed.read_text().replace(",1.0,", ",2.0,"))
    with pytest.raises(BenchError, match=r"no file of the package some-data 2\.0"):
        photographs.collect(tmp_path / "packages", tmp_path / "again")


_photographs_listed = photographs.listed


def test_the_trunk_is_the_packages_network() -> None:
    backbone = backbones.lite0("cpu")
    trunk = networks.Trunk(backbone.model).eval()
    torch.manual_seed(0)
    batch = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(trunk(batch)[1], backbone(batch), atol=0, rtol=0)
