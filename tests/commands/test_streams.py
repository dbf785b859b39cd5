"""What reaches the terminal is text; streams that are closed or full end in one sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.system import notes, paths
from tests.support.checkout import ROOT

ODD = "a\x1b]0;title\x07\x9b2J\u202eb\x7f.png"


def control(text: str) -> list[str]:
    """Return the characters of a text that a terminal acts upon."""
    return [letter for letter in text if not letter.isprintable() and letter not in "\n\t"]


def test_control_characters_become_escapes() -> None:
    assert notes.shown("plain – ü\n\tx") == "plain – ü\n\tx"
    assert notes.shown("a\x1b[2J\x85\u2066\ud800\r") == "a\\x1b[2J\\x85\\u2066\\ud800\\r"
    assert notes.one_line("a\nerror: b\tc") == "a\\nerror: b\\tc"


@pytest.mark.parametrize("name", [ODD, "x\nerror: forged.png", "x\u2028y.png", "x\r>> y.png"])
def test_names_of_files_reach_no_terminal_raw(
    cli, tmp_path: Path, small: dict[str, Any], name: str
) -> None:
    small["database"][3] = name
    (tmp_path / "dataset.json").write_text(json.dumps(small), encoding="utf-8")
    (tmp_path / "jpg").mkdir()
    for arguments in (("run", "--method", "random-unit", "--dataset", tmp_path),
                  ("run", "--method", name, "--dataset", tmp_path / name),
                  ("data", "verify", tmp_path),
                  ("sheet", tmp_path / name, "--output", "x.html"),
                  ("verify", tmp_path / name),
                  (name,)):  # fmt: skip
        result = cli(*arguments)
        assert result.status == 1
        assert control(result.out + result.err) == []
        assert not any(line.startswith("error: forged") for line in result.err.splitlines())
        assert not any(line.startswith(">> y") for line in result.out.splitlines())


def test_photographs_and_plug_ins_of_odd_names(cli, tmp_path: Path) -> None:
    (tmp_path / "photographs" / "x\x1b[2J").mkdir(parents=True)
    (tmp_path / "photographs" / "x\x1b[2J" / ODD).write_bytes(b"no image")
    result = cli("extract", "--method", "random-unit", "--images", tmp_path / "photographs",
               "--output", tmp_path / "o.npz")  # fmt: skip
    assert result.status == 1
    assert control(result.out + result.err) == []


# --- closed, full, gone -------------------------------------------------------------------------


@pytest.fixture
def shell(workspace) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that gives a line to a shell; $B is the program."""

    def run(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, check=False,
            env={**os.environ, "B": f"{sys.executable} -m bench", "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip

    return run


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("$B data list > /dev/full", "No space left on device"),
        ("$B data list >&-", "closed"),
        ("set -o pipefail; $B data list | true", "Broken pipe"),
        ("$B --help > /dev/full", "No space left on device"),
    ],
)
def test_output_that_nobody_can_read_is_one_sentence(shell, line: str, message: str) -> None:
    done = shell(line)
    assert done.returncode == 1
    errors = done.stderr.splitlines()
    assert len(errors) == 1, done.stderr
    assert errors[0].startswith("error: standard output cannot be written")
    assert message in errors[0]


@pytest.mark.slow
def test_a_closed_standard_error_does_not_stop_a_run(shell, workspace) -> None:
    line = "$B run --method random-unit --device cpu --measure none --results"
    done = shell(f"{line} {workspace.results} 2>&- <&-")
    assert done.returncode == 0, done.stdout
    assert len(workspace.records()) == 1
    for path in workspace.cache.rglob("*.npy"):
        assert path.read_bytes().startswith(b"\x93NUMPY"), "no file has the number of a stream"


def test_files_do_not_get_the_numbers_of_closed_streams(shell, tmp_path: Path) -> None:
    program = "from bench.commands.streams import *; open_all(); print(open('noxfile.py').fileno())"
    done = shell(f'{sys.executable} -c "{program}" 2>&- <&-')
    assert int(done.stdout) > 2


# --- no home ------------------------------------------------------------------------------------


def test_a_user_without_a_home_is_told_of_the_two_variables(
    cli, refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_: type[Path]) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", classmethod(none))
    for name in ("RETRIEVAL_BENCH_CACHE", "RETRIEVAL_BENCH_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for root in (paths.cache_root, paths.data_root):
        with pytest.raises(BenchError, match=r"RETRIEVAL_BENCH_CACHE.*RETRIEVAL_BENCH_DATA"):
            root()
    assert "RETRIEVAL_BENCH_CACHE" in refused(cli("run", "--method", "random-unit"))
    result = cli("doctor")
    assert result.status == 1
    assert "RETRIEVAL_BENCH_CACHE" in result.out + result.err


@pytest.mark.parametrize("name", ["RETRIEVAL_BENCH_CACHE", "RETRIEVAL_BENCH_DATA"])
def test_the_home_of_nobody_is_one_sentence(
    cli, refused, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "~nobody-of-this-name/x")
    text = ("cache", "list") if name.endswith("CACHE") else ("data", "get", "amstertime")
    assert "~nobody-of-this-name/x" in refused(cli(*text))
    assert cli("doctor").status == 1
    text = ("--dataset", "~nobody-of-this-name/d.json", "--database", "a.npy", "--queries", "b")
    assert "~nobody-of-this-name" in refused(cli("evaluate", *text))


@pytest.mark.slow
def test_little_memory_is_one_sentence(shell, workspace) -> None:
    for bound in (400_000, 3_000_000):
        done = shell(f"ulimit -v {bound}; $B run --method random-unit --device cpu")
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        assert "error: " in done.stderr
