"""The leaderboard page: one file of HTML with its style, its script and the rows as data.

It needs no server and asks for nothing: what it shows is inside. The parts are files of their own
in `report/leaderboard/`, put together here without a build step. Every text from a record is data
(JSON) that the script writes into the page as text, so no name can become markup or a script.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from bench.records import groups, ranking
from bench.records.rows import Run, flat, protocols
from bench.records.text import clean, relative_target
from bench.records.words import gist, label, metric_label, say, stated
from bench.report.tables import main
from bench.report.tables.differences import crop_of
from bench.report.tables.literature import metric_name
from bench.report.tables.overview import STEPS, Overview, mean_of
from bench.report.tables.published import TAGS, PublishedRow
from bench.system.hashing import canonical_json

if TYPE_CHECKING:
    from bench.report.build import Content

PARTS = Path(__file__).resolve().parent
_PAGES = Environment(
    loader=FileSystemLoader(PARTS),
    autoescape=True,
    undefined=StrictUndefined,
    keep_trailing_newline=True,
)
SCRIPTS = ("view.js", "overview.js", "plot.js", "detail.js", "take.js", "page.js")
UNITS = ("ms", "s", "px", "bytes")
SHOWN_ELSEWHERE = {
    "schema",
    "run_id",
    "card",
    "card_sha256",
    "card_id",
    "scores",
    "sha256",
    "ranks",
}
# The filters of the page: key, words, what is told of them, and the value of a row.
FACETS: Sequence[tuple[str, str, str, Callable[[Run], str]]] = (
    ("crop", "Query", "box: the method sees the box of the query alone",
     lambda run: {"whole": "whole image"}.get(crop_of(run), crop_of(run))),
    ("rerank", "Re-ranking", "", lambda run: run.reranking_words or "none"),
    ("backbone", "Backbone", "", lambda run: run.backbone),
    ("device", "Device", "", lambda run: clean(run.device.partition(": ")[2] or run.device)),
    ("card", "Card", "Rows of one card were scored under the same rules", lambda run: run.card_id),
)  # fmt: skip
LONGEST = 600
MILLION = 1_000_000
LEAST_ROWS = 10_000


def page(results: Path, content: Content, left_out: Sequence[tuple[PurePosixPath, str]]) -> bytes:
    """Return the page of the runs that the report shows and of the published rows, as UTF-8.

    Sheets are read below `results`. Equal files give equal bytes.
    """
    script = "\n".join((PARTS / name).read_text(encoding="utf-8") for name in SCRIPTS)
    measured = _measured(results, content.shown)
    facts = measured.pop("facts")
    data = {
        **measured,
        "facets": [words for *words, _ in FACETS],
        "most_letters": ranking.MOST_LETTERS,
        "datasets": list(content.by_dataset),
        "overviews": [_overview(overview) for overview in content.overviews],
        "sources": _sources(content.published),
        "published": [_published(row) for row in content.published if row.printable and row.values],
        "tags": TAGS,
        "left_out": [[clean(file), clean(reason)] for file, reason in left_out],
    }
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    made = _PAGES.get_template("page.html").render(
        style=Markup((PARTS / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_sha256=base64.b64encode(digest).decode("ascii"),
        data=_in_html(data),
        facts=_in_html(facts),
    )
    return made.encode("utf-8")


def _in_html(data: Any) -> Markup:
    """Return JSON that can stand in a script element: nothing in it ends one or opens a comment."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _measured(results: Path, shown: Sequence[Run]) -> dict[str, Any]:
    """Return rows, and what many of them share once: cards and groups of facts."""
    cards: dict[str, Any] = {}
    shared: dict[str, int] = {}
    numbers: dict[str, int] = {}
    facts: list[Any] = []

    def once(group: Any) -> int:
        place = shared.setdefault(canonical_json(group), len(facts))
        if place == len(facts):
            facts.append(group)
        return place

    def number(words: str) -> int:
        return numbers.setdefault(words, len(numbers))

    sheets = _sheets(results)
    ranked, headings = _ranked(shown)
    rows = []
    order = sorted(shown, key=lambda run: (run.dataset, run.name, run.card_id, run.file))
    for run in order:
        cards.setdefault(run.card_id, _card(run))
        # Timings compare on one machine only.
        together = ranked[run] | {"machine": number(run.cost.machine)}
        about = {"facts": [once(group) for group in _facts(run.rest)]}
        rows.append(_row(run, sheets) | together | about)
    return {
        "rows": rows,
        "cards": cards,
        "facts": facts,
        "protocols": protocols(shown),
        "groups": headings,
    }


