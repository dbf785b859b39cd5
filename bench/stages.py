"""The list of stages: what `--stage` knows by name, those of packages, and files of a user's own.

A new stage is one module and one line here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

from bench import plugins
from bench.errors import BenchError, unknown
from bench.rerank import diffusion, expansion, k_reciprocal, rescore, superglobal, verification
from bench.stage import Stage
from bench.system.hashing import canonical_json
from bench.whitening import augmentation, fusion, learned, pca, truncation

# By name: the module, with `make` for what a user wrote and `of_entry` for an entry of a card.
ON_ROWS: dict[str, Any] = {
    "truncate": truncation,
    "pca-whiten": pca,
    "lw-whiten": learned,
    "fuse": fusion,
    "dba": augmentation,
}
ON_LISTS: dict[str, Any] = {
    "rescore": rescore,
    "aqe": expansion,
    "k-reciprocal": k_reciprocal,
    "diffusion": diffusion,
    "superglobal": superglobal,
    "rerank": verification,
}
STAGES = ON_ROWS | ON_LISTS
# What a stage that uses this is called, wherever its number stands.
MARKS = {
    "uses labels": frozenset({"labels"}),
    "transductive": frozenset({"database", "queries"}),
}
ENTRY_POINTS = "retrieval_bench.stages"  # the group in which a package names its stages
FILE_SHA256 = "file_sha256"  # the card's entry for the code of a user's stage
_OWN = "_bench_stage_"  # begins the name of the module of a file of a user's own
_digests: dict[type, str] = {}  # of the files that define stages of users and packages
NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
VERIFICATION = "rerank"  # needs the local features of a method, so the plan of a run makes it


def parse(text: str) -> Stage:
    """Return the stage of `NAME[:value,key=value,…]`, or of `FILE.py[:value,key=value,…]`.

    Other names are looked up among the entry points of installed packages.
    """
    name, first, options = split(text)
    if name.endswith(".py"):
        return _from_file(Path(name), first, options)
    if name in STAGES:
        stage: Stage = STAGES[name].make(first, options)
        return stage
    offered = plugins.points(ENTRY_POINTS)
    named = [point for point in offered if point.name == name]
    if not named:
        raise unknown("stage", name, [*STAGES, *(point.name for point in offered)])
    if len(named) > 1:
        places = " and ".join(point.value for point in named)
        raise BenchError(f"--stage {name} is provided twice, by {places}; uninstall one of them.")
    return _from_package(named[0], first, options)


def split(text: str) -> tuple[str, str | None, dict[str, str]]:
    """Return name, first value and options of the text of a stage.

    >>> split("aqe:10,alpha=3")
    ('aqe', '10', {'alpha': '3'})
    """
    found = re.fullmatch(r"(?P<name>.*?\.py|[^:,]*)(?:[:,](?P<rest>.*))?", text)
    name, rest = (found["name"], found["rest"]) if found else (text, None)
    first, options = None, {}
    for place, word in enumerate((rest or "").split(",") if rest else ()):
        key, equals, value = word.partition("=")
        if not equals and place == 0:
            first = word
        elif not equals or not key or key in options:
            raise BenchError(f"--stage {text!r}: {word!r} is not KEY=VALUE, or repeats a key.")
        else:
            options[key] = value
    return name, first, options


def known(entry: Mapping[str, Any]) -> Stage | None:
    """Return the stage of an entry of a card, None where it is not ours or makes no sense.

    Nothing is loaded by a name from a record: a file of a user's own is not known.
    """
    module = STAGES.get(str(entry.get("stage")))
    try:
        stage: Stage | None = None if module is None else module.of_entry(entry)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        return None
    return stage


def words(entries: Sequence[Mapping[str, Any]]) -> str:
    """Return the stages of a card as text, in the order of application."""
    return "; then ".join(map(_words, entries))


def _words(entry: Mapping[str, Any]) -> str:
    stage = known(entry)
    if stage is not None:
        out = stage.words(entry)
    else:
        rest = [
            f"{key} {value}"
            for key, value in entry.items()
            if key not in ("stage", "uses", FILE_SHA256)
        ]
        out = ", ".join([str(entry.get("stage")), *rest])
    marks = [mark for mark, used in MARKS.items() if used & set(entry.get("uses", ()))]
    return ", ".join([out, *marks])


def is_transductive(entries: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a stage of a card is fitted on evaluated data."""
    return any(MARKS["transductive"] & set(entry.get("uses", ())) for entry in entries)


