"""A network made fast answers as before, or is left as it was."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.describe import engine, fusion, loading, speedup
from bench.describe.quickened import Quickened
from bench.errors import BenchError
from bench.settings import Settings

SIZES = ((97, 131), (64, 64), (33, 300))


class Block(nn.Module):
    """A residual block with its activation after the sum."""

    def __init__(self, arguments: int, made: int, stride: int) -> None:
        """Take channels in and out, and the stride."""
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(arguments, made, 1, bias=False), nn.BatchNorm2d(made)
        self.conv2 = nn.Conv2d(made, made, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(made)
        self.act = nn.ReLU(inplace=True)
        self.down = nn.Conv2d(arguments, made, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        y += self.down(x)
        return self.act(y)


class Small(nn.Module):
    """A stem whose parts are called from outside, a stage, and a head that is no convolution."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.conv, self.bn, self.act = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()
        self.stage = nn.Sequential(Block(8, 16, 2), Block(16, 16, 1), Block(16, 16, 1))
        self.head = nn.Sequential(nn.Linear(16, 5), nn.BatchNorm1d(5))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stage(self.act(self.bn(self.conv(x)))).mean(dim=(2, 3)))


class TwoUses(Small):
    """What the first convolution gives is used without the normalisation as well."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.head(self.stage(self.act(self.bn(y)) + y).mean(dim=(2, 3)))


class Twice(Small):
    """One normalisation after two convolutions."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.conv(x)) + self.bn(self.conv(x.flip(3)))
        return self.head(self.stage(self.act(y)).mean(dim=(2, 3)))


class Kept(Small):
    """The block's input is used after the block, which therefore may not write over it."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.stage = nn.Sequential(Block(8, 8, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.bn(self.conv(x)))
        return self.head(torch.cat([self.stage(y), y], dim=1).mean(dim=(2, 3)))


class Changed(Small):
    """The convolution's result is changed in place before the normalisation."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y += 1
        return self.head(self.stage(self.act(self.bn(y))).mean(dim=(2, 3)))


def drawn(kind: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    made = kind().eval()
    for part in made.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(part.running_var, 0.3, 3)
            nn.init.normal_(part.running_mean)
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    return made


def difference(first: nn.Module, other: nn.Module) -> float:
    """Return the largest difference of unit rows over several sizes."""
    off = 0.0
    with torch.inference_mode():
        for height, width in SIZES:
            x = torch.randn(2, 3, height, width)
            unit = [functional.normalize(net(x.clone())) for net in (first, other)]
            off = max(off, float((unit[0] - unit[1]).abs().max()))
    return off


FUSES = pytest.mark.skipif(not fusion.has_onednn(), reason="no fused calls of oneDNN here")


def quick(net: nn.Module, **how: Any) -> Quickened:
    return speedup.quicken(net, lambda x: [functional.normalize(net(x))], "cpu", **how)


@FUSES
def test_norms_are_folded_and_convolutions_fused() -> None:
    net = drawn(Small)
    before = copy.deepcopy(net)
    done = quick(net)
    assert (done.folded, done.fused) == (7, 8)  # 2 of each block and the stem; and one shortcut
    assert not any(isinstance(part, nn.BatchNorm2d) for part in net.modules())
    assert difference(net, before) < 1e-6
    sums = [n for n in net.stage.graph.nodes if n.op == "call_module" and len(n.args) == 2]
    assert len(sums) == 3


@FUSES
def test_fusion_has_a_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    net, before = drawn(Small), drawn(Small)
    monkeypatch.setenv(fusion.SWITCH, "0")
    done = quick(net)
    assert (done.folded, done.fused) == (7, 0)
    assert not any(isinstance(part, fusion.Fused) for part in net.modules())
    assert difference(net, before) < 1e-6


@FUSES
@pytest.mark.parametrize(("kind", "folded"), [(TwoUses, 0), (Twice, 7), (Kept, 3), (Changed, 6)])
def test_unusual_uses_of_a_layer_are_seen(kind: Any, folded: int) -> None:
    net = drawn(kind)
    before = copy.deepcopy(net)
    done = quick(net)
    assert done.folded == folded
    assert done.fused > 0
    assert difference(net, before) < 1e-6


def test_a_network_that_cannot_be_traced_is_folded_all_the_same() -> None:
    class Wilful(Block):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if float(x.mean()) < 1e9 else x

    net = drawn(Small)
    net.stage = drawn(lambda: nn.Sequential(Wilful(8, 16, 2), Wilful(16, 16, 1)))
    before = copy.deepcopy(net)
    done = quick(net)
    assert done.folded == 5
    assert difference(net, before) < 1e-6


def test_a_network_that_fails_is_not_touched() -> None:
    net = drawn(Small)

    def fails(batch: Tensor) -> list[Tensor]:
        raise ValueError("no")

    assert speedup.quicken(net, fails, "cpu") == Quickened()
    assert isinstance(net.bn, nn.BatchNorm2d)


def test_a_fault_of_a_rewritten_part_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self: Any, x: Tensor, other: Tensor | None = None) -> Tensor:
        return self.conv(x) * 1.001

    monkeypatch.setattr(fusion.Fused, "forward", wrong)
    net = drawn(Small)
    before = copy.deepcopy(net)
    done = quick(net)
    assert (done.folded, done.fused) == (7, 0)
    assert difference(net, before) < 1e-6


