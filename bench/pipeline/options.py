"""The options of a run; the defaults are written here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bench.describe.pixels import Chosen
from bench.measure.timing import Measure
from bench.rerank.geometry import Mode
from bench.rerank.verification import Candidates
from bench.system.paths import ROOT
from bench.types import Precision, Settings


@dataclass(frozen=True)
class Options:
    """What the command line says beyond names; the defaults are written here and nowhere else."""

    output: Path = ROOT / "results"
    weights: str | None = None
    device: str | None = None
    settings: Settings = field(default_factory=Settings)
    pixels: Chosen = field(default_factory=Chosen)
    shortlist: int = 100
    memory_budget_mib: int = 256
    limit: int | None = None
    allow_partial: bool = False
    force: bool = False
    allow_missing: bool = False
    stages: tuple[str, ...] = ()
    rerank: Candidates | None = None
    ransac: Mode = "fast"
    local_precision: Precision = "float32"
    distractors: tuple[str, ...] = ()
    compression: str = "none"
    search: str = "exact"
    measure: Measure = "none"
    command: str = ""
    image_url: str | None = None
    export: Path | None = None
