"""The losses of DOLG, DELG and Token: functions of tensors, computed in float32 whatever comes in.

A margin is added to the angle between a descriptor and the weight vector of its class:
cos(a + m) = cos a cos m - sin a sin m. It is computed so, not through arccos, whose slope is
infinite at cos a = 1 and -1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, distributed
from torch.nn import functional

from bench.errors import BenchError

LEAST_SQUARE = 1e-12  # of a sine: its root has a finite slope
CURRICULUM_RATE = 0.01


def arcface(cosine: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Return the cosines (n, classes) with the margin (radian) added to the angle of each label.

    Where an angle exceeds pi - margin nothing is added, as in the programs of DELG and Token.
    `labels` are (n,) int64. Deng et al., "ArcFace", CVPR 2019, section 2.1; Cao et al., ECCV 2020,
    section 3.2; Wu et al., AAAI 2022, section 3.4.
    """
    cosine = cosine.float()
    of_label = cosine.gather(1, labels[:, None])
    within = of_label >= math.cos(math.pi - margin)
    return cosine.scatter(
        1, labels[:, None], torch.where(within, _plus(of_label, margin), of_label)
    )


def curricularface(
    cosine: Tensor, labels: Tensor, margin: float, curriculum: Tensor, *, training: bool = True
) -> Tensor:
    """Return the cosines (n, classes) as DOLG's program, whose "ArcFace" is CurricularFace.

    The label's cosine becomes cos(a + m), or cos a - m sin(pi - m) where a exceeds pi - m; a cosine
    c of another class that is above cos(a + m) becomes c (t + c). `curriculum` is t (1,): first
    moved, in place, a hundredth of the way to the mean of the labels' cosines, over all processes.
    Huang et al., "CurricularFace", CVPR 2020, section 3.2.
    """
    cosine = cosine.float()
    of_label = cosine.gather(1, labels[:, None])
    moved = _plus(of_label, margin)
    if training and len(labels):
        mean = mean_over_processes(of_label.detach().mean())
        curriculum.mul_(1 - CURRICULUM_RATE).add_(CURRICULUM_RATE * mean)
    within = of_label > math.cos(math.pi - margin)
    target = torch.where(within, moved, of_label - margin * math.sin(math.pi - margin))
    hard = cosine * (curriculum.clone() + cosine)
    return torch.where(cosine > moved, hard, cosine).scatter(1, labels[:, None], target)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over the batch of -log softmax at the labels; 0 for an empty batch."""
    check_labels(labels, logits.shape[1])
    if not len(labels):
        return logits.float().sum()
    return functional.cross_entropy(logits.float(), labels)


def attended(features: Tensor, attention: Tensor) -> Tensor:
    """Return (n, channels): unit features (n, channels, h, w) weighted by (n, 1, h, w), averaged.

    What DELG's attention is trained through: Cao et al., ECCV 2020, section 3.3.
    """
    unit = functional.normalize(features.float(), dim=1)
    return (unit * attention.float()).mean(dim=(2, 3))


def reconstruction(decoded: Tensor, features: Tensor) -> Tensor:
    """Return the mean squared difference of two maps of one shape; 0 for an empty batch.

    DELG's autoencoder, Cao et al., ECCV 2020, section 3.3, equation 6 up to its weight.
    """
    squared = (decoded.float() - features.float()).square()
    return squared.mean() if squared.numel() else squared.sum()


def matching(first: Tensor, second: Tensor, close: Tensor, temperature: float) -> Tensor:
    """Return how far rows are from finding their like: row i of one is that of row i of the other.

    `first` and `second` are (n, d), of any norm; `close` (n, n) marks pairs that are neither right
    nor wrong, the diagonal apart. Mean over both directions of the cross entropy of cosines divided
    by the temperature; 0 for n = 0. Van den Oord et al., "Representation Learning with Contrastive
    Predictive Coding", 2018, section 2.3 (InfoNCE); both ways as Radford et al., ICML 2021.
    """
    labels = torch.arange(len(first), device=first.device)
    with torch.autocast(first.device.type, enabled=False):
        rows, others = (functional.normalize(part.float(), dim=1) for part in (first, second))
        cosine = (rows @ others.T) / temperature
        left_out = close & (labels[:, None] != labels)
        cosine = cosine.masked_fill(left_out, -torch.inf)
        return (cross_entropy(cosine, labels) + cross_entropy(cosine.T, labels)) / 2


def check_labels(labels: Tensor, classes: int) -> None:
    """Refuse a label outside the classes."""
    if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < classes):
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        raise BenchError(
            f"a label is {int(wrong)}, but the {classes} classes are numbered from 0 to "
            f"{classes - 1}; check the number of classes."
        )


def _plus(cosine: Tensor, margin: float) -> Tensor:
    """Return cos(a + margin) for cos a, with a finite slope everywhere."""
    sine = (1 - cosine.square()).clamp(min=LEAST_SQUARE).sqrt()
    return cosine * math.cos(margin) - sine * math.sin(margin)


def mean_over_processes(value: Tensor) -> Tensor:
    """Return the mean of a scalar over the processes of a training, the same on each."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(value)
        value = value / distributed.get_world_size()
    return value
