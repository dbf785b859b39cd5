"""Progress: a bar on a terminal, lines in a log file, the time left in both."""

from __future__ import annotations

import io
import re
import time

import pytest

from bench.system import progress
from bench.system.progress import Progress, span


class Terminal(io.StringIO):
    """Something that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let lines follow each other quickly."""
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.05)


def test_a_log_file_gets_a_line_now_and_then_and_one_at_the_end(quick, capsys) -> None:
    with Progress("describe", 8) as phase:
        for _ in range(4):
            phase.advance(2)
            time.sleep(0.07)
    *some, last = capsys.readouterr().err.splitlines()
    assert len(some) >= 2
    for line in some:
        assert re.fullmatch(
            r"describe: [2468] of 8 images, \d+\.\d images/s, about \d\.\d s left", line
        )
    assert re.fullmatch(r"describe: 8 images in \d\.\d s, \d+\.\d images/s", last)


def test_lines_come_while_nothing_is_finished(quick, capsys) -> None:
    """A batch may take minutes; a log file without a sign of life looks like a dead run."""
    with Progress("describe", 3):
        time.sleep(0.2)
    lines = capsys.readouterr().err.splitlines()
    assert lines.count("describe: 0 of 3 images, 0.0 images/s") >= 2


def test_without_a_known_length_there_is_no_time_left(quick, capsys) -> None:
    with Progress("get", None, "MB") as phase:
        phase.advance(3)
        time.sleep(0.12)
    assert re.match(r"get: 3 MB, \d+\.\d MB/s\n(.*\n)*get: 3 MB in ", capsys.readouterr().err)


def test_a_phase_without_items_has_a_time_alone(quick, capsys) -> None:
    with Progress("measure memory", None):
        time.sleep(0.2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 1
    assert all(re.fullmatch(r"measure memory: [\d.]+ s( so far)?", line) for line in lines)


def test_a_brief_phase_is_silent(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    with Progress("look", 3, "files", brief=True) as phase:
        phase.advance(3)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with Progress("look", 3, "files", brief=True):
        pass
    assert "look: 0 files in" in capsys.readouterr().err


def test_a_phase_that_fails_says_nothing_at_its_end(capsys) -> None:
    with pytest.raises(KeyboardInterrupt), Progress("describe", 3):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == ""


def test_what_others_did_is_left_out(quick, capsys) -> None:
    with Progress("describe", 10) as phase:
        phase.leave_out(6)
        phase.advance(4)
        time.sleep(0.12)
    assert "describe: 4 of 4 images" in capsys.readouterr().err


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    with Progress("describe", 4) as phase:
        phase.advance(2)
        phase.leave_out(1)
        assert phase.bar is not None
        assert phase.ticker is None
        phase.bar.refresh()
    text = shown.getvalue()
    assert "describe:  67%" in text
    assert "2/3" in text
    assert "images/s" in text
    assert "\033[3" not in text, "no colours"


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    monkeypatch.setenv("TERM", "dumb")
    with Progress("describe", 4) as phase:
        phase.advance(4)
    assert re.fullmatch(r"describe: 4 images in .*\n", shown.getvalue())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"), (4.24, "4.2 s"), (75, "75 s"), (700, "12 min"), (12_000, "3 h 20 min"),
        (7199.9, "2 h 0 min"), (439_200, "5 d 2 h"),
    ],
)  # fmt: skip
def test_times_in_words(seconds: float, text: str) -> None:
    assert span(seconds) == text
