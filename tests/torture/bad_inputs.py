"""Bad inputs: a right file of every kind that is read, changed at random, given to its command."""

from __future__ import annotations

import io
import json
import pickle
import random
import re
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from PIL import Image

from tests.torture import world as worlds
from tests.torture.world import World

MOST_BYTES = 1 << 30
TOKENS = (b"NaN", b"1e999", b"-1", b"9" * 5000, b"[" * 900, b"null", b"{}", b'"', b"\\", b"\0",
          b"\x1b[2J", "\u202e".encode(), b"\xff\xfe", b"../..", b"\n", b"0" * 64, b"true",
          b"1152921504606846976", b"\\ud800", b"r\xff\xff\xff\x0f", b"2\x86", b".py", b"1e-400",
          b"$(id)", b",", b"]", b"}", b"\x80\x02", struct.pack("<I", 0xFFFFFFF0))  # fmt: skip

Make = Callable[[World], bytes]


@dataclass(frozen=True)
class Kind:
    """A kind of input: where it lies, a right one, and the commands that read it."""

    name: str
    place: str  # below the folder of the world
    make: Make
    commands: Callable[[World, Path], list[list[str]]]


def changed(content: bytes, draw: random.Random) -> bytes:
    """Return a file with one to four random changes."""
    out = bytearray(content)
    for _ in range(draw.randrange(1, 5)):
        size = max(1, len(out))
        low, high = sorted((draw.randrange(size), draw.randrange(size)))
        match draw.randrange(8):
            case 0:
                out[low : low + 1] = bytes([draw.randrange(256)])
            case 1 if out:
                out[low] ^= 1 << draw.randrange(8)
            case 2:
                del out[low:high]
            case 3:
                out[low:low] = out[low:high][:4096]
            case 4:
                out[low:low] = draw.choice(TOKENS)
            case 5:
                del out[low:]
            case 6:
                out[low:high] = bytes(len(out[low:high]))
            case _:
                out = _other_word(out, draw)
    return bytes(out)


def _other_word(content: bytearray, draw: random.Random) -> bytearray:
    """Return text with one word or number replaced by a token or by another word of it."""
    words = list(re.finditer(rb'"[^"]{0,60}"|-?[0-9][0-9.eE+-]*', bytes(content)))
    if not words:
        return content
    first, other = draw.choice(words), draw.choice(words)
    new = draw.choice((*TOKENS, other[0], other[0], other[0]))
    return content[: first.start()] + new + content[first.end() :]


def _dataset(world: World) -> bytes:
    data = json.loads((world.town / "dataset.json").read_bytes())
    data["protocols"]["p"][0] = {"positive": [1, 2, 3], "ignored": [4]}
    data["queries"][0]["box"] = [0, 0, 4, 4]
    data["areas"] = {"database": [0] * 40 + [1] * 40, "queries": [0] * 8}
    data["rules"] = {"a": {"b": [1, "x"]}}
    return json.dumps(data).encode()


def _revisited(_: World) -> bytes:
    names = [f"all_souls_{i:06}" for i in range(9)]
    gnd = [{"bbx": [1.0, 2.0, 9.0, 9.0], "easy": [1], "hard": [2, 3], "junk": [4]}] * 2
    content = {"imlist": names, "qimlist": names[:2], "gnd": gnd}
    return pickle.dumps(content, protocol=2)


def _original(_: World) -> bytes:
    names = [f"paris_louvre_{i:06}" for i in range(9)]
    gnd = [{"bbx": [1.0, 2.0, 9.0, 9.0], "ok": [0, 1], "junk": [4]}]
    content = {"imlist": names, "qimlist": names[:1], "gnd": gnd}
    return pickle.dumps(content, protocol=0)


def _npy(objects: bool) -> Make:
    def make(_: World) -> bytes:
        out = io.BytesIO()
        rows: Any = np.random.default_rng(3).standard_normal((80, 6)).astype(np.float32)
        if objects:
            rows = np.empty((8, 2), dtype=object)
            rows[:] = [[i, [i, i + 1]] for i in range(8)]
        np.save(out, rows, allow_pickle=True)
        return out.getvalue()

    return make


def _npz(_: World) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, vectors=np.random.default_rng(3).standard_normal((80, 6)))
    return out.getvalue()


def _mat(_: World) -> bytes:
    out = io.BytesIO()
    rows = np.random.default_rng(3).standard_normal((6, 80))
    scipy.io.savemat(out, {"X": rows, "Q": rows[:, :8]}, do_compression=True)
    return out.getvalue()


def _image(kind: str) -> Make:
    def make(world: World) -> bytes:
        out = io.BytesIO()
        image = Image.open(world.town / "jpg" / "000.png").resize((24, 16))
        image.save(out, kind)
        return out.getvalue()

    return make


def _zip(_: World) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("AmsterTime/new/1.jpg", b"x" * 90)
        archive.writestr("AmsterTime/old/1.jpg", b"y" * 90)
    return out.getvalue()


def _tar(_: World) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name in ("a/1.jpg", "a/2.jpg"):
            about = tarfile.TarInfo(name)
            about.size = 40
            archive.addfile(about, io.BytesIO(b"x" * 40))
    return out.getvalue()


def _published(world: World) -> bytes:
    return (Path(__file__).parents[2] / "results" / "published.toml").read_bytes()[:4000]


def _record(suffix: str) -> Make:
    def make(world: World) -> bytes:
        path = next((world.folder / "good").glob("runs/*/*/*.json"))
        return path.with_suffix(suffix).read_bytes()

    return make


def _csv(_: World) -> bytes:
    return b"landmark_id,images\n1,0123abcd 1123abcd\n2,2123abcd\n"


