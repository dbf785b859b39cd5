"""The pixels of DOLG and of DELG's PyTorch port: read by OpenCV, BGR, in their original size."""

from __future__ import annotations

RULE = {
    "channels": "bgr",
    "orientation": "apply",
    "crop_rounding": "truncate",
    "max_side_px": None,
    "query_cap": "own",
    "mean": (103.53, 116.28, 123.675),
    "std": (57.375, 57.12, 58.395),
    "scale_size": "round",
    "scale_sampling": "size-ratio",
}
