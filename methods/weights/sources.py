"""Data sets that judge a head by a source of photographs on which it was not trained.

    python -m bench.methods.weights.sources PACKAGES OUTPUT

takes the package files that `photographs.py` takes, and writes for each of the five `SOURCES`

OUTPUT/SOURCE.json          a data set: all photographs are its database, and each of the source is
                            three queries
OUTPUT/SOURCE-rerank.json   the same, smaller, for re-ranking: one query of every second photograph,
                            in a database of the source and every sixth other photograph
OUTPUT/SOURCE.txt           what `train --leave-out` reads: the photographs of the source, and those
                            of other sources that show the same thing

A query sees 20 to 60 % of its photograph through a turned camera, under another light, often behind
a part of another photograph, blurred and compressed; the database has 60 to 100 % of it. None of it
is code of the training. Protocols: `view` (the photograph of the query), `thing` (other photographs
of its thing, see `GROUPS`) and `real` (the same, asked by photographs of the database).
"""

from __future__ import annotations

import io
import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.methods.weights import photographs

SOURCES = {  # the first that a photograph's name begins with
    "places": r"gcompris_(details|monuments?|renewable)_",
    "creatures": r"gcompris_",
    "opencv": r"opencv_",
    "wallpapers": r"(budgie|lomiri|mate|plasma|palapeli|lxqt)_",
    "others": r"",
}
GROUPS = tuple(  # photographs of one thing, found by looking; the first nine are places
    line.split()
    for line in """\
gcompris_monument_brandenburggate gcompris_monuments_brandenburggate
gcompris_monument_mountrushmore gcompris_monuments_mountrushmore
gcompris_monument_tajmahal gcompris_monuments_tajmahal gcompris_details_tajmahal
gcompris_monument_colosseum gcompris_monuments_colosseum budgie_roman_colosseum
gcompris_details_chenonceau gcompris_monument_chateaudechenonceau
gcompris_details_neuschwanstein gcompris_monument_neuschwansteincastle
gcompris_details_operasidney gcompris_monuments_operahouse
gcompris_monument_greatpyramidofgiza gcompris_monuments_greatpyramid gcompris_details_gizahpyramids
gcompris_monument_victoriamemorial gcompris_monuments_victoriamemorial
opencv_aero1 opencv_aero3
opencv_aloel opencv_aloer
opencv_basketball1 opencv_basketball2
opencv_box opencv_box_in_scene
opencv_graf1 opencv_graf3
opencv_left opencv_right
opencv_leuvena opencv_leuvenb
opencv_rubberwhale1 opencv_rubberwhale2
mvtb_seq_im_001 mvtb_seq_im_002 mvtb_seq_im_003 mvtb_seq_im_004 mvtb_seq_im_005 mvtb_seq_im_006 \
mvtb_seq_im_007 mvtb_seq_im_008 mvtb_seq_im_009""".splitlines()
)
QUERIES = 3  # of each photograph
SIDE_PX, SIZE = 1600, (448, 336)  # most pixels of a photograph, and the size of a view
SEED = 77
PART, TURNS_DEG = (0.6, 1.0), (4, 4, 2)  # of a photograph in the database
PART_ASKED, TURNS_ASKED_DEG = (0.2, 0.6), (18, 28, 8)
Picture = Image.Image
Generator = np.random.Generator


def source_of(name: str) -> str:
    """Return the source of a photograph."""
    return next(source for source, begin in SOURCES.items() if re.match(begin, name))


def alike(name: str, names: Sequence[str]) -> list[str]:
    """Return the other photographs of the thing of a photograph, of those in `names`."""
    group = next((group for group in GROUPS if name in group), [])
    return [other for other in group if other != name and other in names]


def left_out(source: str, names: Sequence[str]) -> list[str]:
    """Return the photographs that show nothing new after those of a source, and the source."""
    own = [name for name in names if source_of(name) == source]
    return sorted({*own, *(other for name in own for other in alike(name, names))})


