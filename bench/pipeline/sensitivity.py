"""How far the choices of a protocol move one number: the same weights under each of them.

The factors are those that papers often omit: query crop, image size, scales, formula and the
candidates of re-ranking. Every configuration is an ordinary run with its own card and record, so
that a single one can be repeated; existing records are not computed again. The formulas cost
nothing: they are computed from the ranks that a record holds. The study, one JSON file, names the
records and has the means; `verify` recomputes them.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from bench.describe import engine
from bench.describe.pixels import Chosen
from bench.errors import BenchError
from bench.images import resize
from bench.option import words_of
from bench.pipeline import plan, run
from bench.pipeline.dry_run import describe_plan
from bench.pipeline.options import Options
from bench.records import record, replay
from bench.rerank import verification
from bench.scoring import metrics, scores
from bench.scoring.card import card_id
from bench.system import reading
from bench.system.hashing import plain, sha256_json
from bench.system.identity import method_identity
from bench.system.paths import write_bytes
from bench.types import Preprocess, Protocol

SCHEMA = 1
FOLDER = "sensitivity"
NONE = "none"
CAPS = (512, 1024)
PYRAMIDS = ((1.0,), (0.70710677, 1.0, 1.4142135), (0.35355338, 0.5, 0.70710677, 1.0, 1.4142135))
FACTORS_OF_SIZE = (0.7, 1.4)
NUMBER = r"(?<=[:x])\d+"
USUAL_SIZE = (480, 640)
CUTS = (100, 10)  # places, in the formulas that look at the first; 10 where there are few images
SHOWN = {"own": "crop", "relative": "crop-relative"}


@dataclass(frozen=True)
class Configuration:
    """One choice of each factor: `max_side_px` None: no cap; "none": the same as text.

    `stages` is the text of one stage, `resize` a rule of `bench.images.resize`.
    """

    query_crop: str
    max_side_px: int | None
    scales: tuple[float, ...]
    candidates: str = NONE
    stages: str = NONE
    resize: str = resize.NATIVE

    def options(self, options: Options) -> Options:
        """Return the options of the run of this configuration."""
        return replace(
            options,
            pixels=Chosen(
                self.query_crop,
                self._side(),
                self.scales,
                None if self.resize == resize.NATIVE else self.resize,
            ),
            rerank=None if self.candidates == NONE else self.candidates,  # type: ignore[arg-type]
            stages=() if self.stages == NONE else (self.stages,),
            measure="none",
        )

    def arguments(self) -> list[str]:
        """Return the options as the command line of `run` has them."""
        side = self._side()
        out = ["--query-crop", self.query_crop]
        out += [] if side is None else ["--max-side", side]
        out += [] if self.resize == resize.NATIVE else ["--resize", self.resize]
        out += ["--scales", ",".join(map(repr, self.scales))]
        out += [] if self.stages == NONE else ["--stage", self.stages]
        return out + ([] if self.candidates == NONE else ["--rerank", self.candidates])

    def stated(self) -> dict[str, Any]:
        """Return the choices as a study holds them; neutral ones as before there were any."""
        neutral = (("stages", NONE), ("resize", resize.NATIVE))
        return {k: v for k, v in plain(self).items() if (k, v) not in neutral}

    def _side(self) -> str | None:
        """Return the value of --max-side; None where the size is exact."""
        if resize.is_exact(self.resize):
            return None
        return NONE if self.max_side_px is None else str(self.max_side_px)


def configurations(
    base: plan.Plan, *, grid: bool, with_candidates: bool, stages: Sequence[str] = ()
) -> list[Configuration]:
    """Return the default first, then every choice alone, then, for `grid`, all together.

    Re-ranking and stages are varied alone only.
    """
    rule = base.loaded.rule
    boxed = any(query.box is not None for query in base.dataset.queries)
    crops = ["crop", "crop-relative", "whole"] if boxed else ["whole"]
    crop = "whole" if base.dataset.crop == "whole" or not boxed else SHOWN[rule.query_cap]
    default = Configuration(crop, rule.max_side_px, rule.scales, resize=rule.resize)
    caps = list(dict.fromkeys([rule.max_side_px, *_caps(rule)]))
    sizes = [rule.resize]
    if resize.is_exact(rule.resize):
        crops, caps = [c for c in crops if c != "crop-relative"], [None]
    if resize.is_fixed(rule.resize):
        caps = [rule.max_side_px]
        sizes += other_sizes(base.loaded)
    others = (p for p in PYRAMIDS if not _near(p, rule.scales))
    pyramids = [rule.scales, *(p for p in others if _takes(base.loaded, replace(rule, scales=p)))]
    out = [default]
    out += [replace(default, query_crop=each) for each in crops]
    out += [replace(default, max_side_px=each) for each in caps]
    out += [replace(default, resize=each) for each in sizes]
    out += [replace(default, scales=each) for each in pyramids]
    if with_candidates:
        out += [replace(default, candidates=each) for each in verification.RULES]
    out += [replace(default, stages=each) for each in stages]
    if grid:
        out += [
            Configuration(crop, cap, scales, resize=size)
            for crop, cap, scales, size in itertools.product(crops, caps, pyramids, sizes)
        ]
    return list(dict.fromkeys(out))


def other_sizes(loaded: engine.Loaded) -> list[str]:
    """Return rules as that of a method of one size, for smaller and larger sizes that it takes.

    Sides stay multiples of the patches or strides that usual networks have; what comes before a
    centre crop keeps its ratio to it.
    """
    rule = loaded.rule
    first, _, last = rule.resize.rpartition(":")
    height, width = map(int, last.split("x"))
    unit = next(n for n in (14, 32, 16, 1) if height % n == 0 and width % n == 0)
    out = []
    for factor in FACTORS_OF_SIZE:
        new = [max(1, round(side * factor / unit)) * unit for side in (height, width)]
        ratio = new[0] / height

        def scaled(number: re.Match[str], ratio: float = ratio) -> str:
            return str(math.ceil(int(number[0]) * ratio))

        text = f"{re.sub(NUMBER, scaled, first)}:{new[0]}x{new[1]}"
        if _takes(loaded, replace(rule, resize=text)):
            out.append(text)
    return out


def _takes(loaded: engine.Loaded, rule: Preprocess) -> bool:
    """Tell whether a method takes a photograph of a usual size under another rule."""
    try:
        shape = resize.sized(resize.parse(rule.resize), USUAL_SIZE)
    except resize.TooSmallError:
        return False
    return engine.refusal(replace(loaded, rule=rule), shape) is None


def formulas(protocol: Protocol, n_rows: int) -> list[str]:
    """Return the metrics to compare: the headline, and where it is a mAP all its formulas."""
    headline = protocol.metrics[0]
    if not headline.startswith("map"):
        return [headline]
    cut = CUTS[0] if n_rows > CUTS[0] else CUTS[1]
    every = [name.format(k=cut) for name in metrics.families() if name.startswith("map")]
    return list(dict.fromkeys([headline, *every]))


def study(
    method: str,
    dataset: str,
    options: Options,
    *,
    grid: bool = False,
    stages: Sequence[str] = (),
    dry_run: bool = False,
    say: Callable[[str], None] = print,
) -> Path | None:
    """Run what is not there yet, and write the study; return its path, or None after a dry run."""
    base = plan.plan(method, dataset, options)
    local = hasattr(base.loaded.method, "local")
    chosen = configurations(base, grid=grid, with_candidates=local, stages=stages)
    folder = options.results / FOLDER
    plans = []
    for each in chosen:
        made = plan.plan(method, dataset, _options(method, dataset, each, options, folder))
        # The network is the same; one in memory is enough.
        plans.append(replace(made, loaded=replace(made.loaded, method=base.loaded.method)))
    there = _there(folder, plans)
    todo = [place for place, path in enumerate(there) if path is None]
    say(f"{len(plans)} configurations, {len(todo)} of them to run")
    if dry_run:
        for place in todo:
            say(f"configuration {place + 1}: {' '.join(chosen[place].arguments())}")
            for line in describe_plan(plans[place]):
                if " to describe" in line:
                    say(f"  {line}")
        return None
    start = time.monotonic()
    for number, place in enumerate(todo):
        left = ""
        if number:
            seconds = (time.monotonic() - start) / number * (len(todo) - number)
            left = f", about {seconds / 60:.0f} min left" if seconds > 90 else ""
        words = " ".join(chosen[place].arguments())
        say(f"configuration {number + 1} of {len(todo)}{left}: {words}")
        there[place] = run.run(plans[place])
    paths = [path for path in there if path is not None]
    return _write(folder, base, chosen, paths, options.command)


def verify(path: Path) -> tuple[list[str], list[str]]:
    """Return (faults, checks) of a study; its records are read again."""
    study = read(path)
    try:
        faults = [fault for each in study["configurations"] for fault in _faults(path, study, each)]
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        fault = reading.line(error)
        raise BenchError(f"{path} is not a sensitivity study: {fault}.") from None
    return faults, [f"{len(study['configurations'])} configurations recomputed from their records"]


def _faults(path: Path, study: dict[str, Any], each: dict[str, Any]) -> list[str]:
    """Return the faults of one configuration of a study against its record."""
    faults = []
    parts = PurePosixPath(each["record"]).parts
    if ".." in parts or parts[0] in ("/", "\\"):
        raise BenchError(
            f"{path} names the record {each['record']!r}, which is outside its folder."
        )
    card, scores = _scores(path.parent.parent / each["record"], study["formulas"])
    stated = {"card_id": card["card_id"], **each}  # which older studies lack
    if any(stated[key] != value for key, value in card.items()):
        faults.append(f"{each['record']} has a card that differs from the study")
    if not record.same(scores, each["scores"]):
        faults.append(f"the means of {each['record']} differ from the study")
    return faults


def read(path: Path) -> dict[str, Any]:
    """Return a study whose checksum is right."""
    try:
        study = reading.json_file(path)
    except (OSError, ValueError) as error:
        fault = reading.line(error)
        raise BenchError(f"{path} is not a sensitivity study: {fault}.") from None
    if not isinstance(study, dict) or study.get("study") != SCHEMA:
        raise BenchError(
            f"{path} is not a sensitivity study of version {SCHEMA}; run `sensitivity` again."
        )
    rest = {key: value for key, value in study.items() if key != "sha256"}
    if sha256_json(rest) != study.get("sha256"):
        raise BenchError(f"{path} was changed after it was written: its sha256 differs.")
    return study


def _options(
    method: str, dataset: str, each: Configuration, options: Options, folder: Path
) -> Options:
    """Return the options of the run of one configuration, with its command line."""
    line = ["python", "-m", "bench", "run", "--method", method, "--dataset", dataset]
    command = shlex.join([*line, *_shared(options), *each.arguments()])
    return each.options(replace(options, results=folder, command=command))


def _shared(options: Options) -> list[str]:
    """Return the options that all configurations have in common, as a command line has them."""
    same = Options(weights=options.weights, device=options.device, settings=options.settings)
    return words_of(same)


def is_study(path: Path) -> bool:
    """Say whether a file is a study, and not a record."""
    try:
        content = reading.json_file(path)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "study" in content


def _there(folder: Path, plans: Sequence[plan.Plan]) -> list[Path | None]:
    """Return per plan the newest record of its card, method and weights, None where none is."""
    records: dict[tuple[str, str], Path] = {}
    for path in record.find(folder):
        try:
            content = record.read(path)
            record.read_arrays(path, content)
        except BenchError:
            continue  # a run that is broken is run again
        records[content["card_id"], method_identity(content["method"])] = path
    return [records.get((card_id(p.card), method_identity(p.loaded.info))) for p in plans]


def _write(
    folder: Path,
    base: plan.Plan,
    chosen: Sequence[Configuration],
    paths: Sequence[Path],
    command: str,
) -> Path:
    info = base.loaded.info
    ids = formulas(base.dataset.protocols[0], len(base.dataset.database))
    entries = []
    for each, path in zip(chosen, paths, strict=True):
        card, scores = _scores(path, ids)
        entries.append(
            {
                **each.stated(),
                **card,
                "record": path.relative_to(folder).as_posix(),
                "scores": scores,
            }
        )
    study: dict[str, Any] = {
        "study": SCHEMA,
        "command": command,
        "dataset": base.card["dataset"],
        "method": {"name": info.name, "variant": info.variant, "trained": info.weights["trained"]},
        "formulas": ids,
        "configurations": entries,
    }
    study["sha256"] = sha256_json(study)
    name = base.card["dataset"]["name"]
    target: Path = folder / name / f"{info.name}.{info.variant}.json"
    write_bytes(target, f"{json.dumps(study, indent=1, allow_nan=False)}\n".encode("ascii"))
    return target


def _scores(
    path: Path, ids: Sequence[str]
) -> tuple[dict[str, str], dict[str, dict[str, float | None]]]:
    """Return the two hashes of the card, and the mean of every formula from a record's ranks."""
    content = record.read(path)
    arrays = record.read_arrays(path, content)
    protocols = record.protocols_of(arrays, content["card"])
    after = replay.scored_ranks(arrays, content["card"], protocols)
    unanswered = content["card"].get("missing", {}).get("queries", ())
    out: dict[str, dict[str, float | None]] = {}
    for protocol, ranks in zip(protocols, after, strict=True):
        under = replace(protocol, metrics=tuple(ids))
        means = {
            name: scores.mean(values, under)
            for name, values in scores.per_query(ranks, under, unanswered).items()
        }
        out[protocol.name] = {n: None if np.isnan(mean) else mean for n, mean in means.items()}
    return {key: content[key] for key in ("card_sha256", "card_id")}, out


def _caps(rule: Preprocess) -> list[int | None]:
    cap = rule.max_side_px
    return [*CAPS] if cap is None else [cap // 2, None]


def _near(first: Sequence[float], other: Sequence[float]) -> bool:
    return len(first) == len(other) and bool(np.allclose(first, other, atol=1e-3))
