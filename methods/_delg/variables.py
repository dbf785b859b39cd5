"""From the variables of a TensorFlow model of DELG to the state of our network.

A variable is recognised by its known name, and else by its shape, where only one fits. The names
of the heads in the released models are documented nowhere, so these go by shape.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.errors import BenchError, first_few
from bench.methods._delg import keras, slim

Variables = Mapping[str, NDArray[np.float32]]
FAMILIES: dict[str, Any] = {"delg-slim": slim, "delg-keras": keras}
# The last part of a name in TensorFlow by that in PyTorch, for kernels and normalisation.
_PLAIN = {"weight": ("weights", "kernel"), "bias": ("biases", "bias")}
_NORM = {"weight": ("gamma",), "bias": ("beta",), "running_mean": ("moving_mean",),
         "running_var": ("moving_variance",)}  # fmt: skip
_LEAVES = {leaf for kinds in (_PLAIN, _NORM) for leaves in kinds.values() for leaf in leaves}
# What training leaves in a checkpoint: optimisers and classifiers of the open code.
_TRAINING = re.compile(
    r"(^|/)(global_step|learning_rate|decay|momentum|Momentum|scale_factor|cosine_weights"
    r"|desc_fc/\w+|att_fc/\w+)(_\d+)?$|^optimizer/|/\.OPTIMIZER_SLOT/"
)
_OPTIONAL = ("decode.weight", "decode.bias", "attention1.bias")


def check_family(names: Variables, family: str, depth: int, method: str, source: str) -> None:
    """Refuse variables of another family of DELG, of another depth, and of none."""
    slim = {int(m[1]) for name in names if (m := re.search(r"resnet_v1_(\d+)/", name))}
    keras = any(name.endswith("res2a_branch2a/kernel") for name in names)
    if keras and not slim:
        found = "a model of the TensorFlow 2 code, for delg.r50-tf2"
        right = family == "delg-keras"
    elif len(slim) == 1 and not keras:
        (size,) = slim
        found = f"a model of TF-Slim on ResNet-{size}, for delg.r{size}-gld or -gldv2clean"
        right = (family, depth) == ("delg-slim", size)
    else:
        found, right = f"no model of DELG (its variables are {first_few(names, 3)})", False
    if not right:
        raise BenchError(f"{source} is {found}; {method} cannot be made from it.")


def state_of(
    variables: Variables, network: nn.Module, family: str, depth: int, source: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the state of `network`, and the variables that nothing in it needs.

    `network` has the decoder; its parts are left out of the state where the source has none. A
    missing bias before the attention's normalisation is zero. Missing, ambiguous and misshapen
    variables are one error; what training leaves behind is not counted as unused.
    """
    variables = {name: value for name, value in variables.items() if not _TRAINING.search(name)}
    wanted = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    faults: dict[str, list[str]] = {"missing": [], "ambiguous": [], "of another shape": []}
    known = {name: graph for name in wanted if (graph := _known(name, family, depth))}
    taken = _by_name(variables, wanted, known, faults)
    _by_shape(variables, wanted, taken, faults)
    if any(faults.values()):
        listed = "; ".join(f"{len(v)} {k}: {first_few(v)}" for k, v in faults.items() if v)
        raise BenchError(f"the variables of {source} do not fit DELG: {listed}.")
    state = {name: _ours(variables[taken[name]], wanted[name]) for name in wanted if name in taken}
    if not {"decode.weight", "decode.bias"} <= set(taken):
        state = {name: tensor for name, tensor in state.items() if not name.startswith("decode.")}
    state.setdefault("attention1.bias", torch.zeros(wanted["attention1.bias"].shape))
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.zeros((), dtype=tensor.dtype)
    used = set(taken.values())
    return state, [name for name in variables if name not in used]


def _by_name(
    variables: Variables,
    wanted: Mapping[str, Tensor],
    known: Mapping[str, str],
    faults: Mapping[str, list[str]],
) -> dict[str, str]:
    """Return the variable of each part of the network whose name in the graph is known."""
    taken: dict[str, str] = {}
    for name, graph in sorted(known.items(), key=lambda item: -item[1].count("/")):
        found = [n for n in variables if _ends(n, graph) and n not in taken.values()]
        if len(found) > 1:
            faults["ambiguous"].append(f"{graph} is {first_few(found)}")
        if not found and name.startswith("backbone."):
            faults["missing"].append(graph)
        elif found and variables[found[0]].shape not in _shapes(wanted[name]):
            have, want = variables[found[0]].shape, _shapes(wanted[name])[0]
            faults["of another shape"].append(f"{found[0]} is {have} and should be {want}")
        if found:
            taken[name] = found[0]
    return taken


def _by_shape(
    variables: Variables,
    wanted: Mapping[str, Tensor],
    taken: dict[str, str],
    faults: Mapping[str, list[str]],
) -> None:
    """Add to `taken` the variables of the other parts, which shape and ending tell."""
    by_shape = [name for name in wanted if name not in taken and not name.startswith("backbone.")]
    for name in sorted(by_shape, key=lambda name: name in _OPTIONAL):
        free = {n: value for n, value in variables.items() if n not in taken.values()}
        found = [n for n, value in free.items() if _fits(n, value, name, wanted[name])]
        if len(found) == 1:
            taken[name] = found[0]
        elif found:
            faults["ambiguous"].append(f"{name} is {first_few(found)}")
        elif name not in _OPTIONAL:
            faults["missing"].append(f"{name} with shape {_shapes(wanted[name])[0]}")


def _known(name: str, family: str, depth: int) -> str | None:
    """Return the name in the graph of a parameter of the network, if known."""
    if name.startswith("backbone."):
        graph: str = FAMILIES[family].name_in_graph(name.removeprefix("backbone."), depth)
        return graph
    part = name.partition(".")[0]
    head = FAMILIES[family].HEADS.get(part)
    return f"{head}/{_leaves(name)[-1]}" if head else None


def _leaves(name: str) -> tuple[str, ...]:
    """Return the possible last parts of the graph's name for a parameter of the network."""
    part, _, leaf = name.rpartition(".")
    return (_NORM if part.endswith("_bn") else _PLAIN)[leaf]


def _ends(name: str, graph: str) -> bool:
    """Tell whether `name` is `graph`, with scopes before it or without."""
    return name == graph or name.endswith(f"/{graph}")


def _fits(name: str, value: NDArray[np.float32], ours: str, tensor: Tensor) -> bool:
    """Tell whether a variable may be `ours`: the shape fits, and the name does not say another."""
    leaf = name.rsplit("/", 1)[-1]
    return value.shape in _shapes(tensor) and (leaf in _leaves(ours) or leaf not in _LEAVES)


def _shapes(tensor: Tensor) -> list[tuple[int, ...]]:
    """Return the shapes in TensorFlow of a parameter of the network, the usual one first."""
    shape = tuple(tensor.shape)
    if len(shape) == 4:  # (out, in, height, width) is (height, width, in, out)
        return [(shape[2], shape[3], shape[1], shape[0])]
    return [shape[::-1], (1, 1, *shape[::-1])] if len(shape) == 2 else [shape]


def _ours(value: NDArray[np.float32], tensor: Tensor) -> Tensor:
    """Return a variable with the axes of our parameter."""
    if tensor.ndim == 2:
        value = value.reshape(value.shape[-2:]).T
    elif tensor.ndim == 4:
        value = value.transpose(3, 2, 0, 1)
    return torch.from_numpy(np.array(value, order="C"))
