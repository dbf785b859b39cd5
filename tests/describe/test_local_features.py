"""Local features: which positions are kept and where they lie, on disk, and the official ones."""

import importlib.util
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bench import contract, datasets, methods
from bench.describe import engine, local_features, local_store, pyramid
from bench.errors import BenchError
from bench.images import decode
from bench.settings import Settings
from bench.types import LocalFeatures, LocalRule, Preprocess

RULE = LocalRule(dim=2, stride_px=16.0, scales=(0.5, 1.0), max_features=3)
OFFICIAL = LocalRule(dim=128, stride_px=32.0)


def changed(**values: Any) -> LocalRule:
    return LocalRule(**{"dim": 2, "stride_px": 16.0, "max_features": 3, **values})


# --- selection ----------------------------------------------------------------------------------


def test_selection_by_hand() -> None:
    """Attention 1 4 / 2 4: the strongest are (0, 1), (1, 1), (1, 0); equal in order of rows."""
    attention = torch.tensor([[1.0, 4.0], [2.0, 4.0]])
    descriptors = torch.tensor([[[3.0, 0.0], [1.0, 0.0]], [[4.0, 2.0], [0.0, 0.0]]])
    found = local_features.select(descriptors, attention, 0.5, changed(offset_px=7.5))
    assert found.attention.tolist() == [4, 4, 2]
    assert found.points.tolist() == [[15, 47], [47, 47], [47, 15]]
    assert found.scale.tolist() == [0.5, 0.5, 0.5]
    assert found.descriptors.tolist() == [[0, 1], [0, 0], [1, 0]], "a zero descriptor stays zero"
    assert (
        len(local_features.select(descriptors, attention, 1.0, changed(threshold=4.0)).points) == 2
    )
    assert (
        len(local_features.select(descriptors, attention, 1.0, changed(threshold=9.0)).points) == 0
    )


@pytest.mark.parametrize(
    ("attention", "count"),
    [
        ([300, 280, 261, 5], 3),  # enough at once; 260 itself is not above 260
        ([300, 280, 260, 200], 3),  # at 130 four are left, and three are kept
        ([300, 10, 0.2, 0.126], 3),  # down to 260 / 2^11 = 0.127
        ([300, 0.1, 0.1], 1),  # the next would be 0.063
        ([0.1, 0.01], 0),
        ([], 0),
    ],
)
def test_the_halved_threshold_by_hand(attention: list[float], count: int) -> None:
    rule = changed(threshold=260.0, threshold_rule="halved")
    assert local_features.kept(np.array(attention, dtype=np.float32), rule) == count


def test_boxes_of_one_scale_overlap_too_little_to_be_suppressed() -> None:
    """What the docstring says of the port's suppression at 0.98."""
    overlap = 291 * (291 - 16)
    assert 0.89 < overlap / (2 * 291**2 - overlap) < 0.98


def test_the_strongest_of_all_scales() -> None:
    def part(scale: float, *attention: float) -> LocalFeatures:
        n = len(attention)
        return LocalFeatures(
            np.zeros((n, 2), np.float32), np.array(attention, np.float32),
            np.full(n, scale, np.float32), np.zeros((n, 2), np.float32),
        )  # fmt: skip

    found = local_features.strongest([part(0.5, 5, 3, 1), part(1.0), part(2.0, 4, 3)], 4)
    assert found.attention.tolist() == [5, 4, 3, 3]
    assert found.scale.tolist() == [0.5, 2, 0.5, 2], "equal attention: the earlier scale"


