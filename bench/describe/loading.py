"""From the name of a method and settings to a network that is ready: loaded, checked, made fast."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import methods
from bench.describe import engine
from bench.errors import BenchError
from bench.images import resize
from bench.settings import Settings
from bench.store import file_hashes
from bench.system import machine
from bench.system.notes import note
from bench.system.paths import cache_root
from bench.types import Method, MethodInfo, Preprocess

Pixels = Callable[[Preprocess, Method], Preprocess]

# Sides of samples for networks that take few sizes: multiples of 14, 16 and 32, then squares.
LARGER = ((196, 252), (112, 112), (192, 256), (224, 224), (256, 256), (320, 320), (336, 336),
          (384, 384), (512, 512), (518, 518))  # fmt: skip


def load(
    text: str,
    weights: str | None = None,
    device: str | None = None,
    settings: Settings | None = None,
    pixels: Pixels | None = None,
    *,
    fast: bool = True,
) -> engine.Loaded:
    """Return the method "name", "name.variant" or "file.py:variant" ready on a device.

    `device` is None for a GPU where there is one, `settings` for the defaults. `pixels` gives the
    rule to describe by, of the method's own and the method; None: its own. Without `fast` the
    network stays as the plug-in returned it.
    """
    settings = settings or Settings()
    place = machine.pick_device(device)
    check(settings, place)
    info, method, rule = methods.load(text, weights, place)
    rule = rule if pixels is None else pixels(rule, method)
    if weights is not None and info.weights.get("sha256") is None and Path(weights).is_file():
        digest = file_hashes.of_files([Path(weights)], cache_root())[0]
        info = replace(info, weights={**info.weights, "sha256": digest})  # so that stores differ
    if not fast:
        return engine.Loaded(method, info, rule, place, settings)
    return ready(method, info, rule, place, settings)


def ready(
    method: Method, info: MethodInfo, rule: Preprocess, device: str, settings: Settings
) -> engine.Loaded:
    """Return a loaded method with its network made fast, where it names one."""
    import torch

    from bench.describe import footprint, speedup

    inner: Any = getattr(method, "network", None)
    parameters = footprint.parameters(method)  # a folded norm has none
    name = f"{info.name}.{info.variant}"
    if inner is None:
        if settings.compiled:
            raise BenchError(
                f"--compile: the method {name} has no attribute `network` to compile; remove the "
                "option."
            )
        return engine.Loaded(method, info, rule, device, settings, parameters=parameters)
    local: Any = getattr(method, "local", None)

    def answer(batch: Any) -> list[Any]:
        found: Any = method.describe(batch)
        floats = found if found.dtype == torch.float64 else found.float()
        rows = torch.nn.functional.normalize(floats, dim=1)
        return [rows, *(() if local is None else local(batch))]

    half = engine.half_of(settings)
    shape = _sample_shape(engine.Loaded(method, info, rule, device, settings))
    with engine.rounding(settings):
        if settings.precision == "bf16-attention":
            speedup.cut_attention(inner)
        done = speedup.quicken(inner, answer, device, half, settings.compiled, settings.tf32, shape)
    if settings.compiled and not done.parts:
        raise BenchError(
            f"--compile: no part of the method {name} can be traced and compiled; remove the "
            "option."
        )
    return engine.Loaded(method, info, rule, device, settings, done, parameters=parameters)


def _sample_shape(loaded: engine.Loaded) -> tuple[int, int]:
    """Return the first size of a sample that the method takes, as its rule shows it."""
    from bench.describe import speedup

    for size in (speedup.SAMPLE_SIZE, *LARGER):
        try:
            shape = resize.sized(resize.parse(loaded.rule.resize), size)
        except resize.TooSmallError:
            continue
        if engine.refusal(loaded, shape) is None:
            return shape
    return speedup.SAMPLE_SIZE


def check(settings: Settings, device: str) -> None:
    """Refuse a precision that the device does not compute; say where it is slow."""
    if device.startswith("cuda"):
        return
    if settings.precision == "fp16":
        raise BenchError(
            "--precision fp16 needs a GPU: CPUs compute it more slowly than float32, or not at "
            "all; use float32 or bf16."
        )
    if settings.precision.startswith("bf16") and not has_bf16():
        note(
            "this CPU has no instructions for bf16 (AVX512_BF16 or AMX) and emulates them; "
            "float32 is faster."
        )


def has_bf16() -> bool:
    """Return whether the processor multiplies bf16 natively; true if unknown."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return True
    import torch

    ask: Any = getattr(torch.cpu, "get_capabilities", None)
    if ask is None:
        return True
    features = ask()
    return bool(features.get("avx512_bf16") or features.get("amx_bf16"))
