"""Calls from Python: nothing is printed unless asked, and no global of the process is changed."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from bench.errors import BenchError, in_a_line

QUIET: ContextVar[bool] = ContextVar("quiet", default=False)
# threadpoolctl sets it when it is imported, for the OpenMP libraries of torch and faiss.
TWO_OPENMP = "KMP_DUPLICATE_LIB_OK"


@contextlib.contextmanager
def quiet(*, on: bool = True) -> Iterator[None]:
    """Print neither progress nor notes inside of the block, where `on`; change no global.

    A file that the system does not read or write is a BenchError.
    """
    before = QUIET.set(on or QUIET.get())
    try:
        with unchanged():
            yield
    except OSError as error:
        place = f" {in_a_line(error.filename)}" if error.filename else ""
        raise BenchError(f"cannot read or write{place}: {error.strerror or error}.") from error
    finally:
        QUIET.reset(before)


@contextlib.contextmanager
def unchanged() -> Iterator[None]:
    """Put back environment and filters of warnings, which packages change when imported.

    So is the state of torch's random numbers, which building a network takes from.
    """
    before, numbers = dict(os.environ), _random_state()
    try:
        with warnings.catch_warnings():
            os.environ.setdefault(TWO_OPENMP, "True")
            yield
    finally:
        _put_back(numbers)
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        for name, value in before.items():
            if os.environ.get(name) != value:
                os.environ[name] = value


def _random_state() -> Any:
    """Return the states of torch's generators; None where torch is not imported."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    on_devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return torch.get_rng_state(), on_devices


def _put_back(state: Any) -> None:
    """Restore the state of `_random_state`; torch imported since then is seeded again."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if state is None:
        torch.default_generator.manual_seed(torch.initial_seed())
        return
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])