def maps(batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return cells of 16 px: mean of two channels as descriptor, of the third as attention."""
    cells = torch.nn.functional.avg_pool2d(batch, 16)
    return cells[:, :2], cells[:, 2:]


def test_a_pyramid_of_one_bright_cell() -> None:
    """A cell of 32 px is one cell of half the image, and four of the whole; batches agree."""
    batch = torch.zeros(2, 3, 64, 96)
    batch[0, :, 32:64, 64:96] = torch.tensor([3.0, 4.0, 1.0])[:, None, None]
    batch[1] = torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0))
    rule = changed(scales=(0.5, 1.0), max_features=5)
    both = local_features.describe_pyramid(maps, batch, Preprocess(), rule)
    assert both[0].points.tolist() == [[32, 64], [32, 64], [32, 80], [48, 64], [48, 80]]
    assert both[0].scale.tolist() == [0.5, 1, 1, 1, 1]
    assert both[0].descriptors == pytest.approx(np.tile([0.6, 0.8], (5, 1)), abs=1e-6)
    alone = local_features.describe_pyramid(maps, batch[1:], Preprocess(), rule)[0]
    assert np.array_equal(alone.points, both[1].points)
    assert np.array_equal(alone.descriptors, both[1].descriptors)


def test_a_detector_says_where_its_features_are() -> None:
    """A list of three key points: two of an image, one padded by an attention below the least."""
    descriptors = torch.tensor([[3.0, 0.0, 1.0], [4.0, 2.0, 1.0]])[None, :, None]
    attention = torch.tensor([0.5, 0.7, -1.0])[None, None, None]
    places = torch.tensor([[1.0, 6.5, 0.0], [3.0, 2.0, 0.0]])[None, :, None]
    (found,) = local_features.describe_pyramid(
        lambda _: (descriptors, attention, places), torch.zeros(1, 3, 8, 8), Preprocess(),
        changed(scales=(0.5,), threshold=0.1),
    )  # fmt: skip
    assert found.points.tolist() == [[13, 4], [2, 6]]
    assert found.descriptors == pytest.approx(np.array([[0, 1], [0.6, 0.8]]))


@pytest.mark.parametrize("size", [(0, 3), (3, 0), (0, 0)])
def test_an_image_may_be_too_small_for_features(size: tuple[int, int]) -> None:
    empty = torch.zeros(1, 2, *size), torch.zeros(1, 1, *size)
    found = local_features.describe_pyramid(
        lambda _: empty, torch.zeros(1, 3, 8, 8), Preprocess(), RULE
    )
    assert found[0].points.shape == found[0].descriptors.shape == (0, 2)


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (torch.zeros(1, 2, 3, 3), "must return two or three float tensors"),
        ((torch.zeros(1, 2, 3, 3), None), "must return two or three float tensors"),
        (
            (torch.zeros(1, 2, 3, 3).long(), torch.zeros(1, 1, 3, 3)),
            "must return two or three float",
        ),
        ((torch.zeros(1, 3, 3, 3), torch.zeros(1, 1, 3, 3)), r"descriptors of .* of \(1, 2, h"),
        ((torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3)), r"attention of .* of \(1, 1, h, w\)"),
        ((torch.zeros(1, 2, 3, 3), torch.zeros(1, 1, 3, 4)), "attention of the shape"),
        ((torch.zeros(1, 2, 3, 3), torch.zeros(1, 1, 3, 3), torch.zeros(1, 3, 3, 3)), "places of"),
    ],
)
def test_what_a_method_returns_is_checked(returned: Any, says: str) -> None:
    with pytest.raises(BenchError, match=says):
        local_features.describe_pyramid(
            lambda _: returned, torch.zeros(1, 3, 8, 8), Preprocess(), RULE
        )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channel", [0, 2])  # of descriptors, of attention
def test_an_image_of_nan_has_no_features_and_harms_no_other(value: float, channel: int) -> None:
    """One cell, at one scale, is enough; the other images are as they are alone."""
    batch = torch.rand(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    rule = changed(scales=(0.5, 1.0), max_features=5)

    def local(arguments: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        descriptors, attention = maps(arguments)
        if arguments.shape[-1] == 96:
            (descriptors if channel < 2 else attention)[1, 0, 0, 0] = value
        return descriptors, attention

    found = local_features.describe_pyramid(local, batch, Preprocess(), rule)
    assert found[1] is None
    for image in (0, 2):
        alone = local_features.describe_pyramid(maps, batch[image : image + 1], Preprocess(), rule)[
            0
        ]
        assert found[image] is not None
        assert np.array_equal(found[image].descriptors, alone.descriptors)


# --- the contract -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ({"local": len}, "must have both local_rule and a function"),
        ({"local_rule": {}}, "must have both"),
        ({"local": 3, "local_rule": {}}, "must have both"),
        ({"local": len, "local_rule": []}, r"local_rule: must be a mapping, but is \[\]"),
        ({"local": len, "local_rule": {"stride_px": 16}}, "local_rule: the key 'dim' is missing"),
        ({"local": len, "local_rule": {"dim": 2}}, "local_rule: the key 'stride_px' is missing"),
        ({"local": len, "local_rule": {"dim": 2.0, "stride_px": 16}}, "dim: .* but is 2.0"),
        ({"local": len, "local_rule": {"dim": True, "stride_px": 16}}, "dim: .* but is true"),
        (
            {"local": len, "local_rule": {"dim": 0, "stride_px": 16}},
            "local_rule.dim: must not be below 1, but is 0",
        ),
        (
            {"local": len, "local_rule": {"dim": 2, "stride_px": 16, "upright": 1}},
            "upright: must be true or false, but is 1",
        ),
        (
            {"local": len, "local_rule": {"dim": 2, "stride_px": 16, "least_inliers": -1}},
            "least_inliers: must not be below 0, but is -1",
        ),
        (
            {"local": len, "local_rule": {"dim": 2, "stride_px": 16, "inlier_weight": -0.1}},
            "inlier_weight: must not be below 0, but is -0.1",
        ),
        ({"local": len, "local_rule": {"dim": 2, "stride": 16}}, "did you mean stride_px"),
        (
            {"local": len, "local_rule": {"dim": 2, "stride_px": 1, "scales": ()}},
            "scales: must not be empty",
        ),
        (
            {"local": len, "local_rule": {"dim": 2, "stride_px": 1, "threshold_rule": "half"}},
            'threshold_rule: must be .*halved.* "half"',
        ),
    ],
)
def test_a_broken_local_contract_is_one_sentence(attributes: dict[str, Any], says: str) -> None:
    with pytest.raises(BenchError, match=says) as caught:
        contract.local_rule(SimpleNamespace(**attributes), "the method m.v")
    assert str(caught.value).startswith("the method m.v")


def test_local_features_are_optional() -> None:
    assert contract.local_rule(SimpleNamespace(), "m") is None
    options = {"dim": 2, "stride_px": 16, "scales": [0.5, 1], "max_features": 3}
    method = SimpleNamespace(local=len, local_rule=options)
    assert contract.local_rule(method, "m") == RULE, "tidied, so that cards agree"
    info, without, _ = methods.load("random-unit")
    with pytest.raises(BenchError, match=r"random-unit\.seed0 has no local features"):
        methods.local_of(without, info)


# --- on disk ------------------------------------------------------------------------------------


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, workspace: Any) -> engine.Loaded:
    """Return a method whose local features are the cells of `maps`, seen as the pixels are."""
    info, method, rule = methods.load("random-unit")
    monkeypatch.setattr(local_store, "PER_SHARD", 4)
    described = SimpleNamespace(local=maps, **vars(method))
    return engine.Loaded(described, info, replace(rule, max_side_px=128), "cpu", Settings(2))  # type: ignore[arg-type]


def kept_of(loaded: engine.Loaded, rows: list[int], **changes: Any) -> local_store.Kept:
    mini = datasets.load("mini")
    arguments = {"rule": RULE, "precision": "float32", "phase": "local", **changes}
    return local_store.extract_local(
        loaded, mini.folder, mini.database[:10], np.array(rows), **arguments
    )


def test_what_is_kept_is_what_was_computed(loaded: engine.Loaded) -> None:
    """Shards of images in any order of shapes; each image as if it were alone."""
    mini = datasets.load("mini")
    kept = kept_of(loaded, list(range(10)))
    for row, image in enumerate(mini.database[:10]):
        pixels = decode.load(mini.folder / image.file, image.box, loaded.rule)
        batch = pyramid.to_batch([pixels], loaded.rule, "cpu")
        alone = local_features.describe_pyramid(maps, batch, loaded.rule, RULE)[0]
        read = kept.read(row)
        for name in ("points", "attention", "scale", "descriptors"):
            assert np.array_equal(getattr(read, name), getattr(alone, name)), name
    assert 0 < kept.features <= 3
    assert kept.bytes == kept.features * (4 + 8 + 4 + 4 + 2 * 4)


def test_only_shards_with_a_wanted_image_are_made_and_none_twice(
    loaded: engine.Loaded, capsys: pytest.CaptureFixture[str]
) -> None:
    kept_of(loaded, [1, 9])
    assert "local: 6 images" in capsys.readouterr().err, "shards 0 and 2, of 4 and 2 images"
    kept_of(loaded, [1, 5, 9])
    assert "local: 4 images" in capsys.readouterr().err
    kept_of(loaded, [0, 9])
    assert "local: 0 images" in capsys.readouterr().err
    kept_of(loaded, [0], force=True)
    assert "local: 4 images" in capsys.readouterr().err


def test_damage_is_mended_and_other_rules_lie_elsewhere(
    loaded: engine.Loaded, workspace: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    before = kept_of(loaded, [0, 4]).read(0)
    (folder,) = (workspace.cache / "local").iterdir()
    with (folder / "shard-00000.npy").open("r+b") as file:
        file.seek(-3, 2)
        file.write(b"\xff\xff\xff")
    capsys.readouterr()
    again = kept_of(loaded, [0, 4]).read(0)
    assert "local: 4 images" in capsys.readouterr().err
    assert np.array_equal(before.descriptors, again.descriptors)
    half = kept_of(loaded, [0], precision="float16")
    assert half.read(0).descriptors.dtype == np.float16
    assert half.bytes == half.features * (4 + 8 + 4 + 4 + 2 * 2)
    kept_of(loaded, [0], rule=changed(scales=(1.0,)))
    assert len(list((workspace.cache / "local").iterdir())) == 3
    assert not (workspace.cache / "descriptors").exists()


def test_images_without_features_are_kept_as_such(loaded: engine.Loaded) -> None:
    nothing = kept_of(loaded, [0, 5], rule=changed(threshold=1e6))
    assert nothing.features == nothing.bytes == 0
    assert nothing.read(5).descriptors.shape == (0, 2)
    assert nothing.read(0).points.shape == (0, 2)


def test_an_image_of_nan_is_named_and_a_run_may_go_on(
    loaded: engine.Loaded, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --allow-missing it is compared without features; else named when the rest is kept."""
    mini = datasets.load("mini")
    bad = mini.database[4]
    pixels = decode.load(mini.folder / bad.file, bad.box, loaded.rule)
    mark = pyramid.to_batch([pixels], loaded.rule, "cpu")[0, 0, 0, :16]

    def spoilt(batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        descriptors, attention = maps(batch)
        for image, item in enumerate(batch):
            if torch.equal(item[0, 0, :16], mark):
                descriptors[image, 0] = torch.nan
        return descriptors, attention

    method: Any = SimpleNamespace(local=spoilt)
    spoiling = replace(loaded, method=method)
    rule = changed(scales=(1.0,))
    with pytest.raises(BenchError, match=f"{bad.file} has no local features"):
        kept_of(spoiling, list(range(10)), rule=rule)
    kept = kept_of(spoiling, list(range(10)), rule=rule, missing=frozenset())
    assert f"{bad.file} has no local features" in capsys.readouterr().err
    assert kept.read(4).points.shape == (0, 2)
    assert len(kept.read(5).points) > 0


def test_a_broken_image_is_named_and_the_other_shards_are_kept(
    loaded: engine.Loaded, tmp_path: Path
) -> None:
    mini = datasets.load("mini")
    for image in mini.database[:10]:
        (tmp_path / image.file).write_bytes((mini.folder / image.file).read_bytes())
    (tmp_path / mini.database[5].file).write_bytes(b"no image")
    with pytest.raises(BenchError, match=mini.database[5].file):
        local_store.extract_local(
            loaded, tmp_path, mini.database[:10], np.arange(10), RULE, "float32", "local"
        )
    job = local_store.prepare(
        loaded, tmp_path, mini.database[:10], np.arange(10), RULE, "float32", "local", False, False
    )
    assert job.todo == [1]


def test_a_method_that_fails_is_named(loaded: engine.Loaded) -> None:
    def fails(_: Any) -> Any:
        raise RuntimeError("no such layer")

    vars(loaded.method)["local"] = fails
    with pytest.raises(BenchError, match=r"random-unit\.seed0 failed on a batch .*no such layer"):
        kept_of(loaded, [0])


# --- the official programs ----------------------------------------------------------------------


@pytest.mark.parametrize("case", ["a", "c", "a@40.7x30.2x250.9x199.6"])
def test_official_places_lie_on_our_grid(shared: Callable[[str], Path], case: str) -> None:
    """The extractor of DELG's TensorFlow program: stride 32, (y, x), order of attention."""
    with np.load(shared("parity/delg_tf_r50.npz"), allow_pickle=False) as content:
        points, inverse = content[f"locations@@{case}"], content[f"scales@@{case}"]
        attention, rows = content[f"attention@@{case}"], content[f"descriptors@@{case}"]
    scales = 1 / inverse
    places = np.rint(points * scales[:, None] / OFFICIAL.stride_px).astype(np.int64)
    ours = [
        local_features.keypoints(place[None], float(scale), OFFICIAL)[0]
        for place, scale in zip(places, scales, strict=True)
    ]
    assert np.abs(np.array(ours) - points).max() < 1e-3
    nearest = np.abs(scales[:, None] - np.array(OFFICIAL.scales)).min(axis=1)
    assert nearest.max() < 1e-6
    assert np.all(np.diff(attention) <= 0)
    assert np.abs(np.linalg.norm(rows, axis=1) - 1).max() < 1e-5


@pytest.mark.slow
def test_maps_of_the_port_are_the_official_ones(
    shared: Callable[[str], Path], tmp_path: Path
) -> None:
    """Attention, and the first 64 descriptors, at scale 1, to 2e-5 of a unit vector."""
    described = json.loads(shared("parity/delg_torch_r50.json").read_text(encoding="utf-8"))
    spec = importlib.util.spec_from_file_location("_recipe", shared("parity/recipe.py"))
    assert spec is not None
    assert spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    state = {
        key: torch.from_numpy(recipe.tensor(described["seed"], key, tuple(shape)))
        for key, shape in described["entries"]
    }
    torch.save({"model_state": state}, tmp_path / "r50_delg.pyth")
    info, method, rule = methods.load("delg.r50-port", str(tmp_path / "r50_delg.pyth"))
    (tmp_path / "r50_delg.pyth").unlink()
    assert methods.local_of(method, info) == LocalRule(
        dim=512, stride_px=16.0, scales=(0.25, 0.3535, 0.5, 0.7071, 1.0, 1.4142, 2.0),
        threshold=260.0, threshold_rule="halved", match_distance=0.99,
    )  # fmt: skip
    with np.load(shared("parity/delg_torch_r50.npz"), allow_pickle=False) as content:
        answers = dict(content)
    for case in ("a", "c"):
        pixels = decode.load(shared(f"parity/images/{case}.png"), None, rule)
        batch = pyramid.to_batch([pixels], rule, "cpu")
        with torch.inference_mode():
            descriptors, attention = method.local(batch)  # type: ignore[attr-defined]
        assert np.abs(attention[0, 0].numpy() - answers[f"attention_{case}"]).max() < 2e-5
        everything = LocalRule(dim=512, stride_px=16.0, max_features=attention.numel())
        found = local_features.select(descriptors[0], attention[0, 0], 1.0, everything)
        order = np.lexsort((found.points[:, 1], found.points[:, 0]))
        rows = found.descriptors[order][:64]
        assert np.abs(rows - answers[f"local_{case}"]).max() < 2e-5


def test_a_disk_without_room_for_them_is_refused_at_once(
    loaded: engine.Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With as many features as an image may have, because nobody knows how many it has."""
    bytes_of_most = 10 * RULE.max_features * (4 + 8 + 4 + 4 + 2 * 4)
    free = SimpleNamespace(free=bytes_of_most)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    with pytest.raises(BenchError, match=r"\(local, at most .*\). Free some space"):
        kept_of(loaded, list(range(10)))
    free.free += 40_000
    kept_of(loaded, list(range(10)))
    free.free = 0
    kept_of(loaded, list(range(10)))
