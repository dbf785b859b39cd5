"""What a file is that is not what it was taken for: a page, a pointer, nothing."""

from __future__ import annotations

MARK = b"\xef\xbb\xbf"  # the byte order mark of UTF-8
HEAD_BYTES = 512


def in_its_place(head: bytes) -> str | None:
    """Return what is in place of a file, from its first bytes: "is a web page …"; else None."""
    text = head.removeprefix(MARK).lstrip().lower()
    if not head:
        return "is empty (0 bytes)"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "is a web page (HTML)"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer"
    return None