def _run(world: World, path: Path) -> list[list[str]]:
    return [["run", "--method", "random-unit", "--measure", "none", "--results",
             str(world.results), "--device", "cpu", "--dataset", str(path.parent)],
            ["data", "verify", "--quick", str(path.parent)]]  # fmt: skip


def _image_run(world: World, path: Path) -> list[list[str]]:
    folder = str(path.parent.parent)
    return [["run", "--method", "random-unit", "--measure", "none", "--results",
             str(world.results), "--device", "cpu", "--dataset", folder],
            ["data", "verify", folder]]  # fmt: skip


def _evaluate(world: World, path: Path) -> list[list[str]]:
    town = world.town
    return [["evaluate", "--dataset", str(town / "dataset.json"), "--database", str(path),
             "--queries", str(town / "queries.npy"), "--results", str(world.results)]]  # fmt: skip


def _truth(name: str) -> Callable[[World, Path], list[list[str]]]:
    return lambda world, path: [["data", "verify", "--quick", name], ["data", "where", name]]


def _of_record(world: World, path: Path) -> list[list[str]]:
    record = str(path.with_suffix(".json"))
    sheet = ["sheet", record, "--worst", "1", "--dataset", str(world.town), "--output"]
    return [["verify", record], [*sheet, str(world.folder / "sheet.html")],
            ["report", "--results", str(path.parents[3])]]  # fmt: skip


def _own(name: str) -> Callable[[World, Path], list[list[str]]]:
    return lambda world, path: [["data", "get", name, "--accept-licence", "--from", str(path)],
                                ["data", "where", name]]  # fmt: skip


def _train(world: World, path: Path) -> list[list[str]]:
    return [["train", "--method", "delg.lite0", "--data", str(path), "--dry-run", "--out",
             str(world.folder / "training")]]  # fmt: skip


RUN = "bad/runs/town/halves.plain/00000000-20260101T000000Z-000000"
KINDS = (
    Kind("dataset.json", "bad/dataset.json", _dataset, _run),
    Kind("revisited pickle", "data/roxford5k/gnd_roxford5k.pkl", _revisited, _truth("roxford5k")),
    Kind("original pickle", "data/paris6k/gnd_paris6k.pkl", _original, _truth("paris6k")),
    Kind("array", "bad/rows.npy", _npy(objects=False), _evaluate),
    Kind("array of objects", "data/sped/ground_truth_new.npy", _npy(objects=True), _truth("sped")),
    Kind("archive of arrays", "bad/rows.npz", _npz, _evaluate),
    Kind("MATLAB", "bad/rows.mat", _mat, _evaluate),
    Kind("JPEG", "pictures/jpg/000.jpg", _image("JPEG"), _image_run),
    Kind("PNG", "pictures/jpg/000.png", _image("PNG"), _image_run),
    Kind("WebP", "pictures/jpg/000.webp", _image("WEBP"), _image_run),
    Kind("TIFF", "pictures/jpg/000.tif", _image("TIFF"), _image_run),
    Kind("zip", "own/own.zip", _zip, _own("amstertime")),
    Kind("tar.gz", "own/own.tar.gz", _tar, _own("amstertime")),
    Kind("published.toml", "bad/published.toml", _published,
         lambda world, path: [["report", "--results", str(path.parent)]]),
    Kind("record", f"{RUN}.json", _record(".json"), _of_record),
    Kind("ranks of a record", f"{RUN}.npz", _record(".npz"), _of_record),
    Kind("list of a training", "bad/train_clean.csv", _csv, _train),
)  # fmt: skip


def bad_input(world: World) -> list[str]:
    """Give a command a changed input: a result or a sentence, no more than 1 GiB, no traceback."""
    if not (world.folder / "good").is_dir():
        world.clear()
        done = worlds.run(world, world.command())
        assert done.status == 0, done.err
        shutil.copytree(world.results, world.folder / "good")
    kind = world.draw.choice(KINDS)
    content = changed(kind.make(world), world.draw)
    path = _lay(world, kind, content)
    command = world.draw.choice(kind.commands(world, path))
    done = worlds.run(world, command)
    found = [f"{kind.name}, {' '.join(command[:2])}: {fault}" for fault in done.faults(MOST_BYTES)]
    if found:
        kept = world.folder / "found" / f"{world.draw.randrange(1 << 40):010x}"
        kept.mkdir(parents=True)
        (kept / path.name).write_bytes(content)
    return found


def _lay(world: World, kind: Kind, content: bytes) -> Path:
    """Write the input, and what belongs beside it; nothing of the trial before is left."""
    for name in ("bad", "data", "own", "pictures", "results"):
        shutil.rmtree(world.folder / name, ignore_errors=True)
    path = world.folder / kind.place
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    if kind.place.endswith("dataset.json"):
        (path.parent / "jpg").symlink_to(world.town / "jpg")
    if kind.place.startswith("pictures"):
        data = {"name": "pictures", "images": "jpg", "database": [path.name],
                "queries": [{"file": path.name}],
                "protocols": {"p": [{"positive": [0]}]}}  # fmt: skip
        (world.folder / "pictures" / "dataset.json").write_text(json.dumps(data))
    if kind.place.startswith(RUN):
        good = next((world.folder / "good").glob("runs/*/*/*.json"))
        other = ".npz" if path.suffix == ".json" else ".json"
        name = good.with_suffix(".npz").name if other == ".npz" else path.with_suffix(other).name
        (path.parent / name).write_bytes(good.with_suffix(other).read_bytes())
        if other == ".json":
            shutil.copy(path, path.parent / good.with_suffix(".npz").name)
    return path
