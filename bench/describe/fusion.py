"""Parts of a network as graphs (torch.fx): convolutions fused with what follows, half precision."""

from __future__ import annotations

import operator
import os
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from bench.errors import BenchError

Graph = fx.GraphModule
Shape = tuple[int, ...]

SWITCH = "RETRIEVAL_BENCH_FUSION"
MOST_SIZES = 1000  # of inputs, that a convolution remembers an arrangement of its weights for
# What foreign code raises when it meets something that is not quite a tensor.
FAULTS = (
    ArithmeticError, AssertionError, AttributeError, BenchError, LookupError, RuntimeError,
    TypeError, ValueError,
)  # fmt: skip
ACTIVATIONS: dict[type, tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.Identity: ("none", []),
}
RELUS = {torch.relu, functional.relu}
SUMS = {operator.add, operator.iadd, torch.add}
# What a part in half precision may hold besides convolutions: nothing that adds up many values.
COARSE_FUNCTIONS = RELUS | SUMS | {operator.mul, operator.imul, torch.mul, torch.cat, torch.sigmoid}
COARSE_MODULES = (
    nn.Conv2d, nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.Sigmoid, nn.Identity,
    nn.MaxPool2d, nn.AvgPool2d, nn.Dropout,
)  # fmt: skip


class _Tracer(fx.Tracer):
    """Traces down to modules without parts, and to convolutions of any kind."""

    def is_leaf_module(self, module: nn.Module, _name: str) -> bool:
        return isinstance(module, nn.Conv2d | Fused) or next(module.children(), None) is None


def trace(module: nn.Module) -> Graph | None:
    """Return a module as a graph, or None where it has no convolution or cannot be traced."""
    if not any(isinstance(part, nn.Conv2d) for part in module.modules()):
        return None
    if isinstance(module, nn.Conv2d):
        module = nn.Sequential(module).eval()
    try:
        graph = _Tracer().trace(module)
    except FAULTS:
        return None
    for node in list(graph.nodes):
        if node.op == "call_module" and type(module.get_submodule(node.target)) is nn.Identity:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    part = Graph(module, graph).eval()
    for name, value in vars(module).items():  # what others may ask of it
        if not name.startswith("_") and not hasattr(part, name):
            setattr(part, name, value)
    return part


def is_coarse(part: Graph) -> bool:
    """Tell whether a graph holds nothing that half precision would hurt more than a convolution."""
    for node in part.graph.nodes:
        if node.op == "call_module":
            if not isinstance(part.get_submodule(node.target), COARSE_MODULES):
                return False
        elif node.op == "call_function":
            if node.target not in COARSE_FUNCTIONS:
                return False
        elif node.op == "call_method":
            return False
    return True


class Half(nn.Module):
    """A part that may compute in half precision; what it takes and gives is float32."""

    def __init__(self, part: nn.Module) -> None:
        """Take the part, which computes in float32 until it becomes something else."""
        super().__init__()
        self.part, self.dtype = part, torch.float32

    def become(self, dtype: torch.dtype) -> None:
        """Compute in `dtype` from here on."""
        self.part, self.dtype = self.part.to(dtype), dtype
        for module in self.part.modules():
            if isinstance(module, Fused):
                module.forget()

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Return what the part makes of tensors rounded to half precision."""
        made = self.part(
            *map(self._rounded, inputs), **{k: self._rounded(v) for k, v in named.items()}
        )
        if isinstance(made, Tensor):
            return made.float()
        return type(made)(x.float() if isinstance(x, Tensor) else x for x in made)

    def _rounded(self, value: Any) -> Any:
        floats = isinstance(value, Tensor) and value.is_floating_point()
        return value.to(self.dtype) if floats else value


def has_onednn(half: torch.dtype | None = None) -> bool:
    """Tell whether this torch has the calls of oneDNN that its own compiler uses on a CPU.

    In half precision oneDNN asks for instructions that emulate it at least. The calls are private
    to torch and may change with any version: RETRIEVAL_BENCH_FUSION=0 leaves them alone.
    """
    if os.environ.get(SWITCH) == "0":
        return False
    names = (
        "_convolution_pointwise", "_convolution_pointwise_", "_reorder_convolution_weight",
        "_get_mkldnn_serialized_md",
    )  # fmt: skip
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if half is not None and not (
        half is torch.bfloat16
        and hasattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported")
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    ):
        return False
    return all(hasattr(torch.ops.mkldnn, name) for name in names)


def is_plain(module: Any) -> bool:
    """Tell whether a module is torch's own convolution with zeros around, which oneDNN has."""
    return (
        type(module) is nn.Conv2d
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and module.weight.dtype == torch.float32
    )


