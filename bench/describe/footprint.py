"""What a method weighs: the parameters of the networks that it names."""

from __future__ import annotations

from typing import Any

from torch import nn


def parameters(method: Any) -> dict[str, int | None]:
    """Return the number of parameters and their bytes; both None where no network is named.

    Those of `network` and of the other fields of the method that are torch modules count. A
    parameter that is used twice counts once. Buffers, the statistics of batch normalisation for
    instance, are not parameters; layers of local features are counted.
    """
    fields = [getattr(method, "network", None), *getattr(method, "__dict__", {}).values()]
    networks = [field for field in fields if isinstance(field, nn.Module)]
    found_parameters = {id(p): p for network in networks for p in network.parameters()}
    if not found_parameters:
        return {"parameters": None, "parameter_bytes": None}
    return {
        "parameters": sum(p.numel() for p in found_parameters.values()),
        "parameter_bytes": sum(p.numel() * p.element_size() for p in found_parameters.values()),
    }