def types(net: nn.Module, kind: Any) -> list[torch.dtype]:
    return [part.weight.dtype for part in net.modules() if isinstance(part, kind)]


def test_half_precision_is_near_and_only_inside() -> None:
    net = drawn(Small)
    before = copy.deepcopy(net)
    done = quick(net, half=torch.bfloat16)
    assert done.parts == 2  # the stem's convolution and the stage
    assert set(types(net, nn.Conv2d)) == {torch.bfloat16}
    assert net.head[0].weight.dtype == torch.float32
    assert 1e-5 < difference(net, before) < 0.05


@pytest.mark.skipif(not fusion.has_onednn(torch.bfloat16), reason="oneDNN has no bf16 here")
def test_convolutions_are_fused_in_half_precision_too(monkeypatch: pytest.MonkeyPatch) -> None:
    net, other = drawn(Small), drawn(Small)
    before = copy.deepcopy(net)
    assert quick(net, half=torch.bfloat16).fused == 8
    monkeypatch.setattr(fusion, "has_onednn", lambda half=None: False)
    assert quick(other, half=torch.bfloat16).fused == 0
    exact, off = difference(other, before), difference(net, before)
    assert 1e-5 < off < 2 * exact  # sums are rounded less often
    x = torch.randn(2, 3, *speedup.SAMPLE_SIZE)  # of a size for which weights were arranged before
    with torch.inference_mode():
        rows, right = (functional.normalize(item(x)) for item in (net, before))
    assert (rows - right).abs().max() < 0.05
    fused = [part for part in net.modules() if isinstance(part, fusion.Fused)]
    kept = [weight for part in fused for weight in part.by_size.values()]
    assert {weight.dtype for weight in kept} == {torch.bfloat16}


@pytest.mark.skipif(not fusion.has_onednn(), reason="torch has no such calls of oneDNN here")
def test_weights_are_arranged_once_for_sizes_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(96, 192, 1).eval()
    fused = fusion.Fused(conv, fusion.ACTIVATIONS[nn.ReLU])
    sizes = [(1, 96, n, n + 3) for n in (2, 5, 9, 14, 20, 40)]

    def right(size: tuple[int, ...]) -> bool:
        x = torch.randn(size).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            return torch.allclose(fused(x), torch.relu(conv(x)), atol=1e-5)

    assert all(right(size) for size in sizes)
    made = dict(fused.by_size)
    assert set(made) == set(sizes)
    assert 1 <= len(fused.arranged) < len(sizes)
    assert {id(weight) for weight in made.values()} == {id(w) for w in fused.arranged.values()}
    assert all(right(size) for size in sizes)
    assert all(fused.by_size[size] is made[size] for size in sizes), "not arranged again"
    monkeypatch.setattr(fusion, "MOST_SIZES", 2)
    fused.forget()
    assert all(right(size) for size in sizes)
    assert len(fused.by_size) <= 2


