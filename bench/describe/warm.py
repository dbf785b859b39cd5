"""Remember the facts of a plug-in, so that a run with complete stores builds no network.

`<cache>/stated/<key>.json` keeps what a record and the keys of stores need of a method, and what
was done to make its network fast. The key is the hash of everything that this follows from: the
plug-in's file, the code of bench/ and the shared folders of methods/, the weights, the variant,
the versions of the libraries, the device. The network is built when it is first asked for
something, and must then say the same.

Methods that may have read weights from an unknown file are not remembered.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from bench import contract, methods, published_weights
from bench.describe import engine, loading
from bench.describe.quickened import Quickened
from bench.errors import BenchError
from bench.root import ROOT
from bench.settings import Settings
from bench.store import file_hashes, remembered
from bench.store.remembered import Fact
from bench.system import machine
from bench.system.hashing import canonical_json, plain, sha256_json
from bench.system.paths import cache_root
from bench.types import Method, MethodInfo

KIND = "stated"

# What a method may have besides the contract: data is remembered, a function is called when it is
# called.
DATA, CALLED = ("local_rule", "timm_resize", "code_bits"), ("local", "refusal", "whiten")


def load(
    text: str,
    weights: str | None = None,
    device: str | None = None,
    settings: Settings | None = None,
    pixels: loading.Pixels | None = None,
) -> engine.Loaded:
    """Return a method as `bench.describe.loading.load` does; its network may not be built yet."""
    settings = settings or Settings()
    check(text, weights)
    place = machine.pick_device(device)
    loading.check(settings, place)

    def build() -> engine.Loaded:
        return loading.load(text, weights, place, settings, pixels)

    about = depends_on(text, weights, place)
    if about is None:
        return build()
    fact = remembered.read(KIND, about)
    if fact is not None and _still(fact.content["read"]):
        found = _of(fact, settings, pixels, place, lambda: _same(build(), fact, about))
        if found is not None:
            return found
    from bench.weights import noting

    with noting() as read:
        loaded = build()
    named = [path for path in about["files"] if Path(path).suffix != ".py"]
    if not loaded.info.weights["trained"] or about["weights"] or read or named:
        remembered.write(KIND, about, _content(loaded, fact, [str(path) for path in read]))
    return loaded


def check(text: str, weights: str | None = None) -> None:
    """Refuse names that are not known and weights that are not here; torch is not imported."""
    methods.check(text, weights)
    if weights is not None and os.sep in weights and not Path(weights).exists():
        raise BenchError(f"the weights file {weights} does not exist; check the path in --weights.")


class Deferred:
    """A method whose network is built when it is asked for; until then it says what is known."""

    def __init__(self, stated: Mapping[str, Any], device: str, build: Callable[[], Method]) -> None:
        """Store the facts that the method states, its device, and what builds it."""
        self._stated, self._device, self._build = stated, device, build
        self._method: Method | None = None

    def __getattr__(self, name: str) -> Any:
        """Return what the method has under this name; build it where that has to be."""
        stated: Mapping[str, Any] = self._stated
        if name in DATA and name in stated["data"]:
            return stated["data"][name]
        if name in DATA or (name in CALLED and name not in stated["called"]):
            raise AttributeError(name)
        if name in CALLED:
            return lambda *attribute: getattr(self._built(), name)(*attribute)
        return getattr(self._built(), name)

    def describe(self, batch: Any) -> Any:
        """Describe a batch; see `bench.types.Method`."""
        return self._built().describe(batch)

    def _built(self) -> Method:
        if self._method is None:
            import torch

            kind = self._device.split(":")[0]  # as if nobody were describing already
            with (
                torch.inference_mode(False),
                torch.enable_grad(),
                torch.autocast(kind, enabled=False),
            ):
                self._method = self._build()
        return self._method


def _of(
    fact: Fact,
    settings: Settings,
    pixels: loading.Pixels | None,
    device: str,
    build: Callable[[], Method],
) -> engine.Loaded | None:
    """Return a method as it is remembered; None where it never ran with these pixels so."""
    stated, quickened = fact.content["stated"], fact.content["quickened"]
    info = MethodInfo(**stated["info"])
    method = cast(Method, Deferred(stated, device, build))
    rule = contract.preprocess(stated["rule"], f"the method {info.name}.{info.variant}")
    rule = rule if pixels is None else pixels(rule, method)
    key = sha256_json([plain(settings), plain(rule)])
    if key not in quickened:
        return None
    done = quickened[key]
    return engine.Loaded(
        method,
        info,
        rule,
        device,
        settings,
        None if done is None else Quickened(**done),
        stated["parameters"],
    )


def _stated_of(loaded: engine.Loaded) -> dict[str, Any]:
    """Return the facts that a loaded method states, as plain values."""
    method: Any = loaded.method
    own = contract.preprocess(method.preprocess, "the method")
    stated: dict[str, Any] = plain(
        {
            "info": dataclasses.asdict(loaded.info),
            "rule": dataclasses.asdict(own),
            "data": {name: getattr(method, name) for name in DATA if hasattr(method, name)},
            "called": [name for name in CALLED if callable(getattr(method, name, None))],
            "parameters": loaded.parameters,
        }
    )
    return stated


def _quickened_of(loaded: engine.Loaded) -> dict[str, Any]:
    done = loaded.quickened
    stated = done and {
        "folded": done.folded,
        "fused": done.fused,
        "parts": done.parts,
        "channels_last": done.channels_last,
    }
    return {sha256_json([plain(loaded.settings), plain(loaded.rule)]): stated}


def _content(loaded: engine.Loaded, before: Fact | None, read: list[str]) -> dict[str, Any]:
    """Return the remembered facts of a method, and the files that it read for them."""
    prints = file_hashes.of_files([Path(path) for path in read], cache_root())
    return {
        "read": dict(zip(read, prints, strict=True)),
        "stated": _stated_of(loaded),
        "quickened": ({} if before is None else before.content["quickened"])
        | _quickened_of(loaded),
    }


def _still(read: Mapping[str, str]) -> bool:
    """Tell whether the files that the method read are as they were."""
    paths = [Path(file) for file in read]
    return file_hashes.of_files(paths, cache_root()) == list(read.values()) if paths else True


def _same(loaded: engine.Loaded, fact: Fact, about: Mapping[str, Any]) -> Method:
    """Return a method that was built, and refuse one that says other than is remembered."""
    before = {**fact.content["stated"], "quickened": fact.content["quickened"]}
    now = {**_stated_of(loaded), "quickened": before["quickened"] | _quickened_of(loaded)}
    moved = [name for name in now if canonical_json(now[name]) != canonical_json(before[name])]
    if moved:
        remembered.forget(KIND, about)
        info = loaded.info
        raise BenchError(
            f"the method {info.name}.{info.variant} describes itself differently than on "
            f"{fact.date} ({', '.join(moved)}), although its code, weights and libraries are the "
            "same. The cached description was deleted; run the same command again."
        )
    return loaded.method


def depends_on(text: str, weights: str | None, device: str) -> dict[str, Any] | None:
    """Return everything that a method's statements follow from; None where that is not known."""
    digest, name = None, weights
    checkpoint = methods.checkpoint_of(text)
    if weights is None and checkpoint is not None:
        name = str(published_weights.path_of(checkpoint))
        expected = published_weights.expected_sha256(checkpoint)
        if expected is None:
            return None
    if name is not None:
        digest = file_hashes.of_files([Path(name)], cache_root())[0]
        if digest is None or (weights is None and digest != expected):
            return None
    file = methods.file_of(text)
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return None
    beside = file.parent.rglob("*.py") if (file.parent / "__init__.py").is_file() else ()
    paths = sorted({file, *beside, *_named(tree, file.parent)})
    prints = file_hashes.of_files(paths, cache_root())
    return {
        "method": methods.full_name(text),
        "weights": name,
        "weights_sha256": digest,
        "files": {str(path): digest for path, digest in zip(paths, prints, strict=True)},
        "code": code(),
        "packages": {digest: _release(digest) for digest in _packages(tree)},
        "libraries": machine.libraries(),
        "python": platform.python_version(),
        "processor": machine.describe(None)["processor"],
        "device": device,
    }


