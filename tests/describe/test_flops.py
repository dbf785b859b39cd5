"""Floating-point operations: those of the textbook, and no figure where one cannot be counted."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.attention.flex_attention
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode, flop_registry, register_flop_formula

from bench.describe import flops

PRODUCT = 2 * 5 * 7 * 5


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


ROWS, IMAGE, TOKENS = draw(5, 7), draw(2, 4, 9, 11), draw(1, 6, 16)
SQUARE = ROWS @ ROWS.T + torch.eye(5)


def counted(work: Callable[[], object]) -> int | None:
    """Return the count, the same in both modes that torch may be in; the work is done once each."""
    calls: list[None] = []
    with torch.no_grad():
        plain = flops.count(lambda: (calls.append(None), work()))
    with torch.inference_mode():
        assert flops.count(lambda: (calls.append(None), work())) == plain
    assert len(calls) == 2, "the counter failed"
    return plain


# --- what is counted ----------------------------------------------------------------------------


def test_operations_are_those_of_the_textbook() -> None:
    grouped = nn.Conv2d(4, 6, (3, 5), groups=2, stride=2)
    spread = nn.ConvTranspose2d(4, 6, 3, stride=2)
    line = nn.Conv1d(4, 6, 3)
    vector = ROWS[0]
    cases: list[tuple[Callable[[], object], int | None]] = [
        (lambda: grouped(IMAGE), 2 * (2 * 6 * 4 * 4) * (2 * 3 * 5)),
        (lambda: spread(IMAGE), 2 * (2 * 9 * 11) * (4 * 6 * 3 * 3)),
        (lambda: line(IMAGE[:, :, 0]), 2 * (2 * 6 * 9) * (4 * 3)),
        (lambda: nn.Linear(7, 3)(ROWS), 2 * 5 * 7 * 3),
        (lambda: nn.Linear(7, 3)(vector), 2 * 7 * 3),
        (lambda: ROWS @ ROWS.T, PRODUCT),
        (lambda: ROWS @ vector, 2 * 5 * 7),
        (lambda: vector @ vector, 2 * 7),
        (lambda: torch.vdot(vector, vector), 2 * 7),
        (lambda: torch.addmv(ROWS[:, 0], ROWS, vector), 2 * 5 * 7),
        (lambda: torch.addmm(ROWS[:, 0], ROWS, ROWS.T), PRODUCT),
        (lambda: torch.einsum("ij,kj->ik", ROWS, ROWS), PRODUCT),
        (lambda: torch.einsum("bchw,bdhw->bcd", IMAGE, IMAGE), 2 * 2 * 4 * 4 * 99),
        (lambda: torch.func.vmap(lambda row: ROWS @ row)(ROWS), PRODUCT),
        (lambda: torch.linalg.multi_dot([ROWS, ROWS.T, ROWS]), PRODUCT + 2 * 5 * 5 * 7),
        (lambda: nn.GRUCell(7, 2)(ROWS), 2 * 5 * 3 * 2 * (7 + 2)),
        (lambda: ROWS + ROWS, None),
        (lambda: ROWS.numpy() @ ROWS.numpy().T, None),
    ]
    for work, wanted in cases:
        assert counted(work) == wanted


def test_attention_is_counted_though_torch_has_one_operation_for_it() -> None:
    tokens, dim = 6, 16
    attention = nn.MultiheadAttention(dim, 2, batch_first=True).eval()
    projections, products = 4 * 2 * tokens * dim * dim, 2 * 2 * tokens * tokens * dim
    for fast in (True, False):
        torch.backends.mha.set_fastpath_enabled(fast)
        try:
            for weights in (False, True):
                work = lambda w=weights: attention(TOKENS, TOKENS, TOKENS, need_weights=w)  # noqa: E731
                assert counted(work) == projections + products
            assert torch.backends.mha.get_fastpath_enabled() == fast
        finally:
            torch.backends.mha.set_fastpath_enabled(True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_counts_alike_whichever_operation_torch_takes(dtype: torch.dtype) -> None:
    heads, asked, there, dim, out = 4, 5, 7, 8, 8
    query, key = draw(2, heads, asked, dim).to(dtype), draw(2, heads, there, dim).to(dtype)
    shared = draw(2, 2, there, dim).to(dtype)
    mask = torch.ones(asked, there, dtype=torch.bool).tril()
    attend = functional.scaled_dot_product_attention
    wanted = 2 * 2 * heads * asked * there * (dim + out)
    assert counted(lambda: attend(query, key, key)) == wanted
    assert counted(lambda: attend(query, key, key, attn_mask=mask)) == wanted
    assert counted(lambda: attend(query, key, key, is_causal=True)) == wanted
    assert counted(lambda: attend(query, shared, shared, enable_gqa=True)) == wanted
    narrow = wanted // (dim + out) * (dim + 3)
    assert flops._attention(query, key, key[..., :3]) == narrow
    assert counted(lambda: attend(query, key, key[..., :3])) == narrow
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        assert counted(lambda: attend(query, key, key)) == wanted


def test_a_transformer_of_torch_is_counted_layer_by_layer() -> None:
    tokens, dim, wide = 6, 16, 32
    layer = nn.TransformerEncoderLayer(dim, 2, wide, batch_first=True).eval()
    attention = 4 * 2 * tokens * dim * dim + 2 * 2 * tokens * tokens * dim
    assert counted(lambda: layer(TOKENS)) == attention + 2 * 2 * tokens * dim * wide


@pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_convolution_pointwise"), reason="this torch has no oneDNN"
)
def test_a_convolution_fused_by_onednn_counts_as_a_convolution() -> None:
    conv, x = nn.Conv2d(4, 8, 3, padding=1, groups=2), draw(1, 4, 6, 7)
    how = (conv.padding, conv.stride, conv.dilation, conv.groups)
    end = ("relu", [], "")
    other = draw(1, 8, 6, 7)
    wanted = 2 * (8 * 6 * 7) * (2 * 3 * 3)
    plain = torch.ops.mkldnn._convolution_pointwise
    added = torch.ops.mkldnn._convolution_pointwise_.binary

    def arranged() -> Tensor:
        arrange = torch.ops.mkldnn._reorder_convolution_weight
        return arrange(conv.weight.detach(), *how, [1, 4, 6, 7])

    with torch.inference_mode():
        assert flops.count(lambda: conv(x)) == wanted
        assert flops.count(lambda: plain(x, arranged(), conv.bias, *how, *end)) == wanted
        sums = lambda: added(other, x, arranged(), conv.bias, *how, "add", 1.0, *end)  # noqa: E731
        assert flops.count(sums) == wanted


def test_a_parameter_that_a_network_hands_to_a_module_stops_nothing() -> None:
    """Torch's own counter fails here: it wants a gradient's function, and there is none."""

    class Pool(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.project = nn.Parameter(draw(3, 16)), nn.Linear(16, 16)

        def forward(self, x: Tensor) -> Tensor:
            return self.project(self.query.expand(3, -1)) @ x[0].T

    pool = Pool().eval()
    assert counted(lambda: pool(TOKENS)) == 2 * 3 * 16 * 16 + 2 * 3 * 16 * 6


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.filterwarnings("ignore:Guards may run slower")  # torch, of Python 3.13.0
def test_torch_script_and_compiled_parts_are_counted_as_what_they_do() -> None:
    network = nn.Sequential(nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten())
    network.append(nn.Linear(3 * 7 * 9, 5)).eval()
    wanted = 2 * (2 * 3 * 7 * 9) * (4 * 3 * 3) + 2 * 2 * (3 * 7 * 9) * 5
    hiding = lambda graph, inputs: lambda *arguments: (torch.zeros(2, 5),)  # noqa: E731
    compiled = torch.compile(network, backend=hiding)
    with torch.inference_mode():
        assert not compiled(IMAGE).any()
    for part in (network, compiled):
        assert counted(lambda part=part: part(IMAGE)) == wanted
    scripted = torch.jit.script(network)
    frozen = torch.jit.freeze(scripted)
    rewritten = torch.jit.optimize_for_inference(torch.jit.script(network))
    for part in (scripted, frozen):
        for _ in range(3):
            part(IMAGE)  # it is rewritten while it is used
        assert counted(lambda part=part: part(IMAGE)) == wanted
    assert counted(lambda: rewritten(IMAGE)) in (None, wanted)  # oneDNN's convolution is hidden


def test_modes_of_the_method_itself_change_nothing() -> None:
    def work() -> None:
        with FlopCounterMode(display=False), torch.profiler.record_function("product"):
            _ = ROWS @ ROWS.T

    assert counted(work) == PRODUCT


# --- what is free -------------------------------------------------------------------------------

AFTER = nn.Sequential(
    nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True), nn.PReLU(4),
    nn.GELU(), nn.Dropout2d(), nn.MaxPool2d(2), nn.Upsample(scale_factor=2, mode="bilinear"),
    nn.PixelUnshuffle(2),
).eval()  # fmt: skip
POINTS = torch.tensor([3, 0, 2])
FREE: list[Callable[[], object]] = [
    lambda: AFTER(IMAGE),
    lambda: copy.deepcopy(AFTER).train()(IMAGE),
    lambda: functional.layer_norm(ROWS, (7,), ROWS[0], ROWS[1]),
    lambda: functional.rms_norm(ROWS, (7,), ROWS[0]),
    lambda: functional.local_response_norm(IMAGE, 3),
    lambda: nn.utils.parametrizations.weight_norm(nn.Linear(7, 3)).weight,
    lambda: functional.interpolate(IMAGE, (5, 6), mode="bicubic", antialias=True),
    lambda: functional.adaptive_avg_pool2d(IMAGE, 2).clamp(min=1e-6).pow(3).mean((2, 3)),
    lambda: functional.grid_sample(IMAGE, draw(2, 3, 3, 2).tanh(), align_corners=False),
    lambda: functional.max_unpool2d(
        *functional.max_pool2d(IMAGE[..., :8, :8], 2, return_indices=True), 2
    ),
    lambda: functional.pad(functional.unfold(IMAGE, 3), (1, 2)) - torch.rsub(ROWS, ROWS)[0, 0],
    lambda: functional.normalize(ROWS) / ROWS.norm(dim=1, keepdim=True),
    lambda: functional.embedding(POINTS, ROWS) + ROWS[POINTS],
    lambda: functional.embedding_bag(
        POINTS[None], ROWS, mode="sum", per_sample_weights=ROWS[:1, :3]
    ),
    lambda: functional.softmax(ROWS, 0) + ROWS.log_softmax(1) + ROWS.logsumexp(0),
    lambda: torch.cat([ROWS, ROWS]) + torch.stack([ROWS, ROWS], 1).flatten(0, 1),
    lambda: torch.where(ROWS > 0, ROWS, ROWS.abs()).masked_fill(ROWS.isnan(), 0.0),
    lambda: ROWS.clone().eq_(ROWS).copy_(ROWS).index_put_((POINTS,), ROWS[:3]),
    lambda: ROWS.clone().index_add_(0, POINTS, ROWS[:3]).scatter_add_(0, POINTS[:, None], ROWS[:3]),
    lambda: ROWS.scatter(0, POINTS[:, None], ROWS[:3]).masked_scatter(ROWS > 0, ROWS),
    lambda: (ROWS.gather(0, POINTS[:, None]), torch.equal(ROWS, ROWS), torch.allclose(ROWS, ROWS)),
    lambda: (ROWS.sort(), ROWS.topk(2), ROWS.unique(), ROWS.median(), ROWS.argmax(0), ROWS.amax(0)),
    lambda: (ROWS.cumsum(0), ROWS.std(0), torch.var_mean(ROWS), ROWS.quantile(0.3), ROWS.flip(0)),
    lambda: (
        torch.searchsorted(ROWS[0].sort()[0], ROWS[1]),
        torch.bucketize(ROWS, ROWS[0].sort()[0]),
    ),
    lambda: (
        torch.rand(3),
        torch.randperm(4),
        torch.bernoulli(ROWS.sigmoid()),
        ROWS.clone().normal_(),
    ),
    lambda: (
        ROWS.to(torch.bfloat16),
        ROWS.type_as(IMAGE),
        ROWS.double(),
        ROWS.contiguous().view(-1),
    ),
    lambda: (
        torch.lerp(ROWS, ROWS, ROWS),
        torch.addcmul(ROWS, ROWS, ROWS),
        torch.maximum(ROWS, ROWS),
    ),
    lambda: (torch.outer(ROWS[0], ROWS[1]), torch.polar(ROWS.abs(), ROWS), torch.dist(ROWS, ROWS)),
]


@pytest.mark.parametrize("number", range(len(FREE)))
def test_what_the_definition_leaves_out_is_free(number: int) -> None:
    assert counted(lambda: (FREE[number](), ROWS @ ROWS.T)) == PRODUCT


def test_no_operation_that_multiplies_is_free_by_its_name() -> None:
    """All operations that torch has, by the words of their names."""
    schemas = [schema.name for schema in torch._C._jit_get_all_schemas()]
    names = {name.partition("::")[2] for name in schemas if name.startswith("aten::")}
    words = (
        "mm", "mv", "dot", "matmul", "conv", "attention", "lstm", "gru", "rnn", "linear", "cdist",
        "fft", "solve", "inverse", "svd", "eig", "qr",
    )  # fmt: skip
    multiplies = {n for n in names if set(words) & {*n.split("_")} and "backward" not in n}
    assert len(multiplies) > 60
    cells = {"_thnn_fused_lstm_cell", "_thnn_fused_gru_cell"}  # the products are done before
    assert {n for n in multiplies if flops.FREE.fullmatch(n)} <= cells


# --- what makes the figure None -----------------------------------------------------------------


def layer_in_one_piece() -> object:
    d, h = 16, 32
    norms = [torch.ones(d), torch.zeros(d)] * 2
    attention = [draw(3 * d, d), draw(3 * d), draw(d, d), draw(d)]
    network = [draw(h, d), draw(h), draw(d, h), draw(d)]
    return torch._transformer_encoder_layer_fwd(
        TOKENS, d, 2, *attention, False, False, 1e-5, *norms, *network
    )


def attention_in_one_piece() -> object:
    weights = [draw(48, 16), draw(48), draw(16, 16), draw(16)]
    return torch._native_multi_head_attention(TOKENS, TOKENS, TOKENS, 16, 2, *weights)


def sparse_product(layout: torch.layout) -> Callable[[], object]:
    sparse = SQUARE.to_sparse(layout=layout)
    return lambda: sparse @ ROWS


UNCOUNTED: dict[str, Callable[[], object]] = {
    "attention in one piece": attention_in_one_piece,
    "transformer layer in one piece": layer_in_one_piece,
    "distances": lambda: torch.cdist(ROWS, ROWS),
    "distances in one set": lambda: torch.pdist(ROWS),
    "bilinear": lambda: nn.Bilinear(7, 7, 3)(ROWS, ROWS),
    "outer product added": lambda: torch.addr(SQUARE, ROWS[:, 0], ROWS[:, 1]),
    "sum of products": lambda: torch.addbmm(SQUARE, ROWS[None], ROWS.T[None]),
    "product in place": lambda: SQUARE.clone().addmm_(ROWS, ROWS.T),
    "inverse": lambda: torch.linalg.inv(SQUARE),
    "determinant": lambda: torch.linalg.det(SQUARE),
    "solver": lambda: torch.linalg.solve(SQUARE, ROWS),
    "least squares": lambda: torch.linalg.lstsq(ROWS.T, ROWS.T),
    "singular values": lambda: torch.linalg.svd(ROWS),
    "eigenvectors": lambda: torch.linalg.eigh(SQUARE),
    "qr": lambda: torch.linalg.qr(ROWS),
    "reflections": lambda: torch.geqrf(ROWS),
    "cholesky": lambda: torch.linalg.cholesky(SQUARE),
    "exponential of a matrix": lambda: torch.linalg.matrix_exp(SQUARE),
    "pseudo-inverse": lambda: torch.linalg.pinv(ROWS),
    "fourier transform": lambda: torch.fft.rfft2(IMAGE),
    "complex product": lambda: ROWS.to(torch.complex64) @ ROWS.T.to(torch.complex64),
    "oneDNN's layout": lambda: functional.linear(ROWS.to_mkldnn(), ROWS.to_mkldnn()),
}


@pytest.mark.parametrize("kind", UNCOUNTED)
def test_an_operation_that_is_not_counted_leaves_no_figure(kind: str) -> None:
    UNCOUNTED[kind]()  # it does run
    assert counted(lambda: (UNCOUNTED[kind](), ROWS @ ROWS.T)) is None


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_a_sparse_product_leaves_no_figure(layout: torch.layout) -> None:
    work = sparse_product(layout)
    torch.testing.assert_close(work(), SQUARE @ ROWS)
    assert counted(lambda: (work(), ROWS @ ROWS.T)) is None


def test_recurrent_layers_count_in_full_or_not_at_all() -> None:
    steps, width = 5, 4
    for kind, gates in ((nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)):
        layer: nn.Module = kind(7, width).eval()
        in_full = 2 * steps * gates * width * (7 + width)
        assert counted(lambda layer=layer: layer(ROWS)) in (None, in_full)


@pytest.mark.filterwarnings("ignore:.*quant")
@pytest.mark.skipif("x86" not in torch.backends.quantized.supported_engines, reason="no x86 engine")
def test_a_quantised_layer_leaves_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.quantized, "engine", "x86")
    weight = torch.quantize_per_tensor(draw(3, 7), 0.1, 0, torch.qint8)
    packed = torch.ops.quantized.linear_prepack(weight, None)
    work = lambda: torch.ops.quantized.linear_dynamic(ROWS, packed)  # noqa: E731
    assert work().shape == (5, 3)
    assert counted(lambda: (work(), ROWS @ ROWS.T)) is None


@pytest.mark.filterwarnings("ignore:.*fbgemm")
@pytest.mark.skipif("fbgemm" not in torch.backends.quantized.supported_engines, reason="no FBGEMM")
def test_a_product_with_packed_weights_leaves_no_figure() -> None:
    packed = torch.fbgemm_pack_gemm_matrix_fp16(draw(3, 7))
    work = lambda: torch.fbgemm_linear_fp16_weight_fp32_activation(ROWS, packed, draw(3))  # noqa: E731
    assert work().shape == (5, 3)
    with torch.inference_mode():
        assert flops.count(lambda: (work(), ROWS @ ROWS.T)) is None


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_operations_of_higher_order_count_in_full_or_not_at_all() -> None:
    heads = draw(1, 2, 16, 8)
    flex = torch.nn.attention.flex_attention.flex_attention
    in_full = 2 * 2 * 2 * 16 * 16 * 8 + PRODUCT
    assert flops.count(lambda: (flex(heads, heads, heads), ROWS @ ROWS.T)) in (None, in_full)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tensors_of_tensors_stop_no_counter() -> None:
    ragged = torch.nested.nested_tensor([ROWS, ROWS[:3]], layout=torch.jagged)
    assert counted(lambda: (ragged.shape, ROWS @ ROWS.T)) in (None, PRODUCT)
    assert flops.count(lambda: (functional.linear(ragged, ROWS), ROWS @ ROWS.T)) is None


def test_a_product_of_bytes_is_counted() -> None:
    whole = torch.ones(32, 16, dtype=torch.int8)
    assert counted(lambda: torch._int_mm(whole, whole.T.contiguous())) == 2 * 32 * 16 * 32


@pytest.fixture(scope="module")
def ours() -> Iterator[Any]:
    """Return operations of an extension: opaque, made of others, and one that writes its result."""

    def write(x: Tensor, out: Tensor) -> None:
        torch.mm(x, x.T, out=out)

    library = torch.library.Library("bench_flops", "FRAGMENT")
    library.define("gram(Tensor x) -> Tensor")
    library.define("made(Tensor x) -> Tensor")
    library.define("written(Tensor x, Tensor(a!) out) -> ()")
    library.define("known(Tensor x) -> Tensor")
    library.impl("gram", lambda x: x @ x.T, "CPU")
    library.impl("made", lambda x: x @ x.T, "CompositeImplicitAutograd")
    library.impl("written", write, "CPU")
    library.impl("known", lambda x: x @ x.T, "CPU")
    yield torch.ops.bench_flops
    library._destroy()


def test_an_operation_of_an_extension_leaves_no_figure(ours: Any) -> None:
    """What a composite one of C++ does may not be dispatched: it is not taken apart either."""
    for work in (ours.gram, lambda x: ours.written(x, torch.empty(5, 5))):
        assert counted(lambda work=work: (work(ROWS), ROWS @ ROWS.T)) is None
    with torch.inference_mode():  # methods run in it; without it only the parts would be seen
        assert flops.count(lambda: (ours.made(ROWS), ROWS @ ROWS.T)) is None


def test_an_operation_with_a_formula_in_torchs_registry_is_counted(ours: Any) -> None:
    @register_flop_formula(ours.known)
    def _(rows: torch.Size, **named: Any) -> int:
        return 2 * rows[0] * rows[1] * rows[0]

    try:
        assert counted(lambda: ours.known(ROWS)) == PRODUCT
    finally:
        del flop_registry[ours.known]


def test_a_counter_that_fails_stops_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **named: Any) -> int:
        raise AssertionError("the shapes are other ones")

    calls: list[Tensor] = []
    monkeypatch.setitem(flop_registry, torch.ops.aten.mm, broken)
    assert flops.count(lambda: calls.append(ROWS @ ROWS.T)) is None
    assert len(calls) == 1
    with pytest.raises(ZeroDivisionError):
        flops.count(lambda: 1 // 0)