class Tokens(nn.Module):
    """A map whose positions pass a linear layer, before one of the image as a whole."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 4, 4)
        self.each, self.both, self.whole = (nn.Linear(16, 16) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        t = self.each(self.conv(x).flatten(2).transpose(1, 2))
        t = torch.relu(t + self.both(t.mean(dim=1))[:, None])
        return self.whole(self.both(t).mean(dim=1))


class Tied(Tokens):
    """The weights of the layer of positions are used by themselves as well."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) @ self.each.weight


def test_linear_layers_of_positions_are_in_half_precision() -> None:
    net = drawn(Tokens)
    before = copy.deepcopy(net)
    assert quick(net, half=torch.bfloat16).parts == 2
    assert types(net, nn.Linear) == [torch.bfloat16, torch.float32, torch.float32]
    assert 1e-5 < difference(net, before) < 0.05


def test_a_linear_layer_whose_weights_are_asked_for_stays_as_it_is() -> None:
    net = drawn(Tied)
    before = copy.deepcopy(net)
    assert quick(net, half=torch.bfloat16).parts == 1
    assert set(types(net, nn.Linear)) == {torch.float32}
    assert 1e-5 < difference(net, before) < 0.05


def test_pooling_and_norms_stay_out_of_half_precision() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            """Make the layers."""
            super().__init__()
            self.conv, self.norm = nn.Conv2d(8, 8, 1), nn.GroupNorm(2, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.conv(x)).pow(3)

    part = fusion.trace(drawn(Pooled))
    assert part is not None
    assert not fusion.is_coarse(part)
    stage = fusion.trace(drawn(lambda: Block(8, 8, 1)))
    assert stage is not None
    assert not fusion.is_coarse(stage)  # its norms are not folded yet


# --- the settings, by the command line ------------------------------------------------------------


@FUSES
def test_real_methods_are_made_fast() -> None:
    ready = loading.load("delg.untrained", device="cpu")
    assert ready.quickened is not None
    assert ready.quickened.folded == 49
    assert ready.quickened.channels_last
    assert ready.quickened.fused > 30


def test_fp16_is_refused_on_a_processor(cli: Any, refused: Any) -> None:
    result = cli("run", "--method", "gem.untrained", "--precision", "fp16", "--device", "cpu")
    assert "fp16 needs a GPU" in refused(result)


def test_nothing_to_compile_is_one_sentence(cli: Any, refused: Any) -> None:
    result = cli("run", "--method", "random-unit", "--compile", "--device", "cpu")
    assert "has no attribute `network`" in refused(result)


def test_a_compiler_that_fails_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any, *arguments: Any, **how: Any) -> None:
        def forward(*arguments: Any) -> Any:
            kind = torch._dynamo.exc.BackendCompilerFailed
            arguments = (fail, RuntimeError("no g++"), None)  # older ones take no third
            raise kind(*arguments[: len(inspect.signature(kind).parameters)])

        self.forward = forward

    monkeypatch.setattr(nn.Module, "compile", fail)
    ready = loading.load("gem.untrained", device="cpu", settings=Settings(compiled=True))
    with pytest.raises(BenchError, match=r"could not compile .* run without --compile"):
        engine.describe(ready, [np.zeros((64, 64, 3), dtype=np.uint8)])


