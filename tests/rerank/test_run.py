"""Re-ranking from the command line to the record, and forgeries of such records."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from bench import datasets
from bench.errors import BenchError
from bench.records import record
from bench.records.verify import verify
from bench.rerank import verification
from bench.scoring import card as cards
from bench.system.hashing import sha256_json
from tests.support.checkout import ROOT

pytestmark = pytest.mark.slow

RULES = pytest.mark.parametrize("candidates", list(verification.RULES))

# --- from end to end ----------------------------------------------------------------------------

PATCHES = '''"""Grey patches, less their mean: local features without weights."""

from types import SimpleNamespace

from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, unfold

VARIANTS = {"grey": "patches of 8 x 8 cells of 4 px, every 8 px"}


def local(batch):
    cells = avg_pool2d(batch.mean(dim=1, keepdim=True), 4)
    height, width = (max(0, (side - 8) // 2 + 1) for side in cells.shape[2:])
    if height * width == 0:
        return batch.new_zeros(len(batch), 64, 0, 0), batch.new_zeros(len(batch), 1, 0, 0)
    patches = unfold(cells, 8, stride=2).unflatten(2, (height, width))
    patches = patches - patches.mean(dim=1, keepdim=True)
    return patches, patches.norm(dim=1, keepdim=True)


def load(variant, weights, device):
    return SimpleNamespace(
        version="1",
        config={},
        weights={"source": "none: nothing is learned", "licence": "none needed", "sha256": None,
                 "training_set": "none", "trained": None},
        dim=12,
        preprocess={"max_side_px": 256},
        describe=lambda batch: adaptive_avg_pool2d(batch, 2).flatten(1),
        local=local,
        local_rule={"dim": 64, "stride_px": 8, "offset_px": 15.5, "scales": (0.7071, 1),
                    "max_features": 200, "match_distance": 0.6, "least_inliers": 6},
    )
'''


@pytest.fixture
def patches(tmp_path: Path) -> Path:
    """Return a method of a file of its own that offers local features."""
    path = tmp_path / "patches.py"
    path.write_text(PATCHES, encoding="utf-8")
    return path


def made(cli: Callable[..., Any], patches: Path, *arguments: str) -> Path:
    result = cli("run", "--method", patches, *arguments)
    assert result.status == 0, result.err
    return Path(result.out.splitlines()[-1])


@RULES
def test_a_run_is_re_ranked_and_verified(
    cli: Callable[..., Any], patches: Path, candidates: str, oracle: ModuleType
) -> None:
    result = cli("run", "--method", patches, "--rerank", candidates)
    assert result.status == 0, result.err
    assert f"(re-ranked, {candidates} candidates)" in result.out.splitlines()[0]
    path = Path(result.out.splitlines()[-1])
    content = record.read(path)
    card = content["card"]
    assert card["candidates_rule"] == candidates
    assert card["rerank"]["ransac"] == "fast"
    assert card["rerank"]["local"]["max_features"] == 200
    assert {"local features, database", "local features, queries", "re-rank"} <= set(
        content["timing"]["phases_s"]
    )
    about = content["rerank"]
    assert about["ms_per_query"]["p95"] >= about["ms_per_query"]["p50"] > 0
    assert about["bytes_per_image"] == about["features_per_image"] * (20 + 4 * 64)
    arrays = record.read_arrays(path, content)
    assert about["pairs"] == np.count_nonzero(arrays["shortlist_inliers"] >= 0)
    assert np.any((arrays["shortlist_inliers"] > 0) & (arrays["shortlist_inliers"] < 6))
    assert verify(path)[0] == []
    assert (
        card["rerank"]["local"]["least_inliers"]
        == verification.listed_by(card["rerank"]).least_inliers
        == 6
    )

    # The list is whole (49 images), so the full re-ranked list follows from what is stored.
    headline = card["metrics"][0]
    for protocol in record.protocols_of(arrays, card):
        values = content["scores"][protocol.name][headline]["per_query"]
        for query, truth in enumerate(protocol.truth):
            listed = arrays["shortlist_row"][query].tolist()
            found = arrays["shortlist_inliers"][query]
            count = dict(zip(listed, np.where(found < 6, 0, found).tolist(), strict=True))
            if candidates == "official":
                listed = oracle.without(listed, truth.ignored)
            listed.sort(key=lambda row, of=count: -of[row])
            wanted = oracle.value(headline, listed, truth.positive, truth.ignored)
            assert (values[query] or 0) == pytest.approx(np.nan_to_num(wanted))


def test_re_ranking_is_another_card_and_leaves_the_other_as_it_was(
    cli: Callable[..., Any], patches: Path
) -> None:
    plain = record.read(made(cli, patches, "--limit", "6"))
    again = record.read(made(cli, patches, "--limit", "6", "--rerank"))
    half = record.read(
        made(cli, patches, "--limit", "6", "--rerank", "--local-precision", "float16")
    )
    slow = record.read(made(cli, patches, "--limit", "6", "--rerank", "--ransac", "compatible"))
    assert "rerank" not in plain
    assert "rerank" not in plain["card"]
    assert plain["card"]["candidates_rule"] == cards.NO_RERANKING
    assert again["card"]["rerank"]["candidates"] == "deployable", "without a value"
    assert len({item["card_sha256"] for item in (plain, again, half, slow)}) == 4
    assert half["rerank"]["bytes_per_image"] < again["rerank"]["bytes_per_image"]
    assert record.same(slow["scores"], again["scores"]), "both ways count alike"


def test_another_way_of_matching_has_the_same_features(
    cli: Callable[..., Any], patches: Path, workspace: Any
) -> None:
    content = record.read(made(cli, patches, "--limit", "6", "--rerank"))
    stores = sorted((workspace.cache / "local").iterdir())
    matching = '"match_distance": 0.6, "least_inliers": 6'
    assert matching in PATCHES
    again = patches.parent / "again" / patches.name
    again.parent.mkdir()
    again.write_text(
        PATCHES.replace(
            matching, '"match_distance": 0.5, "upright": True, "mutual": True, "inlier_weight": 0.1'
        )
    )
    other = record.read(made(cli, again, "--limit", "6", "--rerank"))
    assert sorted((workspace.cache / "local").iterdir()) == stores, "nothing is described again"
    assert verification.listed_by(other["card"]["rerank"]).inlier_weight == 0.1
    assert other["card"]["rerank"]["order"] == {"name": "similarity", "few_inliers": 8}
    assert other["card_sha256"] != content["card_sha256"]


def test_a_shifted_picture_of_the_same_thing_comes_first(
    cli: Callable[..., Any], patches: Path, workspace: Any
) -> None:
    """Each query is a part of one photograph; colours alone do not find it, geometry does."""
    from PIL import Image

    folder = ROOT / "datasets" / "mini-data" / "jpg"
    names = sorted(path.name for path in folder.glob("*.jpg"))[::5]
    (workspace.folder / "jpg").mkdir()
    queries, truth = [], []
    for i, name in enumerate(names):
        image = Image.open(folder / name).convert("L").convert("RGB").resize((256, 192))
        image.save(workspace.folder / "jpg" / f"{name}.png")
        image.crop((40, 24, 240, 176)).save(workspace.folder / "jpg" / f"q{i}.png")
        queries.append({"file": f"q{i}.png"})
        truth.append({"positive": [i]})
    data = {
        "name": "parts", "images": "jpg", "database": [f"{name}.png" for name in names],
        "queries": queries, "protocols": {"all": truth},
    }  # fmt: skip
    file = workspace.folder / "dataset.json"
    file.write_text(json.dumps(data), encoding="utf-8")
    before = cli("run", "--method", patches, "--dataset", file)
    after = cli("run", "--method", patches, "--dataset", file, "--rerank")
    assert headline(after.out) == 100
    assert headline(before.out) < 100


def test_a_distractor_is_verified_with_features_of_its_own(
    cli: Callable[..., Any], patches: Path, workspace: Any
) -> None:
    """Distractor 1 shows what the query shows; only its local features put it first."""
    from PIL import Image

    source = ROOT / "datasets" / "mini-data" / "jpg"
    names = sorted(path.name for path in source.glob("*.jpg"))[::7][:6]
    for folder, database, queries in (
        ("town", names[:3], names[4:5]), ("first", names[3:4], []), ("noise", names[3:6], [])
    ):  # fmt: skip
        (workspace.folder / folder / "jpg").mkdir(parents=True)
        for name in [*database, *queries]:
            image = Image.open(source / name).convert("L").convert("RGB").resize((256, 192))
            if folder == "town":  # another file than the distractor: copies are refused
                image.putpixel((0, 0), (1, 2, 3))
            image.save(workspace.folder / folder / "jpg" / f"{folder}-{name}.png")
        data = {
            "name": folder, "images": "jpg",
            "database": [f"{folder}-{name}.png" for name in database],
            "queries": [{"file": f"{folder}-{name}.png"} for name in queries],
            "protocols": {"all": [{"positive": [0]}]} if queries else {},
        }  # fmt: skip
        file = workspace.folder / folder / "dataset.json"
        file.write_text(json.dumps(data), encoding="utf-8")
    sets = [workspace.folder / folder / "dataset.json" for folder in ("town", "first", "noise")]
    result = cli("run", "--method", patches, "--dataset", sets[0], "--distractors", *sets[1:],
               "--rerank")  # fmt: skip
    assert result.status == 0, result.err
    path = Path(result.out.splitlines()[-1])
    content = record.read(path)
    arrays = record.read_arrays(path, content)
    found = dict(zip(arrays["shortlist_row"][0], arrays["shortlist_inliers"][0], strict=True))
    assert sorted(found) == list(range(7)), "three of the town, one, three"
    assert max(found, key=lambda row: found[row]) == 5, "row 1 of the second set"
    assert found[5] > 50 > max(found[row] for row in found if row != 5)
    assert found[3] == found[4], "the same photograph in both sets"
    assert {"local features, distractors first", "local features, distractors noise"} < set(
        content["timing"]["phases_s"]
    )
    about = content["rerank"]
    assert about["bytes_per_image"] == pytest.approx(about["features_per_image"] * (20 + 4 * 64))
    assert verify(path)[0] == []


def headline(out: str) -> float:
    found = re.search(r"mAP all: ([0-9.]+)", out)
    assert found is not None
    return float(found.group(1))


def test_the_untrained_network_is_re_ranked(cli: Callable[..., Any]) -> None:
    result = cli("run", "--method", "delg.untrained", "--limit", "1", "--rerank", "official")
    assert result.status == 0, result.err
    assert "(untrained) (re-ranked, official candidates) (partial: first 1 queries)" in result.out
    assert verify(Path(result.out.splitlines()[-1]))[0] == []


def test_a_method_without_local_features_is_refused(
    cli: Callable[..., Any], refused: Callable[..., str]
) -> None:
    result = cli("run", "--method", "random-unit", "--rerank", "official")
    assert "random-unit.seed0 has no local features" in refused(result)


def test_a_dry_run_says_the_rule(cli: Callable[..., Any], patches: Path) -> None:
    result = cli("run", "--method", patches, "--rerank", "official", "--dry-run")
    assert "re-ranking: official: of each protocol the first 100" in result.out


# --- forgeries ----------------------------------------------------------------------------------


def more_inliers(content: Any, arrays: Any) -> None:
    """Lift the easy positives of every query."""
    truth, at = arrays["truth_easy_positive"], arrays["truth_easy_positive_offsets"]
    for query, listed in enumerate(arrays["shortlist_row"]):
        here = np.isin(listed, truth[at[query] : at[query + 1]])
        arrays["shortlist_inliers"][query, here] = 200


def not_verified(content: Any, arrays: Any) -> None:
    arrays["shortlist_inliers"][0, 0] = verification.NOT_VERIFIED


def too_many(content: Any, arrays: Any) -> None:
    arrays["shortlist_inliers"][0, 0] = 201


def none_stored(content: Any, arrays: Any) -> None:
    del arrays["shortlist_inliers"]


def other_rule(content: Any, arrays: Any) -> None:
    content["card"]["rerank"]["candidates"] = "official"


def other_rule_in_both_places(content: Any, arrays: Any) -> None:
    content["card"]["rerank"]["candidates"] = "official"
    content["card"]["candidates_rule"] = "official"


def shallower(content: Any, arrays: Any) -> None:
    content["card"]["rerank"]["depth"] = 3
    content["card"]["candidates_rule"] = "deployable"


def all_counts(content: Any, arrays: Any) -> None:
    content["card"]["rerank"]["local"]["least_inliers"] = 0


def short_list(content: Any, arrays: Any) -> None:
    for name in ("row", "score", "inliers"):
        arrays[f"shortlist_{name}"] = arrays[f"shortlist_{name}"][:, :4]


def as_if_not_re_ranked(content: Any, arrays: Any) -> None:
    del content["card"]["rerank"]
    content["card"]["candidates_rule"] = cards.NO_RERANKING


def without_inliers_too(content: Any, arrays: Any) -> None:
    as_if_not_re_ranked(content, arrays)
    del content["rerank"], arrays["shortlist_inliers"]


def unsaid_rule(content: Any, arrays: Any) -> None:
    del content["card"]["rerank"], content["rerank"], arrays["shortlist_inliers"]


def no_account(content: Any, arrays: Any) -> None:
    del content["rerank"]


FORGERIES = {
    more_inliers: r"scores\..* is .* in the record",
    not_verified: "the stored inliers do not fit the candidates",
    too_many: "the stored inliers do not fit the candidates",
    none_stored: "names a re-ranking, but no inliers are stored",
    other_rule: "have different rules for candidates",
    other_rule_in_both_places: "do not fit the candidates|scores",
    shallower: "the stored inliers do not fit the candidates",
    all_counts: r"scores\..* is .* in the record",
    short_list: "the shortlist before it is too short",
    as_if_not_re_ranked: "inliers are stored, but the card names no re-ranking",
    without_inliers_too: r"scores\..* is .* in the record",
    unsaid_rule: "names a rule for candidates, but no re-ranking",
    no_account: "disagree on whether the lists are re-ranked",
}


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a record of a re-ranked run."""
    from bench.pipeline import plan, run
    from bench.pipeline.options import Options

    folder = tmp_path_factory.mktemp("genuine")
    (folder / "patches.py").write_text(PATCHES, encoding="utf-8")
    options = Options(results=folder, rerank="deployable", device="cpu")
    return run.run(plan.plan(str(folder / "patches.py"), "mini", options))


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_a_forgery_with_right_checksums_differs(
    genuine: Path, tmp_path: Path, forge: Callable[[Any, Any], None]
) -> None:
    content = record.read(genuine)
    arrays = record.read_arrays(genuine, content)
    forge(content, arrays)
    for key in ("schema", "card_sha256", "card_id", "ranks", "sha256"):
        del content[key]
    forged = record.write(tmp_path, content, arrays)
    assert record.read(forged)["card_sha256"] == sha256_json(content["card"])
    faults, _ = verify(forged)
    assert any(re.search(FORGERIES[forge], fault) for fault in faults), faults


