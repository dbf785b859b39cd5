"""Plug-ins: Python files in a folder of the checkout, entry points of packages, or files by path.

Listing reads file names and imports nothing; a plug-in is imported when it is asked for, and what
goes wrong in it becomes one sentence about it alone. A plug-in's name is its file name with
hyphens for underscores: `methods/random_unit.py` is `random-unit`. Files beginning with an
underscore or a dot are not plug-ins. This module serves methods and datasets alike.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from bench.errors import BenchError, unknown
from bench.root import ROOT

Source = Path | EntryPoint


@dataclass(frozen=True)
class Kind:
    """One sort of plug-in: `noun` for sentences, the folder, its package, the entry-point group."""

    noun: str
    folder: Path
    package: str
    group: str


@dataclass(frozen=True)
class Summary:
    """One line of a listing: `error` is None, or why the plug-in does not work."""

    name: str
    description: str
    module: ModuleType | None
    error: str | None


def find(kind: Kind) -> dict[str, tuple[Source, ...]]:
    """Return where each name comes from, sorted by name; two sources mean that names clash.

    Nothing is imported. The error is raised where the folder is not there.
    """
    if not kind.folder.is_dir():
        raise BenchError(
            f"the folder {kind.folder} of the {kind.noun}s does not exist: this installation is "
            "incomplete; install it again, or run from a clone."
        )
    found: dict[str, tuple[Source, ...]] = {}
    for path in sorted(kind.folder.glob("*.py")):
        if not path.name.startswith(("_", ".")):
            name = name_of(path)
            found[name] = (*found.get(name, ()), path)
    for point in points(kind.group):
        found[point.name] = (*found.get(point.name, ()), point)
    return dict(sorted(found.items()))


def points(group: str) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group that the installed packages have."""
    return _points(group, tuple(sys.path))


