"""Data sets of a few small images, written in the form in which the genuine ones lie on a disk."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (48, 36)


def pixels(seed: str, size: tuple[int, int] = SIZE) -> Image.Image:
    """Return an image that depends on nothing but `seed`: smooth, as photographs are."""
    draw = np.random.default_rng(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big"))
    coarse = draw.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def photograph(path: Path, seed: str | None = None, size: tuple[int, int] = SIZE) -> Path:
    """Write a small image in the format of its ending; by default its name decides its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels(seed or path.stem, size).save(path)
    return path


def jpeg(seed: str, size: tuple[int, int] = SIZE) -> bytes:
    """Return the bytes of a small JPEG."""
    out = io.BytesIO()
    pixels(seed, size).save(out, "JPEG")
    return out.getvalue()


# --- Oxford and Paris ---------------------------------------------------------------------------

OXFORD = [f"{place}_{i:06}" for place in ("all_souls", "oxford") for i in (0, 3, 7, 12)]
PARIS = [f"paris_{place}_{i:06}" for place in ("louvre", "general") for i in (0, 3, 7, 12)]


def revisited(names: list[str]) -> dict[str, Any]:
    """Return a revisited ground truth: two queries outside the database, in an odd order."""
    database, queries = [names[i] for i in (5, 1, 7, 2, 6, 3)], [names[0], names[4]]
    return {
        "imlist": database,
        "qimlist": queries,
        "gnd": [
            {"bbx": [2, 3.5, 40, 30], "easy": [1], "hard": [3, 5], "junk": [0]},
            {"bbx": [0, 0, 48, 36], "easy": [], "hard": [0, 2], "junk": [4]},
        ],
    }


def original(names: list[str]) -> dict[str, Any]:
    """Return an original ground truth as a pickle has it: queries are in the database."""
    database = [names[i] for i in (5, 0, 1, 7, 2, 4, 6, 3)]
    return {
        "imlist": database,
        "qimlist": [names[0], names[4]],
        "qidx": [1, 5],
        "gnd": [
            {"bbx": [2, 3.5, 40, 30], "ok": [1, 2, 4], "junk": [7]},
            {"bbx": [0.5, 0, 48, 36], "ok": [0, 3, 5], "junk": [1]},
        ],
    }


def text_files(folder: Path, truth: dict[str, Any], prefix: str) -> None:
    """Write an original ground truth as text files, as published; `prefix` is that of Oxford."""
    folder.mkdir(parents=True, exist_ok=True)
    names = truth["imlist"]
    for query, entry in zip(truth["qimlist"], truth["gnd"], strict=True):
        stem = folder / f"{query.rpartition('_')[0].removeprefix('paris_')}_1"
        corners = " ".join(str(x) for x in entry["bbx"])
        good, rest = entry["ok"][:1], entry["ok"][1:]
        for kind, lines in (
            ("query", [f"{prefix}{query} {corners}"]),
            ("good", [names[i] for i in good * 2]),  # a name may stand there twice
            ("ok", [names[i] for i in rest]),
            ("junk", [names[i] for i in entry["junk"]]),
        ):
            Path(f"{stem}_{kind}.txt").write_text("".join(f"{x}\n" for x in lines))


def _pickled(root: Path, name: str, truth: dict[str, Any]) -> None:
    path = root / name / f"gnd_{name}.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(truth, protocol=3))


def roxford5k(root: Path) -> None:
    """Write Revisited Oxford: flat, under its own name."""
    _pickled(root, "roxford5k", revisited(OXFORD))
    for name in OXFORD:
        photograph(root / "roxford5k" / "jpg" / f"{name}.jpg")


def rparis6k(root: Path) -> None:
    """Write Revisited Paris: nested by landmark as in its archive, with a file that is a page."""
    _pickled(root, "rparis6k", revisited(PARIS))
    for name in PARIS:
        photograph(root / "rparis6k" / "paris" / name.split("_")[1] / f"{name}.jpg")
    page = root / "rparis6k" / "paris" / "louvre" / "paris_louvre_000136.jpg"
    page.write_text("<!DOCTYPE html><html><body>302 Found</body></html>")


def oxford5k(root: Path) -> None:
    """Write the original Oxford: text files, and photographs in the folder of the archive."""
    text_files(root / "oxford5k" / "gt_files_170407", original(OXFORD), "oxc1_")
    for name in OXFORD:
        photograph(root / "oxbuild_images" / f"{name}.jpg")


def paris6k(root: Path) -> None:
    """Write the original Paris: the pickle, photographs under the name of the revisited set."""
    _pickled(root, "paris6k", original(PARIS))
    for name in PARIS:
        photograph(root / "rparis6k" / "jpg" / f"{name}.jpg")


def revisitop1m(root: Path, count: int = 12) -> list[str]:
    """Write distractors in folders of three hexadecimal digits, and their list; return it."""
    hashes = [hashlib.md5(str(i).encode(), usedforsecurity=False).hexdigest() for i in range(count)]
    names = [f"{digest[:3]}/{digest}.jpg" for digest in hashes]
    for name in names:
        photograph(root / "revisitop1m" / "jpg" / name)
    (root / "revisitop1m" / "revisitop1m.txt").write_text("".join(f"{name}\n" for name in names))
    return names


SFM = [f"{i:02x}" * 16 for i in (17, 34, 51, 68, 85, 102)]
SFM_LISTS: dict[str, Any] = {
    "cids": SFM,
    "cluster": [7, 7, 7, 9, 9, 7],
    "qidxs": [0, 0, 3],
    "pidxs": [1, 2, 4],
    "bbxs": [np.array([0.5, 1.0, 20.0, 30.0])] * 6,
}


def sfm120k(root: Path) -> None:
    """Write retrieval-SfM-120k: both lists, and images whose names have no ending."""
    folder = root / "sfm120k"
    for cid in SFM:
        place = folder / "ims" / cid[-2:] / cid[-4:-2] / cid[-6:-4] / cid
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(jpeg(cid))
    lists = {"train": SFM_LISTS, "val": SFM_LISTS}
    whitening = {key: np.array(SFM_LISTS[key]) for key in ("qidxs", "pidxs")} | {"cids": SFM}
    for name, value in (("", lists), ("-whiten", whitening)):
        path = folder / f"retrieval-SfM-120k{name}.pkl"
        path.write_bytes(pickle.dumps(value, protocol=2))


WRITERS: dict[str, Callable[[Path], None]] = {
    "roxford5k": roxford5k,
    "rparis6k": rparis6k,
    "oxford5k": oxford5k,
    "oxford5k.query-ignored": oxford5k,
    "paris6k": paris6k,
    "paris6k.query-ignored": paris6k,
}