def turned(angles: Sequence[float]) -> NDArray[np.float64]:
    """Return the rotation (3, 3) about x, then y, then z, by angles in radians."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    rotation: NDArray[np.float64] = about_x @ about_y @ about_z
    return rotation


def seen(
    image: Picture, size: tuple[int, int], part: float, turns_deg: Sequence[float], draw: Generator
) -> Picture:
    """Return what a camera sees of a photograph: `part` of it, turned about x, y and z.

    The camera is turned by up to `turns_deg`; beyond its edges the photograph is mirrored.
    """
    (wide, high), (width, height) = image.size, size
    step = min(wide / width, high / height) * math.sqrt(part)  # pixels of the photograph per pixel
    half_w, half_h = width * step / 2, height * step / 2
    x = draw.uniform(half_w, wide - half_w) if wide > 2 * half_w else wide / 2
    y = draw.uniform(half_h, high - half_h) if high > 2 * half_h else high / 2
    focal = 1.1 * max(width, height)
    rotation = turned([math.radians(draw.uniform(-turn, turn)) for turn in turns_deg])
    lens = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    place = np.array([[step, 0, x - half_w], [0, step, y - half_h], [0, 0, 1]])
    matrix = place @ lens @ rotation @ np.linalg.inv(lens)
    shrink = max(1, int(step))
    if shrink > 1:
        image = image.reduce(shrink)
    edge = int(max(image.size) * 0.15)
    matrix = np.diag([1 / shrink, 1 / shrink, 1]) @ (matrix / matrix[2, 2])
    matrix = np.array([[1, 0, edge], [0, 1, edge], [0, 0, 1]]) @ matrix
    padded = np.pad(np.asarray(image), ((edge, edge), (edge, edge), (0, 0)), mode="reflect")
    numbers = (matrix / matrix[2, 2]).flatten()[:8].tolist()
    return Image.fromarray(padded).transform(
        size, Image.Transform.PERSPECTIVE, numbers, Image.Resampling.BICUBIC
    )


def disturbed(image: Picture, other: Picture, draw: Generator) -> Picture:
    """Return a view under another light, haze or dusk, half hidden, blurred and compressed."""
    width, height = image.size
    pixels = lit(np.asarray(image).astype(np.float32) / 255, draw)
    image = Image.fromarray((255 * np.clip(pixels, 0, 1)).astype(np.uint8))
    if draw.random() < 0.6:
        before, part = other.copy(), draw.uniform(0.25, 0.5)
        before.thumbnail((int(width * part), int(height * part * 1.6)))
        x, y = draw.uniform(-0.1, 0.9 - part / 2) * width, draw.uniform(0.2, 0.8) * height
        image.paste(before, (int(x), int(y)))
    if draw.random() < 0.3:  # motion
        count = int(draw.integers(3, 8))
        rows = np.asarray(image).astype(np.float32)
        moved = sum(np.roll(rows, by, 1) for by in range(count)) / count
        image = Image.fromarray(np.asarray(moved).astype(np.uint8))
    if draw.random() < 0.5:
        part = draw.uniform(0.3, 0.8)
        small = image.resize((int(width * part), int(height * part)), Image.Resampling.BOX)
        image = small.resize((width, height), Image.Resampling.BICUBIC)
    packed = io.BytesIO()
    image.save(packed, "WEBP", quality=int(draw.integers(10, 70)))
    with Image.open(packed, formats=("WEBP",)) as decoded:
        return decoded.convert("RGB")


def lit(pixels: NDArray[np.floating], draw: Generator) -> NDArray[Any]:
    """Return pixels (height, width, 3) of 0..1 with a ramp of light, haze, dusk and a tint."""
    height, width = pixels.shape[:2]
    angle = draw.uniform(0, 2 * math.pi)
    y, x = np.mgrid[:height, :width]
    ramp = (x / width - 0.5) * math.cos(angle) + (y / height - 0.5) * math.sin(angle)
    made: NDArray[Any] = pixels ** math.exp(draw.uniform(-0.6, 0.6))
    made = made * (1 + draw.uniform(0, 1.0) * ramp)[..., None]
    if draw.random() < 0.4:
        clear = draw.uniform(0.4, 0.9)
        made = made * clear + (1 - clear) * draw.uniform(0.5, 0.9)
    if draw.random() < 0.3:
        made = made * draw.uniform(0.25, 0.6)
    return made * (1 + draw.uniform(-0.15, 0.15, 3))


def views(name: str, images: dict[str, Picture]) -> list[Picture]:
    """Return the view of a photograph in the database, and its queries."""
    names = sorted(images)
    draw = np.random.default_rng((SEED, names.index(name)))
    other, image = images[names[int(draw.integers(len(names)))]], images[name]
    size = SIZE if image.width >= image.height else SIZE[::-1]
    made = [seen(image, size, draw.uniform(*PART), TURNS_DEG, draw)]
    for _ in range(QUERIES):
        asked = seen(image, size, draw.uniform(*PART_ASKED), TURNS_ASKED_DEG, draw)
        made.append(disturbed(asked, other, draw))
    return made


def dataset(source: str, names: Sequence[str], *, rerank: bool = False) -> dict[str, Any]:
    """Return a dataset.json of a source, whose photographs are the database's `names`."""
    own = [name for name in names if source_of(name) == source]
    database = list(names)
    if rerank:
        others = [name for name in names if source_of(name) != source]
        kept = {*left_out(source, names), *others[::6]}
        database = [name for name in names if name in kept]
        own = [name for at, name in enumerate(own) if at % 2 == 0 or alike(name, names)]
    row = {name: at for at, name in enumerate(database)}
    same = {name: [row[other] for other in alike(name, names)] for name in own}
    asked = [(name, k) for name in own for k in range(1, 2 if rerank else QUERIES + 1)]
    real = [name for name in own if same[name]]
    queries = [f"queries/{name}-{k}.png" for name, k in asked]
    by_view = [{"positive": [row[name]], "ignored": same[name]} for name, _ in asked]
    things = [
        {"positive": same[name], "ignored": [row[name]]} if same[name] else None
        for name in [name for name, _ in asked] + real
    ]
    none = [None] * len(asked)
    protocols: dict[str, Any] = {"view": [*by_view, *[None] * len(real)]}
    if real:
        protocols["thing"] = [*things[: len(asked)], *[None] * len(real)]
        protocols["real"] = [*none, *things[len(asked) :]]
    return {
        "name": f"{source}-rerank" if rerank else source,
        "description": f"Photographs of {source}, asked for by views of them.",
        "licence": photographs.LICENCE,
        "images": "views",
        "database": [f"database/{name}.png" for name in database],
        "queries": [{"file": file} for file in [*queries, *(f"database/{n}.png" for n in real)]],
        "protocols": protocols,
    }


