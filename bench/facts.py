"""What is known of a data set beforehand: plain data that a plug-in states as its FACTS.

Nothing here is computed, and `load` never looks at it: a data set that differs from its FACTS is
still loaded and scored, under its own revision; `data verify` is what compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Download:
    """One published file.

    `urls` are tried in order. An archive (.tar, .tar.gz, .tgz, .zip) is unpacked into `into`, a
    folder relative to that of the data set ("" is that folder itself); any other file is kept
    there. `kind` says which are the photographs. `size_bytes`, `sha256` and `md5` must hold; they
    are None if unverified. `reported` is the md5 or sha256 that third parties report, and must hold
    as well; a newer version is given with `data get --from`. A file that is `optional` may fail to
    come: the data set works without it.
    """

    file: str
    urls: tuple[str, ...]
    into: str = ""
    kind: Literal["images", "ground truth"] = "images"
    size_bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None
    reported: str | None = None
    optional: bool = False


@dataclass(frozen=True)
class Expected:
    """The expected content of a variant; None: not verified.

    The hashes are those of the names joined with newlines, in list order; without the ending of
    each name where `names` is "stem"; several where the list is known in several orders.
    `positives` and `ignored` count the pairs of a query and an image, per protocol.
    """

    database: int | None = None
    queries: int | None = None
    database_sha256: str | tuple[str, ...] | None = None
    queries_sha256: str | tuple[str, ...] | None = None
    names: Literal["file", "stem"] = "file"
    positives: Mapping[str, int] = field(default_factory=dict)
    ignored: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """The facts of a data set.

    tier          1: the data sets this suite is for; 2: those its numbers are compared on
    headline      the number that papers print, in words
    size_bytes    about what the unpacked data set takes on disk, or None where nobody says
    licence       the terms in a sentence, and `licence_url` where they stand
    downloads     what `data get` fetches; empty where nothing may be fetched
    ask           where and how a person gets what no program may fetch
    truth         names of the files with lists and ground truth, of which any one suffices; *
                  stands for any letters
    folders       paths below the data root of other folders that may hold the files
    expected      per variant; the key is "" for a data set without variants
    prefixes      images per beginning of their names: the cheapest check of an unpacked folder
    not_images    names (without ending) of files in the archive that are no images
    sizes         of the database images: how many are WIDTHxHEIGHT, "landscape", "portrait" and
                  "square"; "longest" is the longest side of each, "pixels" the sum over all
    texts         number and sha256 of the original *.txt of the ground truth: of name, a zero byte
                  and content of each, in the order of their names
    unblurred     sha256 of images, by name without ending, with faces that are not obscured
    notes         a sentence each, shown by `data verify`: known re-packs and defects
    """

    tier: Literal[1, 2]
    headline: str
    size_bytes: int | None
    licence: str
    licence_url: str
    downloads: tuple[Download, ...] = ()
    ask: str = ""
    truth: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    expected: Mapping[str, Expected] = field(default_factory=dict)
    prefixes: Mapping[str, int] = field(default_factory=dict)
    not_images: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    texts: tuple[int, str] | None = None
    unblurred: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
