"""`check`: a method that keeps its promises passes, and each broken promise is named."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

METHOD = '''"""A method for trying the check."""
from types import SimpleNamespace

VARIANTS = {{"only": "the only one"}}


def load(variant, weights, device):
    return SimpleNamespace(
        version="1", config={{}}, dim=48, describe=describe,
        weights={{"source": "none", "licence": "none", "sha256": None,
                 "training_set": "none", "trained": None}},
        preprocess={{"max_side_px": 64}},
    )


def describe(batch):
    from torch.nn.functional import adaptive_avg_pool2d

    {body}
'''
PLAIN = "adaptive_avg_pool2d(batch, 4).flatten(1)"


def asked(cli, folder: Path, body: str):
    file = folder / "tried.py"
    file.write_text(METHOD.format(body=body), encoding="utf-8")
    return cli("check", file, "--device", "cpu")


def test_a_good_method_keeps_the_contract(workspace, cli) -> None:
    text = asked(cli, workspace.folder, f"return {PLAIN}")
    assert text.status == 0, text.err
    assert "FAILS" not in text.out
    assert "bfloat16 instead of float32" in text.out
    assert text.out.splitlines()[-1] == "tried.only: keeps the contract"
    for name in ("1-row.png", "huge.jpg", "cmyk.jpg", "palette.gif", "16-bit.png", "animated.gif"):
        assert f"   ok  {name}" in text.out


@pytest.mark.parametrize(
    ("body", "broken"),
    [
        (f"return {PLAIN} - {PLAIN}.mean(0) + 0.1", "batch of 1 = batch of 8"),
        (f"rows = {PLAIN}; rows[0] += 1; return rows", "batch in another order"),
        (f"rows = {PLAIN}; batch.mul_(2); return rows", "describe modifies its input"),
        (f"import torch; return {PLAIN} + torch.rand(1)", "run twice"),
        (f"assert batch.shape[-1] != 64; return {PLAIN}", "is refused"),
    ],
)
def test_a_broken_promise_is_named(workspace, cli, body: str, broken: str) -> None:
    text = asked(cli, workspace.folder, body)
    assert text.status == 1
    assert any("FAILS" in line and broken in line for line in text.out.splitlines()), text.out
    assert text.out.splitlines()[-1].endswith("fail")
    assert "Traceback" not in text.err


def test_a_small_image_may_be_refused(workspace, cli) -> None:
    body = f"assert min(batch.shape[-2:]) > 3; return {PLAIN}"
    text = asked(cli, workspace.folder, body)
    assert text.status == 0
    assert " note  tiny.png is refused: " in text.out
