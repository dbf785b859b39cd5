"""Memory that is freed stays with the process while it describes, and goes back afterwards."""

from __future__ import annotations

import ctypes
import json
import resource
import subprocess
import sys
from typing import Any

import pytest

from tests.support.checkout import ROOT

SIZE = 64 << 20  # bytes, more than glibc ever keeps by itself
PAGES = SIZE // resource.getpagesize()

pytestmark = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="the C library is not glibc"
)

# Prints how many pages the system hands out for the same memory, again and again, and what is held.
USE = """
import json, resource
from bench.system import memory

def use(times=4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        bytearray(b"1") * SIZE
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def held():
    return memory.held_bytes("cpu")
"""


def printed(lines: str) -> Any:
    """Return what a fresh process makes of some lines after those above, as JSON."""
    program = f"SIZE = {SIZE}{USE}{lines}"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_what_is_freed_is_used_again_within_the_block() -> None:
    lines = """
usual = use()
with memory.kept("cuda:0"):
    gpu = use()
with memory.kept("cpu"):
    use(1)
    kept = use()
print(json.dumps([usual, gpu, kept, use()]))
"""
    usual, gpu, kept, after = printed(lines)
    assert min(usual, gpu, after) > 3.9 * PAGES
    assert kept < PAGES / 10


def test_what_was_kept_goes_back_at_the_end() -> None:
    lines = """
before = held()
with memory.kept("cpu"):
    use(1)
    within = held()
print(json.dumps([before, within, held()]))
"""
    before, within, after = printed(lines)
    assert within > before + 0.9 * SIZE
    assert after < before + 0.1 * SIZE


def test_blocks_may_overlap() -> None:
    lines = """
def block():
    with memory.kept("cpu"):
        yield

one, other = block(), block()
next(one)
next(other)
one.close()
use(1)
kept = use()
other.close()
print(json.dumps([kept, memory._keepers]))
"""
    kept, keepers = printed(lines)
    assert kept < PAGES / 10
    assert keepers == 0


def test_a_new_phase_begins_with_what_was_freed_given_back() -> None:
    lines = """
peaks = memory.Peaks("cpu")
with memory.kept("cpu"):
    before = held()
    with peaks.phase() as first:
        block = bytearray(b"1") * SIZE
    del block
    with peaks.phase() as second:
        pass
print(json.dumps([before, first["resident_bytes"], second["resident_bytes"]]))
"""
    before, first, second = printed(lines)
    assert first > before + 0.9 * SIZE
    assert second < before + 0.5 * SIZE
