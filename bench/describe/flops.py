"""The floating-point operations of an image: counted in full, or not counted."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

INDICES = (torch.bool, torch.int32, torch.int64)
# Operations of torch on two tensors or more that are free though not tagged as element-wise.
FREE = re.compile(
    r"\w*(batch|layer|group|rms|weight)_norm\w*|\w*(scatter|index|copy|embedding|grid_sampler)\w*"
    r"|(_|_chunk_)?(cat|stack)|block_diag|(masked_)?(fill|put|scale|select)_?|set_?|where|gather"
    r"|take|complex|polar|normal_?|bernoulli_?|sort|topk|searchsorted|bucketize|isin|dist|rsub"
    r"|\w*prelu\w*|(eq|ne|[gl][et]|floor_divide)_|_thnn_fused_(lstm|gru)_cell"
)
# Operations of torch on one tensor that are not: factorisations, Fourier transforms, distances.
SOLVES = re.compile(r"_?linalg_(?!vector_norm|_powsum)\w+|_fft_\w+|_pdist\w*|\w*cholesky\w*|geqrf")
# Operations of oneDNN that copy weights into its own arrangement.
ARRANGES = ("mkldnn::_reorder_convolution_weight", "mkldnn::_get_mkldnn_serialized_md")


def count(work: Callable[[], object]) -> int | None:
    """Run `work` and return the floating-point operations it did in torch; None: not counted.

    A multiplication and an addition are two. Convolutions, matrix products and attention are
    counted (`torch.utils.flop_counter`); element-wise operations, normalisation, pooling, resizing,
    sums, copies, indexing, sorting and random numbers are free. None where any other operation was
    seen, so that no figure is too small, and where nothing was counted: then the work is not
    torch's. Other libraries and other threads are out of sight. Where the counter fails, `work`
    runs a second time without it.
    """
    try:
        return _counted(work)
    except Exception:  # noqa: BLE001 - an error that is not the counter's is raised again
        work()
        return None


def _counted(work: Callable[[], object]) -> int | None:
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it is one operation, which is not counted
    try:
        with torch.inference_mode(), _Counter():
            torch.isfinite(torch.zeros(1))  # torch loads what it needs for this: some seconds
        with torch.compiler.set_stance("force_eager"), _Counter() as counter:
            work()  # compiled parts would hide what they do
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return None if counter.uncounted else counter.total or None


class _Counter(TorchDispatchMode):
    """Adds up operations, and collects those that are neither free nor have a formula that fits.

    Torch's own counter does not tell the two apart, and fails where a network hands a parameter to
    one of its modules in inference mode.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.formulas = {**flop_registry, **formulas()}
        self.total, self.uncounted = 0, set[str]()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        formula = self.formulas.get(getattr(func, "overloadpacket", func))
        if formula is None and _comes_apart(func):
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        taken = _tensors((args, kwargs))
        if formula is None:
            fits = _is_free(func, taken, _tensors(out))
        else:
            fits = not any(tensor.is_complex() for tensor in taken)
        # Sparse, or in oneDNN's layout, which is what shows of convolutions in frozen TorchScript.
        dense = all(tensor.layout is torch.strided for tensor in taken)
        if not fits or not (dense or func.name().startswith("mkldnn::")):
            self.uncounted.add(func.name())
        elif formula is not None:
            self.total += int(formula(*args, **kwargs, out_val=out))
        return out


def _comes_apart(func: Any) -> bool:
    """Tell whether torch may make an operation of others; it asks for a size without a tensor.

    Those of extensions, and those on packed weights, may do work of which nothing is dispatched.
    """
    return (
        re.match("aten::(?!fbgemm|quantized)", func.name()) is not None
        and isinstance(func, torch._ops.OpOverload)
        and any("Tensor" in str(result.type) for result in func._schema.returns)
    )


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _is_free(func: Any, taken: list[Tensor], returned: list[Tensor]) -> bool:
    """Tell whether an operation is one of those that the definition leaves out.

    Products, convolutions, attention and recurrent layers take two tensors or more, apart from
    indices, and are not element-wise; what else takes two is in `FREE`.
    """
    name = func.name().partition(".")[0]
    if not name.startswith(("aten::", "prim::")):
        return not taken or name in ARRANGES
    if not returned or torch.Tag.pointwise in func.tags:
        return True
    name = name.partition("::")[2]
    factors = [tensor for tensor in taken if tensor.dtype not in INDICES]
    return bool(FREE.fullmatch(name) if len(factors) > 1 else not SOLVES.fullmatch(name))


def formulas() -> dict[Any, Callable[..., int]]:
    """Return operations that torch's own counter does not know, where this torch has them."""
    aten, mkldnn = torch.ops.aten, torch.ops.mkldnn
    fused = (
        "flash_attention", "flash_attention_for_cpu", "efficient_attention", "cudnn_attention",
        "fused_attention_overrideable", "attention_math_for_mps",
    )  # fmt: skip
    return {
        getattr(space, name): formula
        for space, formula, names in (
            (mkldnn, _convolution, ["_convolution_pointwise", "_convolution_pointwise_"]),
            (aten, _attention, [f"_scaled_dot_product_{name}" for name in fused]),
            (aten, _product, ["mv", "dot", "vdot", "_int_mm", "_weight_int8pack_mm"]),
            (aten, _added_product, ["addmv", "_addmm_activation"]),
        )
        for name in names
        if hasattr(space, name)
    }


def _convolution(*inputs: Any, out_val: Tensor, **_named: Any) -> int:
    """Count a convolution that oneDNN does together with what follows it, as a convolution.

    Of the tensors of four axes that the operation gets the kernel is the last.
    """
    kernel = [tensor for tensor in inputs if isinstance(tensor, Tensor) and tensor.ndim == 4][-1]
    return 2 * out_val.numel() * math.prod(kernel.shape[1:])


def _attention(query: Tensor, key: Tensor, value: Tensor, *_more: Any, **_named: Any) -> int:
    """Count attention as its two matrix products, whatever is masked; axes (..., tokens, dim)."""
    scores = math.prod(query.shape[:-1]) * key.shape[-2]
    return 2 * scores * (query.shape[-1] + value.shape[-1])


def _product(left: Tensor, *_more: Any, out_val: Tensor, **_named: Any) -> int:
    return 2 * out_val.numel() * left.shape[-1]


def _added_product(
    _added: Tensor, left: Tensor, *_more: Any, out_val: Tensor, **_named: Any
) -> int:
    return _product(left, out_val=out_val)
