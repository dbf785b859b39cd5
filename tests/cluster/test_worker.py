"""A worker that sees neither images nor weights nor the store; called here, without Ray."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bench import datasets
from bench.cluster import recipe as recipes
from bench.cluster.worker import Count, Files, Order, Worker
from bench.describe import engine, extract, loading
from bench.store import shards
from tests.support import clusters, small_net

IMAGES = 60  # two shards


@pytest.fixture
def listed(tmp_path: Path) -> extract.Listed:
    """Return the images, which are then moved where no list says."""
    folder = clusters.pictures(tmp_path / "pictures", IMAGES)
    dataset = datasets.load(str(folder))
    found = extract.look_at(dataset.folder, dataset.database)
    shutil.copytree(folder / "jpg", tmp_path / "else where")
    return found


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Return the weights of tests/support/small_net.py."""
    torch.manual_seed(3)
    file = tmp_path / "small.safetensors"
    save_file(small_net.Net().state_dict(), file)
    return file


METHOD = str(Path(small_net.__file__ or ""))


def hidden(
    listed: extract.Listed, weights: Path, url: str | None
) -> tuple[Worker, Order, bytes, Callable[[], None]]:
    """Return a worker, its order, the first shard as made here; and what hides all files."""
    loaded = loading.load(METHOD, str(weights), "cpu")
    key = extract.key_of(loaded, listed)
    kept = shards.open_store(weights.parent / "cache", key, IMAGES, loaded.info.dim)
    part = listed.part(*kept.span(0))
    rows, faults = extract.describe_part(loaded, engine.rows_of, part, Count())
    assert not faults
    worker = Worker(recipes.of(METHOD, str(weights), loaded), None)
    away = weights.with_name("away.safetensors")
    worker._piece = lambda path, at: Files().piece(path.replace(weights.name, away.name), at)

    def hide() -> None:
        weights.rename(away)
        shutil.rmtree(listed.folder)

    return worker, Order(kept, engine.rows_of, "0" * 32, url), shards.packed(rows), hide


def test_images_come_from_a_url_and_weights_from_the_driver(
    listed: extract.Listed, weights: Path, tmp_path: Path
) -> None:
    files = [tmp_path / "else where" / image.file for image in listed.images]
    url = f"file://{tmp_path}/else where/"
    worker, order, content, hide = hidden(listed, weights, url)
    hide()
    hello = worker.hello()
    assert hello.error is None
    assert (Path(worker.folder) / weights.name).is_file()
    answer = worker.describe(order, 1, 0, listed.part(*order.kept.span(0)))
    assert answer.error is None
    assert answer.file is None
    assert answer.content is not None
    assert answer.content.tobytes() == content
    assert answer.sha256 == hashlib.sha256(content).hexdigest()
    assert answer.fetched == sum(file.stat().st_size for file in files[:32])
    # One that is there with the right bytes is not read again.
    listed.folder.mkdir(parents=True)
    shutil.copy(files[7], listed.folder / listed.images[7].file)
    shutil.copy(files[8], listed.folder / listed.images[9].file)  # another's
    again = worker.describe(order, 2, 0, listed.part(*order.kept.span(0)))
    assert again.content is not None
    assert again.content.tobytes() == content
    assert again.fetched == answer.fetched - files[7].stat().st_size


def test_another_image_at_the_url_is_refused_and_an_absent_one_named(
    listed: extract.Listed, weights: Path, tmp_path: Path
) -> None:
    there = tmp_path / "else where"
    worker, order, _, hide = hidden(listed, weights, f"file://{there}")
    hide()
    assert worker.hello().error is None
    part = listed.part(*order.kept.span(1))
    (there / part.images[3].file).write_bytes((there / part.images[4].file).read_bytes())
    changed = worker.describe(order, 1, 1, part).error
    file = listed.folder / part.images[3].file
    assert changed == f"{file} changed during the run; run the same command again."
    (there / part.images[3].file).unlink()
    absent = worker.describe(order, 2, 1, part).error
    assert absent is not None
    assert absent.startswith(f"{part.images[3].file} cannot be read from file://{there} (")
    assert not list(tmp_path.glob("cache/*/*/shard-*"))


def test_other_weights_than_the_drivers_are_refused(listed: extract.Listed, weights: Path) -> None:
    worker, _, _, hide = hidden(listed, weights, None)
    hide()
    away = weights.with_name("away.safetensors")
    away.write_bytes(away.read_bytes() + b" ")
    text = f"the weights {weights} changed during the run; run the same command again."
    assert worker.hello().error == text


def test_a_shard_is_written_only_into_the_folder_that_the_driver_writes_in(
    listed: extract.Listed, weights: Path
) -> None:
    worker, order, content, _ = hidden(listed, weights, None)
    assert worker.hello().error is None
    part = listed.part(*order.kept.span(0))
    lock = order.kept.path(0).with_suffix(".lock")
    lock.parent.mkdir(parents=True)
    lock.write_text("1" * 32)  # a folder of the same path, but not the same
    apart = worker.describe(order, 1, 0, part)
    assert apart.file is None
    assert apart.content is not None
    lock.write_text(order.nonce)
    shared = worker.describe(order, 2, 0, part)
    assert shared.content is None
    assert shared.file is not None
    assert (lock.parent / shared.file).read_bytes() == content == apart.content.tobytes()
    assert not order.kept.path(0).exists(), "the driver alone puts it in its place"


def test_a_worker_with_other_packages_or_other_code_is_refused(
    listed: extract.Listed, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, _, _, _ = hidden(listed, weights, None)
    with monkeypatch.context() as there:
        there.setattr(recipes, "_release", lambda name: "0.1")
        there.setattr(recipes, "_code", lambda: "5" * 64)
        text = worker.hello().error
    assert text is not None
    assert "the code of bench/ and methods/ is 555555555555… instead of " in text
    assert "; torch is 0.1 instead of 2." in text
    assert text.endswith(", so its results would differ.")
    assert worker.hello().error is None
