"""Studies of sensitivity: how far each choice of a protocol moves the score of the same weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from bench.errors import BenchError
from bench.records import text
from bench.records.rows import in_order
from bench.records.text import clean, escape
from bench.records.words import metric_label, resized
from bench.system import reading
from bench.system.hashing import sha256_json

NONE = "–"
FACTORS = {
    "query_crop": "query crop",
    "max_side_px": "image size",
    "resize": "resizing",
    "scales": "scales",
    "formula": "formula",
    "candidates": "re-ranking",
    "stages": "stage",
}
NEUTRAL = {"stages": "none", "resize": "native"}
CROPS = {"crop": "box, own cap", "crop-relative": "box, relative cap", "whole": "whole image"}
HINT = """\
One choice is changed at a time; all others keep the defaults of the method and the data set. Every
choice has its own record below `sensitivity/`. With few queries the differences are imprecise. The
commands for other data sets, which need their photographs and weights:

```
python -m bench sensitivity --method delg.r101-gldv2clean --dataset roxford5k --grid
python -m bench sensitivity --method dolg.r101 --dataset rparis6k --grid
```
"""


@dataclass(frozen=True)
class Point:
    """One choice of a factor: its name, and the score per protocol, a fraction or None."""

    choice: str
    scores: Mapping[str, float | None]


@dataclass(frozen=True)
class Study:
    """The default of a method, every choice of every factor, and all configurations together."""

    file: PurePosixPath
    dataset: str
    name: str
    headline: str
    protocols: tuple[str, ...]
    default: Point
    factors: Mapping[str, tuple[Point, ...]]
    grid: tuple[Point, ...]

    def moved(self, point: Point, protocol: str) -> float | None:
        """Return how far a choice moves the score from the default, in points."""
        here, there = self.default.scores[protocol], point.scores[protocol]
        return None if here is None or there is None else 100 * (there - here)


def load(results: Path) -> tuple[list[Study], list[tuple[PurePosixPath, str]]]:
    """Return every study below results/sensitivity, and (file, reason) of every broken one."""
    studies, left_out = [], []
    for path in sorted((results / "sensitivity").glob("*/*.json")):
        file = PurePosixPath(path.relative_to(results).as_posix())
        try:
            studies.append(parse(_read(path), file))
        except (BenchError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            left_out.append((file, f"is not a sensitivity study: {clean(error)}"))
    return studies, left_out


def parse(study: Mapping[str, Any], file: PurePosixPath) -> Study:
    """Return a study from its JSON."""
    if study["study"] != 1:
        raise BenchError(f"its version is {study['study']}, but only version 1 can be read")
    every, formulas = study["configurations"], study["formulas"]
    _check(every, formulas)
    default, headline = every[0], formulas[0]
    changed = [name for name in FACTORS if name != "formula"]
    factors: dict[str, list[Point]] = {name: [] for name in FACTORS}
    for entry in every:
        entry = NEUTRAL | entry  # which studies without any do not state
        differs = [name for name in changed if entry[name] != (NEUTRAL | default)[name]]
        for name in changed:
            if set(differs) <= {name}:
                factors[name].append(Point(_words(name, entry[name]), _of(entry, headline)))
    factors["formula"] = [Point(metric_label(name), _of(default, name)) for name in formulas]
    method = study["method"]
    untrained = " (untrained)" if method["trained"] is False else ""
    return Study(
        file=file,
        dataset=study["dataset"]["name"],
        name=f"{method['name']}.{method['variant']}{untrained}",
        headline=headline,
        protocols=tuple(in_order(default["scores"])),
        default=Point("default", _of(default, headline)),
        factors={name: tuple(points) for name, points in factors.items() if len(points) > 1},
        grid=tuple(
            Point(_together(entry, name), _of(entry, name)) for entry in every for name in formulas
        ),
    )


def shown(study: Study) -> list[str]:
    """Return the protocols that are drawn: medium and hard of three, else all."""
    revisited = set(study.protocols) == {"easy", "medium", "hard"}
    return ["medium", "hard"] if revisited else list(study.protocols)


def section(study: Study, figure: str) -> list[str]:
    """Return the blocks of the report: the figure, a table of every choice, and the extremes."""
    label = metric_label(study.headline)
    title = f"{study.name} on {study.dataset}"
    names = shown(study)
    heads = ["factor", "choice"]
    for name in names:
        heads += [f"{escape(name)} {escape(label)}, %", "moves by, points"]
    rows = []
    for factor, points in study.factors.items():
        for place, point in enumerate(points):
            cells = [FACTORS[factor] if place == 0 else "", escape(point.choice)]
            default = point.scores == study.default.scores and place == 0
            for name in names:
                cells += [
                    _percent(point.scores[name]),
                    "default" if default else _moved(study, point, name),
                ]
            rows.append(cells)
    blocks = [
        f"### Sensitivity: {escape(title)}\n",
        f"![How far each choice moves {escape(label)}: {escape(title)}]({figure})\n",
        text.table(heads, rows, range(2, len(heads))),
    ]
    if ends := extremes(study):
        blocks.append("".join(f"- {line}\n" for line in ends))
    return blocks


def extremes(study: Study) -> list[str]:
    """Return per protocol the least and the greatest score over all configurations, as text."""
    out = []
    for name in shown(study):
        scored = [(p.scores[name], p.choice) for p in study.grid if p.scores[name] is not None]
        default = study.default.scores[name]
        if default is None or not scored:
            continue
        (low, worst), (high, best) = min(scored), max(scored)
        out.append(
            f"{escape(name)}: the scores of all {len(study.grid)} measured combinations are "
            f"between {_percent(low)} ({escape(worst)}) and {_percent(high)} ({escape(best)}); "
            f"the default has {_percent(default)}"
        )
    return out


def lines(content: Mapping[str, Any]) -> list[str]:
    """Return what the command prints: every choice with how far it moves the score."""
    study = parse(content, PurePosixPath(""))
    out = []
    for name in shown(study):
        head = f"{study.name} on {study.dataset}, {name}, {metric_label(study.headline)}"
        out.append(f"{head}: {_percent(study.default.scores[name])} by default")
        for factor, points in study.factors.items():
            for point in points:
                moved = _moved(study, point, name)
                value = _percent(point.scores[name])
                out.append(
                    f"  {FACTORS[factor]:<11} {clean(point.choice):<34} {value:>6} {moved:>7}"
                )
    return out


def _read(path: Path) -> dict[str, Any]:
    study: dict[str, Any] = reading.json_file(path)
    rest = {key: value for key, value in study.items() if key != "sha256"}
    if sha256_json(rest) != study["sha256"]:
        raise BenchError("it was changed after it was written: its sha256 differs")
    return study


def _check(every: Sequence[Mapping[str, Any]], formulas: Sequence[str]) -> None:
    """Refuse a study without scores, or with scores that are not fractions."""
    for entry in every:
        for scores in entry["scores"].values():
            for value in (scores[name] for name in formulas):
                if value is not None and not (type(value) in (int, float) and 0 <= value <= 1):
                    raise BenchError(f"a score is {value!r} instead of a fraction")
    if not every[0]["scores"] or not formulas:
        raise BenchError("it has no scores")


def _of(study: Mapping[str, Any], formula: str) -> dict[str, float | None]:
    return {name: scores[formula] for name, scores in study["scores"].items()}


def _words(factor: str, value: Any) -> str:
    if factor == "query_crop":
        return CROPS[value]
    if factor == "max_side_px":
        return "as it is" if value is None else f"longest side {value:,} px"
    if factor == "scales":
        return " ".join(f"{round(scale, 2):g}" for scale in value)
    if factor == "stages":
        return str(value)
    if factor == "resize":
        return resized(value)
    return {"none": "none", "deployable": "first 100", "official": "first 100, labels used"}[value]


def _together(study: Mapping[str, Any], formula: str) -> str:
    words = [_words(name, study[name]) for name in ("query_crop", "max_side_px")]
    words += [f"scales {_words('scales', study['scales'])}", metric_label(formula)]
    if study.get("resize", "native") != "native":
        words.append(f"resized: {resized(study['resize'])}")
    if study["candidates"] != "none":
        words.append(f"re-ranked: {_words('candidates', study['candidates'])}")
    if study.get("stages", "none") != "none":
        words.append(str(study["stages"]))
    return "; ".join(words)


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.2f}"


def _moved(study: Study, point: Point, protocol: str) -> str:
    moved = study.moved(point, protocol)
    return NONE if moved is None else f"{moved:+.2f}"


def order(studies: Sequence[Study], dataset: str) -> list[Study]:
    """Return the studies of a dataset by name."""
    return sorted((s for s in studies if s.dataset == dataset), key=lambda study: study.name)
