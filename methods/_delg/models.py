"""The authors' models of DELG, and which files can be one of them, converted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError


@dataclass(frozen=True)
class Model:
    """A model of the authors: `archive` is its published file, `threshold` that of attention."""

    family: str
    depth: int
    archive: str | None
    threshold: float
    training_set: str


_V1, _V2 = "GLDv1 (14,951 classes)", "GLDv2-clean (81,313 classes)"
MODELS = {
    "r50-gld": Model("delg-slim", 50, "r50delg_gld_20200814", 175.0, _V1),
    "r50-gldv2clean": Model("delg-slim", 50, "r50delg_gldv2clean_20200914", 454.6, _V2),
    "r101-gld": Model("delg-slim", 101, "r101delg_gld_20200814", 166.1, _V1),
    "r101-gldv2clean": Model("delg-slim", 101, "r101delg_gldv2clean_20200914", 357.48, _V2),
    "r50-tf2": Model("delg-keras", 50, None, 0.0, "not stated"),
}


def checked(variant: str, weights: str | None) -> Path:
    """Return the path of a file that may be a converted one; TensorFlow's own files are not."""
    archive = MODELS[variant].archive
    where = f"https://storage.googleapis.com/delf/{archive}.tar.gz, unpacked" if archive else ""
    how = f"python -m bench weights convert --method delg.{variant} --source {{}} --output FILE"
    if weights is None:
        raise BenchError(
            f"delg.{variant} needs a converted file: make one from a model of its authors "
            f"({where or 'exported from their TensorFlow 2 code'}) with `{how.format('FOLDER')}`, "
            "and give --weights FILE."
        )
    path = Path(weights)
    if path.is_dir() or path.suffix in (".pb", ".index", ".tar", ".gz") or ".data-" in path.name:
        raise BenchError(
            f"{path.name} is not a converted file; where it is a TensorFlow model, unpacked, "
            f"convert it with `{how.format(path)}.safetensors`."
        )
    return path
