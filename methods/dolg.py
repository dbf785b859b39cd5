"""DOLG: a global descriptor fused with the part of local features orthogonal to it, five scales.

Yang et al., "DOLG: Single-Stage Image Retrieval with Deep Orthogonal Fusion of Local and Global
Features", ICCV 2021; here as the checkpoints and the test program that its authors published. The
checkpoints have no multi-atrous module, unlike the paper, so the paper's numbers are not theirs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from bench.system.notes import note

GROUP = "landmarks"
VARIANTS = {
    "lite1": "EfficientNet-Lite0, 512-d, demonstration weights near plain GeM",
    "lite0": "EfficientNet-Lite0, 512-d, demonstration weights trained on package photographs",
    "untrained": "the network of r50 with random weights, seed 0; needs no download",
    "r101": "ResNet-101, 512-d, GeM exponent 3 as in the published test program",
    "r50": "ResNet-50, 512-d, GeM exponent 3 as in the published test program",
    "r101-storedp": "r101 with the GeM exponent that the checkpoint stores",
    "r50-storedp": "r50 with the GeM exponent that the checkpoint stores",
}
README = "as the README of feymanpriv/DOLG says"
FACTS = {
    "licence": "not stated for the weights; that of feymanpriv/DOLG is MIT",
    "training_set": "GLDv2-clean (81,313 classes)",
}
COPY = "https://huggingface.co/Shiro/DOLG/resolve/main"
COPIED = "the download is a third party's copy, not compared with the authors' file; about"
WEIGHTS = {
    "r101": {
        **FACTS,
        "file": "r101_dolg_512.pt",
        "url": f"{COPY}/r101_dolg_512.pt",
        "manual": f"Baidu (https://pan.baidu.com/s/1_osEyC53txA-_1cbadBzLQ, code nqdb), {README}",
        "note": f"{COPIED} 353 MB",
    },
    "r50": {
        **FACTS,
        "file": "r50_dolg_512.pt",
        "url": f"{COPY}/r50_dolg_512.pt",
        "manual": f"Baidu (https://pan.baidu.com/s/13Bt1v_sMSny8pGRIM0K8xQ, code d7or), {README}",
        "note": f"{COPIED} 277 MB",
    },
}
WEIGHTS |= {f"{size}-storedp": WEIGHTS[size] for size in ("r101", "r50")}
SCALES = (0.3535, 0.5, 0.7071, 1.0, 1.4142)


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method; `weights` is a checkpoint of the official program.

    The checkpoint decides whether there is a multi-atrous module. Its GeM exponent goes into the
    configuration and is used by the variants `…-storedp` only: the published test program, whose
    numbers are quoted, looks for it under another name than the published files have, drops it, and
    pools with 3.
    """
    from bench.errors import BenchError
    from bench.methods._nets import dolg, families, opencv

    if variant in ("lite0", "lite1"):
        from bench.methods._lite import method

        return method.load("dolg", variant, weights, device)
    if variant == "untrained":
        return _untrained(weights, device)
    size, _, stored = variant.partition("-")
    depth = int(size.removeprefix("r"))
    release = families.Release(
        f"dolg.{variant}", "dolg", depth, "feymanpriv/DOLG", FACTS["licence"],
        f"{FACTS['training_set']}, if this is the published file",
    )  # fmt: skip
    assert weights is not None  # WEIGHTS names a file for the variant
    state = families.read(weights, release)
    if "pool_g.p" not in state and "pool1.p" in state:  # its name in the published files
        state["pool_g.p"] = state.pop("pool1.p")
    multi_atrous = any(key.startswith("localmodel.aspp.") for key in state)
    network, facts = families.load(
        lambda: dolg.Dolg(depth, multi_atrous),
        state, weights, release, dolg.name_in_file, device,
    )  # fmt: skip
    stored_p = float(network.stored_p)
    if not (math.isfinite(stored_p) and stored_p > 0):
        raise BenchError(f"{weights} stores the GeM exponent {stored_p}; it must be above 0.")
    if stored:
        network.p = stored_p
    if stored_p != dolg.Dolg.p:
        note(
            f"dolg.{variant}: the checkpoint stores the GeM exponent {stored_p:g}; "
            f"{network.p:g} is used"
        )
    config = {
        "backbone": f"resnet{depth}",
        "multi_atrous": multi_atrous,
        "pooling": "gem",
        "p": network.p,
        "stored_p": stored_p,
        "eps": dolg.EPS,
    }
    rule = {**opencv.RULE, "scales": SCALES}
    return SimpleNamespace(version="1", config=config, weights=facts, dim=dolg.DIM,
                           preprocess=rule, describe=network, network=network)  # fmt: skip


def trainable(variant: str, classes: int, options: Mapping[str, Any], device: str) -> Any:
    """Return DOLG as its authors' program trains it: one loss, CurricularFace, for all of it.

    With the option `multi_atrous` the network is that of the paper.
    """
    from bench.methods._nets import dolg, objectives, opencv
    from bench.nn import heads

    if variant in ("lite0", "lite1"):
        from bench.methods._lite import training

        return training.dolg(classes, options, device)
    depth = objectives.depth_of(variant, ("r50", "r101"), "dolg")
    chosen = objectives.options(options, multi_atrous=False, margin=0.15, scale=30.0)
    model = dolg.Dolg(depth, chosen["multi_atrous"])
    model.stored_p.fill_(model.p)
    objectives.begin(model.backbone, depth, chosen["init"])
    head = heads.CurricularFace(classes, dolg.DIM, chosen["margin"], chosen["scale"])
    return objectives.Classified(model, head, opencv.RULE, dolg.name_in_file, device)


def _untrained(weights: str | None, device: str) -> SimpleNamespace:
    """Return the network of the published `r50` checkpoint, without multi-atrous module, untaught.

    It costs exactly what the published one costs; what it finds means nothing.
    """
    from bench.errors import BenchError
    from bench.methods._nets import backbones, dolg, opencv, resnet

    if weights is not None:
        raise BenchError(
            "dolg.untrained has random weights; for a file of weights name the variant that it is "
            "for: dolg.r101 or dolg.r50."
        )
    network = resnet.blank(lambda: dolg.Dolg(50, multi_atrous=False))
    backbones.randomise(network, seed=0)
    source = "untrained: random initialisation, seed 0"
    facts = backbones.facts(network, source, "none needed", "none", False)
    config = {
        "backbone": "resnet50",
        "multi_atrous": False,
        "pooling": "gem",
        "p": network.p,
        "eps": dolg.EPS,
    }
    rule = {**opencv.RULE, "scales": SCALES}
    network = network.to(device)
    return SimpleNamespace(version="1", config=config, weights=facts, dim=dolg.DIM,
                           preprocess=rule, describe=network, network=network)  # fmt: skip
