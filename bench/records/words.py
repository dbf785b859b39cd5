"""Protocol cards as text: the summary line, every field, and differences between cards."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench import stages
from bench.errors import BenchError
from bench.images import resize
from bench.records.rows import Card, Run, flat
from bench.records.sentences import SENTENCES, WITH_NUMBERS
from bench.records.text import clean, code, escape, folded
from bench.scoring.card import CROPPED, IN_STAGES, NO_RERANKING, is_compressed, name_of
from bench.scoring.metrics import metric
from bench.system.hashing import canonical_json
from bench.system.identity import elided

ABSENT = "not on the card"
LONGEST = 4000
BROUGHT = "not known: descriptors were brought"

LABELS = {
    "schema": "schema of the card",
    "dataset.name": "dataset",
    "dataset.variant": "variant of the dataset",
    "dataset.revision": "revision of the lists and the ground truth (sha256)",
    "dataset.database": "database images",
    "dataset.queries": "queries",
    "distractors.count": "distractors",
    "distractors.sources": "sources of the distractors",
    "distractors.counts": "distractors of each source",
    "distractors.list_sha256": "lists of the distractors (sha256)",
    "metrics": "metrics, headline first",
    "junk_rule": "rule for ignored images",
    "crop_rule": "query",
    "preprocess": "preprocessing",
    "preprocess.channels": "order of the channels",
    "preprocess.orientation": "EXIF orientation tag",
    "preprocess.crop_rounding": "corners of a query box",
    "preprocess.max_side_px": "size cap, longest side",
    "preprocess.cap_filter": "filter of the size cap",
    "preprocess.query_cap": "cap of a cropped query",
    "preprocess.resize": "resizing, height x width",
    "preprocess.mean": "mean per channel",
    "preprocess.std": "standard deviation per channel",
    "preprocess.scales": "scales",
    "preprocess.scale_size": "rounding of a scaled side",
    "preprocess.scale_sampling": "sampling of a scaled image",
    "preprocess.combine": "descriptors of the scales",
    "preprocess.combine_power": "exponent of the mean of powers",
    "descriptors": "descriptors",
    "precision": "precision of the network",
    "candidates_rule": "re-ranking",
    "rerank.candidates": "candidates of re-ranking",
    "rerank.depth": "number of candidates",
    "rerank.order": "order of the candidates",
    "rerank.model": "map between two images",
    "rerank.ransac": "RANSAC",
    "rerank.inlier_px": "inlier threshold, px",
    "rerank.trials": "trials of RANSAC",
    "rerank.least_matches": "minimum matches of a pair",
    "rerank.seed": "seed of RANSAC",
    "rerank.local_precision": "type of stored local descriptors",
    "rerank.local.dim": "numbers per local descriptor",
    "rerank.local.stride_px": "stride of local features, px",
    "rerank.local.offset_px": "offset of local features, px",
    "rerank.local.scales": "scales of local features",
    "rerank.local.threshold": "minimum attention",
    "rerank.local.threshold_rule": "rule of the minimum attention",
    "rerank.local.max_features": "maximum features of an image",
    "rerank.local.match_distance": "maximum distance of matched descriptors",
    "rerank.local.mutual": "mutual matches only",
    "rerank.local.upright": "upright maps only",
    "rerank.local.least_inliers": "minimum inliers of a pair",
    "rerank.local.inlier_weight": "similarity added per doubling of inliers",
    "stages": "stages",
    "tie_rule": "ties",
    "compression": "compression",
    "search": "search",
    "limit": "limit on the database images",
    "limit_rule": "images within the limit",
    "absent.database": "absent database images",
    "absent.queries": "absent queries",
    "dataset.list": "list of images",
    "dataset.rules.positive": "definition of positives",
    "dataset.rules.threshold_m": "threshold in metres",
    "dataset.rules.tolerance_frames": "tolerance in frames",
    "dataset.rules.comparison": "comparison with the threshold",
    "dataset.rules.search": "areas of the queries",
    "areas.rule": "areas",
    "areas.count": "number of areas",
    "areas.sha256": "areas (sha256)",
    "suppression.rule": "suppression",
    "suppression.groups": "groups, one image of each counts",
    "suppression.sha256": "groups (sha256)",
    "missing.rule": "images without a descriptor",
    "missing.database": "rows of database images without one",
    "missing.queries": "numbers of queries without one",
}

_PROTOCOL = re.compile(r"protocols\.(.+)\.([a-z0-9_]+)")
_PROTOCOL_LABELS = {
    "scored": "queries scored under {}",
    "skipped": "queries without positives under {}",
    "empty": "a query without positives under {}",
    "truth_sha256": "ground truth of {} (sha256)",
    "not_asked": "queries not asked under {}",
}

_WORDS = {
    "crop_rule": {
        "box": "cropped to its box",
        "whole": "whole image",
        "no-boxes": "whole image (the data set has no boxes)",
    },
    "preprocess.orientation": {"ignore": "ignored", "apply": "applied"},
    "preprocess.crop_rounding": {"round": "rounded, half to even", "truncate": "truncated"},
    "preprocess.cap_filter": {
        "bilinear": "antialiased bilinear",
        "thumbnail-lanczos": "Pillow's thumbnail, Lanczos",
    },
    "preprocess.scale_size": {"round": "half to even", "floor": "down"},
    "preprocess.scale_sampling": {
        "size-ratio": "by the ratio of the sizes",
        "scale-factor": "by the scale factor",
        "legacy-corner": "by the corner rule of TensorFlow 1",
        "antialias": "by the ratio of the sizes, antialiased",
        "opencv": "rounded grey values, as in OpenCV",
    },
    "preprocess.combine": {
        "sum-of-units": "unit descriptors are summed and normalised",
        "power-mean": "the mean of powers of unit descriptors is normalised",
        "maximum": "the maximum of every entry of unit descriptors is normalised",
    },
    "empty": {"skip": "left out of the mean", "miss": "counts as zero"},
}


def metric_label(metric_id: str) -> str:
    """Return the label of a metric, e.g. "mAP" or "mP@10"; the id itself where it is unknown."""
    try:
        return metric(metric_id).label
    except KeyError:
        return metric_id


def label(path: str) -> str:
    """Return the label of a path of the card, or the path itself."""
    found = _PROTOCOL.fullmatch(path)
    if found and found.group(2) in _PROTOCOL_LABELS:
        return _PROTOCOL_LABELS[found.group(2)].format(found.group(1))
    return LABELS.get(path, path)


def say(path: str, value: Any, card: Card) -> str:
    """Return a value of the card as text; the card itself is needed for "own cap of 480 px"."""
    special = _SAY.get(path)
    if special is not None and value is not None:
        return special(value, card)
    found = _PROTOCOL.fullmatch(path)
    key = found.group(2) if found else path
    if isinstance(value, str):
        return _WORDS.get(key, {}).get(value) or SENTENCES.get(key, {}).get(value, value)
    if value is None:
        return BROUGHT if path == "preprocess" else "none"
    if isinstance(value, list):
        return ", ".join(_number(item) for item in value) or "none"
    return _number(value)


def sentence(path: str, card: Card) -> str:
    """Return the code at the top of a card as a whole sentence, for what stands alone."""
    value = card[path]
    if isinstance(value, str) and value in SENTENCES.get(path, {}) and path not in _SAY:
        return SENTENCES[path][value]
    return say(path, value, card)


def gist(card: Card) -> str:
    """Return the line that sums a card up: query crop, scales, size cap, database."""
    leaves = flat(card)
    if leaves.get("preprocess", ABSENT) is None:
        pixels = "descriptors were brought"
    else:
        cap = leaves.get("preprocess.max_side_px")
        pixels = (
            f"query {say('crop_rule', card['crop_rule'], card)}; "
            f"scales {say('preprocess.scales', leaves.get('preprocess.scales'), card)}; "
            + ("no size cap" if cap is None else f"size cap {say('', cap, card)} px")
        )
        rule = str(leaves.get("preprocess.resize", resize.NATIVE))
        pixels += "" if rule == resize.NATIVE else f"; resized: {resized(rule)}"
        if cap is not None and card["crop_rule"] == CROPPED:
            relative = leaves.get("preprocess.query_cap") == "relative"
            pixels += ", for a crop relative to its image" if relative else ", for a crop its own"
    count = leaves.get("distractors.count")
    limit = leaves.get("limit")
    missing = len(leaves.get("missing.database", [])) + len(leaves.get("missing.queries", []))
    rule = str(card["candidates_rule"])
    reranked = "" if rule in (NO_RERANKING, IN_STAGES) else f"; re-ranked, {clean(rule)}"
    reranked += f"; {clean(stages.words(card['stages']))}" if card.get("stages") else ""
    changed = f"; compressed: {name_of(card['compression'])}" if is_compressed(card) else ""
    if card["search"] != "exact":
        changed += f"; approximate: {name_of(card['search'])}"
    return (
        f"{pixels}{reranked}; {say('', leaves.get('dataset.database'), card)} database images"
        + (f" and {say('', count, card)} distractors" if count else "")
        + changed
        + (f"; limited to {say('', limit, card)}" if limit is not None else "")
        + (f"; {say('', missing, card)} images without a descriptor" if missing else "")
    )


def stated(card: Card) -> dict[str, Any]:
    """Return the leaves of a card that are worth a line: without schema and neutral options."""
    leaves = flat(elided(card))
    leaves.pop("schema", None)
    return leaves


def resized(rule: str) -> str:
    """Return a resizing rule as text; the rule itself where this version does not know it."""
    try:
        return resize.words(rule)
    except BenchError:
        return clean(rule)


def size(leaves: Mapping[str, Any], card: Card) -> str:
    """Return the size of images as text: cap and resizing."""
    rule = str(leaves.get("preprocess.resize", resize.NATIVE))
    if rule == resize.NATIVE:
        return say("preprocess.max_side_px", leaves["preprocess.max_side_px"], card)
    cap = leaves["preprocess.max_side_px"]
    return resized(rule) if cap is None else f"{_number(cap)} px, then {resized(rule)}"


def full(card: Card, sha256: str) -> str:
    """Return every field of the card as a folded list, under its label and its gist."""
    lines = [f"id of the card (sha256 of what identifies it): {code(sha256)}"]
    protocols: dict[str, list[str]] = {}
    for path, value in stated(card).items():
        listed = isinstance(value, list) and path != "metrics"
        text = ", ".join(map(str, value)) or "none" if listed else say(path, value, card)
        shown = code(text) if re.fullmatch(r"[0-9a-f]{64}", text) else escape(text, LONGEST)
        found = _PROTOCOL.fullmatch(path)
        if found:
            words = _PROTOCOL_LABELS.get(found.group(2), found.group(2)).replace(" under {}", "")
            facts = protocols.setdefault(found.group(1), [])
            facts.append(f"{escape(words.replace(' of {}', ''))}: {shown}")
        else:
            lines.append(f"{escape(label(path))}: {shown}")
    lines += [f"protocol {escape(name)}: {'; '.join(facts)}" for name, facts in protocols.items()]
    return folded(f"card {sha256[:8]}: {gist(card)}", "\n".join(f"- {line}" for line in lines))


def by_label(runs: Sequence[Run]) -> dict[str, Card]:
    """Return the cards of the runs by their whole id, sorted; of several the newest."""
    order = sorted(runs, key=lambda run: (run.card_id, run.created, run.run_id))
    return {run.card_id: run.card for run in order}


def what_differs(cards: Mapping[str, Card]) -> list[str]:
    """Return one finished line for every field in which the cards (by sha256) differ."""
    leaves = {sha256: flat(card) for sha256, card in cards.items()}
    brought = [sha256 for sha256 in cards if leaves[sha256].get("preprocess", ABSENT) is None]
    paths = dict.fromkeys(path for each in leaves.values() for path in each)
    lines = []
    for path in paths:
        among = dict(cards)
        if path == "preprocess":
            stated = [sha256 for sha256 in cards if sha256 not in brought]
            groups = {BROUGHT: brought, "stated field by field": stated}
        else:
            if path.startswith("preprocess."):
                among = {s: card for s, card in cards.items() if s not in brought}
            groups = _groups(path, among, leaves)
        if sum(bool(members) for members in groups.values()) > 1:
            lines.append(f"{escape(label(path))}: {_alternatives(groups)}")
    return lines


def named(members: Sequence[str]) -> str:
    """Return the labels of cards, given their sha256: `aaaaaaaa`, `bbbbbbbb`."""
    return ", ".join(code(sha256[:8]) for sha256 in members)


def _groups(
    path: str, cards: Mapping[str, Card], leaves: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    raw: dict[str, str] = {}
    for sha256, card in cards.items():
        present = path in leaves[sha256]
        text = say(path, leaves[sha256][path], card) if present else ABSENT
        exact = canonical_json(leaves[sha256][path]) if present else ABSENT
        if raw.setdefault(text, exact) != exact:
            text = f"{text} [{exact}]"
        groups.setdefault(text, []).append(sha256)
    if len({canonical_json(leaves[s][path]) if path in leaves[s] else ABSENT for s in cards}) == 1:
        return {}
    return groups


def _alternatives(groups: Mapping[str, Sequence[str]]) -> str:
    return " / ".join(
        f"{escape(_shortened(text), LONGEST)} ({named(members)})"
        for text, members in groups.items()
    )


def _shortened(text: str) -> str:
    return f"{text[:8]}…" if re.fullmatch(r"[0-9a-f]{64}", text) else text


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return clean(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _query_cap(value: Any, card: Card) -> str:
    cap = flat(card).get("preprocess.max_side_px")
    own = "its own, none" if cap is None else f"own cap of {_number(cap)} px"
    return {"own": own, "relative": "relative to its full image"}.get(str(value), str(value))


def _scales(value: Any, _: Card) -> str:
    return ", ".join(f"{round(item, 4):g}" for item in value)


def _metrics(value: Any, _: Card) -> str:
    return ", ".join(f"{metric_label(str(item))} = {item}" for item in value)


_SAY: dict[str, Callable[[Any, Card], str]] = {
    **WITH_NUMBERS,
    "stages": lambda value, _: stages.words(value) or "none",
    "preprocess.query_cap": _query_cap,
    "preprocess.max_side_px": lambda value, _: f"{_number(value)} px",
    "preprocess.scales": _scales,
    "preprocess.resize": lambda value, _: resized(str(value)),
    "metrics": _metrics,
}
