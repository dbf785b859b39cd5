"""sensitivity: which configurations are run, what is kept, what the report says of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from bench.commands import run
from bench.describe import engine
from bench.errors import BenchError
from bench.pipeline import sensitivity
from bench.pipeline.options import Options
from bench.pipeline.sensitivity import Configuration
from bench.records import record
from bench.records.verify import verify as verify_record
from bench.report.figures.sensitivity import draw
from bench.report.tables import sensitivity as shown
from bench.scoring import scores
from bench.settings import Settings
from bench.system.hashing import sha256_json
from bench.types import Image, MethodInfo, Preprocess
from tests.conftest import Said, Workspace
from tests.support.places import score_places

pytestmark = pytest.mark.slow

TRAPEZOID = "map.trapezoid.junk-removed"
METHOD = '''
"""Mean colour of a grid, and the grid itself as local features."""

from types import SimpleNamespace

import torch
from torch.nn.functional import adaptive_avg_pool2d

VARIANTS = {"grid": "4 x 4 cells"}


def local(batch):
    cells = adaptive_avg_pool2d(batch, 8)
    return cells, cells.abs().sum(1, keepdim=True)


def load(variant, weights, device):
    return SimpleNamespace(
        version="1", config={}, dim=48, preprocess={"max_side_px": 64, "query_cap": "own"},
        weights={"source": "none", "licence": "none", "sha256": None, "training_set": "none",
                 "trained": None},
        describe=lambda batch: adaptive_avg_pool2d(batch, 4).flatten(1) + 0.01,
    )
'''


def plan_of(**changes: Any) -> Any:
    """Return what `configurations` looks at of a plan."""
    rule = replace(Preprocess(max_side_px=480, query_cap="own"), **changes)
    dataset = SimpleNamespace(queries=[Image("q", "q.jpg", (0, 0, 9, 9))], crop="box")
    info = MethodInfo("m", "v", "1", 4)
    loaded = engine.Loaded(SimpleNamespace(), info, rule, "cpu")  # type: ignore[arg-type]
    return SimpleNamespace(loaded=loaded, dataset=dataset)


@pytest.mark.parametrize(
    ("rule", "takes", "sizes"),
    [
        ("bilinear:322x322", None, {"bilinear:224x224", "bilinear:448x448"}),
        ("bilinear:320x320", 320, set()),
        ("pillow-bicubic:248+centre-crop:224x224", None,
         {"pillow-bicubic:171+centre-crop:154x154", "pillow-bicubic:341+centre-crop:308x308"}),
    ],
)  # fmt: skip
def test_a_fixed_size_is_varied_and_the_cap_is_not(
    rule: str, takes: int | None, sizes: set[str]
) -> None:
    base = plan_of(resize=rule, max_side_px=None)

    def refusal(height: int, width: int) -> str | None:
        return None if takes in (None, height) else "only one"

    base.loaded.method.refusal = refusal
    out = sensitivity.configurations(base, grid=False, with_candidates=False)
    assert {c.resize for c in out} == {rule, *sizes}
    assert {c.max_side_px for c in out} == {None}
    assert len({c.scales for c in out}) == (3 if takes is None else 1), "no refused pyramid"
    words = out[0].arguments()
    assert words[words.index("--resize") + 1] == rule
    exact = rule.startswith("bilinear")
    assert ("--max-side" in words) == (not exact)
    assert ("crop-relative" in {c.query_crop for c in out}) == (not exact)
    assert out[0].stated()["resize"] == rule
    assert "resize" not in replace(out[0], resize="native").stated()


def test_the_default_comes_first_and_one_factor_changes_at_a_time() -> None:
    base = plan_of()
    out = sensitivity.configurations(base, grid=False, with_candidates=True)
    default = out[0]
    assert default == Configuration("crop", 480, (1.0,))
    fields = ("query_crop", "max_side_px", "scales", "candidates")
    changed = [[f for f in fields if getattr(c, f) != getattr(default, f)] for c in out[1:]]
    assert all(len(each) == 1 for each in changed)
    assert sorted(each[0] for each in changed) == sorted(
        ["candidates"] * 2 + ["max_side_px"] * 2 + ["query_crop"] * 2 + ["scales"] * 2
    )
    assert len(sensitivity.configurations(base, grid=True, with_candidates=True)) == 27 + 2


def test_choices_follow_the_method_and_the_data_set() -> None:
    base = plan_of(scales=(0.7071, 1.0, 1.4142), max_side_px=None, query_cap="relative")
    out = sensitivity.configurations(base, grid=True, with_candidates=False)
    assert out[0] == Configuration("crop-relative", None, (0.7071, 1.0, 1.4142))
    assert {c.max_side_px for c in out} == {None, 512, 1024}
    assert len({c.scales for c in out}) == 3, "the method's own pyramid is not tried twice"
    base.dataset.queries = [Image("q", "q.jpg", None)]
    out = sensitivity.configurations(base, grid=True, with_candidates=False)
    assert {c.query_crop for c in out} == {"whole"}
    assert len(out) == 9


def test_every_formula_of_map_is_compared_and_recall_is_not_one() -> None:
    protocol = SimpleNamespace(metrics=("map.trapezoid.junk-removed", "mp@5.clipped.junk-removed"))
    ids = sensitivity.formulas(protocol, 5000)  # type: ignore[arg-type]
    assert ids[0] == "map.trapezoid.junk-removed"
    assert len(ids) == 5
    assert sum("map@100." in name for name in ids) == 3
    few = sensitivity.formulas(protocol, 49)  # type: ignore[arg-type]
    assert sum("map@10." in name for name in few) == 3, "a cut that does not cut says nothing"
    protocol = SimpleNamespace(metrics=("recall@1.any-hit.junk-removed",))
    assert sensitivity.formulas(protocol, 9) == ["recall@1.any-hit.junk-removed"]  # type: ignore[arg-type]


@pytest.fixture
def study(workspace: Workspace, cli: Callable[..., Said]) -> SimpleNamespace:
    """Run a small study once."""
    folder = workspace.folder / "set"
    (folder / "jpg").mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = [f"{kind}{i}.png" for kind in "dq" for i in range(6)]
    for name in names:
        pixels = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Picture.fromarray(pixels).resize((160, 120)).save(folder / "jpg" / name)
    queries = [{"file": f"q{i}.png", "box": [20, 20, 120, 100]} for i in range(6)]
    content = {
        "name": "set", "images": "jpg", "database": names[:6], "queries": queries,
        "protocols": {"all": [{"positive": [i, (i + 1) % 6]} for i in range(6)]},
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    (workspace.folder / "grid.py").write_text(METHOD, encoding="utf-8")
    method, dataset = str(workspace.folder / "grid.py"), str(folder / "dataset.json")
    line = ["sensitivity", "--method", method, "--dataset", dataset]
    line += ["--results", str(workspace.results)]
    dry = cli(*line, "--dry-run")
    result = cli(*line)
    assert result.status == 0, result.err
    path = Path(result.out.splitlines()[-1])
    return SimpleNamespace(line=line, dry=dry, result=result, path=path, cli=cli)


def test_a_study_is_kept_resumed_verified_and_repeatable(
    study: SimpleNamespace, workspace: Workspace
) -> None:
    assert "7 configurations, 7 of them to run" in study.dry.out
    assert "6 to describe" in study.dry.out
    content = sensitivity.read(study.path)
    assert len(content["configurations"]) == 7
    files = [study.path.parent.parent / each["record"] for each in content["configurations"]]
    assert len({each["card_sha256"] for each in content["configurations"]}) == 7
    for file in files:
        assert verify_record(file)[0] == []
    assert study.cli("verify", study.path).out.rstrip().endswith("match")

    item = content["configurations"][4]
    words = record.read(files[4])["command"].split()
    assert words[:4] == ["python", "-m", "bench", "run"]
    again = study.cli(*words[3:], "--results", workspace.folder / "again")
    assert again.status == 0, again.err
    other = record.read(Path(again.out.splitlines()[-1]))
    assert other["card_sha256"] == item["card_sha256"]
    headline = content["formulas"][0]
    assert other["scores"]["all"][headline]["mean"] == item["scores"]["all"][headline]

    before = study.path.read_bytes()
    files[2].with_suffix(".npz").unlink()  # a broken one is run again, the others are not
    result = study.cli(*study.line)
    assert "7 configurations, 1 of them to run" in result.out
    assert study.path.read_bytes() != before
    assert "7 configurations, 0 of them to run" in study.cli(*study.line).out


def test_a_changed_study_is_refused(study: SimpleNamespace) -> None:
    text = study.path.read_text(encoding="utf-8")
    content = json.loads(text)
    content["configurations"][1]["scores"]["all"][content["formulas"][0]] = 0.999
    study.path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(BenchError, match="changed after it was written"):
        sensitivity.read(study.path)
    content["sha256"] = sha256_json({k: v for k, v in content.items() if k != "sha256"})
    study.path.write_text(json.dumps(content), encoding="utf-8")
    faults, _ = sensitivity.verify(study.path)
    assert len(faults) == 1
    assert "differ from the study" in faults[0]
    result = study.cli("verify", study.path)
    assert (result.status, "differs" in result.out) == (1, True)


# --- what is said of it -------------------------------------------------------------------------


def made(**names: str) -> dict[str, Any]:
    """Return a study of three protocols with numbers made by hand."""
    ids = ["map.trapezoid.junk-removed", "map.finite-sum.junk-removed"]

    def item(crop: str, side: int | None, mean: float) -> dict[str, Any]:
        scores = {p: {ids[0]: mean - d, ids[1]: mean - d + 0.01}
                  for p, d in (("easy", 0), ("medium", 0.1), ("hard", 0.3))}  # fmt: skip
        return {"query_crop": crop, "max_side_px": side, "scales": [1.0], "candidates": "none",
                "card_sha256": "0" * 64, "record": "x.json", "scores": scores}  # fmt: skip

    content: dict[str, Any] = {
        "study": 1, "command": "c", "dataset": {"name": "mini"},
        "method": {"name": "gem", "variant": "lite0", "trained": True} | names, "formulas": ids,
        "configurations": [item("crop", 480, 0.8), item("whole", 480, 0.85),
                           item("crop", None, 0.78), item("whole", None, 0.7)],
    }  # fmt: skip
    return content | {"sha256": sha256_json(content)}


def test_moves_are_differences_from_the_default_by_hand() -> None:
    study = shown.parse(made(), PurePosixPath("s.json"))
    assert shown.shown(study) == ["medium", "hard"]
    moves = {
        factor: [round(study.moved(point, "medium"), 6) for point in points]
        for factor, points in study.factors.items()
    }
    assert moves == {"query_crop": [0, 5], "max_side_px": [0, -2], "formula": [0, 1]}
    low, high = (
        shown.extremes(study)[0].split(" and ")[0].split(" between ")[1],
        shown.extremes(study),
    )
    assert low.startswith("60.00 (whole image; as it is; scales 1; mAP)")
    assert "76.00 (whole image; longest side 480 px; scales 1; mAP (finite sum))" in high[0]
    assert "all 8 measured combinations" in high[0]
    assert "default has 70.00" in high[0]
    text = "\n".join(shown.section(study, "figures/x.png"))
    assert "| query crop | box, own cap | 70.00 | default | 50.00 | default |" in text
    assert "|  | whole image | 75.00 | +5.00 | 55.00 | +5.00 |" in text


def test_the_picture_is_the_same_every_time_and_names_are_text() -> None:
    study = shown.parse(made(name="<b>$x$&", variant="_"), PurePosixPath("s.json"))
    first, two = draw(study), draw(study)
    assert first == two
    svg = first["svg"].decode("utf-8")
    assert "<b>" not in svg
    for words in ("whole image", "as it is", "medium: default 70.00", "+5.0", "-2.0"):
        assert words in svg.replace("−", "-"), words


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content.update(study=2),
        lambda content: content["configurations"][0]["scores"].clear(),
        lambda content: content["configurations"].clear(),
        lambda content: content.pop("formulas"),
        lambda content: content["configurations"][1]["scores"]["hard"].update({TRAPEZOID: 7}),
        lambda content: content["configurations"][1].update(query_crop="sideways"),
    ],
)
def test_a_broken_study_is_left_out_with_a_reason(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], None]
) -> None:
    folder = tmp_path / "sensitivity" / "mini"
    folder.mkdir(parents=True)
    content = made()
    spoil(content)
    content["sha256"] = sha256_json({k: v for k, v in content.items() if k != "sha256"})
    (folder / "bad.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "torn.json").write_text("{", encoding="utf-8")
    (folder / "good.json").write_text(json.dumps(made()), encoding="utf-8")
    studies, left_out = shown.load(tmp_path)
    assert [study.file.name for study in studies] == ["good.json"]
    assert {file.name for file, _ in left_out} == {"bad.json", "torn.json"}


def test_means_are_those_of_the_record_whatever_its_rules(
    cli: Callable[..., Said], workspace: Workspace, brought: tuple[Path, Path]
) -> None:
    """Queries that are not asked count nowhere, not even as misses; suppression comes first."""
    second = "recall@2.any-hit.junk-removed"
    protocols = {
        "all": [{"positive": [3]}, {"positive": [5]}, {"positive": [2]}],
        "night": [None, {"positive": [5]}, {"positive": [2]}],
    }
    path = score_places(cli, workspace, brought, metrics=[second], protocols=protocols)
    content = record.read(path)
    means = {name: table[second]["mean"] for name, table in content["scores"].items()}
    assert means == {"all": 2 / 3, "night": 1.0}
    found = sensitivity._scores(path, [second])[1]
    assert found == {name: {second: mean} for name, mean in means.items()}
    arrays = record.read_arrays(path, content)
    bare = scores.score(record.ranks_of(arrays)[0], record.protocols_of(arrays, content["card"]), 8)
    assert bare["all"][second].mean == 1 / 3, "suppression matters here"


def test_the_command_of_a_configuration_has_the_options_of_the_study(tmp_path: Path) -> None:
    settings = Settings(batch_size=4, batch_pixels=500_000, precision="bf16", compiled=True)
    options = Options(weights="my weights.pth", device="cpu", settings=settings)
    words = sensitivity._shared(options)
    arguments = run.COMMAND.read("run", ["--method", "gem", "--dataset", "mini", *words]).options
    assert arguments == replace(options, measure="sample")
    assert sensitivity._shared(Options()) == []


def test_a_stage_is_a_factor_and_studies_without_one_are_as_before(cli, workspace) -> None:
    arguments = ("sensitivity", "--method", "random-unit", "--results", workspace.results)
    plain = cli(*arguments)
    assert plain.status == 0, plain.err
    path = Path(plain.out.splitlines()[-1])
    before = sensitivity.read(path)
    assert all("stages" not in each for each in before["configurations"])
    result = cli(*arguments, "--stage", "aqe:3,alpha=3", "--stage", "aqe:5,alpha=1")
    assert "2 of them to run" in result.out
    after = sensitivity.read(path)
    assert after["configurations"][: len(before["configurations"])] == before["configurations"]
    assert [each.get("stages") for each in after["configurations"][-2:]] == [
        "aqe:3,alpha=3", "aqe:5,alpha=1",
    ]  # fmt: skip
    assert re.search(r"stage +aqe:3,alpha=3", result.out)
    assert sensitivity.verify(path)[0] == []