def test_inliers_of_another_form_are_one_sentence(genuine: Path, tmp_path: Path) -> None:
    content = record.read(genuine)
    arrays = record.read_arrays(genuine, content)
    for key in ("schema", "card_sha256", "card_id", "ranks", "sha256"):
        del content[key]
    for wrong in (arrays["shortlist_inliers"].astype(np.int32), np.zeros((2, 2), np.int64)):
        forged = record.write(tmp_path, content, {**arrays, "shortlist_inliers": wrong})
        with pytest.raises(BenchError, match="inliers must be int64"):
            verify(forged)


def test_a_missing_image_has_no_inliers(
    cli: Callable[..., Any], patches: Path, tmp_path: Path
) -> None:
    mini = datasets.load("mini")
    folder = tmp_path / "some"
    shutil.copytree(mini.folder, folder / "jpg")
    truth = [
        {"positive": t.positive.tolist(), "ignored": t.ignored.tolist()}
        for t in mini.protocols[0].truth
    ]
    data = {
        "name": "some",
        "images": "jpg",
        "database": [image.file for image in mini.database],
        "queries": [{"file": query.file, "box": query.box} for query in mini.queries],
        "protocols": {"easy": truth},
    }
    (folder / "dataset.json").write_text(json.dumps(data))
    gone = next(item["positive"][0] for item in truth if item["positive"])
    (folder / "jpg" / mini.database[gone].file).write_bytes(b"")
    (folder / "jpg" / mini.queries[2].file).unlink()
    arguments = ("--dataset", str(folder), "--rerank", "official", "--allow-missing")
    path = made(cli, patches, *arguments)
    content = record.read(path)
    assert verify(path)[0] == []
    assert content["card"]["missing"]["queries"] == [2]
    assert gone in content["card"]["missing"]["database"]
    arrays = record.read_arrays(path, content)
    inliers = arrays["shortlist_inliers"]
    assert np.all(inliers[arrays["shortlist_row"] == gone] <= 0)
    assert np.all(inliers[2] <= 0)
    assert inliers.max() > 0
