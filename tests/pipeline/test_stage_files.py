"""Stages from files of the user's own: the smallest one, its hash, what is refused."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from bench import stages
from bench.errors import BenchError
from bench.pipeline import needs
from bench.records import record
from bench.records.verify import verify
from bench.types import Image
from tests.support.checkout import ROOT
from tests.support.town import path_of

pytestmark = pytest.mark.slow

README = (ROOT / "bench" / "rerank" / "README.md").read_text(encoding="utf-8")


def test_the_stage_of_the_readme_runs(cli, town, tmp_path: Path) -> None:
    assert len(README.splitlines()) <= 60
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    file = tmp_path / "hubness.py"
    file.write_text(code, encoding="utf-8")
    result = cli(*town(10), "--stage", f"{file}:7", "--export", tmp_path / "out.npz")
    path = path_of(result)
    faults, notes = verify(path)
    assert faults == []
    assert "stage hubness: unknown on this machine, taken as stated" in notes
    assert "(hubness, k 7, transductive)" in result.out
    out = np.load(tmp_path / "out.npz")
    database, queries = (np.load(tmp_path / f"{n}.npy").astype(np.float64) for n in ("db", "q"))
    row = out["search_rows"][0]
    near = database @ database.T - 9 * np.eye(len(database))
    mean = np.sort(near, axis=1)[:, -7:].mean(axis=1)
    strength = database[row] @ queries[0] - mean[row]
    assert out["stage0_rows"][0].tolist() == row[np.argsort(-strength, kind="stable")].tolist()


def test_the_card_of_a_stage_file_has_the_hash_of_its_content(cli, town, tmp_path: Path) -> None:
    """An edited file is another card; a package's stage is named by its entry point."""
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    site = tmp_path / "site"
    info = site / "outside-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{stages.ENTRY_POINTS}]\nhub = outside_hubness\n")
    ids = []
    for place, text in ((site / "outside_hubness.py", code), (tmp_path / "own.py", code + "#\n")):
        place.write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        for name in ("hub", str(tmp_path / "own.py")):
            content = record.read(path_of(cli(*town(10), "--stage", f"{name}:7")))
            (entry,) = content["card"]["stages"]
            file = site / "outside_hubness.py" if name == "hub" else tmp_path / "own.py"
            assert entry["file_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
            assert entry["stage"] == "hubness"
            ids.append(content["card_id"])
        with pytest.raises(BenchError, match="did you mean hub"):
            stages.parse("hubb:7")
    assert ids[0] != ids[1]


def test_images_to_learn_from_are_compared_by_content(tmp_path: Path) -> None:
    """The same bytes under two names are one image; a file that is absent is none."""
    lists = []
    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.jpg").write_bytes(content)
        images = (Image(name, f"{name}.jpg"), Image("no", "no.jpg"))
        lists.append(("database", tmp_path / name, images))
    assert needs._shared(lists[:1], lists[1:2])
    assert not needs._shared(lists[:1], lists[2:])


def test_lists_of_an_index_that_are_too_short_are_refused_before_any_work(
    cli, town, refused, tmp_path: Path
) -> None:
    for stage in ("superglobal:20,k=3", "rescore:20"):
        result = cli(*town(10), "--stage", stage, "--search", "ivf4,flat,nprobe4,k10",
                   "--shortlist", "10")  # fmt: skip
        text = refused(result)
        assert "needs lists of 20 images" in text
        assert "have 10" in text
        assert "search" not in result.out


def test_a_stage_file_may_hold_a_dataclass(cli, town, tmp_path: Path) -> None:
    code = (
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "import numpy as np\n"
        "from bench.ranking import reordered\nfrom bench.stage import Simple, Step\n"
        "@dataclass(frozen=True)\nclass Turned(Simple):\n    k: int\n    name = 'turned'\n"
        "    def entry(self): return {'stage': 'turned', 'k': self.k}\n"
        "    def words(self, entry): return 'turned'\n"
        "    def apply(self, before, space, depth):\n"
        "        places = before.shortlist[0].row.shape\n"
        "        up = np.broadcast_to(np.arange(places[1], dtype=np.uint64), places)\n"
        "        return Step(reordered(before, [up]), {'strength': (up,)})\n"
        "def make(first, options): return Turned(3)\n"
    )
    (tmp_path / "turned.py").write_text(code, encoding="utf-8")
    result = cli(*town(14), "--stage", tmp_path / "turned.py", "--export", tmp_path / "out.npz")
    assert verify(path_of(result))[0] == []
    out = np.load(tmp_path / "out.npz")
    assert out["stage0_rows"].tolist() == out["search_rows"][:, ::-1].tolist()


OWN = (
    "from bench.stage import Simple\nclass S(Simple):\n    name = 'own'\n"
    "    def words(self, entry): return ''\n    def apply(self, *given): pass\n"
)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (OWN + "    def entry(self): return {}\ndef make(f, o): return S()", "must be {"),
        (
            OWN + "    def entry(self): return {'stage': 'aqe'}\ndef make(f, o): return S()",
            "file_sha256",
        ),
        (
            OWN + "    def entry(self): return {'stage': float('nan')}\ndef make(f, o): return S()",
            "fails",
        ),
        (
            OWN.replace("'own'", "'aqe'")
            + "    def entry(self): return {}\ndef make(f, o): return S()",
            "built-in stage",
        ),
        ("x = 1", "AttributeError"),
        ("raise ValueError('broken')", "broken"),
        ("def make(first, options): return object()", "lacks name"),
    ],
)
def test_a_broken_stage_file_is_one_sentence(
    cli, refused, town, tmp_path: Path, code: str, words: str
) -> None:
    (tmp_path / "own.py").write_text(code, encoding="utf-8")
    assert words in refused(cli(*town(11), "--stage", tmp_path / "own.py"))


def test_texts_of_stages_are_read() -> None:
    assert stages.split("a/b.py:3,x=1") == ("a/b.py", "3", {"x": "1"})
    assert stages.split("rerank") == ("rerank", None, {})
    assert stages.words([]) == ""
