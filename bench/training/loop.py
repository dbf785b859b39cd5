"""The loop: steps of SGD from a checkpoint, or from the beginning, to the last one.

Nothing depends on how often it was interrupted: the order of photographs, their augmentation and
torch's own randomness (dropout) follow from the seed and the number of the step.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from bench.errors import BenchError
from bench.system import interrupt
from bench.system.notes import note
from bench.system.progress import Progress
from bench.training import checkpoint, curve, parallel, recipes
from bench.training.photographs import Augmented, Steps
from bench.training.recipes import Recipe
from bench.training.validate import Validation
from bench.types import Preprocess, Trainable


@dataclass
class Training:
    """Everything of one training while it goes on; `step` counts the steps that are done."""

    trainable: Trainable
    rule: Preprocess
    recipe: Recipe
    data: Augmented
    count: int
    total: int
    seed: int
    place: parallel.Place
    folder: Path
    workers: int
    checkpoint_s: float
    metadata: Mapping[str, str]
    validation: Validation | None = None
    validate_steps: int = 0
    views: Any = None
    step: int = 0
    average: dict[str, Tensor] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)

    @property
    def per_epoch(self) -> int:
        """Return the steps of an epoch."""
        return self.count // self.recipe.batch


class Step(nn.Module):
    """A forward pass to the terms of the loss, as a module, which is what DDP wraps."""

    def __init__(self, trainable: Trainable) -> None:
        """Take what trains."""
        super().__init__()
        self.network = trainable.network
        self.losses = trainable.losses

    def forward(self, inputs: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Return the weighted terms."""
        return self.losses(inputs, labels)


def run(training: Training) -> None:
    """Train to the end; the folder then has the last checkpoint and the whole log."""
    network, place, recipe = training.trainable.network, training.place, training.recipe
    optimiser = optimiser_of(network, recipe)
    scaler = torch.amp.GradScaler(enabled=half_precision(place.device) is torch.float16)
    restore(training, optimiser, scaler)
    module: nn.Module = Step(training.trainable)
    if place.processes > 1:
        if place.device.startswith("cuda"):
            synchronise: Any = getattr(timm.layers, "convert_sync_batchnorm")  # noqa: B009
            synchronise(network)
        module = nn.parallel.DistributedDataParallel(module, gradient_as_bucket_view=True)
    scores = training.validation.columns if training.validation else []
    log: checkpoint.Log | None = None
    saved = began = time.perf_counter()
    left = (training.total - training.step) * recipe.batch
    with Progress("train", left, "photographs", quiet=not place.first) as progress:
        for inputs, labels in batches(training):
            terms, norm, lr = advance(training, module, optimiser, scaler, inputs, labels)
            row: dict[str, Any] = {
                "step": training.step,
                "epoch": training.step / training.per_epoch,
                "lr": lr,
                **terms,
                "gradient_norm": norm,
                "images_per_s": recipe.batch / (time.perf_counter() - began),
                "device_bytes": device_bytes(place.device),
            }
            columns = [*row, *scores]
            last = training.step == training.total
            if training.validation and (last or training.step % training.validate_steps == 0):
                row |= validated(training)
            began = time.perf_counter()
            if not place.first:
                continue
            if log is None:
                log = checkpoint.Log(training.folder, columns, training.step)
            log.add(row)
            if set(scores) & set(row):
                curve.draw(training.folder, scores)
            if last or began - saved > training.checkpoint_s:
                checkpoint.write(training.folder, state(training, optimiser, scaler))
                saved = time.perf_counter()
            progress.advance(recipe.batch)
    if log is not None:
        curve.draw(training.folder, scores)
    parallel.wait(place)