class Fused(nn.Module):
    """A convolution, a sum where there is one, and an activation, in one call of oneDNN.

    Weights are kept besides in oneDNN's own arrangements, which follow from the size of the input:
    a call with another one would arrange them anew, often slowly.
    """

    def __init__(self, conv: nn.Conv2d, act: tuple[str, list[float]]) -> None:
        """Take the convolution, and the name of the activation for oneDNN with its numbers."""
        super().__init__()
        self.conv = conv
        self.act, self.scalars = act
        self.how = (conv.padding, conv.stride, conv.dilation, conv.groups)
        self.forget()

    def forget(self) -> None:
        """Let go of all arrangements, after the weights became another type."""
        self.arranged: dict[bytes, Tensor] = {}
        self.by_size: dict[Shape, Tensor] = {}

    def weight(self, size: Shape) -> Tensor:
        """Return the weights as oneDNN wants them for inputs of a size (n, c, h, w)."""
        if size not in self.by_size:
            plain = self.conv.weight.detach().contiguous(memory_format=torch.channels_last)
            ours = torch.ops.mkldnn
            made = ours._reorder_convolution_weight(plain, *self.how, list(size))
            kind = bytes(ours._get_mkldnn_serialized_md(made).tolist())
            if len(self.by_size) >= MOST_SIZES:
                self.by_size.clear()
            self.by_size[size] = self.arranged.setdefault(kind, made)
        return self.by_size[size]

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Return act(conv(x)), or act(conv(x) + other), which is written over `other`."""
        arguments = (self.weight(x.shape), self.conv.bias, *self.how)
        end = (self.act, self.scalars, "")
        if other is None:
            call: Any = torch.ops.mkldnn._convolution_pointwise
            return call(x, *arguments, *end)  # type: ignore[no-any-return]
        call = torch.ops.mkldnn._convolution_pointwise_.binary
        return call(other, x, *arguments, "add", 1.0, *end)  # type: ignore[no-any-return]


def fuse(part: Graph) -> int:
    """Rewrite a graph in place so that its convolutions do what follows them; return how many."""
    writing = _Rewriting(part)
    count = 0
    for node in list(part.graph.nodes):
        if node in writing.place:
            count += writing.join(node)
    for node in list(part.graph.nodes):
        if node in writing.place and writing.conv_of(node):
            writing.replace(node, node, ACTIVATIONS[nn.Identity], None)
            count += 1
    part.graph.lint()
    part.delete_all_unused_submodules()
    part.recompile()
    return count


class _Rewriting:
    """A graph whose convolutions are replaced: places of its nodes, and what it may write over."""

    def __init__(self, part: Graph) -> None:
        """Begin with the graph of `part`."""
        self.part = part
        self.place = {node: i for i, node in enumerate(part.graph.nodes)}
        self.owned: set[fx.Node] = set()  # results that belong to this graph alone

    def conv_of(self, node: Any) -> nn.Conv2d | None:
        """Return the convolution that a node calls, if it is one that can be replaced."""
        if not isinstance(node, fx.Node) or node.op != "call_module" or len(node.args) != 1:
            return None
        module: Any = self.part.get_submodule(str(node.target))
        return module if is_plain(module) else None

    def join(self, node: fx.Node) -> bool:
        """Let a convolution do the activation of a node, and the sum between; say whether it did.

        Nothing else may use the output of the convolution, and the other summand must be a result
        of this graph without further use.
        """
        act = _activation(self.part, node)
        before: Any = node.args[0] if act and node.args else None
        if not isinstance(before, fx.Node) or len(before.users) != 1:
            return False
        if self.conv_of(before):
            self.replace(node, before, act, None)
            return True
        if not _is_sum(before):
            return False
        summands: Any = before.args
        source, other = summands
        if not self.conv_of(source) or len(source.users) != 1 or source is other:
            return False
        fresh = other in self.owned or self.conv_of(other) is not None
        if not fresh or any(self.place[user] > self.place[before] for user in other.users):
            return False
        self.replace(node, source, act, other)
        return True

    def replace(self, last: fx.Node, source: fx.Node, act: Any, other: fx.Node | None) -> None:
        """Put one call in the place of a convolution and of what follows it up to `last`."""
        conv: Any = self.conv_of(source)
        name = f"fused_{self.place[source]}"
        self.part.add_submodule(name, Fused(conv, act))
        graph = self.part.graph
        with graph.inserting_before(last):
            arguments = (source.args[0],) if other is None else (source.args[0], other)
            new = graph.call_module(name, arguments)
        self.place[new] = self.place[last]
        self.owned.add(new)
        last.replace_all_uses_with(new)
        between = [node for node in last.all_input_nodes if node is not other]
        for node in dict.fromkeys((last, *between, source)):
            if not node.users and node.op != "placeholder" and node in self.place:
                graph.erase_node(node)
                del self.place[node]


def _activation(part: Graph, node: fx.Node) -> tuple[str, list[float]] | None:
    """Return the activation that a node applies to its only argument, as oneDNN names it."""
    if node.op == "call_module":
        return ACTIVATIONS.get(type(part.get_submodule(str(node.target))))
    relu = node.op == "call_function" and node.target in RELUS
    relu |= node.op == "call_method" and node.target in ("relu", "relu_")
    return ACTIVATIONS[nn.ReLU] if relu else None


def _is_sum(node: Any) -> bool:
    """Tell whether a node adds two tensors."""
    return (
        isinstance(node, fx.Node)
        and node.op == "call_function"
        and node.target in SUMS
        and len(node.args) == 2
        and all(isinstance(arg, fx.Node) for arg in node.args)
    )
