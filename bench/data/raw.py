"""Contents of files of ground truth and lists: what is in their place, their text, their tables."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import BenchError
from bench.images import foreign
from bench.system import reading

_limit = threading.Lock()  # csv has one limit for the whole process


class ForeignFileError(BenchError):
    """A file that is not damaged but another one: a web page, a Git LFS pointer, nothing."""


def read(path: Path) -> bytes:
    """Return the content of a file of lists, without a byte order mark.

    Text in UTF-16 with its mark becomes UTF-8. Raises ForeignFileError where something else is in
    the place of the file.
    """
    try:
        content = reading.content(path)
    except ValueError as error:
        raise BenchError(f"{path} cannot be read: {error}.") from None
    what = foreign.in_its_place(content[: foreign.HEAD_BYTES])
    if what is not None:
        raise ForeignFileError(f"{path} {what}, not the file itself; download it again.")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return text(content, path, "utf-16").encode()
    return content.removeprefix(foreign.MARK)


def text(content: bytes, where: object, encoding: str = "utf-8") -> str:
    """Return the text of a file; `where` begins the sentence of a refusal."""
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise BenchError(f"{where} is not {encoding.upper()} text: {error}.") from error


def lines(content: bytes, where: object) -> list[str]:
    """Return the lines that are not blank, without spaces around them."""
    return [line.strip() for line in text(content, where).splitlines() if line.strip()]


def table(
    content: bytes, where: object, columns: tuple[str, ...]
) -> list[tuple[int, dict[str, str]]]:
    """Return the rows of a CSV with a header, each with the number of its line.

    Fields may be of any length. Raises BenchError where one of `columns` is absent from a row.
    """
    whole = text(content, where)
    out = []
    try:
        with _any_length(len(whole)):
            reader = csv.DictReader(io.StringIO(whole, newline=""))
            for row in reader:
                out.append((reader.line_num, row))
    except csv.Error as error:
        raise BenchError(f"{where} cannot be read as a table: {error}.") from error
    for i, (_, row) in enumerate(out):
        if any(not isinstance(row.get(column), str) for column in columns):
            raise BenchError(f"{where}: row {i} lacks a column; it needs {', '.join(columns)}.")
    return out


def columns(content: bytes, where: object) -> list[str]:
    """Return the header of a CSV; empty if there is none."""
    whole = text(content, where)
    with _any_length(len(whole)):
        return next(csv.reader(io.StringIO(whole, newline="")), [])


def reason(error: Exception) -> str:
    """Return what an error of a library says, on one line and without a full stop.

    numpy suggests to load pickles; this program never does.
    """
    text = reading.line(error)
    if "allow_pickle" in text or "pickled data" in text:
        return "it contains a pickle, which is never loaded, or is not a file of arrays"
    return text or type(error).__name__


@contextmanager
def _any_length(characters: int) -> Iterator[None]:
    with _limit:
        before = csv.field_size_limit()
        csv.field_size_limit(max(before, characters))
        try:
            yield
        finally:
            csv.field_size_limit(before)
