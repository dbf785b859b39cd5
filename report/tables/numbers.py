"""Numbers as every table prints them; an en dash for what was not measured."""

from __future__ import annotations

NONE = "–"


def ms(value: float | None) -> str:
    """Return milliseconds, or any size, with three digits or more.

    >>> [ms(value) for value in (0.0123, 1.234, 12.34, 123.4, 12345.6, None)]
    ['0.012', '1.23', '12.3', '123', '12,346', '–']
    """
    if value is None:
        return NONE
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}"


def memory_and_disk(image_bytes: float | None, disk_bytes: float) -> str:
    """Return the bytes of an image, those in memory and those on disk apart.

    >>> memory_and_disk(2048, 0), memory_and_disk(2112, 2048), memory_and_disk(None, 0)
    ('2,048', '64 + 2,048', '–')
    """
    if image_bytes is None or not disk_bytes:
        return whole(image_bytes)
    return f"{whole(image_bytes - disk_bytes)} + {whole(disk_bytes)}"


def whole(value: float | None) -> str:
    """Return a number without decimals, thousands apart."""
    return NONE if value is None else f"{value:,.0f}"
