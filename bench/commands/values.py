"""The parser of the command line, whose errors are sentences, and its types of values."""

from __future__ import annotations

import argparse
from typing import NoReturn

from bench.errors import BenchError


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are errors of ours: one sentence."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the command line."""
        raise BenchError(f"{message}; see `{self.prog} --help`.")

    def options(self) -> set[str]:
        """Return the long options."""
        return {text for text in self._option_string_actions if text.startswith("--")}


def positive(text: str) -> int:
    """Return a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def above_zero(text: str) -> float:
    """Return a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def natural(text: str) -> int:
    """Return a whole number, 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def side(text: str) -> str:
    """Return a whole number above 0 as text, or "none"."""
    return text if text == "none" else str(positive(text))


def address(text: str) -> str:
    """Return "auto", or a host and a port."""
    host, _, port = text.rpartition(":")
    known = bool(host) and "/" not in host and port.isdecimal() and 0 < int(port) < 65536
    if text != "auto" and not known:
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor HOST:PORT")
    return text


def scales(text: str) -> tuple[float, ...]:
    """Return factors, split at commas."""
    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError:
        scales = ()
    if not scales or not all(0 < scale <= 4 for scale in scales):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of factors above 0, at most 4")
    return scales


def numbers(text: str) -> tuple[int, ...]:
    """Return different whole numbers, split at commas."""
    if not text or not all(part.strip().isdecimal() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} is not like 0,3,7")
    return tuple(dict.fromkeys(int(part) for part in text.split(",")))
