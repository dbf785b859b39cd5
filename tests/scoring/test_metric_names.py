"""Metrics by the names that are printed: ids, labels, first parts; letters in place of numbers."""

from __future__ import annotations

import re

import pytest

from bench.errors import BenchError
from bench.scoring import metrics
from bench.scoring.metric_names import named
from tests.support.checkout import ROOT


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("mAP", "map.trapezoid.junk-removed"),
        ("map", "map.trapezoid.junk-removed"),
        (" map.finite-sum.junk-removed", "map.finite-sum.junk-removed"),
        ("mAP (finite sum)", "map.finite-sum.junk-removed"),
        ("R@20", "recall@20.any-hit.junk-removed"),
        ("Recall@1", "recall@1.any-hit.junk-removed"),
        ("mP@10", "mp@10.clipped.junk-removed"),
        ("mAP@7 (over n_positive)", "map@7.finite-sum.over-positives.junk-removed"),
    ],
)
def test_every_printed_name_is_a_metric(text: str, found: str) -> None:
    assert named(text) == found
    assert named(text, [*metrics.REVISITED_METRICS, found]) == found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("recall@k", r"recall@k has k in place of a number: write recall@1 or recall@10"),
        ("recall@{k}.any-hit.junk-removed", r"recall@1\.any-hit"),
        ("R@N", "R@N has n"),
        ("map@100", r"over-min-k-positives.* or map@100\.finite-sum\.over-found"),
        ("recall", "recall@{k}"),
        ("recall@0", "recall@0"),
        ("", "''"),
    ],
)
def test_other_names_are_one_sentence(text: str, value: str) -> None:
    with pytest.raises(BenchError, match=value):
        named(text)


def test_the_tables_of_documents_are_read_or_explained() -> None:
    text = (ROOT / "bench" / "scoring" / "README.md").read_text(encoding="utf-8")
    text = text.split("## Metrics")[1].split("\nIgnored images")[0]
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", text, flags=re.MULTILINE)
    assert len(rows) == len(metrics.families())
    for stated, label in rows:
        if "@k" not in stated:
            assert named(stated) == named(label.strip()) == stated
            continue
        with pytest.raises(BenchError, match="@1"):
            named(stated)
        assert named(stated.replace("@k", "@5")) == stated.replace("@k", "@5")
