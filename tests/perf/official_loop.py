"""Extraction as the test programs of DOLG and Token do it, in a process of its own.

`python official_loop.py METHOD WEIGHTS FOLDER IMAGES OUT` describes 0.jpg, 1.jpg, … of FOLDER,
saves the rows (images, dim) float32 to OUT, and prints JSON: seconds by the clock and of the
processor.

One image at a time, the network as its authors wrote it, float32, without gradients, torch's and
the C library's own settings; each scale is resized on the processor from the normalised image and
described by itself, and unit descriptors are summed. Images are decoded by Pillow, where they use
OpenCV or Pillow: both are libjpeg, and it is 1 % of the time.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from bench import methods
from bench.describe import pyramid
from bench.images import decode

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def describe(method: Any, rule: Any, folder: Path, count: int) -> np.ndarray:
    """Return the descriptors (count, dim), image by image, scale by scale."""
    mean = torch.tensor(rule.mean).view(3, 1, 1)
    std = torch.tensor(rule.std).view(3, 1, 1)
    found = []
    with torch.no_grad():
        for number in range(count):
            pixels = decode.load(folder / f"{number}.jpg", None, rule)
            normal = (torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32)) - mean) / std
            total: Any = 0.0
            for scale in rule.scales:
                scaled = pyramid.at_scale(normal[None], scale, rule).to(DEVICE)
                total += functional.normalize(method.describe(scaled), dim=1).cpu()
            found.append(functional.normalize(total, dim=1))
    return torch.cat(found).numpy()


def main(name: str, weights: str, folder: Path, count: int, out: Path) -> None:
    """Describe once to warm up, at one scale, and once by the clock."""
    _, method, rule = methods.load(name, weights, DEVICE)
    describe(method, replace(rule, scales=rule.scales[:1]), folder, count)
    start, processor = time.perf_counter(), time.process_time()
    rows = describe(method, rule, folder, count)
    took = time.perf_counter() - start, time.process_time() - processor
    np.save(out, rows)
    print(json.dumps(took))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
