"""Types are checked in the folders of plug-ins and the report too, and at the places of files."""

from pathlib import Path

import pytest

from tests.support import typed_tree

pytestmark = pytest.mark.slow

CONFIGURATION = '[tool.mypy]\nstrict = true\nexplicit_package_bases = true\nfiles = ["bench"]\n'
WRONG = "from bench.methods import _shared\n\nnumber: int = _shared.word()\n"


def test_a_wrong_type_is_found_where_it_is(tmp_path: Path) -> None:
    files = {
        "pyproject.toml": CONFIGURATION,
        "bench/__init__.py": "",
        "bench/main.py": "from bench.report import build\n\nbuild.word(1)\n",
        **{f"bench/{folder}.py": "" for folder in typed_tree.FOLDERS},
        "bench/datasets.py": '__path__ = ["datasets"]\nlimit: int = "none"\n',
        "datasets/plain.py": "",
        "methods/_shared/__init__.py": 'def word() -> str:\n    return ""\n',
        "methods/wrong.py": WRONG,
        "report/build.py": 'def word() -> str:\n    return ""\n',
    }
    for name, text in files.items():
        path = tmp_path / "checkout" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for _ in range(2):  # the second time into a folder that is there
        done = typed_tree.check(tmp_path / "checkout", tmp_path / "tree")
        lines = typed_tree.in_checkout(done.stdout).replace("\\", "/").splitlines()
        assert done.returncode == 1, done.stdout + done.stderr
        assert sorted(line.split(": error:")[0] for line in lines[:-1]) == [
            "bench/datasets.py:2",
            "bench/main.py:3",
            "methods/wrong.py:3",
        ]