def advance(
    training: Training,
    module: nn.Module,
    optimiser: Any,
    scaler: Any,
    inputs: Tensor,
    labels: Tensor,
) -> tuple[dict[str, float], float, float]:
    """Make one step; return the loss and its terms, the gradient's norm and the learning rate.

    The terms are means over all processes. A loss that is not finite ends the training before it
    changes a weight.
    """
    network, place = training.trainable.network, training.place
    set_mode(network)
    torch.manual_seed((training.seed << 32) + training.step * place.processes + place.rank)
    lr = recipes.rate(training.recipe, training.step, training.total)
    for group in optimiser.param_groups:
        group["lr"] = lr
    with casting(place.device, half_precision(place.device)):
        terms = module(inputs, labels)
    loss = torch.stack([term.float() for term in terms.values()]).sum()
    values = torch.stack([loss.detach(), *(term.detach().float() for term in terms.values())])
    losses = dict(zip(("loss", *terms), parallel.mean(values, place).tolist(), strict=True))
    check_finite(losses, training)
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(scaler.scale(loss))
    scaler.unscale_(optimiser)
    trained = [p for p in network.parameters() if p.requires_grad]
    norm = float(nn.utils.clip_grad_norm_(trained, training.recipe.clip or math.inf))
    scaler.step(optimiser)
    scaler.update()
    training.step += 1
    follow(training)
    return losses, norm, lr


def optimiser_of(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return SGD with the recipe's weight decay."""
    trained = [p for p in network.parameters() if p.requires_grad]
    plain = [] if recipe.decay_1d else [p for p in trained if p.ndim < 2]
    rest = trained if recipe.decay_1d else [p for p in trained if p.ndim >= 2]
    groups = [{"params": rest, "weight_decay": recipe.weight_decay}]
    if plain:
        groups.append({"params": plain, "weight_decay": 0.0})
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov)


def set_mode(network: nn.Module) -> None:
    """Set training mode, but for normalisations that are frozen: these keep their statistics."""
    network.train()
    for part in network.modules():
        own = list(part.parameters(recurse=False))
        if own and hasattr(part, "running_mean") and not any(p.requires_grad for p in own):
            part.eval()


def half_precision(device: str) -> torch.dtype | None:
    """Return the type in which a GPU multiplies; None on a CPU, where all is float32."""
    if not device.startswith("cuda"):
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def casting(device: str, half: torch.dtype | None) -> Any:
    """Return the context of a forward pass."""
    return nullcontext() if half is None else torch.autocast(device.split(":")[0], dtype=half)


def batches(training: Training) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield inputs and labels of every step that is left, on the device."""
    place, recipe = training.place, training.recipe
    steps = Steps(
        training.count, recipe.batch, training.seed, training.step, training.total,
        place.rank, place.processes,
    )  # fmt: skip
    if training.views is not None:
        for inputs, labels in training.views.batches(steps):
            yield inputs.to(place.device), labels.to(place.device)
        return
    for pixels, shifts, labels in loaded(training, steps):
        yield first_part(training, pixels, shifts), labels.to(place.device, non_blocking=True)


def loaded(training: Training, steps: Any) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield uint8 pixels (n, 3, side, side), shifts (n, 3) and labels (n,) of each step."""
    from torch.utils.data import DataLoader

    workers = training.workers
    loader = DataLoader(
        training.data,
        batch_sampler=steps,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=training.place.device.startswith("cuda"),
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=begin_worker if workers else None,
    )
    for pixels, shifts, labels, faults in loader:
        for fault in faults:
            if fault not in training.unreadable:
                training.unreadable.add(fault)
                note(f"{fault} Another photograph replaces it.")
        yield pixels, shifts, labels


def default_workers(device: str) -> int:
    """Return how many processes decode: none beside a CPU that trains."""
    return min(16, os.cpu_count() or 1) if device.startswith("cuda") else 0


def collate(samples: list[Any]) -> tuple[Tensor, Tensor, Tensor, list[str]]:
    """Return samples as a batch, and what could not be decoded on the way to them."""
    pixels, shifts, labels, faults = zip(*samples, strict=True)
    return (
        torch.stack(pixels),
        torch.stack(shifts),
        torch.tensor(labels, dtype=torch.int64),
        [fault for some in faults for fault in some],
    )


