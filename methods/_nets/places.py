"""EigenPlaces and CosPlace: one network, two trainings.

Berton, Masone, Caputo, "Rethinking Visual Geo-localization for Large-Scale Applications", CVPR
2022, section 3.3; Berton, Trivigno, Caputo, Masone, "EigenPlaces: Training Viewpoint Robust Models
for Visual Place Recognition", ICCV 2023.
"""

from __future__ import annotations

from types import SimpleNamespace

from bench.methods._nets import families, gem, place_files, resnet

RULE = {"max_side_px": None, "query_cap": "own"}  # native size, as published
HEAD = {
    "p": "aggregation.1.p",
    "fc.weight": "aggregation.3.weight",
    "fc.bias": "aggregation.3.bias",
}


def load(
    name: str, variant: str, project: str, weights: str | None, device: str
) -> SimpleNamespace:
    """Return the method `name`.`variant` with the weights of a file of `project`."""
    assert weights is not None  # WEIGHTS names a file for every variant
    backbone, _, dim = variant.partition("-")
    depth = int(backbone.removeprefix("resnet").removeprefix("vgg"))
    release = families.Release(
        f"{name}.{variant}", "places", depth, project, place_files.LICENCE,
        f"{place_files.TRAINING_SET}, if this is the published file",
    )  # fmt: skip
    network, facts = gem.load(
        lambda: gem.GemNet(depth, int(dim), unit_positions=True),
        families.read(weights, release), weights, release, name_in_file, device,
    )  # fmt: skip
    config = {"backbone": backbone, "pooling": "gem of unit features, p of the file",
              "eps": gem.EPS}  # fmt: skip
    return families.method(network, facts, config, RULE)


def name_in_file(name: str) -> str:
    """Return the name in an official checkpoint for a name of the network.

    >>> name_in_file("backbone.layer1.0.bn1.bias"), name_in_file("backbone.28.bias")
    ('backbone.4.0.bn1.bias', 'backbone.28.bias')
    """
    return resnet.renamed(name, "backbone.", resnet.sequential) or HEAD[name]
