"""Methods of places and landmarks with a convolutional backbone answer as their programs do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from _pytest.mark import ParameterSet
from safetensors.torch import save_file

from tests.support import conformance
from tests.support.conformance import TOLERANCE, Find, Set, State

pytestmark = pytest.mark.slow


def bare(state: State, path: Path) -> None:
    """Write a state as it is."""
    torch.save(state, path)


def wrapped(key: str) -> Callable[[State, Path], None]:
    """Return a writer that wraps the state as a training program does."""

    def write(state: State, path: Path) -> None:
        torch.save({"epoch": 40, key: state, "optimizer_state": {"state": {}}}, path)

    return write


def learned(conformance_set: Set) -> State:
    """Return the learned whitening of a cirtorch set under the flat names."""
    shapes = conformance_set.facts["whitening"]
    m = conformance_set.drawn(*shapes["m"][:2]) * np.float32(0.2)
    return {
        "Lw.m": torch.from_numpy(m),
        "Lw.P": torch.from_numpy(conformance_set.drawn(*shapes["P"])),
    }


def pca(conformance_set: Set) -> State:
    """Return the whitening of the AP-GeM set under the flat names."""
    shapes = conformance_set.facts["pca"]
    mean = conformance_set.drawn(*shapes["mean_"][:2]) * np.float32(0.2)
    variance = np.abs(conformance_set.drawn(*shapes["explained_variance_"][:2])) + np.float32(1e-3)
    variance = np.ascontiguousarray(np.sort(variance)[::-1] * np.float32(1e-3))
    arrays = {
        "pca.mean_": mean,
        "pca.components_": conformance_set.drawn(*shapes["components_"]),
        "pca.explained_variance_": variance,
    }
    return {name: torch.from_numpy(value) for name, value in arrays.items()}


@dataclass(frozen=True)
class Official:
    """One array of a set, and the method whose answers it holds."""

    name: str
    method: str
    array: str = "descriptors"
    write: Callable[[State, Path], None] = bare
    file: str = "w.pth"
    more: Callable[[Set], State] | None = None

    def __str__(self) -> str:
        return f"{self.method}-{self.array}"


OFFICIAL = (
    Official("eigenplaces_resnet18_256", "eigenplaces.resnet18-256"),
    Official("eigenplaces_resnet50_2048", "eigenplaces"),
    Official("eigenplaces_vgg16_512", "eigenplaces.vgg16-512", write=save_file,
             file="w.safetensors"),
    Official("cosplace_resnet101_512", "cosplace.resnet101-512"),
    Official("cosplace_vgg16_64", "cosplace.vgg16-64"),
    Official("mixvpr_resnet50_4096", "mixvpr"),
    Official("mixvpr_resnet50_512", "mixvpr.resnet50-512"),
    Official("boq_resnet50_16384", "boq.resnet50-16384"),
    Official("netvlad_vgg16", "netvlad"),
    Official("cirtorch_resnet50_gem_w", "cirtorch.gl18-r50", write=wrapped("state_dict")),
    Official("cirtorch_resnet50_gem_w", "cirtorch.sfm120k-r50-w"),
    Official("cirtorch_resnet101_gem_lw", "cirtorch.sfm120k-r101-lw"),
    Official("cirtorch_resnet101_gem_lw", "cirtorch.sfm120k-r101-lw", "whitened", more=learned),
    Official("apgem_resnet50", "apgem.r50", more=pca),
    Official("apgem_resnet50", "apgem.r50-512", "descriptors_512", more=pca, write=save_file,
             file="w.safetensors"),
    Official("cvnet_resnet50", "cvnet", write=wrapped("model_state"), file="w.pyth"),
    Official("superglobal_resnet50", "superglobal"),
    Official("superglobal_resnet50", "superglobal.r50-2023", "descriptors_not_antialiased"),
)  # fmt: skip


QUICK = ("eigenplaces.resnet18-256", "apgem.r50", "superglobal")


def marked(official: Official) -> ParameterSet:
    """Return the parameter of a test, slow for most networks."""
    slow = () if official.method in QUICK else (pytest.mark.slow, pytest.mark.large)
    return pytest.param(official, marks=slow, id=str(official))


@pytest.mark.parametrize("official", [marked(official) for official in OFFICIAL])
def test_descriptors_are_the_official_ones(
    official: Official, shared: Find, tmp_path: Path
) -> None:
    """From the image file to the vector, every rule, box and scale, by the command line."""
    found = conformance.read(shared, official.name)
    state = found.state() | (official.more(found) if official.more else {})
    path = tmp_path / official.file
    official.write(state, path)
    rows = conformance.described(found, official.method, path, tmp_path)
    difference = conformance.differences(rows, found.answers[official.array])
    assert (difference < TOLERANCE).all(), difference