def begin_worker(_number: int) -> None:
    """Leave Ctrl-C to the process that trains, and one core to each worker."""
    interrupt.leave_to_parent()
    torch.set_num_threads(1)


def first_part(training: Training, pixels: Tensor, shifts: Tensor) -> Tensor:
    """Return what the frozen part of the network makes of pixels: (pixel + shift - mean) / std."""
    device, rule = training.place.device, training.rule
    mean = torch.tensor(rule.mean, dtype=torch.float32, device=device).view(1, 3, 1, 1)
    std = torch.tensor(rule.std, dtype=torch.float32, device=device).view(1, 3, 1, 1)
    batch = pixels.to(device, non_blocking=True).float()
    batch = batch.add_(shifts.to(device)[:, :, None, None]).sub_(mean).div_(std)
    frozen: Any = getattr(training.trainable, "frozen", None)
    if frozen is None:
        return batch
    set_mode(training.trainable.network)
    with torch.no_grad(), casting(device, half_precision(device)):
        made: Tensor = frozen(batch)
    return made


def check_finite(terms: Mapping[str, float], training: Training) -> None:
    """Refuse to continue from a loss that is not finite."""
    wrong = [name for name, value in terms.items() if not math.isfinite(value)]
    if wrong:
        raise BenchError(
            f"the loss is not finite in step {training.step + 1} ({', '.join(wrong)}: "
            f"{terms[wrong[-1]]}). {training.folder} has the log and the last checkpoint; start "
            "again in another folder with a lower --lr."
        )


def follow(training: Training) -> None:
    """Move the running mean of the weights."""
    decay = training.recipe.ema
    if decay is None:
        return
    with torch.no_grad():
        for name, tensor in training.trainable.network.state_dict().items():
            if not tensor.is_floating_point():
                continue
            if name in training.average:
                training.average[name].lerp_(tensor, 1 - decay)
            else:
                training.average[name] = tensor.clone()


def final_weights(training: Training) -> dict[str, Tensor]:
    """Return the weights for a file: those of the running mean where the recipe asks for one."""
    network = training.trainable.network
    if not training.average:
        return {name: tensor.detach() for name, tensor in training.trainable.weights().items()}
    own = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.load_state_dict(training.average, strict=False)
    made = {name: t.detach().clone() for name, t in training.trainable.weights().items()}
    network.load_state_dict(own)
    return made


def validated(training: Training) -> dict[str, float]:
    """Return the scores of the weights as they are, from the first process; {} from others."""
    found: dict[str, float] = {}
    if training.place.first and training.validation is not None:
        found = training.validation.scores(final_weights(training), training.metadata)
    parallel.wait(training.place)
    return found


def device_bytes(device: str) -> int | str:
    """Return the most memory that torch had allocated on a GPU."""
    return torch.cuda.max_memory_allocated(device) if device.startswith("cuda") else ""


def state(training: Training, optimiser: Any, scaler: Any) -> dict[str, Any]:
    """Return what a checkpoint holds."""
    return {
        "step": training.step,
        "network": training.trainable.network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "scaler": scaler.state_dict(),
        "average": training.average,
    }


def restore(training: Training, optimiser: Any, scaler: Any) -> None:
    """Go on from the checkpoint, where there is one."""
    saved = checkpoint.read(training.folder, training.place.device)
    if saved is None:
        return
    training.trainable.network.load_state_dict(saved["network"])
    optimiser.load_state_dict(saved["optimiser"])
    scaler.load_state_dict(saved["scaler"])
    training.step, training.average = int(saved["step"]), dict(saved["average"])
    if training.place.first and training.step < training.total:
        note(f"continuing after step {training.step} of {training.total}")