@cache
def _points(group: str, _path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group; looking for them opens a file of every package."""
    return tuple(entry_points(group=group))


def name_of(path: Path) -> str:
    """Return the name of the plug-in in a file: the stem with hyphens for underscores."""
    return path.stem.replace("_", "-")


def is_path(name: str) -> bool:
    """Tell whether `name` is the path of a file rather than the name of a plug-in."""
    return name.endswith(".py") or "/" in name or "\\" in name


def is_name(text: str) -> bool:
    """Tell whether a text that data state can be the name of something, and no path or code.

    >>> is_name("gem.resnet50.a1_in1k"), is_name("gem.pyramid"), is_name("own.py:large")
    (True, True, False)
    """
    plain = text.isprintable() and not text.startswith((".", "-", "~"))
    return plain and not re.search(r"[/\\]|\.py(?!\w)", text, re.IGNORECASE)


def known(kind: Kind, text: str) -> str:
    """Return "name" or "name.variant" as data state it, where a known plug-in has that name.

    Raises BenchError for any other, a path above all: what data name is never read or run.
    """
    if not is_name(text):
        raise BenchError(
            f"{text!r} is not the name of a {kind.noun}; a record must not name a file."
        )
    names = find(kind)
    if text not in names and split(text)[0] not in names:
        raise unknown(kind.noun, text, names)
    return text


def split(text: str) -> tuple[str, str | None]:
    """Split "name.variant" at the first dot, or "file.py:variant"; no variant means the default.

    >>> split("gem.resnet50.a1_in1k"), split("gem"), split("my/own.py:large")
    (('gem', 'resnet50.a1_in1k'), ('gem', None), ('my/own.py', 'large'))
    """
    path = re.fullmatch(r"(?P<file>.*\.py)(?::(?P<variant>.+))?", text)
    if path:
        return path["file"], path["variant"]
    name, _, variant = text.partition(".")
    return name, variant or None


@dataclass(frozen=True)
class Named:
    """A plug-in that a user named: imported, with its name; `variant` is None without one."""

    module: ModuleType
    name: str
    variant: str | None


def resolve(kind: Kind, text: str) -> Named:
    """Return what a user named: NAME, NAME.VARIANT, FILE.py or FILE.py:VARIANT.

    All commands take names this way. A record must not name a path: use `known` for its names.
    """
    name, variant = (text, None) if text in find(kind) else split(text)
    module = import_one(kind, name)
    return Named(module, name_of(Path(name)) if is_path(name) else name, variant)


def import_one(kind: Kind, name: str) -> ModuleType:
    """Import the plug-in called `name`, or in the file that `name` is the path of.

    Whatever fails is a `BenchError` of one sentence that names the plug-in, the fault and its line.
    """
    found = find(kind)
    if is_path(name):
        return _from_path(kind, Path(name), found)
    if name not in found:
        raise unknown(kind.noun, name, found)
    sources = found[name]
    if len(sources) > 1:
        places = " and ".join(_place(source) for source in sources)
        raise BenchError(f"two {kind.noun}s have the name {name!r}, {places}; rename one of them.")
    return _from_source(kind, name, sources[0])


def summaries(kind: Kind) -> list[Summary]:
    """Import every plug-in and return one line each; a broken one is reported, not raised."""
    lines = []
    for name in find(kind):
        try:
            module = import_one(kind, name)
        except BenchError as error:
            lines.append(Summary(name, "", None, str(error)))
        else:
            first = next(iter((module.__doc__ or "").strip().splitlines()), "")
            lines.append(Summary(name, first.strip(), module, None))
    return lines


def fault(error: BaseException, file: str | None = None) -> str:
    """Return the type, text and place of an exception, in one line.

    The place is the innermost line in `file`, or of the whole traceback if it is not there.
    """
    text = " ".join(str(error).split())
    frames = list(traceback.extract_tb(error.__traceback__))
    own = [frame for frame in frames if frame.filename == file]
    where = [(frame.filename, frame.lineno) for frame in (own or frames)[-1:]]
    if isinstance(error, SyntaxError):
        text, where = error.msg, [(error.filename or "?", error.lineno)]
    place = "".join(f" ({Path(name).name}, line {line})" for name, line in where)
    return f"{type(error).__name__}{': ' + text if text else ''}{place}"


def _from_source(kind: Kind, name: str, source: Source) -> ModuleType:
    """Import a plug-in of the folder, or load the module behind an entry point."""
    if isinstance(source, Path) and not source.stem.replace("-", "_").isidentifier():
        raise BenchError(
            f"the {kind.noun} file {source.name} cannot be imported: its name must have letters, "
            "digits and underscores, then .py."
        )
    try:
        if isinstance(source, Path):
            return importlib.import_module(f"{kind.package}.{source.stem}")
        module = source.load()
    except (Exception, SystemExit) as error:
        raise _broken(kind, name, source, error) from error
    if not isinstance(module, ModuleType):
        raise BenchError(
            f"the {kind.noun} {name!r} of {_place(source)} is not a module but "
            f"{type(module).__name__}; an entry point must name a module, without a colon."
        )
    return module


def _from_path(kind: Kind, path: Path, found: dict[str, tuple[Source, ...]]) -> ModuleType:
    """Import a file outside of the checkout; the same file again is the same module."""
    if not path.is_file():
        raise BenchError(f"the {kind.noun} file {path} does not exist.")
    path = path.resolve()
    name = name_of(path)
    if path.parent == kind.folder.resolve() and name in found:
        return import_one(kind, name)
    if name in found:
        raise BenchError(
            f"{path} has the name of the {kind.noun} {name!r}, so records could not distinguish "
            "them; rename the file."
        )
    label = f"_bench_{kind.noun}_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    if label in sys.modules:
        return sys.modules[label]
    spec = importlib.util.spec_from_file_location(label, path)
    if spec is None or spec.loader is None:
        raise BenchError(
            f"the {kind.noun} file {path} is not a Python file; its name must end in .py."
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[label] = module  # dataclasses and pickling look a module up while it runs
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[label]
        raise _broken(kind, name, path, error) from error
    return module


def _broken(kind: Kind, name: str, source: Source, error: BaseException) -> BenchError:
    """Return the sentence for a plug-in whose import failed."""
    if isinstance(error, BenchError):
        return BenchError(f"the {kind.noun} {name!r} ({_place(source)}): {error}")
    file = str(source) if isinstance(source, Path) else None
    return BenchError(
        f"the {kind.noun} {name!r} ({_place(source)}) cannot be imported: {fault(error, file)}."
    )


def _place(source: Source) -> str:
    """Return the source of a plug-in as text."""
    if isinstance(source, Path):
        return str(source.relative_to(ROOT) if source.is_relative_to(ROOT) else source)
    package = source.dist.name if source.dist else "an unknown package"
    return f"entry point {source.value} of {package}"
