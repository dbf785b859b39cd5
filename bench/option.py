"""An option of the command line, declared where its value is kept: a field of a dataclass.

`bench.commands.parser` makes a parser from the fields, and the dataclass from the parsed values.
The long option is the field's name; its type, its choices and whether it may be repeated follow
from the annotation: bool is a flag, a Literal has choices, a tuple is repeated.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar

Value = TypeVar("Value")
KEY = "option"


@dataclass(frozen=True, kw_only=True)
class Option:
    """Facts of an option besides the name, annotation and default of its field.

    flag        the long option without its dashes, where it is not the field's name
    old         other spellings that are accepted and not shown
    shorthands  flags that stand for a value: {"no-crop": "whole"}
    choices     the values that are allowed, where the annotation is no Literal
    parse       from one text to the value, or to one item of a tuple that is repeated
    show        from the value back to the text, for the command lines that a study writes
    many        of a tuple: "repeat", a value each time; "list", several at once; "any", none or
                more; "text", one text that `parse` splits
    optional    the value of the option where it is written without one
    one_of      a name that options share of which at most one may be given
    required    whether the option, or one of those that share `one_of`, must be given
    positional  whether it is written without dashes
    """

    help: str
    flag: str | None = None
    old: tuple[str, ...] = ()
    shorthands: Mapping[str, str] | None = None
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    parse: Callable[[str], Any] | None = None
    show: Callable[[Any], str] = str
    many: Literal["repeat", "list", "any", "text"] = "repeat"
    optional: str | None = None
    one_of: str | None = None
    required: bool = False
    positional: bool = False

    def long(self, name: str) -> str:
        """Return the long option of the field called `name`."""
        return f"--{self.flag or name.replace('_', '-')}"


@dataclass(frozen=True)
class Group:
    """The options of another dataclass, taken over: all, or `only` these, with other `defaults`."""

    only: tuple[str, ...] | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Tell whether a field is taken over."""
        return self.only is None or name in self.only


@dataclass(frozen=True)
class Line:
    """Marks a field that gets the whole command line."""


def option(default: Value, help: str, **about: Any) -> Value:
    """Declare a field that is an option with a default; `about` has fields of `Option`."""
    return field(default=default, metadata={KEY: Option(help=help, **about)})


def required(help: str, **about: Any) -> Any:
    """Declare a field that is an option and must be given."""
    return field(metadata={KEY: Option(help=help, required=True, **about)})


def group(kind: Callable[[], Value], only: tuple[str, ...] | None = None, **defaults: Any) -> Value:
    """Declare a field that holds another dataclass, whose options are taken over."""
    return field(default_factory=kind, metadata={KEY: Group(only, defaults)})


def line() -> str:
    """Declare a field that gets the command line."""
    return field(default="", metadata={KEY: Line()})


def words_of(value: Any) -> list[str]:
    """Return the options of a command line for what in a dataclass differs from its defaults."""
    out: list[str] = []
    for declared_field in fields(value):
        about, chosen = declared_field.metadata.get(KEY), getattr(value, declared_field.name)
        if isinstance(about, Group):
            out += words_of(chosen)
        elif isinstance(about, Option) and chosen != declared_field.default:
            flag = about.long(declared_field.name)
            if chosen is True:
                out.append(flag)
            elif not isinstance(chosen, tuple) or about.many == "text":
                out += [flag, about.show(chosen)]
            elif about.many == "list":
                out += [flag, *map(about.show, chosen)]
            else:
                out += [word for item in chosen for word in (flag, about.show(item))]
    return out


# --- from the text of an option to its value ---------------------------------------------------


def positive(text: str) -> int:
    """Return a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def natural(text: str) -> int:
    """Return a whole number, 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
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


def megapixels(text: str) -> int:
    """Return pixels from a number of megapixels above 0."""
    return round(above_zero(text) * 1e6)


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
