"""What methods on DINOv2 share: reading a published file into a backbone with a head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import nn

NATIVE = {"max_side_px": None, "query_cap": "own", "resize": "multiple-of-14"}


def load(  # noqa: PLR0913
    variant: str,
    family: str,
    project: str,
    known: Mapping[str, Any],
    build: Callable[[], nn.Module],
    weights: str | None,
    device: str,
    *,
    depth: int = 12,
    prefix: str = "backbone.",
    config: Mapping[str, Any] | None = None,
    preprocess: Mapping[str, Any] | None = None,
) -> SimpleNamespace:
    """Return the method `variant`, whose network `build` makes, with the weights of a file.

    `family` is a key of `families.FAMILIES`, `known` the facts of the file in WEIGHTS, `prefix` how
    the file begins the names of the backbone.
    """
    from bench.methods._nets import dinov2, families

    assert weights is not None  # WEIGHTS names a file for every variant
    release = families.Release(
        variant, family, depth, project, known["licence"],
        f"{known['training_set']}, if this is the published file",
    )  # fmt: skip

    def name_in_file(name: str) -> str:
        name = dinov2.giant_in_file(name) if depth == dinov2.DEPTHS["giant"] else name
        return prefix + name.removeprefix("backbone.") if name.startswith("backbone.") else name

    state = families.read(weights, release)
    network, facts = families.load(build, state, weights, release, name_in_file, device)
    rule = NATIVE if preprocess is None else preprocess
    return families.method(network, facts, {"backbone": "dinov2", **(config or {})}, rule)
