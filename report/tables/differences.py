"""The differences between a published row and the measured rows, as text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from bench.records.rows import Run
from bench.records.text import clean, code, escape
from bench.records.words import say, size
from bench.report.tables.published import NOT_STATED, PublishedRow
from bench.scoring.card import CROPPED, NO_BOXES, WHOLE

NONE_KNOWN = "none known"
TREATMENT = "query crop, scales, size cap"


def differences(row: PublishedRow, runs: Sequence[Run]) -> str:
    """Return one finished line: every known difference, then what the source does not state.

    The row is compared with the measured rows of the same method; where there are none, with all
    of them, and then only in how the images were treated, not in how the network was trained.
    """
    same = [run for run in runs if run.method == row.method]
    against = same or list(runs)
    against = [run for run in against if not run.partial] or against
    if not against:
        return "nothing was measured"
    stated = row.treatment
    clauses = [
        _crop(row, against),
        _reranking(row, against),
        _clause("scales", stated["scales"], _by_card(lambda run: _scales(run, row), against)),
        _clause("size cap", stated["size cap"], _by_card(_cap, against)),
        _clause("compression", stated["compression"], _by_card(_compression, against)),
    ]
    if same:
        dims = _by_variant(lambda run: f"{run.dim:,}", against)
        clauses.append(_clause("trained on", row.training_set, _by_variant(_training, against)))
        clauses.append(_clause("dimension", row.dim_text, dims))
    if unknown := [name for name, value in stated.items() if value == NOT_STATED]:
        clauses.append(f"not stated in the source: {', '.join(unknown)}")
    if brought := _by_card(crop_of, against).get(NOT_STATED):
        clauses.append(f"not known for the measured {', '.join(brought)}: {TREATMENT}")
    return "<br>".join(clause for clause in clauses if clause) or NONE_KNOWN


def crop_of(run: Run) -> str:
    """Return "box", "whole" or "not stated", the words of the published rows."""
    return {CROPPED: "box", WHOLE: "whole", NO_BOXES: "whole"}.get(
        run.card["crop_rule"], NOT_STATED
    )


def _by_card(value_of: Callable[[Run], str], runs: Sequence[Run]) -> dict[str, list[str]]:
    """Group the labels of the cards by a value of the run, in the order of the cards."""
    one_each = {run.card_id: run for run in runs}
    return _group((value_of(run), code(run.card8)) for _, run in sorted(one_each.items()))


def _by_variant(value_of: Callable[[Run], str], runs: Sequence[Run]) -> dict[str, list[str]]:
    """Group the names of the measured rows by a value of the run, in the order of the names."""
    return _group((value_of(run), escape(run.name)) for run in sorted(runs, key=lambda r: r.name))


def _group(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for value, name in pairs:
        if name not in groups.setdefault(value, []):
            groups[value].append(name)
    return groups


def _list(groups: Mapping[str, Sequence[str]], words: Callable[[str], str]) -> str:
    """Return the measured values; where they do not all agree, with the rows that have each."""
    known = {value: who for value, who in groups.items() if value != NOT_STATED}
    if len(groups) == 1:
        return words(next(iter(known)))
    return ", ".join(f"{words(value)} ({', '.join(who)})" for value, who in known.items())


def _clause(name: str, published: str, measured: Mapping[str, Sequence[str]]) -> str:
    if published == NOT_STATED or not set(measured) - {published, NOT_STATED}:
        return ""
    return f"{name}: published {escape(published)}, measured {_list(measured, escape)}"


def _crop(row: PublishedRow, runs: Sequence[Run]) -> str:
    measured = _by_card(crop_of, runs)
    if row.crop == NOT_STATED or not set(measured) - {row.crop, NOT_STATED}:
        return ""
    words = {"box": "with crop", "whole": "without crop"}
    return f"published {words[row.crop].replace('crop', 'query crop')}; measured " + _list(
        measured, words.__getitem__
    )


def _reranking(row: PublishedRow, runs: Sequence[Run]) -> str:
    measured = _by_card(lambda run: _stage("candidates_rule", run), runs)
    if row.reranking == NOT_STATED or set(measured) == {row.reranking}:
        return ""
    published = "not re-ranked" if row.reranking == "none" else escape(row.reranking)

    def words(value: str) -> str:
        return "without re-ranking" if value == "none" else f"with re-ranking: {escape(value)}"

    return f"published row is {published}; measured {_list(measured, words)}"


def _compression(run: Run) -> str:
    return _stage("compression", run)


def _stage(path: str, run: Run) -> str:
    words = say(path, run.card[path], run.card)
    return "none" if re.match(r"none\b", words) else clean(words)


def _scales(run: Run, row: PublishedRow) -> str:
    """Return the scales of a run; as the row prints them where they are the same to 3 decimals."""
    scales = run.leaves.get("preprocess.scales")
    if scales is None:
        return NOT_STATED
    ours = sorted(int(scale * 1000 + 1e-6) for scale in scales)
    if row.scales is not None and ours == sorted(int(scale * 1000) for scale in row.scales):
        return row.treatment["scales"]
    return say("preprocess.scales", scales, run.card)


def _cap(run: Run) -> str:
    if "preprocess.max_side_px" not in run.leaves:
        return NOT_STATED
    return size(run.leaves, run.card)


def _training(run: Run) -> str:
    if "chance" in run.marks or "untrained" in run.marks:
        return "nothing (untrained)"
    return clean(run.training_set.split(" (")[0])  # "GLDv2-clean (81,313 classes)" is that set
