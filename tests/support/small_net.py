"""A method of a few layers that can be trained in seconds; a file `slow` beside it slows it."""

import time
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

from bench.nn import heads
from bench.weights import load_strict, origin, read_state

VARIANTS = {
    "plain": "two convolutions and a linear layer",
    "half": "the first convolution is frozen",
    "broken": "its loss becomes no number in step 4",
}
PIXELS = {"mean": (127.5, 127.5, 127.5), "std": (64.0, 64.0, 64.0), "max_side_px": 64}
DIM = 24


class Net(nn.Module):
    """Convolutions, and dropout to see whether randomness is resumed; no batch statistics."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 16, 3, padding=1, stride=2)
        self.drop = nn.Dropout(0.1)
        self.last = nn.Linear(16 * 16, DIM)

    def begin(self, batch):
        return torch.relu(self.first(batch))

    def end(self, x):
        x = nn.functional.adaptive_avg_pool2d(torch.relu(self.second(x)), 4)
        return self.last(self.drop(x.flatten(1)))

    def forward(self, batch):
        return self.end(self.begin(batch))


def trainable(variant, classes, options, device):
    model = Net()
    model.drop.p = float(options.get("drop", 0.1))
    head = heads.ArcFace(classes, DIM, 0.1, 16.0)
    network = nn.ModuleDict({"model": model, "head": head}).to(device)
    steps = []

    def losses(inputs, labels):
        slow = Path(__file__).with_name("slow")
        time.sleep(float(slow.read_text()) if slow.exists() else 0)
        steps.append(len(labels))
        rows = model(inputs) if variant != "half" else model.end(inputs)
        loss = head(rows, labels)
        return {"global": loss * float("nan") if variant == "broken" and len(steps) == 4 else loss}

    made = SimpleNamespace(
        network=network, preprocess=PIXELS, losses=losses, weights=model.state_dict
    )
    if variant == "half":
        model.first.requires_grad_(False)
        made.frozen = model.begin
    return made


def load(variant, weights, device):
    net = Net().eval()
    load_strict(net, read_state(Path(weights)), Path(weights).name)
    facts = {"source": "none", "licence": "none", "sha256": None, "training_set": "none",
             "trained": True}  # fmt: skip
    return SimpleNamespace(
        version="1", config={}, weights=facts | origin(Path(weights)), dim=DIM, preprocess=PIXELS,
        describe=net.to(device), network=net,
    )  # fmt: skip