def code_of(stage: Stage) -> Any:
    """Return the version of its code: its number, and the hash of a user's file."""
    digest = digest_of(stage)
    return stage.code if digest is None else [stage.code, digest[:32]]


def digest_of(stage: Stage) -> str | None:
    """Return the sha256 of the file that defines a stage of a user or a package; None: ours."""
    return _digests.get(type(stage))


@contextmanager
def own_code(stage: Stage) -> Iterator[None]:
    """Run code of a stage; what a file of a user's own raises becomes one sentence."""
    try:
        yield
    except BenchError:
        raise
    except Exception as error:
        if digest_of(stage) is None:
            raise
        at = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise BenchError(
            f"the stage {stage.name} fails: {what} ({at.filename}, line {at.lineno})."
        ) from error


def _from_file(path: Path, first: str | None, options: Mapping[str, str]) -> Stage:
    """Load a stage of the user's own: the file has a function `make(first, options)`."""
    if not path.is_file():
        raise BenchError(f"the stage file {path} does not exist.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()

    def load() -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"{_OWN}{digest[:32]}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look a module up while it runs
        spec.loader.exec_module(module)
        return module

    return _made(f"the stage file {path}", load, digest, first, options)


def _from_package(point: EntryPoint, first: str | None, options: Mapping[str, str]) -> Stage:
    """Load a stage that an installed package offers: the module has `make(first, options)`."""
    where = f"the stage {point.name} of the entry point {point.value}"
    with _sentences(where):
        module = point.load()
        digest = hashlib.sha256(Path(module.__file__).read_bytes()).hexdigest()
    return _made(where, lambda: module, digest, first, options)


@contextmanager
def _sentences(where: str) -> Iterator[None]:
    """Make one sentence of what code that is not ours raises."""
    try:
        yield
    except BenchError:
        raise
    except Exception as error:
        what = " ".join(str(error).split())
        raise BenchError(f"{where} fails: {type(error).__name__}: {what}.") from error


def _made(
    where: str,
    load: Callable[[], ModuleType],
    digest: str,
    first: str | None,
    options: Mapping[str, str],
) -> Stage:
    """Return the stage that `make` of a module gives, checked; `digest` is that of its file."""
    with _sentences(where):
        stage: Stage = load().make(first, options)
        names = _ATTRIBUTES["all"] + _ATTRIBUTES.get(getattr(stage, "place", ""), ())
        lacking = [name for name in names if not hasattr(stage, name)]
        entry = {} if lacking else dict(stage.entry())
        canonical_json(entry)
        wrong = [] if lacking else _wrong(stage)
    if lacking:
        raise BenchError(f"{where} lacks {', '.join(lacking)}: see bench/stage.py.")
    if wrong:
        raise BenchError(f"{where}: {'; '.join(wrong)}; see bench/stage.py.")
    if stage.name in STAGES or not re.fullmatch(NAME, stage.name):
        raise BenchError(
            f"{where} has the name {stage.name!r}; a name must have letters, digits, '.', '_' "
            "and '-', and must not be that of a built-in stage."
        )
    if entry.get("stage") != stage.name or FILE_SHA256 in entry:
        raise BenchError(
            f"the entry of {where} must be {{'stage': {stage.name!r}, …}}, without {FILE_SHA256}."
        )
    _digests[type(stage)] = digest
    return stage


def _wrong(stage: Any) -> list[str]:
    """Return the faults in the attributes of a user's stage."""
    used, sides = frozenset().union(*MARKS.values()), frozenset({"database", "queries"})
    learned = getattr(stage, "learned", ())
    found = {
        f"place is {stage.place!r}; it must be rows or list": stage.place in ("rows", "list"),
        f"code is {stage.code!r}; it must be an integer": type(stage.code) is int,
        f"uses is {stage.uses!r}; it must be some of {sorted(used)}": set(stage.uses) <= used,
        f"sides is {getattr(stage, 'sides', None)!r}; it must be some of {sorted(sides)}": (
            set(getattr(stage, "sides", ())) <= sides
        ),
        f"learned is {learned!r}; its names must have lower-case letters, digits and '_'": all(
            re.fullmatch("[a-z][a-z0-9_]{0,39}", name) for name in learned
        ),
    }
    return [sentence for sentence, right in found.items() if not right]


_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "all": ("name", "code", "place", "uses", "needs", "fit_to", "entry", "cost", "words"),
    "rows": ("sides", "learned", "dim", "fit", "transform"),
    "list": ("searches_again", "depth", "apply", "faults"),
}