def _ranked(shown: Sequence[Run]) -> tuple[dict[Run, dict[str, Any]], list[dict[str, Any]]]:
    """Return group, chain and places of every run, as in the report, and the groups as text.

    `places` has, per protocol, a place (1, 2 or 0) for each metric of the card.
    """
    ranked: dict[Run, dict[str, Any]] = {}
    headings: list[dict[str, Any]] = []
    for dataset in dict.fromkeys(run.dataset for run in shown):
        runs = [run for run in shown if run.dataset == dataset]
        of_dataset = groups.groups(runs, lambda _: None)
        for group, heading in zip(
            of_dataset, main.headings([g.runs for g in of_dataset]), strict=True
        ):
            for chain in group.chains:
                for run in chain.runs:
                    ranked[run] = {"group": len(headings), "chain": chain.words, "places": {}}
                _add_places(ranked, chain.runs)
            headings.append({"words": heading, "partial": group.partial})
    return ranked, headings


def _add_places(ranked: Mapping[Run, dict[str, Any]], runs: Sequence[Run]) -> None:
    columns = {(p, m) for run in runs for p, of in run.scores.items() for m in of}
    for protocol, metric in sorted(columns):
        means = {run: run.score(protocol, metric).mean for run in runs}
        for run, place in groups.places(means, main.DIGITS).items():
            metrics = list(run.card["metrics"])
            listed = ranked[run]["places"].setdefault(protocol, [0] * len(metrics))
            if metric in metrics:
                listed[metrics.index(metric)] = place


def _row(run: Run, sheets: Mapping[str, str]) -> dict[str, Any]:
    target = relative_target(run.file)
    image_bytes, query_ms = run.cost.image_bytes, run.cost.row_ms
    return {
        "id": run.run_id,
        "dataset": clean(run.dataset),
        "name": clean(f"{run.method}.{run.variant}", 120),
        "marks": list(run.marks),
        "stages": run.stages,
        "training": clean(run.training_set),
        "dim": run.dim,
        "bytes": int(image_bytes) if image_bytes == int(image_bytes) else round(image_bytes, 1),
        "disk": round(run.cost.disk_bytes, 1),
        "query": query_ms and float(f"{query_ms.p50:.6g}"),
        "command": clean(run.rest["command"], LONGEST),
        "parameters": run.cost.parameters,
        "flops": run.cost.flops,
        "speed": run.cost.images_per_s and float(f"{run.cost.images_per_s:.6g}"),
        "search": _searched(run),
        "latency": run.describe_ms and [float(f"{ms:.6g}") for ms in run.describe_ms],
        **{key: value(run) for key, _, _, value in FACETS},
        "scores": {
            protocol: [_score(run, protocol, metric) for metric in run.card["metrics"]]
            for protocol in run.scores
        },
        "scored": {name: run.card["protocols"][name]["scored"] for name in run.scores},
        "tied": run.tied,
        "created": run.created,
        "code": run.code,
        "record": target,
        "ranks": target.removesuffix(".json") + ".npz",
        "sheet": sheets.get(run.run_id),
    }


def _score(run: Run, protocol: str, metric: str) -> list[float | None] | None:
    """Return mean, interval, and mean as tables print it, in percent; None without a mean.

    They are rounded here to the digits that the page shows, as in the report: a script would round
    a tie the other way, or round twice.
    """
    score = run.score(protocol, metric)
    if score.mean is None:
        return None
    ends: list[float | None] = [None, None]
    if score.interval is not None:
        ends = [float(f"{100 * end:.1f}") for end in score.interval]
    return [float(f"{100 * score.mean:.2f}"), *ends, float(f"{100 * score.mean:.1f}")]


def _searched(run: Run) -> float | None:
    """Return milliseconds of an exact search per million rows; None for small databases.

    It is that of a million drawn rows where it was measured, else of the rows of the data set: a
    search of few takes the time of its call, not of its rows.
    """
    if run.card["search"] == "exact" and MILLION in run.cost.search_at:
        return float(f"{run.cost.search_at[MILLION]:.6g}")
    timed, rows = run.cost.phases.get("search"), run.card["dataset"]["database"]
    rows += run.card["distractors"]["count"]
    if timed is None or rows < LEAST_ROWS or run.card["search"] != "exact":
        return None
    return float(f"{1e6 * timed.p50 / rows:.6g}")