def write(packages: Path, output: Path) -> int:
    """Write views, data sets and what to leave out; return how many photographs there are."""
    images = {}
    for listed, content in photographs.contents(packages):
        with Image.open(io.BytesIO(content)) as stored:
            images[listed.name] = stored.convert("RGB")
        images[listed.name].thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    names = sorted(images)
    for part in ("database", "queries"):
        (output / "views" / part).mkdir(parents=True, exist_ok=True)
    for name in names:
        first, *asked = views(name, images)
        first.save(output / "views" / "database" / f"{name}.png", compress_level=1)
        for k, view in enumerate(asked, start=1):
            view.save(output / "views" / "queries" / f"{name}-{k}.png", compress_level=1)
    for source in SOURCES:
        lines = "".join(f"{name}\n" for name in left_out(source, names))
        (output / f"{source}.txt").write_text(lines, encoding="ascii")
        for rerank in (False, True):
            made = dataset(source, names, rerank=rerank)
            path = output / f"{made['name']}.json"
            path.write_text(json.dumps(made, indent=1) + "\n", encoding="ascii")
    return len(names)


def main(arguments: list[str]) -> int:
    """Write the data sets, and say of how many photographs."""
    if len(arguments) != 2:
        raise SystemExit(__doc__)
    count = write(Path(arguments[0]), Path(arguments[1]))
    print(f"{arguments[1]}: {count} photographs of {len(SOURCES)} sources")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