def test_precision_is_in_the_card_the_key_and_the_record(cli: Any, workspace: Any) -> None:
    from bench.records import record

    for precision in ("float32", "bf16"):
        result = cli(
            "run", "--method", "random-unit", "--precision", precision, "--device", "cpu",
            "--limit", "3",
        )  # fmt: skip
        assert result.status == 0, result.err
    contents = [record.read(path) for path in workspace.records()]
    assert {item["card"]["precision"] for item in contents} == {"float32", "bf16"}
    assert {item["timing"]["extraction"]["precision"] for item in contents} == {"float32", "bf16"}
    assert len({item["card_sha256"] for item in contents}) == 2
    assert len(list((workspace.cache / "descriptors").iterdir())) == 4


@pytest.mark.parametrize("asked", [True, False])
def test_tf32_is_as_asked_while_describing_and_put_back(asked: bool) -> None:
    flags = ((torch.backends.cudnn, "allow_tf32"), (torch.backends.cuda.matmul, "allow_tf32"))
    before = [getattr(place, name) for place, name in flags]
    loaded = loading.load("random-unit", device="cpu", settings=Settings(tf32=asked))
    seen: list[bool] = []

    def describe(batch: torch.Tensor) -> torch.Tensor:
        seen.extend(getattr(place, name) for place, name in flags)
        return torch.ones(len(batch), loaded.info.dim)

    method = SimpleNamespace(describe=describe)
    engine.describe(replace(loaded, method=method), [np.zeros((8, 8, 3), dtype=np.uint8)])
    assert seen == [asked, asked]
    assert [getattr(place, name) for place, name in flags] == before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
def test_a_gpu_answers_as_the_processor_does(precision: Any) -> None:
    pixels = [np.random.default_rng(i).integers(0, 256, (96, 128, 3), np.uint8) for i in range(4)]
    usual = engine.describe(loading.load("delg.untrained", device="cpu"), pixels)
    settings = Settings(precision=precision)
    rows = engine.describe(loading.load("delg.untrained", None, "cuda", settings), pixels)
    assert np.abs(rows - usual).max() < (1e-4 if precision == "float32" else 0.05)


def test_attention_is_in_half_where_it_is_asked_for() -> None:
    """What a linear layer and a softmax take: float32 in bf16, bf16 in bf16-attention."""

    class ToyAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.proj = nn.Linear(12, 36), nn.Linear(12, 12)
            self.seen: list[torch.dtype] = []

        def forward(self, x: torch.Tensor, mask: None = None) -> torch.Tensor:
            q, k, v = self.qkv(x).chunk(3, dim=2)
            self.seen.append(q.dtype)
            return self.proj(functional.scaled_dot_product_attention(q, k, v))

    class Toy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.proj = nn.Conv2d(3, 12, 16, 16)
            self.attn, self.norm = ToyAttention(), nn.LayerNorm(12)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tokens = self.proj(x).flatten(2).transpose(1, 2)
            return self.norm(tokens + self.attn(tokens, mask=None)).mean(1)

    torch.manual_seed(0)
    batch = torch.randn(2, 3, 64, 64)
    rows, inner = {}, {}
    for name in ("float32", "bf16", "bf16-attention"):
        torch.manual_seed(1)
        net = Toy().eval().requires_grad_(False)
        attention = net.attn
        if name == "bf16-attention":
            assert speedup.cut_attention(net) == 1
        half = None if name == "float32" else torch.bfloat16
        speedup.quicken(net, lambda x, net=net: [net(x)], "cpu", half=half)
        attention.seen.clear()
        rows[name] = functional.normalize(net(batch), dim=1)
        inner[name] = set(attention.seen)
        assert rows[name].dtype == torch.float32
    assert inner == {
        "float32": {torch.float32}, "bf16": {torch.float32}, "bf16-attention": {torch.bfloat16},
    }  # fmt: skip
    for name in ("bf16", "bf16-attention"):
        off = float((rows[name] - rows["float32"]).abs().max())
        assert 1e-6 < off < 0.02, name
