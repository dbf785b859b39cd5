"""The protocol card: what a number is, in one JSON object that holds codes and numbers.

Two results may share a column only if their cards have the same `card_id`, the hash of the card's
identity. Everything that can move a score is here; what cannot (time, machine, paths) is in the
record. The words for the codes are in `bench/records/words.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.scoring import first_sentences
from bench.scoring.scores import asked, skipped
from bench.system import identity as identities
from bench.system.hashing import canonical_json, plain, sha256_json
from bench.types import Dataset, Preprocess, Protocol, Rows

Card = dict[str, Any]

SCHEMA = 2  # 1: sentences in place of codes (`bench.scoring.first_sentences`)
TIE_RULE = "score-then-row"
JUNK_RULE = "removed"
AREA_RULE = "own-area"
SUPPRESSION_RULE = "first-of-group"
NO_RERANKING = "none"
IN_STAGES = "in-stages"  # verification in a chain with another stage
CROPPED, WHOLE, NO_BOXES = "box", "whole", "no-boxes"
NOT_STATED = "not-stated"
OTHER_LIST = "not-published"  # counts or hashes that FACTS state are other ones
UNCOMPRESSED = "none (float32)"
NOT_IDENTITY = ("schema", "metrics")  # a score carries its metric's id, and the id its formula


def revision(dataset: Dataset) -> str:
    """Return the sha256 of the image lists, boxes and ground truth: what the labels say."""
    content: dict[str, Any] = {
        "database": [image.file for image in dataset.database],
        "queries": [[image.file, image.box] for image in dataset.queries],
        "protocols": {p.name: truth_lists(p) for p in dataset.protocols},
    }
    if dataset.areas is not None:
        content["areas"] = areas_sha256(dataset.areas.database, dataset.areas.queries)
    if dataset.groups is not None:
        content["groups"] = sha256_json(dataset.groups.tolist())
    return sha256_json(content)


def truth_lists(protocol: Protocol) -> list[Any]:
    """Return the ground truth of a protocol as plain lists.

    One [positive, ignored] per query, and None for a query that the protocol does not ask.
    """
    return [
        [t.positive.tolist(), t.ignored.tolist()] if is_asked else None
        for t, is_asked in zip(protocol.truth, asked(protocol), strict=True)
    ]


def areas_sha256(database: Rows, queries: Rows) -> str:
    """Return the hash of which rows each query searches."""
    return sha256_json([database.tolist(), queries.tolist()])


def protocol_entry(protocol: Protocol) -> dict[str, Any]:
    """Return the entries of a card for a protocol: its counts, and the hash of its ground truth."""
    asks = int(asked(protocol).sum())
    left_out = skipped(protocol) if protocol.empty == "skip" else 0
    entry = {
        "scored": asks - left_out,
        "skipped": left_out,
        "empty": protocol.empty,
        "truth_sha256": sha256_json(truth_lists(protocol)),
    }
    if protocol.asked is not None:
        entry["not_asked"] = len(protocol.truth) - asks
    return entry


def make(  # noqa: PLR0913
    dataset: Dataset,
    preprocess: Preprocess | None,
    *,
    unit_norm: bool,
    precision: str = NOT_STATED,
    distractors: Sequence[tuple[str, int]] = (),
    stages: Sequence[Mapping[str, Any]] = (),
    compression: str | Mapping[str, Any] = UNCOMPRESSED,
    search: str | Mapping[str, Any] = "exact",
) -> Card:
    """Return the card of scoring `dataset`.

    `preprocess` is None for descriptors of the user, whose preprocessing is unknown. `precision` is
    that of the network, as `bench.describe.engine.precision` names it. `distractors` names each
    added set and its number of rows. `stages` are the entries of the stages, in order of
    application; verification of pairs alone has fields of its own. `compression` and `search` are
    the codes of `bench.search`.
    """
    crop = {"box": CROPPED, "whole": WHOLE}[dataset.crop]
    if dataset.crop == "box" and all(query.box is None for query in dataset.queries):
        crop = NO_BOXES
    card: Card = {
        "schema": SCHEMA,
        "dataset": {
            "name": dataset.name,
            "variant": dataset.variant,
            "revision": revision(dataset),
            "database": len(dataset.database),
            "queries": len(dataset.queries),
        },
        "distractors": {
            "count": sum(count for _, count in distractors),
            "sources": [name for name, _ in distractors],
        },
        "protocols": {p.name: protocol_entry(p) for p in dataset.protocols},
        "metrics": list(dataset.protocols[0].metrics),
        "junk_rule": JUNK_RULE,
        "crop_rule": NOT_STATED if preprocess is None else crop,
        "preprocess": None if preprocess is None else plain(preprocess),
        "descriptors": "unit-norm" if unit_norm else "as-given",
        "precision": precision,
        "candidates_rule": NO_RERANKING,
        "tie_rule": TIE_RULE,
        "compression": plain(compression),
        "search": plain(search),
        "limit": dataset.limit,
    }
    if dataset.limit is not None:
        card["limit_rule"] = dataset.limit_rule
    if dataset.unlike:
        card["dataset"]["list"] = OTHER_LIST
    if dataset.rules:
        card["dataset"]["rules"] = plain(dict(dataset.rules))
    if dataset.areas is not None:
        areas = dataset.areas
        card["areas"] = {
            "rule": AREA_RULE,
            "count": len(np.unique(areas.queries)),
            "sha256": areas_sha256(areas.database, areas.queries),
        }
    if dataset.groups is not None:
        card["suppression"] = {
            "rule": SUPPRESSION_RULE,
            "groups": len(np.unique(dataset.groups)),
            "sha256": sha256_json(dataset.groups.tolist()),
        }
    if dataset.absent is not None:
        card["absent"] = dict(zip(("database", "queries"), dataset.absent, strict=True))
    return card | of_stages(stages)


def faults(card: Card, protocols: Sequence[Protocol], n_queries: int) -> list[str]:
    """Return contradictions of a card with the stored ground truth and ranks of `n_queries`."""
    out = _distractor_faults(card["distractors"])
    rules = {"junk_rule": (card["junk_rule"], JUNK_RULE), "tie_rule": (card["tie_rule"], TIE_RULE)}
    for name, known in (("areas", AREA_RULE), ("suppression", SUPPRESSION_RULE)):
        if name in card:
            rules[f"rule of {name}"] = card[name]["rule"], known
    for rule, (stated, known) in rules.items():
        if stated != known:
            out.append(f"the card's {rule} is {stated!r}, but ranks are made by {known!r}")
    wanted = card["dataset"]["queries"]
    if n_queries != wanted:
        out.append(f"the ranks have {n_queries} queries, but the card {wanted}")
    for protocol in protocols:
        entry = card["protocols"][protocol.name]
        if len(protocol.truth) != wanted:
            out.append(f"the ground truth of {protocol.name} does not have {wanted} queries")
        fresh = protocol_entry(protocol)
        if fresh.pop("truth_sha256") != entry["truth_sha256"]:
            out.append(f"the stored ground truth of {protocol.name} differs from the card's")
        if any(entry.get(key) != value for key, value in fresh.items()):
            out.append(f"the card states a wrong number of queries of {protocol.name}")
    return out


def _distractor_faults(added: Mapping[str, Any]) -> list[str]:
    """Return whether a card counts other distractors than those of the sets that it names."""
    count, sources = added["count"], added["sources"]
    if bool(sources) == bool(count) and sum(added.get("counts", [count])) == count:
        return []
    return [f"the card counts {count} distractors of {', '.join(sources) or 'no data set'}"]


def of_stages(stages: Sequence[Mapping[str, Any]]) -> Card:
    """Return the entries of a card for its stages; nothing without any."""
    listed: list[dict[str, Any]] = [plain(dict(stage)) for stage in stages]
    names = [entry["stage"] for entry in listed]
    if names == ["rerank"]:
        entry = {key: value for key, value in listed[0].items() if key != "stage"}
        return {"candidates_rule": entry["candidates"], "rerank": entry}
    if not names:
        return {}
    return {"stages": listed} | ({"candidates_rule": IN_STAGES} if "rerank" in names else {})


def current(card: Mapping[str, Any]) -> Card:
    """Return a card of any version as this version writes it.

    Sentences are codes, and options that are newer than the card have their neutral values.
    """
    out: Card = identities.completed(first_sentences.coded(card))
    return out | {"schema": SCHEMA}


def identity(card: Mapping[str, Any]) -> Card:
    """Return what identifies a card: `current`, without neutral options, schema and metrics."""
    left: Card = identities.elided(first_sentences.coded(card))
    return {key: value for key, value in left.items() if key not in NOT_IDENTITY}


def card_id(card: Mapping[str, Any]) -> str:
    """Return the sha256 of a card's identity: cards of one id state the same protocol."""
    return sha256_json(identity(card))


def short(card: Mapping[str, Any]) -> str:
    """Return the first eight digits of `card_id`, which are printed and name files."""
    return card_id(card)[:8]


def name_of(code: Any) -> str:
    """Return the name of a code, which may be an object with numbers: "pq64x8", "exact"."""
    return str(code["name"]) if isinstance(code, Mapping) else str(code)


def is_compressed(card: Mapping[str, Any]) -> bool:
    """Return whether the rows that were searched are compressed."""
    return not name_of(card["compression"]).startswith("none")


def differences(first: Card, other: Card) -> list[str]:
    """Return "place: this / that" for every field in which two cards differ, in order."""
    left, right = _flat(first), _flat(other)
    return [
        f"{key}: {left.get(key, 'absent')} / {right.get(key, 'absent')}"
        for key in sorted(left.keys() | right.keys())
        if left.get(key) != right.get(key)
    ]


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        out: dict[str, str] = {}
        for key, item in value.items():
            out |= _flat(item, f"{prefix}.{key}" if prefix else key)
        return out
    return {prefix: canonical_json(value) if not isinstance(value, str) else value}
