"""What is known of a data set beforehand: plain data that a plug-in states as its FACTS.

Nothing here is computed, and `load` never looks at it: a data set that differs from its FACTS is
loaded and scored all the same, under its own revision; `data verify` is what compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Download:
    """One published file.

    `urls` are tried in order. A file that ends in .tar, .tar.gz, .tgz or .zip is unpacked, and its
    members go to `into`, a folder relative to that of the data set ("" is that folder itself);
    any other file is kept there under the name `file`. `kind` says which are the photographs.
    `size_bytes`, `sha256` and `md5` are exact, or None where nobody published them.
    """

    file: str
    urls: tuple[str, ...]
    into: str = ""
    kind: Literal["images", "ground truth"] = "images"
    size_bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None


@dataclass(frozen=True)
class Expected:
    """What one variant must hold; None is what nobody has verified.

    The hashes are those of the names joined with newlines, in list order, without the ending where
    `names` is "stem". `positives` is the number of (query, positive) pairs of a protocol.
    """

    database: int | None = None
    queries: int | None = None
    database_sha256: str | None = None
    queries_sha256: str | None = None
    names: Literal["file", "stem"] = "file"
    positives: Mapping[str, int] = field(default_factory=dict)
    ignored: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """The facts of a data set.

    tier          1: the data sets this suite is for; 2: those its numbers are compared on
    headline      the number that papers print, in words
    size_bytes    about what the unpacked data set takes on disk
    licence       the terms in a sentence, and `licence_url` where they stand
    downloads     what `data get` fetches; empty where nothing may be fetched
    ask           where and how a person gets what may not be fetched by a program
    folders       names of other folders below the data root that may hold the files
    expected      per variant; the key is "" for a data set without variants
    prefixes      images per beginning of their names: the cheapest check of an unpacked folder
    not_images    names (without ending) of files that the archive holds and that are no images
    longest_px    longest side of every database image
    notes         a sentence each, printed by `data verify`: known re-packs and defects
    """

    tier: Literal[1, 2]
    headline: str
    size_bytes: int
    licence: str
    licence_url: str
    downloads: tuple[Download, ...] = ()
    ask: str = ""
    folders: tuple[str, ...] = ()
    expected: Mapping[str, Expected] = field(default_factory=dict)
    prefixes: Mapping[str, int] = field(default_factory=dict)
    not_images: tuple[str, ...] = ()
    longest_px: int | None = None
    notes: tuple[str, ...] = ()
