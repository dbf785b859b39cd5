"""CliqueMining: SALAD's network, trained on batches of places that are hard to tell apart.

Izquierdo, Civera, "Close, But Not There: Boosting Geographic Distance Sensitivity in Visual Place
Recognition", ECCV 2024.
"""

from __future__ import annotations

from types import SimpleNamespace

from bench.methods._nets import transport_files

GROUP, PROJECT = "place recognition", "serizba/cliquemining"
DRIVE = "1B06ysb-Wjb4KDcNrl-7pyj1mJve1jqdk"
VARIANTS = transport_files.VARIANTS
WEIGHTS = {
    transport_files.VARIANT: {
        **transport_files.FILE,
        "file": "cliquemining.ckpt",
        "url": f"https://drive.google.com/uc?export=download&id={DRIVE}",
        "manual": f"Google Drive (https://drive.google.com/file/d/{DRIVE}), as {PROJECT} says",
        "training_set": "not stated in serizba/cliquemining",
    }
}


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method; `weights` is the published file, or a state with its names."""
    return transport_files.load("cliquemining", PROJECT, WEIGHTS[variant], weights, device)
