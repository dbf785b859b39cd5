"""Methods on DINOv2 answer as their programs do, from image file to vector; refusals of files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from _pytest.mark import ParameterSet
from safetensors.torch import save_file

from bench.describe import loading
from bench.errors import BenchError
from bench.methods._nets import anyloc, dinov2, families, transport
from tests.support import conformance
from tests.support.checkout import ROOT
from tests.support.conformance import TOLERANCE, Find, Set, State


def bare(state: State, path: Path) -> None:
    """Write a state as it is."""
    torch.save(state, path)


def wrapped(key: str) -> Callable[[State, Path], None]:
    """Return a writer that wraps the state as a training program does."""

    def write(state: State, path: Path) -> None:
        torch.save({"epoch_num": 9, key: state}, path)

    return write


@dataclass(frozen=True)
class Official:
    """One set, and the method whose answers it holds."""

    name: str
    method: str
    write: Callable[[State, Path], None] = bare
    file: str = "w.pth"
    more: Callable[[Set], State] | None = None

    def __str__(self) -> str:
        return self.method


def centres(conformance_set: Set) -> State:
    """Return the vocabulary of the AnyLoc set: rows to unit norm, times 0.6."""
    entry = conformance_set.facts["centres"]
    rows = torch.from_numpy(conformance_set.drawn(entry["key"], entry["shape"]))
    return {"c_centers": 0.6 * torch.nn.functional.normalize(rows, dim=1)}


LU = wrapped("model_state_dict")
OFFICIAL = (
    Official("dinov2_vits14", "dinov2"),
    Official("dinov2_vits14_reg", "dinov2.vits14-reg", save_file, "w.safetensors"),
    Official("megaloc_8448", "megaloc", save_file, "model.safetensors"),
    Official("salad_dinov2_8448", "salad", bare, "dino_salad.ckpt"),
    Official("cliquemining_dinov2_8448", "cliquemining", wrapped("state_dict")),
    Official("boq_dinov2_12288", "boq"),
    Official("image_dinov2_6144", "image-vpr", LU),
    Official("supervlad_dinov2_3072", "supervlad", LU),
    Official("edtformer_dinov2_4096", "edtformer", LU),
    Official("selavprpp_base", "selavprpp", LU),
    Official("selavprpp_base_rerank", "selavprpp.base-rerank", LU),
    Official("anyloc_vits14", "anyloc.vits14", more=centres),
)
QUICK = ("dinov2_vits14",)


def marked(official: Official) -> ParameterSet:
    """Return the parameter of a test: all but the smallest network take long to rebuild."""
    slow = () if official.name in QUICK else (pytest.mark.slow, pytest.mark.large)
    return pytest.param(official, marks=slow, id=str(official))


@pytest.mark.slow
@pytest.mark.parametrize("official", [marked(official) for official in OFFICIAL])
def test_descriptors_are_the_official_ones(
    official: Official, shared: Find, tmp_path: Path
) -> None:
    """Every rule of the set, by the command line; codes bit by bit, in the first rule's order."""
    found = conformance.read(shared, official.name)
    path = tmp_path / official.file
    official.write(found.state() | (official.more(found) if official.more else {}), path)
    rows = conformance.described(found, official.method, path, tmp_path)
    difference = conformance.differences(rows, found.answers["descriptors"])
    assert (difference < TOLERANCE).all(), difference
    if "binary" in found.answers:
        with np.load(tmp_path / "0" / "database.npz", allow_pickle=False) as stored:
            order = [str(name).removesuffix(".png") for name in stored["ids"]]
            codes = stored["codes"]
        rule = found.facts["cases"][0]["rule"]
        cases = [case["image"] for case in found.facts["cases"] if case["rule"] == rule]
        wanted = found.answers["binary"].astype(bool)
        assert codes.shape == wanted.shape == (len(cases), 512)
        assert (codes[[order.index(case) for case in cases]] == wanted).all()