def _overview(first: Overview) -> dict[str, Any]:
    """Return an overview for the script: rows by id, means, and draws as unsigned 16-bit numbers.

    The same draws give the same ranks as in the report; the script ranks what is in view.
    """
    return {
        "metric": first.metric,
        "system": first.system,
        "sets": [[clean(column.dataset), clean(column.protocol)] for column in first.columns],
        "lines": [
            {
                "name": clean(line.name, 120),
                "rows": [run and run.run_id for run in line.runs],
                "means": [
                    None if run is None else float(f"{100 * mean_of(run, column):.6g}")
                    for run, column in zip(line.runs, first.columns, strict=True)
                ],
                "draws": [None if drawn is None else _packed(drawn) for drawn in line.drawn],
                "query": line.query_ms and float(f"{line.query_ms:.6g}"),
                "bytes": line.image_bytes,
                "disk": line.disk_bytes,
            }
            for line in first.lines
        ],
    }


def _packed(drawn: NDArray[np.float64]) -> str:
    whole = np.round(STEPS * drawn).astype("<u2")
    return base64.b64encode(whole.tobytes()).decode("ascii")


def _sources(rows: Sequence[PublishedRow]) -> dict[str, list[list[str]]]:
    """Return, by method.variant, where numbers of these very weights were published: words, url."""
    found: dict[str, list[list[str]]] = {}
    for row in rows:
        for name in row.measured if row.printable and row.source.url else ():
            entry = [clean(row.source.text, 60), str(row.source.url)]
            if entry not in found.setdefault(name, []):
                found[name].append(entry)
    return found


def _card(run: Run) -> dict[str, Any]:
    card = run.card
    return {
        "gist": gist(card),
        "metrics": [[metric_label(str(metric)), str(metric)] for metric in card["metrics"]],
        "fields": [
            [clean(label(path)), clean(say(path, value, card), LONGEST)]
            for path, value in stated(card).items()
        ],
    }


def _facts(record: Mapping[str, Any]) -> Iterable[list[Any]]:
    """Yield what a record says beyond scores and card, in groups: [name, [[what, value], …]].

    A section that this page has never heard of is shown as well.
    """
    plain: list[list[str]] = []
    for key, value in record.items():
        if key in SHOWN_ELSEWHERE:
            continue
        if isinstance(value, Mapping):
            lines = [[_words(path), _value(path, leaf)] for path, leaf in flat(value).items()]
            yield [_words(key), lines]
        else:
            plain.append([_words(key), _value(key, value)])
    yield ["run", plain]


def _words(path: str) -> str:
    """Return a path of keys as text, the unit last.

    >>> _words("latency.describe_ms.p50")
    'latency, describe, p50, ms'
    """
    words, unit = [], ""
    for key in path.split("."):
        name, _, last = key.rpartition("_")
        known = bool(name) and last in UNITS
        words.append((name if known else key).replace("_", " "))
        unit = f", {last}" if known else unit
    return clean(", ".join(words) + unit, 120)


def _value(_path: str, value: Any) -> str:
    if isinstance(value, list):
        return clean(", ".join(str(item) for item in value) or "none", LONGEST)
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        words = {None: "none", True: "yes", False: "no"}
        return words[value] if value is None or isinstance(value, bool) else clean(value, LONGEST)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def _published(row: PublishedRow) -> dict[str, Any]:
    return {
        "name": clean(row.method),
        "variant": clean(row.variant),
        "part": row.part,
        "backbone": clean(row.backbone),
        "training": clean(row.training_set),
        "dim": row.dim,
        "crop": {"whole": "whole image"}.get(row.crop, row.crop),
        "rerank": clean(row.reranking),
        "values": [
            [clean(dataset), clean(protocol), metric_name(metric), digits]
            for (dataset, protocol, metric), digits in row.values.items()
        ],
        "source": clean(row.source.text),
        "url": row.source.url,
        "tag": row.tag,
        "year": row.source.year,
        "size": row.size,
        "marks": list(row.marks),
        "note": clean(row.note or row.verdict or ""),
    }


def _sheets(results: Path) -> dict[str, str]:
    """Return where the sheet of each run id is, relative to `results`."""
    found: dict[str, str] = {}
    for path in sorted((results / "sheets").glob("*.html")):
        text = path.read_text(encoding="utf-8", errors="replace")
        for run_id in re.findall(r'<section id="run-([0-9A-Za-z-]+)"', text):
            found.setdefault(run_id, f"sheets/{quote(path.name)}#run-{run_id}")
    return found
