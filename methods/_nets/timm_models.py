"""Any model of timm, convolutional or transformer, with four ways to one vector per image.

cls   the class token after `forward_features`
avg   the mean of the positions or patch tokens; class token and registers take no part
gem   generalised mean of the same: clamped at 1e-6, p = 3 (negative numbers are lost)
head  what the model itself answers: its pooling and, where its weights have one, its projection

Pixels are the model's own: mean, std, size, filter and crop of its evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from bench.errors import BenchError
from bench.methods._nets import backbones, pooling
from bench.weights import load_strict, read_state

P, EPS = 3.0, 1e-6


class Pooled(nn.Module):
    """A model and its pooling; `dim` is the size of the descriptor."""

    def __init__(self, model: Any, pool: str) -> None:
        """Keep the model; refuse a class token that it has not."""
        super().__init__()
        self.model, self.pool = model, pool
        self.prefix = int(getattr(model, "num_prefix_tokens", 0))
        head = int(getattr(model, "num_classes", 0) or 0)
        own = int(getattr(model, "head_hidden_size", 0) or model.num_features)
        self.dim = (head or own) if pool == "head" else int(model.num_features)
        embed: Any = getattr(model, "patch_embed", None)
        self.patch = getattr(embed, "patch_size", None) if self.prefix or _tokens(model) else None
        self.dynamic = bool(getattr(model, "dynamic_img_size", False))
        config: Mapping[str, Any] = model.pretrained_cfg
        kind = config["input_size"][1:] if config.get("fixed_input_size") else None
        self.fixed = tuple(getattr(embed, "img_size", None) or kind or ())

    def forward(self, batch: Tensor) -> Tensor:
        """Return (n, dim)."""
        if self.pool == "head":
            out: Tensor = self.model(batch)
            return out
        features: Tensor = self.model.forward_features(batch)
        if features.ndim == 4:
            if features.shape[1] != self.dim:  # timm's Swin and its kin
                features = features.permute(0, 3, 1, 2)
        elif self.pool == "cls":
            return features[:, 0]
        else:
            features = features[:, self.prefix :].transpose(1, 2)[..., None]
        if self.pool == "avg":
            return features.mean(dim=(2, 3))
        return pooling.gem(features, P, EPS)

    def refusal(self, height: int, width: int) -> str | None:
        """Return why an image of this size is not taken, or None."""
        if self.dynamic and self.patch is not None:
            side = self.patch[0]
            if height % side or width % side:
                return f"sides must be multiples of {side}; `--resize multiple-of-{side}` does it"
        elif self.fixed and (height, width) != self.fixed:
            return f"it takes {self.fixed[0]} x {self.fixed[1]} alone; `--resize timm` makes that"
        return None


def _tokens(model: Any) -> bool:
    return hasattr(model, "dynamic_img_size")


def load(
    name: str, pool: str, weights: str | None, device: str
) -> tuple[Pooled, dict[str, Any], dict[str, Any]]:
    """Return the model `name` with its pooling, the facts about its weights, and its pixels.

    `weights` is the path of a state of timm's model, with or without its classifier; None: what
    timm fetches.
    """
    backbones.check_name(name)
    model: Any = _create(name, pool, pretrained=weights is None)
    config = dict(model.pretrained_cfg)
    if pool == "cls" and not getattr(model, "has_class_token", _has_class_token(model)):
        raise BenchError(f"timm.{name}-{pool}: this model has no class token; -avg, -gem and -head "
                         "are its poolings.")  # fmt: skip
    licence = str(config.get("license") or "not stated")
    if weights is None:
        tag = config.get("tag")
        full = f"{name}.{tag}" if tag and "." not in name else name
        source = f"timm {timm.__version__}, {full}"
    else:
        path = Path(weights)
        state = read_state(path)
        if pool != "head":
            prefixes = backbones.classifier_of(config)
            state = {k: v for k, v in state.items() if not k.startswith(prefixes)}
        load_strict(model, state, path.name)
        source, licence = f"file {path.name}", "not stated"
    facts = backbones.facts(model, source, licence, "not stated", True)
    network = Pooled(model, pool).eval().to(device)
    return network, facts, _pixels(model)


def _create(name: str, pool: str, *, pretrained: bool) -> Any:
    """Return timm's model, for any size of image where it can; without classifier unless -head."""
    how: dict[str, Any] = {} if pool == "head" else {"num_classes": 0}
    try:
        try:
            return timm.create_model(name, pretrained=pretrained, dynamic_img_size=True, **how)
        except TypeError:  # a model without tokens, or of one size
            return timm.create_model(name, pretrained=pretrained, **how)
    except BenchError:
        raise
    except Exception as error:  # the fetching libraries have a dozen types between them
        if not pretrained:
            raise
        raise BenchError(
            f"no pretrained weights of {name} could be fetched ({type(error).__name__}); fetch "
            "them where there is a network, then give --weights PATH."
        ) from error


def _has_class_token(model: Any) -> bool:
    return getattr(model, "cls_token", None) is not None


def _pixels(model: Any) -> dict[str, Any]:
    """Return how timm evaluates a model, as fields of `Preprocess`."""
    resolve: Any = resolve_model_data_config
    own: Mapping[str, Any] = resolve(model)
    height, width = own["input_size"][1:]
    filter_ = "bilinear" if own["interpolation"] == "bilinear" else "bicubic"
    sides = [math.floor(side / own["crop_pct"]) for side in (height, width)]
    if own["crop_mode"] == "center" and sides[0] == sides[1]:
        rule = f"pillow-{filter_}:{sides[0]}+centre-crop:{height}x{width}"
    elif sides == [height, width]:
        rule = f"pillow-{filter_}:{height}x{width}"
    else:
        rule = f"pillow-{filter_}:{sides[0]}x{sides[1]}+centre-crop:{height}x{width}"
    return {
        "mean": tuple(255.0 * float(x) for x in own["mean"]),
        "std": tuple(255.0 * float(x) for x in own["std"]),
        "max_side_px": None,
        "query_cap": "own",
        "resize": rule,
    }