def small(registers: int = 0, antialias: bool = False) -> dinov2.DinoV2:
    """Return ViT-S/14 with weights that have a size that matters, the same everywhere."""
    network = dinov2.DinoV2("small", registers, antialias).eval()
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.02 * torch.randn(parameter.shape, generator=draw))
    return network


def cubic(line: np.ndarray, places: np.ndarray, a: float) -> np.ndarray:
    """Sample a line at places by cubic convolution (Keys 1981), the ends repeated."""
    out = np.zeros(len(places))
    first = np.floor(places).astype(int)
    for tap in range(-1, 3):
        x = np.abs(places - (first + tap))
        near = (a + 2) * x**3 - (a + 3) * x**2 + 1
        far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
        weight = np.where(x <= 1, near, np.where(x < 2, far, 0.0))
        out += weight * line[np.clip(first + tap, 0, len(line) - 1)]
    return out


@pytest.mark.slow
def test_positions_by_the_two_rules() -> None:
    """Plain: torch's cubic at 37 / (m + 0.1); hub's registers: Pillow's cubic at 37 / m."""
    plain, hub = small(), small(registers=4, antialias=True)
    assert plain.positions(37, 37) is plain.pos_embed
    assert plain.positions(11, 23).shape == (1, 1 + 11 * 23, 384)
    line = np.random.default_rng(0).standard_normal(37)
    table = torch.from_numpy(line).float()[:, None].expand(37, 37).reshape(1, 37 * 37, 1)
    with torch.no_grad():
        for network in (plain, hub):
            network.pos_embed[:, 1:] = table
    places = np.arange(74) + 0.5
    for network, ratio, a in ((plain, 37 / 74.1, -0.75), (hub, 37 / 74, -0.5)):
        rows = network.positions(74, 74)[0, 1:, 0].reshape(74, 74)[:, 40].detach().numpy()
        wanted = cubic(line, places * ratio - 0.5, a)
        inside = slice(4, 70)  # at the ends Pillow's weights are of what is there
        np.testing.assert_allclose(rows[inside], wanted[inside], atol=1e-4)
    rows = plain.positions(23, 23)[0, 1:, 0].reshape(23, 23)[:, 7].detach().numpy()
    wanted = cubic(line, (np.arange(23) + 0.5) * 37 / 23.1 - 0.5, -0.75)
    np.testing.assert_allclose(rows, wanted, atol=1e-4, err_msg="not antialiased")


def test_registers_stand_between_class_token_and_patches_without_positions() -> None:
    network = small(registers=4)
    tokens, grid = network.tokens(torch.zeros(2, 3, 28, 42))
    assert (tuple(tokens.shape), grid, network.prefix) == ((2, 1 + 4 + 6, 384), (2, 3), 5)
    torch.testing.assert_close(tokens[:, 1:5], network.register_tokens.expand(2, -1, -1))
    first = network.cls_token[0, 0] + network.pos_embed[0, 0]
    torch.testing.assert_close(tokens[1, 0], first)


def test_transport_worked_by_iteration_in_plain_numbers() -> None:
    """Masses after the last step are those of the patches; against a loop on exponentials."""
    draw = torch.Generator().manual_seed(1)
    scores, dust = torch.randn(1, 2, 5, generator=draw), torch.tensor(0.3)
    got = transport.assignment(scores, dust)[0].double().numpy()
    k = np.exp(np.vstack([scores[0].double().numpy(), np.full((1, 5), 0.3)]))
    rows = np.full(3, 1 / 7)
    rows[-1] *= 3  # the dustbin: m - k = 3 patches
    u, v = np.ones(3), np.ones(5)
    for _ in range(3):
        u = rows / (k @ v)
        v = (1 / 7) / (k.T @ u)
    np.testing.assert_allclose(got, 7 * (u[:, None] * k * v)[:2], rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "least", "part"),
    [((224, 230), 1, "multiples of 14"), ((112, 112), 65, "64 patches"), ((14, 14), 1, None),
     ((112, 126), 65, None)],
)  # fmt: skip
def test_sizes_that_are_refused(size: tuple[int, int], least: int, part: str | None) -> None:
    found = dinov2.refusal(*size, least)
    assert (found is None) if part is None else (part in str(found))