def code() -> str:
    """Return the sha256 of the code of bench/ and of what plug-ins share."""
    return sha256_json(file_hashes.of_files(sorted(_shared()), cache_root()))


def _shared() -> list[Path]:
    folders = [ROOT / "bench", *(ROOT / "methods").glob("_*/")]
    return [path for folder in folders for path in folder.rglob("*.py")]


def _named(tree: ast.Module, folder: Path) -> set[Path]:
    """Return the files that a plug-in's source names, and the modules that are beside it."""
    words = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
    texts = [word for word in words if isinstance(word, str) and 0 < len(word) < 512]
    texts += [f"{name}.py" for name in _packages(tree)]
    found = set()
    for text in texts:
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            if "\n" not in text and (path := folder / Path(text).expanduser()).is_file():
                found.add(path)
    return found


def _packages(tree: ast.Module) -> list[str]:
    """Return the top names of what a plug-in imports, Python's own and ours left out."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.partition(".")[0])
    return sorted(names - set(sys.stdlib_module_names) - {"bench"})


def _release(package: str) -> Any:
    """Return the version of a package, or the state of the file that it begins with."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError, ValueError):
        return importlib.metadata.version(package)
    with contextlib.suppress(ImportError, ValueError, OSError):
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            state = Path(spec.origin).stat()
            return [spec.origin, state.st_mtime_ns, state.st_size]
    return None
