"""Training from the command line: learns, is killed and goes on, is shared, is refused."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench.training import loop, recipes
from bench.training.recipes import Recipe
from bench.weights import read_state, training_of
from tests.support.checkout import ROOT

pytestmark = pytest.mark.slow

CLASSES = 8


@pytest.fixture
def town(tmp_path: Path) -> Path:
    """Make photographs of eight classes, a data set of the same places, and a method."""
    draw = np.random.default_rng(0)
    place = tmp_path / "town"
    names: dict[str, list[str]] = {"database": [], "queries": []}
    for number in range(CLASSES):
        colours = draw.integers(0, 256, (4, 4, 3))
        for at in range(6):
            pixels = np.clip(colours + draw.normal(0, 12, colours.shape), 0, 255).astype(np.uint8)
            image = Image.fromarray(pixels).resize((40, 40))
            kind = "queries" if at == 4 else "database"
            file = f"{number}_{at}.png"
            target = place / ("photographs" if at < 4 else "jpg")
            folder = target / str(number) if at < 4 else target
            folder.mkdir(parents=True, exist_ok=True)
            image.save(folder / file)
            if at >= 4:
                names[kind].append(file)
    data = {
        "name": "town", "images": "jpg", "database": names["database"],
        "queries": [{"file": file} for file in names["queries"]],
        "protocols": {"all": [{"positive": [i]} for i in range(CLASSES)]},
    }  # fmt: skip
    (place / "dataset.json").write_text(json.dumps(data))
    (place / "photographs" / "LICENCE.txt").write_text("CC0 1.0\n")
    shutil.copy(ROOT / "tests" / "support" / "small_net.py", place / "small_net.py")
    return place


def arguments(town: Path, out: Path, *more: object, variant: str = "plain") -> list[str]:
    options = {
        "--method": f"{town / 'small_net.py'}:{variant}", "--recipe": "plain",
        "--data": town / "photographs", "--batch": 8, "--side": 32, "--steps": 40, "--lr": 0.1,
        "--out": out, "--device": "cpu",
    }  # fmt: skip
    words = [str(word) for pair in options.items() for word in pair]
    return ["train", *words, *map(str, more)]


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(newline="") as text:
        return list(csv.DictReader(text))


def losses(out: Path) -> list[tuple[str, ...]]:
    return [(r["step"], r["epoch"], r["lr"], r["loss"], r["gradient_norm"]) for r in rows(out)]


def test_it_overfits_is_killed_goes_on_and_ends_in_the_same_file(
    town: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    validation = ("--validate", town / "dataset.json", "--validate-steps", 20)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    result = cli(*arguments(town, whole, *validation))
    assert result.status == 0, result.err
    assert result.out.splitlines()[-1] == str(whole / "final.safetensors")
    assert "photographs: 32 photographs of 8 classes" in result.err
    last = rows(whole)[-1]
    assert float(last["all mAP"]) == 1.0
    assert [row["step"] for row in rows(whole) if row["all mAP"]] == ["20", "40"]
    assert float(last["loss"]) < float(rows(whole)[0]["loss"])
    assert (whole / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in whole.iterdir()) == [
        "checkpoint.pt", "checkpoint.pt.sha256", "config.json", "curve.png",
        "final.safetensors", "log.csv",
    ]  # fmt: skip

    (town / "slow").write_text("0.1")
    options = arguments(town, broken, *validation, "--checkpoint-minutes", 0.005)
    child = subprocess.Popen(
        [sys.executable, "-m", "bench", *options], cwd=ROOT,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 400
    while not (broken / "checkpoint.pt").exists() or len(rows(broken)) < 12:
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    done = int(torch.load(broken / "checkpoint.pt", weights_only=True)["step"])
    assert 0 < done < 40
    assert not (broken / "final.safetensors").exists()
    (town / "slow").unlink()
    result = cli(*options)
    assert result.status == 0, result.err
    assert f"continuing after step {done} of 40" in result.err
    assert losses(broken) == losses(whole)
    assert (broken / "final.safetensors").read_bytes() == (whole / "final.safetensors").read_bytes()

    # Once more: nothing is left to do, and nothing changes.
    before = (whole / "final.safetensors").read_bytes()
    assert cli(*arguments(town, whole, *validation)).status == 0
    assert (whole / "final.safetensors").read_bytes() == before
    assert len(rows(whole)) == 40


def test_a_final_file_says_what_made_it_and_a_record_has_it(
    town: Path, tmp_path: Path, cli: Callable[..., Any], workspace: Any
) -> None:
    out = tmp_path / "out"
    assert cli(*arguments(town, out, "--steps", 3, "--seed", 5)).status == 0
    text = training_of(out / "final.safetensors")
    assert text is not None
    assert (text["method"], text["recipe"], text["seed"]) == ("small-net.plain", "plain", 5)
    assert (text["steps"], text["torch"]) == (3, torch.__version__)
    assert text["data"]["licence"] == "CC0 1.0"
    assert len(text["data"]["sha256"]) == 64
    assert "commit" in text["source"]
    assert str(tmp_path) not in json.dumps(text)
    assert json.loads((out / "config.json").read_text())["data"] == text["data"]
    run = cli("run", "--method", town / "small_net.py", "--weights", out / "final.safetensors",
              "--dataset", town / "dataset.json")  # fmt: skip
    assert run.status == 0, run.err
    (record,) = workspace.records()
    facts = json.loads(record.read_text())["method"]["weights"]
    digest = text["data"]["sha256"][:16]
    assert facts["training_set"] == f"photographs: 32 photographs of 8 classes, sha256 {digest}"
    assert facts["licence"] == "CC0 1.0"
    assert "trained by recipe plain, 3 steps, seed 5" in facts["source"]


def test_another_training_in_the_same_folder_is_refused(
    town: Path, tmp_path: Path, cli: Callable[..., Any], refused: Callable[..., str]
) -> None:
    out = tmp_path / "out"
    assert cli(*arguments(town, out, "--steps", 2)).status == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    says = refused(cli(*arguments(town, out, "--steps", 2, "--seed", 1)))
    assert f"{out} contains a different training (seed was 0, is 1)" in says
    Image.new("RGB", (20, 20)).save(town / "photographs" / "0" / "new.png")
    assert "data.photographs was 32, is 33" in refused(cli(*arguments(town, out, "--steps", 2)))
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}
    (out / "checkpoint.pt").write_bytes(b"cut off")
    (town / "photographs" / "0" / "new.png").unlink()
    assert "is damaged: its sha256 differs" in refused(cli(*arguments(town, out, "--steps", 2)))


def test_what_goes_wrong_is_one_sentence(
    town: Path,
    tmp_path: Path,
    cli: Callable[..., Any],
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def says(*more: object, variant: str = "plain", out: str = "out") -> str:
        return refused(cli(*arguments(town, tmp_path / out, *more, variant=variant)))

    assert "the loss is not finite in step 4 (" in says(variant="broken", out="nan")
    assert [row["step"] for row in rows(tmp_path / "nan")] == ["1", "2", "3"]
    assert "has 32 photographs, fewer than a batch of 33" in says("--batch", 33)
    assert "no recipe is called 'dolgr50'" in says("--recipe", "dolgr50")
    assert "random-unit cannot be trained" in says("--method", "random-unit")
    assert "delg.untrained cannot be trained from here" in says("--method", "delg.untrained")
    options = arguments(town, tmp_path / "out")
    del options[options.index("--recipe") : options.index("--recipe") + 2]
    assert "small-net.plain has no recipe of its own" in refused(cli(*options))
    drop = Recipe(method=recipes.ANY, options={"drop": 0.0, "init": "random"}, batch=8)
    monkeypatch.setitem(recipes.RECIPES, "drop", drop)
    assert "no option of this method's training is called 'drop'" in says(
        "--method", "token.r50", "--recipe", "drop"
    )
    assert "does not exist" in says("--method", "dolg.r50", "--init", "/nowhere.pth")
    broken = town / "photographs" / "3" / "3_2.png"
    broken.write_bytes(b"<html>")
    result = cli(*arguments(town, tmp_path / "other", "--steps", 8))
    assert result.status == 0
    assert result.err.count("3_2.png is a web page") == 1

    real = os.fsync

    def full(file: int) -> None:
        if "checkpoint" in os.readlink(f"/proc/self/fd/{file}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(file)

    monkeypatch.setattr(os, "fsync", full)
    text = says("--steps", 2, out="full")
    assert "No space left on device" in text
    assert "checkpoint.pt" in text
    assert not list((tmp_path / "full").glob("*checkpoint*"))


def test_two_processes_with_half_the_batch_have_the_curve_of_one(
    town: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    """Sums over a batch are made in another order: the curves agree to 1e-4, the weights to 1e-3.

    Without dropout and without batch normalisation: each process draws its own, and statistics are
    shared on GPUs only (SyncBN).
    """
    text = (town / "small_net.py").read_text().replace('"drop", 0.1', '"drop", 0.0')
    (town / "small_net.py").write_text(text)
    first, two = tmp_path / "one", tmp_path / "two"
    assert cli(*arguments(town, first, "--steps", 12)).status == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2",
            "--master_addr", "127.0.0.1", "--master_port", str(port),
            "-m", "bench", *arguments(town, two, "--steps", 12),
        ],
        cwd=ROOT, check=True, capture_output=True, timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert len(rows(two)) == 12
    for a, b in zip(rows(first), rows(two), strict=True):
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-4)
        assert float(a["gradient_norm"]) == pytest.approx(float(b["gradient_norm"]), rel=1e-3)
    state = read_state(two / "final.safetensors")
    for name, tensor in read_state(first / "final.safetensors").items():
        torch.testing.assert_close(tensor, state[name], atol=1e-3, rtol=1e-3)


def test_workers_change_nothing(town: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    for workers in (0, 1):
        out = tmp_path / str(workers)
        assert cli(*arguments(town, out, "--steps", 4, "--workers", workers)).status == 0
    assert losses(tmp_path / "0") == losses(tmp_path / "1")


def test_frozen_parts_stay_and_their_outputs_are_kept(
    town: Path, tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch,
    workspace: Any,
) -> None:  # fmt: skip
    views = replace(recipes.RECIPES["plain"], views=2, ema=0.5, clip=0.01)
    monkeypatch.setitem(recipes.RECIPES, "views", views)
    out, again = tmp_path / "out", tmp_path / "again"
    result = cli(*arguments(town, out, "--recipe", "views", "--steps", 16, variant="half"))
    assert result.status == 0, result.err
    assert "views: 64 photographs" in result.err
    kept = sorted((workspace.cache / "training").rglob("*.npy"))
    assert [path.name for path in kept] == ["view-000.npy", "view-001.npy"]
    assert np.load(kept[0]).shape == (32, 8, 32, 32)
    result = cli(*arguments(town, again, "--recipe", "views", "--steps", 16, variant="half"))
    assert "views" not in result.err  # they were there
    assert losses(again) == losses(out)
    without = tmp_path / "without"
    (tmp_path / "out.txt").write_text("3\n5\n")
    leaving = ("--leave-out", tmp_path / "out.txt", "--steps", 2)
    ran = cli(*arguments(town, without, "--recipe", "views", *leaving, variant="half"))
    assert "views" not in ran.err  # those of all photographs serve a part
    assert json.loads((without / "config.json").read_text())["data"]["classes"] == CLASSES - 2
    averaged = read_state(out / "final.safetensors")
    last = torch.load(out / "checkpoint.pt", weights_only=True)
    for name, tensor in averaged.items():
        same = torch.equal(tensor, last["network"][f"model.{name}"])
        assert same == name.startswith("first.")
    torch.testing.assert_close(averaged, {n: last["average"][f"model.{n}"] for n in averaged})
    refusal = cli(*arguments(town, tmp_path / "x", "--recipe", "views"))
    assert "has no frozen part" in refusal.err


def test_normalisations_that_are_frozen_keep_their_statistics() -> None:
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3))
    network[0].requires_grad_(False)
    loop.set_mode(network)
    assert [part.training for part in network] == [False, True]


def test_the_mean_of_weights_and_their_decay() -> None:
    network = torch.nn.Linear(2, 2)
    frozen = torch.nn.Linear(2, 2).requires_grad_(False)
    both = torch.nn.ModuleList([network, frozen])
    recipe = Recipe(method="*", weight_decay=0.1, decay_1d=False)
    groups = loop.optimiser_of(both, recipe).param_groups
    assert [g["weight_decay"] for g in groups] == [0.1, 0.0]
    assert [[p.ndim for p in g["params"]] for g in groups] == [[2], [1]]
    (group,) = loop.optimiser_of(both, replace(recipe, decay_1d=True)).param_groups
    assert len(group["params"]) == 2


def test_learning_rates_rise_and_fall_as_the_recipe_says() -> None:
    recipe = Recipe(method="*", lr=2.0, warmup=0.1, warmup_from=0.1)
    rates = [recipes.rate(recipe, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[5] == pytest.approx(2.0 * (0.1 + 0.9 * 0.5))
    assert rates[10] == pytest.approx(2.0)
    assert rates[55] == pytest.approx(1.0)
    assert 0 < rates[99] < 0.01
    linear = Recipe(method="*", lr=2.0, schedule="linear")
    assert [recipes.rate(linear, step, 4) for step in range(4)] == [2.0, 1.5, 1.0, 0.5]


def test_the_recipes_of_the_papers_say_what_the_papers_say() -> None:
    dolg, delg, token = (recipes.RECIPES[f"{name}-r50"] for name in ("dolg", "delg", "token"))
    assert (dolg.batch, dolg.side, dolg.epochs, dolg.lr) == (64, 512, 100, 0.01)
    assert (dolg.options["margin"], dolg.options["scale"]) == (0.15, 30.0)
    assert (delg.batch, delg.steps, delg.lr, delg.clip) == (256, 500_000, 0.01, 10.0)
    assert (delg.schedule, delg.nesterov, delg.augmentation.flip) == ("linear", False, 0.0)
    assert (delg.options["attention"], delg.options["reconstruction"]) == (1.0, 10.0)
    assert (token.batch, token.epochs, token.lr, token.decay_1d) == (128, 30, 0.00125, False)
    assert recipes.rate(token, 0, 30_000) == pytest.approx(0.01 * 32 / 256 * 0.01)
    assert round(token.warmup * 30) == 5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
@pytest.mark.parametrize("method", ["dolg.r50", "delg.r50", "token.r50"])
def test_on_a_gpu_the_published_recipes_run_at_their_batch_and_size(
    method: str, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    """Three steps of each at 512 pixels in bf16, of as many photographs as fit: 32."""
    draw = np.random.default_rng(0)
    for number in range(32):
        folder = tmp_path / "data" / str(number % 4)
        folder.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 256, (600, 800, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg")
    result = cli("train", "--method", method, "--data", tmp_path / "data", "--init", "random",
               "--batch", 32, "--steps", 3, "--out", tmp_path / "out")  # fmt: skip
    assert result.status == 0, result.err
    assert all(int(row["device_bytes"]) > 0 for row in rows(tmp_path / "out"))
    assert all(float(row["images_per_s"]) > 0 for row in rows(tmp_path / "out"))
