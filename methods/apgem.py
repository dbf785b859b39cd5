"""AP-GeM: GeM trained for average precision over a whole list, whitened; native size.

Revaud, Almazán, Rezende, de Souza, "Learning with Average Precision: Training Image Retrieval with
a Listwise Loss", ICCV 2019; with the files and the program (deep-image-retrieval) of its authors.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

GROUP = "landmarks"
PROJECT = "naver/deep-image-retrieval"
LICENCE = f"not stated for the weights; that of {PROJECT} is BSD-3-Clause"
LANDMARKS, GLD = "Landmarks-clean", "Google-Landmarks (2018)"
VARIANTS = {
    "r101": f"ResNet-101, 2048-d, trained on {LANDMARKS}",
    "r50": f"ResNet-50, 2048-d, trained on {LANDMARKS}",
    "r101-lm18": f"ResNet-101, 2048-d, trained on {GLD}",
    "r50-512": "r50, the first 512 components of the whitening",
}


def _file(file: str, file_id: str, training_set: str) -> dict[str, Any]:
    """Return the facts about a file that the README links to on Google Drive."""
    return {
        "file": file,
        "url": f"https://drive.google.com/uc?export=download&id={file_id}",
        "manual": f"Google Drive (https://drive.google.com/file/d/{file_id}), as {PROJECT} says",
        "licence": "not stated",
        "licence_code": "BSD-3-Clause",
        "training_set": training_set,
        "dim": 2048,
    }


WEIGHTS = {
    "r101": _file("Resnet-101-AP-GeM.pt", "1UWJGDuHtzaQdFhSMojoYVQjmCXhIwVvy", LANDMARKS),
    "r50": _file("Resnet-50-AP-GeM.pt", "1oPtE_go9tnsiDLkWjN4NMpKjh-_md1G5", LANDMARKS),
    "r101-lm18": _file("Resnet101-AP-GeM-LM18.pt", "1r76NLHtJsH-Ybfda4aLkUIoW3EEsi25I", GLD),
}
WEIGHTS["r50-512"] = {**WEIGHTS["r50"], "dim": 512}


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method; `weights` is a checkpoint of the official program, or its flat state.

    In a flat state the whitening is `pca.mean_`, `pca.components_` and `pca.explained_variance_`.
    """
    from bench.methods._nets import apgem, families

    assert weights is not None  # WEIGHTS names a file for every variant
    size, _, rest = variant.partition("-")
    release = families.Release(
        f"apgem.{variant}", "apgem", int(size.removeprefix("r")), PROJECT, LICENCE,
        f"{WEIGHTS[variant]['training_set']}, if this is the published file", apgem.read,
    )  # fmt: skip
    return apgem.load(release, weights, device, int(rest) if rest.isdigit() else apgem.DIM)
