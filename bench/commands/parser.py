"""From the options that dataclasses declare to a parser, and from what it read to the dataclass."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import UnionType
from typing import (
    Any,
    Generic,
    Literal,
    NoReturn,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from bench.errors import BenchError, unknown
from bench.option import KEY, Group, Line, Option

Kind = TypeVar("Kind")


class Parser(argparse.ArgumentParser):
    """A parser that raises BenchError, one sentence, for bad arguments."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the command line."""
        raise BenchError(f"{message}; see `{self.prog} --help`.")

    def options(self) -> dict[str, str | None]:
        """Return the long options, each with its help; None: accepted and not shown."""
        return {
            text: None if action.help == argparse.SUPPRESS else action.help
            for text, action in self._option_string_actions.items()
            if text.startswith("--")
        }


@dataclass(frozen=True)
class Declared:
    """An option with the name of its field, its bare annotation and its default."""

    name: str
    about: Option
    kind: Any
    default: Any

    @property
    def flag(self) -> str:
        """Return the long option."""
        return self.about.long(self.name)

    @property
    def repeated(self) -> bool:
        """Tell whether the option makes a tuple of several values."""
        return get_origin(self.kind) is tuple and self.about.many != "text"


def declared(kind: type, group: Group | None = None) -> Iterator[Declared]:
    """Yield the options of a dataclass, and of those that it takes over, in order."""
    hints, group = get_type_hints(kind), group or Group()
    for field in fields(kind):
        about = field.metadata.get(KEY)
        if isinstance(about, Group) and group.has(field.name):
            yield from declared(hints[field.name], about)
        elif isinstance(about, Option) and group.has(field.name):
            default = group.defaults.get(field.name, field.default)
            yield Declared(field.name, about, _bare(hints[field.name]), default)


def add_options(parser: Parser, kind: type) -> None:
    """Add the options of a dataclass to a parser."""
    exclusive: dict[str, Any] = {}
    for declaration in declared(kind):
        place: Any = parser
        if declaration.about.one_of is not None:
            if declaration.about.one_of not in exclusive:
                made = parser.add_mutually_exclusive_group(required=declaration.about.required)
                exclusive[declaration.about.one_of] = made
            place = exclusive[declaration.about.one_of]
        _add(place, declaration)


@dataclass(frozen=True)
class Nothing:
    """The options of a command that has none."""


@dataclass(frozen=True)
class Command(Generic[Kind]):
    """One command, or one action of a command: its options, what it does, its line of help."""

    options: type[Kind]
    run: Callable[[Kind], int]
    help: str = ""

    def read(self, prog: str, words: Sequence[str], line: str = "") -> Kind:
        """Return what the arguments say; `line` is the whole command line.

        Raises BenchError for wrong arguments; for an unknown option it names the nearest.
        """
        parser = Parser(prog=prog, description=self.help.replace("%", "%%"), allow_abbrev=False)
        add_options(parser, self.options)
        known = parser.options()
        for word in (word.partition("=")[0] for word in words if word.startswith("--")):
            if word not in known and word != "--":
                raise unknown("option", word, [name for name, shown in known.items() if shown])
        return cast(Kind, _filled(self.options, parser.parse_args(words), line, Group()))


def verbs(prog: str, text: str, helps: Mapping[str, str], what: str) -> Parser:
    """Return a parser that lists commands (`what`: "COMMAND") or actions, and refuses others."""
    parser = Parser(prog=prog, description=text)
    listed = parser.add_subparsers(required=True, metavar=what)
    for name, line in helps.items():
        listed.add_parser(name, help=line.replace("%", "%%"), add_help=False)
    return parser


def _filled(kind: type, parsed: argparse.Namespace, line: str, group: Group) -> Any:
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for field in fields(kind):
        about = field.metadata.get(KEY)
        if isinstance(about, Line):
            values[field.name] = line
        elif about is None or not group.has(field.name):
            continue
        elif isinstance(about, Group):
            values[field.name] = _filled(hints[field.name], parsed, line, about)
        else:
            value = getattr(parsed, field.name)
            values[field.name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


def _bare(hint: Any) -> Any:
    """Return an annotation without its None."""
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (part for part in get_args(hint) if part is not type(None))
    return hint


def _add(place: Any, declared_option: Declared) -> None:
    """Add one option to a parser or to a group of options of which one is given."""
    about, more = declared_option.about, _value(declared_option)
    text = re.sub(r"%(?!\()", "%%", about.help)  # argparse formats it
    shown = declared_option.default not in (None, False, (), "") and not about.required
    if shown and "(default" not in text and not about.positional:
        text += " (default: %(default)s)"
    if about.positional:
        place.add_argument(declared_option.name, help=text, **more)
        return
    required = about.required and about.one_of is None
    default = None if about.required else declared_option.default
    common: dict[str, Any] = {
        "dest": declared_option.name,
        "default": [] if declared_option.repeated else default,
    }
    place.add_argument(declared_option.flag, help=text, required=required, **common, **more)
    for old in about.old:
        place.add_argument(f"--{old}", help=argparse.SUPPRESS, **common, **more)
    for short, value in (about.shorthands or {}).items():
        text = f"the same as {declared_option.flag} {value}"
        place.add_argument(
            f"--{short}", dest=declared_option.name, action="store_const", const=value, help=text
        )


def _parser_of(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a parser of a value whose errors name the option."""

    def read(text: str) -> Any:
        try:
            return parse(text)
        except BenchError as error:
            raise argparse.ArgumentTypeError(str(error).rstrip(".")) from None

    return read


def _value(declared_option: Declared) -> dict[str, Any]:
    """Return how argparse reads the value of an option: from its annotation and its parser."""
    about, kind = declared_option.about, declared_option.kind
    if kind is bool:
        return {"action": "store_true"}
    more: dict[str, Any] = {} if about.metavar is None else {"metavar": about.metavar}
    if declared_option.repeated:
        kind = get_args(kind)[0]
        if about.positional:
            more["nargs"] = "*" if about.many == "any" else "+"
        elif about.many == "list":
            more |= {"nargs": "+", "action": "extend"}
        else:
            more["action"] = "append"
    if about.parse is not None:
        more["type"] = _parser_of(about.parse)
    elif about.choices or get_origin(kind) is Literal:
        more["choices"] = list(about.choices or get_args(kind))
    elif kind is Path:
        more["type"] = Path
    if about.optional is not None:
        more |= {"nargs": "?", "const": about.optional}
    return more
