"""The last lines of a run: the ones people grep for."""

from __future__ import annotations

import re
from typing import Any

from bench import stages
from bench.errors import first_few
from bench.scoring.card import OTHER_LIST, is_compressed, name_of

_SHORT = {"easy": "E", "medium": "M", "hard": "H"}


def lines(record: dict[str, Any]) -> list[str]:
    """Return the lines of a record: ties, headline, mP@k, and Recall@k where it is the headline."""
    name = record["card"]["dataset"]["name"]
    scores, metrics = record["scores"], record["card"]["metrics"]
    marks = "".join(f" ({mark})" for mark in _marks(record))
    out = []
    ties = record["ties"]
    if ties["labelled"]:
        out.append(
            f"ties: {ties['labelled']} labelled images share their score with another image, at "
            f"most {ties['largest_group']} images share one score; ties are ranked by database "
            "row"
        )
    if "missing" in record:
        out.append(
            f"missing: {_count(len(record['missing']))} without a descriptor "
            f"({_files(record['missing'])}); {record['card']['missing']['rule']}"
        )
    if all(value["mean"] is None for table in scores.values() for value in table.values()):
        return [*out, f">> {name}: not scored, because no query has a positive{marks}"]
    if metrics[0].startswith("map"):
        values = ", ".join(
            f"{_SHORT.get(p, p)}: {_percent(table[metrics[0]]['mean'])}"
            for p, table in scores.items()
        )
        headline = "mAP" if metrics[0] == "map.trapezoid.junk-removed" else metrics[0]
        out.append(f">> {name}: {headline} {values}{marks}")
    precision = _at(metrics, "mp@")
    if precision:
        parts = []
        for p, table in scores.items():
            means = ", ".join(_percent(table[m]["mean"]) for m in precision.values())
            parts.append(f"{_SHORT.get(p, p)}: [{means}]")
        values = ", ".join(parts)
        out.append(f">> {name}: mP@k{list(precision)} {values}{marks}")
    if metrics[0].startswith("recall@"):
        for p, table in scores.items():
            values = ", ".join(
                f"R@{k}: {_percent(table[m]['mean'], 1)}"
                for k, m in _at(metrics, "recall@").items()
            )
            out.append((values if len(scores) == 1 else f"{p}: {values}") + marks)
    return out


def latency(record: dict[str, Any]) -> list[str]:
    """Return p50 and its spread, p95, and throughput, where they were measured.

    Floating-point operations are named where they could not be counted.
    """
    timing = record["timing"]["latency"]
    if timing is None or "throughput" not in timing:
        return []
    time, batched = timing["describe_ms"], timing["throughput"]
    low, high = time["p50_interval"]
    day = f", measured {timing['measured']}" if "measured" in timing else ""
    uncounted = "" if timing.get("flops_per_image", 1) else "FLOPs not counted; "
    line = (
        f"latency: describe {time['p50']:.1f} ms p50 ({low:.1f} to {high:.1f}), "
        f"{time['p95']:.1f} ms p95, decode {timing['decode_ms']['p50']:.1f} ms; "
        f"{batched['images_per_s']:.1f} images/s at batch {batched['batch']}; "
        f"{uncounted}{timing['precision']} on {record['machine']['device_name']}{day}"
    )
    query = record["timing"].get("query")
    signs = (query or timing).get("busy", [])
    if query is not None and query["ms"] is not None:
        ms, slowest = query["ms"], max(query["parts"], key=lambda part: part["ms"]["p50"])
        line += f"; query {ms['p50']:.1f} ms, of these {slowest['ms']['p50']:.1f} ms "
        line += " ".join((slowest["part"], *([slowest["of"]] if "of" in slowest else [])))
    if signs:
        line += (
            f"; busy ({', '.join(signs)}): not usable, run the same command again on a quiet "
            "machine"
        )
    return [line]


def _marks(record: dict[str, Any]) -> list[str]:
    weights, limit = record["method"]["weights"], record["card"]["limit"]
    marks = []
    if weights["trained"] is False:
        marks.append("chance" if "chance" in weights["source"] else "untrained")
    if "rerank" in record["card"]:
        marks.append(stages.words([{"stage": stages.VERIFICATION, **record["card"]["rerank"]}]))
    if record["card"].get("stages"):
        marks.append(stages.words(record["card"]["stages"]))
    if is_compressed(record["card"]):
        marks.append(f"compressed: {name_of(record['card']['compression'])}")
    if record["card"]["search"] != "exact":
        marks.append(f"approximate: {name_of(record['card']['search'])}")
    if record["card"]["dataset"].get("list") == OTHER_LIST:
        used = record["card"]["dataset"]
        marks.append(
            f"partial: not the published list; {used['database']} database images and "
            f"{used['queries']} queries"
        )
    if limit is not None:
        kept = "queries" if record["card"].get("limit_rule") == "positives" else "images"
        marks.append(f"partial: first {limit} {kept}")
    if "absent" in record["card"]:
        used, absent = record["card"]["dataset"], record["card"]["absent"]
        marks.append(
            f"partial: {used['database']} database images and {used['queries']} queries; "
            f"{absent['database']} and {absent['queries']} are absent"
        )
    if "missing" in record:
        marks.append(f"partial: {_count(len(record['missing']))} missing")
    return marks


def _count(images: int) -> str:
    return f"{images} image{'' if images == 1 else 's'}"


def _files(missing: list[dict[str, str]]) -> str:
    return first_few(f"{entry['list']} {entry['file']}" for entry in missing)


def _at(metrics: list[str], start: str) -> dict[int, str]:
    found = {}
    for metric_id in metrics:
        match = re.match(rf"{start}([0-9]+)\.", metric_id)
        if match:
            found[int(match.group(1))] = metric_id
    return found


def _percent(fraction: float | None, digits: int = 2) -> str:
    return "n/a" if fraction is None else f"{100 * fraction:.{digits}f}"
