"""The listing of data sets: a line each, or all that is known of those that are named."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from bench import datasets
from bench.commands import columns
from bench.data import listing, locate
from bench.datasets import Entry
from bench.errors import BenchError, MissingDataError, unknown

HEAD = ("data set", "variants", "database", "queries", "tier", "size", "headline", "here")
UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


@dataclass(frozen=True)
class Presence:
    """What is on this machine of a data set; `fault` is why that cannot be told in full.

    It is complete where the lists are the published ones (`unlike` names the differences), as far
    as these are known, and all images are there. `images` counts database and queries, where the
    lists are there.
    """

    found: int
    wanted: int | None
    fault: str | None = None
    unlike: tuple[str, ...] = ()
    images: tuple[int, int] | None = None

    def __str__(self) -> str:
        """Return it as text."""
        if self.wanted is None:
            if self.fault is not None:
                return f"broken: {self.fault}"
            lists = "lists and ground truth are missing"
            return f"partial, {self.found} images; {lists}" if self.found else f"absent; {lists}"
        if self.unlike:
            of = "" if self.found == self.wanted else f"{self.found} of "
            return (
                f"partial, {of}{self.wanted} images; not the published list: "
                f"{'; '.join(self.unlike)}"
            )
        if self.found == self.wanted:
            return f"complete, {self.wanted} images"
        if self.found == 0:
            return f"absent, 0 of {self.wanted} images; lists and ground truth found"
        return f"partial, {self.found} of {self.wanted} images"

    @property
    def short(self) -> str:
        """Return it in a word or two, for a column."""
        if self.fault is not None:
            return f"broken: {self.fault}"
        if self.wanted is None:
            return f"{self.found:,} images, no lists" if self.found else "absent"
        if self.found == self.wanted and not self.unlike:
            return "complete"
        count = f"{self.found:,} of {self.wanted:,} images"
        return f"{count}, not the published list" if self.unlike else count


def presence(entry: Entry) -> Presence:
    """Look for the images of the first variant by name; nothing is decoded."""
    try:
        dataset, missing = datasets.placed(datasets.load_variant(entry))
    except MissingDataError:
        files = (name for _, names in listing.walk(entry.places()) for name in names)
        return Presence(sum(locate.stem(name) != name for name in files), None)
    except BenchError as error:
        return Presence(0, None, str(error))
    count = len({image.file for image in (*dataset.database, *dataset.queries)})
    images = len(dataset.database), len(dataset.queries)
    return Presence(count - len(missing), count, unlike=dataset.unlike, images=images)


def lines() -> list[str]:
    """Return the table of all data sets; a broken one has its error in the last column."""
    rows = []
    for name in datasets.names():
        try:
            rows.append(_row(datasets.entry_of(name)))
        except BenchError as error:
            rows.append((name, *[""] * 6, f"broken: {' '.join(str(error).split())}"))
    return columns.lines(HEAD, rows, right=HEAD[1:6])


def _row(entry: Entry) -> tuple[str, ...]:
    """Return the line of a data set; its counts are those of the first variant."""
    facts, here = entry.facts, presence(entry)
    expected = entry.expected(next(iter(entry.variants), None))
    counts = here.images or (expected.database, expected.queries)
    takes = None if facts is None else facts.size_bytes
    return (
        entry.name,
        str(len(entry.variants) or ""),
        *("" if count is None else f"{count:,}" for count in counts),
        "" if facts is None else str(facts.tier),
        "" if takes is None else size(takes),
        "" if facts is None else facts.headline.partition(":")[0],
        " ".join(here.short.split()),
    )


def details(name: str, others: Collection[str] = ()) -> list[str]:
    """Return a data set in full: facts, what is here, variants; `others` may be meant as well.

    Raises BenchError for a name that nothing has.
    """
    if name not in datasets.names():
        kind = f"method or {datasets.KIND.noun}" if others else datasets.KIND.noun
        raise unknown(kind, name, [*datasets.names(), *others])
    entry = datasets.entry_of(name)
    assert entry.module is not None
    first = next(iter((entry.module.__doc__ or "").strip().splitlines()), "")
    out, facts = [f"{entry.name}: {first}"], entry.facts
    if facts is not None:
        takes = facts.size_bytes
        about = "size not stated" if takes is None else f"about {size(takes)}"
        out.append(f"  tier {facts.tier}, {about}")
        out.append(f"  headline: {facts.headline}")
        out.append(f"  licence: {facts.licence}")
    out.append(f"  here: {presence(entry)}")
    return out + [f"  {entry.name}.{variant}: {text}" for variant, text in entry.variants.items()]


def size(count: int) -> str:
    """Return a number of bytes as text.

    >>> size(2_000_000_000), size(450_000_000_000), size(800)
    ('2 GB', '450 GB', '800 bytes')
    """
    for unit, name in UNITS:
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count} bytes"
