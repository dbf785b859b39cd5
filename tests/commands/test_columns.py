"""Lists of the command line in columns: a worked example, and a terminal narrower than a line."""

from __future__ import annotations

import os
import shutil
import sys

import pytest

from bench.commands import columns


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    rows = [("a", "1,234", "one"), ("long", "5", "")]
    assert columns.lines(("name", "n", "text"), rows, right=["n"]) == [
        "name      n  text",
        "a     1,234  one",
        "long      5",
    ]


def test_a_terminal_cuts_lines_and_a_file_does_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "get_terminal_size", lambda **_: os.terminal_size((10, 24)))
    texts = ["0123456789", "0123456789a", ""]
    columns.show(texts)
    assert capsys.readouterr().out.split("\n") == [*texts, ""]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    columns.show(texts)
    assert capsys.readouterr().out.split("\n") == ["0123456789", "012345678…", "", ""]


def test_a_name_that_nothing_has_is_one_sentence(cli, refused) -> None:
    text = refused(cli("list", "dlg"))
    assert "'dlg'; did you mean" in text
    assert "delg" in text
    text = refused(cli("data", "list", "roxford"))
    assert "'roxford'; did you mean" in text
    assert "delg" not in text