def state_of_small(**changes: Any) -> State:
    """Return the state of ViT-S/14 as the official file has it."""
    return {**small().state_dict(), "mask_token": torch.zeros(1, 384), **changes}


def without(state: State, name: str) -> State:
    return {key: tensor for key, tensor in state.items() if key != name}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "part"),
    [
        (lambda s: without(s, "norm.bias"), "1 missing: norm.bias"),
        (lambda s: {**s, "head.weight": torch.zeros(2)}, "1 unexpected: head.weight"),
        (lambda s: {**s, "norm.bias": torch.full((384,), torch.nan)}, "with NaN or infinity"),
        (lambda s: {k: v for k, v in s.items() if not k.startswith("blocks.11.")}, "11 blocks"),
        (lambda s: {**s, "register_tokens": torch.zeros(1, 4, 384)}, "with registers"),
        (lambda s: {f"backbone.model.{k}": v for k, v in s.items()}
         | {"aggregator.dust_bin": torch.zeros(())}, "salad.dinov2-8448"),
        (lambda s: {**s, "norm.bias": torch.zeros(768)}, "norm.bias is (768,)"),
    ],
)  # fmt: skip
def test_files_that_are_refused(tmp_path: Path, spoil: Callable[[State], State], part: str) -> None:
    path = tmp_path / "spoilt.pth"
    torch.save(spoil(state_of_small()), path)
    with pytest.raises(BenchError) as raised:
        loading.load("dinov2.vits14", str(path), "cpu")
    assert part in str(raised.value)


def test_a_pickle_with_code_is_refused(tmp_path: Path) -> None:
    class Code:
        def __reduce__(self) -> Any:
            return print, ("code ran",)

    path = tmp_path / "code.pth"
    torch.save({"norm.bias": Code()}, path)
    with pytest.raises(BenchError, match=r"code\.pth is not a plain checkpoint"):
        loading.load("dinov2.vits14", str(path), "cpu")


def test_every_layout_names_the_method_that_takes_it() -> None:
    marks = {
        "megaloc": ("backbone.blocks.0.x", "aggregator.agg.x"),
        "salad": ("backbone.model.blocks.0.x", "aggregator.dust_bin"),
        "image": ("learnable_aggregation_tokens", "backbone.register_tokens"),
        "selavprpp": ("backbone.adapters.0.branch1.x", "linear2.x"),
        "selavprpp-rerank": ("backbone.adapters.0.branch1.x", "linear2.x", "linear4.x",
                             "backbone.adapters_hashing.0.x"),
        "edtformer": ("backbone.adapters.0.D_fc1.x", "decoder.layers.0.x"),
        "supervlad": ("backbone.blocks.0.x", "aggregation.conv.weight"),
        "cricavpr": ("backbone.blocks.0.x", "encoder.layers.0.x"),
        "dinov2": ("blocks.0.ls1.gamma", "cls_token"),
        "anyloc": ("blocks.0.ls1.gamma", "cls_token", "c_centers"),
        "dinov2-reg": ("blocks.0.ls1.gamma", "cls_token", "register_tokens"),
        "boq-dinov2": ("backbone.dino.x", "aggregator.boqs.0.x"),
    }  # fmt: skip
    for name, keys in marks.items():
        assert families.family_of(keys) == name


def test_residuals_belong_to_the_centre_of_the_largest_cosine() -> None:
    """Worked: a short centre takes a patch by its direction, and its residual is to itself."""
    s = 0.5**0.5
    unit = torch.tensor([[[1.0, 0.0], [s, s], [0.0, 1.0]]])
    rows = anyloc.vlad(unit, torch.tensor([[0.5, 0.0], [0.0, 4.0], [-1.0, 0.0]]))
    first = torch.tensor([1 + s - 2 * 0.5, s])  # two patches: cosine is 1 and the first of equals
    wanted = [(first / first.norm()).tolist(), [0.0, -1.0], [0.0, 0.0]]
    torch.testing.assert_close(rows[0], torch.tensor(wanted))


