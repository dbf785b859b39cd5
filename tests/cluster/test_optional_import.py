"""Ray is imported where it is asked for and nowhere else, and what is missing or wrong is said."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cluster import connect
from bench.errors import BenchError
from tests.support.checkout import ROOT

pytestmark = pytest.mark.slow

ALL = """
import contextlib, importlib, io, pkgutil, sys
import bench
for module in pkgutil.walk_packages(bench.__path__, "bench."):
    if module.name.split(".")[1] not in ("__main__", "methods", "datasets", "report"):
        importlib.import_module(module.name)
from bench.commands.main import main
for command in ([], ["run"], ["extract"]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main([*command, "--help"])
assert "bench.cluster.dispatch" in sys.modules
assert "ray" not in sys.modules
"""
WITHOUT = """
import sys
sys.modules["ray"] = None
from bench.commands.main import main
sys.exit(main(sys.argv[1:]))
"""


def python(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def test_no_module_imports_ray_and_no_help_does() -> None:

    done = python(ALL)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("verb", ["run", "extract"])
def test_without_ray_the_sentence_names_what_installs_it(
    workspace, tiny: Path, verb: str, refused
) -> None:
    arguments = [
        verb,
        "--method",
        str(tiny / "halves.py"),
        "--dataset",
        str(tiny),
        "--engine",
        "ray",
    ]
    done = python(WITHOUT, *arguments, "--output", str(workspace.folder / "out.npz"))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: --engine ray needs the package ray")
    assert connect.INSTALL in done.stderr


def test_the_local_engine_works_without_ray(workspace, tiny: Path) -> None:
    arguments = ["extract", "--method", str(tiny / "halves.py"), "--dataset", str(tiny)]
    done = python(WITHOUT, *arguments, "--output", str(workspace.folder / "out.npz"))
    assert done.returncode == 0, done.stderr


def test_the_extra_installs_what_the_sentence_says() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extra = project["project"]["optional-dependencies"]["ray"]
    lock = (ROOT / connect.INSTALL.split(" -r ")[1]).read_text(encoding="utf-8")
    for requirement in extra:
        assert f"\n{requirement.split('>=')[0]}==" in lock
    assert set(extra) <= set(project["dependency-groups"]["dev"]), "so that all tests run"


@pytest.mark.parametrize("text", ["nowhere", "host:", ":6379", "host:0", "host:70000", "ray://h:1"])
def test_an_address_is_auto_or_a_host_and_a_port(cli, refused, text: str) -> None:
    message = refused(cli("run", "--method", "gem", "--engine", "ray", "--ray-address", text))
    assert "neither auto nor HOST:PORT" in message


def test_an_address_without_the_engine_is_refused(cli, refused) -> None:
    message = refused(cli("run", "--method", "gem", "--ray-address", "auto"))
    assert message == "--ray-address needs --engine ray; add --engine ray, or remove --ray-address."


def test_where_nothing_answers_the_sentence_says_so_at_once() -> None:
    pytest.importorskip("ray", reason="needs the package ray")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        with (
            pytest.raises(BenchError, match=f"nothing answers at --ray-address {address}"),
            connect.engine("ray", address),
        ):
            pass