def test_centres_alone_need_the_file_of_the_transformer(cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "centres.pt"
    torch.save(torch.zeros(32, 1536), path)
    alone = cli("run", "--method", "anyloc.vitg14-urban", "--weights", path)
    assert alone.status == 1
    assert "`python -m bench weights get dinov2.vitg14`" in alone.err
    absent = cli("run", "--method", "anyloc.vits14")
    assert absent.status == 1
    assert "c_centers (32, 384)" in absent.err
    torch.save(torch.zeros(8, 384), path)
    other = cli("run", "--method", "anyloc.vits14", "--weights", path)
    assert other.status == 1
    assert "(8, 384)" in other.err


def test_a_method_whose_descriptor_depends_on_the_batch_is_refused(cli: Any, refused: Any) -> None:
    text = refused(cli("run", "--method", "cricavpr"))
    assert "cricavpr.dinov2-10752" in text
    assert "every batch" in text


def test_what_is_absent_is_named_before_anything_slow_is_imported(process: Any) -> None:
    """The commands for weights and for data, without torch, scipy.stats or faiss."""
    text = process("run", "--method", "megaloc", "--dataset", "pitts30k", "--limit", "2")
    assert text.status == 1
    data, weights = text.errors
    assert "pitts30k_test.mat" in data
    assert "`python -m bench weights get megaloc`" in weights
    code = (
        "import sys; from bench.commands.main import main; main(['run', '--method', 'megaloc']); "
        "print(sorted({'torch', 'timm', 'scipy', 'faiss', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "`python -m bench weights get megaloc`" in done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_smallest_keeps_the_contract(tmp_path: Path, cli: Any) -> None:
    """Batches, orders, odd images: small ones are refused by their size, kinds are not."""
    path = tmp_path / "small.pth"
    torch.save(state_of_small(), path)
    result = cli("check", "dinov2.vits14", "--weights", path, "--resize", "bilinear:56x56")
    assert result.status == 0, result.out
    assert "FAILS" not in result.out
    native = cli("check", "dinov2.vits14", "--weights", path, "--resize", "multiple-of-14",
                 "--max-side", "112")  # fmt: skip
    assert native.status == 0, native.out
    assert "tiny.png is refused" in native.out


@pytest.mark.slow
def test_data_verify_names_what_a_method_does_not_take(
    tmp_path: Path, cli: Any, workspace: Any
) -> None:
    """Before a run, with the rule and the refusals of the method; the run says the same."""
    from PIL import Image

    for name, size in (("good", (60, 40)), ("narrow", (60, 4))):
        Image.new("RGB", size, "teal").save(tmp_path / f"{name}.png")
    described = {
        "name": "two", "images": ".", "database": ["good.png", "narrow.png"],
        "queries": [{"file": "good.png"}], "protocols": {"any": [{"positive": [0]}]},
    }  # fmt: skip
    data = tmp_path / "dataset.json"
    data.write_text(json.dumps(described), encoding="utf-8")
    weights = tmp_path / "small.pth"
    torch.save(state_of_small(), weights)
    result = cli("data", "verify", data, "--method", "dinov2.vits14", "--weights", weights)
    assert result.status == 1
    (line,) = [line for line in result.out.splitlines() if "narrow.png" in line]
    assert "PROBLEM" in line
    assert "60 x 4 pixels" in line
    common = ("--method", "dinov2.vits14", "--weights", weights, "--device", "cpu")
    run = cli("run", "--dataset", data, *common)
    assert run.status == 1
    assert "60 x 4 pixels" in run.err
    assert cli("run", "--dataset", data, *common, "--allow-missing").status == 0
    (path,) = workspace.records()
    assert json.loads(path.read_text())["card"]["missing"]["database"] == [1]
