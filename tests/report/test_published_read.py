"""Published numbers: their file is read strictly, and the README describes it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from bench import datasets, plugins
from bench.errors import BenchError
from bench.report.build import build
from bench.report.tables import published
from tests.support.published import FILE, GOOD, load_text, rows


def test_a_good_file_is_read(tmp_path: Path) -> None:
    (row,) = load_text(tmp_path, GOOD)
    assert row.values == {("roxford5k", "medium", "map"): "80.50"}
    assert row.scales == (Decimal("0.7071"), Decimal(1), Decimal("1.4142"))
    assert (row.part, row.dim, row.size_cap, row.note) == ("main", 512, "1024", None)
    assert row.source == published.Source("a paper")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("dim = 512", "dims = 512", "unknown keys dims"),
        ("dim = 512", 'dim = "512"', "dim is '512'"),
        ("dim = 512", "dim = true", "dim is True"),
        ('"80.50"', "80.50", "write the printed digits as a string"),
        ('"80.50"', '"180.50"', "more than 100 %"),
        ('"80.50"', '"-1"', "write the printed digits"),
        ('"80.50"', '"٨٠"', "write the printed digits"),
        ('"roxford5k.medium.map"', '"roxford5k.map"', "protocol.metric"),
        ('"roxford5k.medium.map"', "roxford5k.medium.map", "protocol.metric"),
        ('crop = "whole"', 'crop = "yes"', "crop is 'yes'; allowed are box, not stated, whole"),
        ('crop = "whole"', "", "the key crop is missing"),
        ('tag = "img"', 'tag = "image"', "tag is 'image'"),
        ('tag = "img"', 'tag = "img"\nverdict = "fine"', "origin and verdict"),
        ('tag = "img"', 'tag = "img"\npart = "leaderboard"', "origin and verdict"),
        ('source = "paper"', 'source = "book"', "source is 'book'"),
        ('size_cap = "1024"', 'size_cap = "1k"', "size_cap is '1k'"),
        ('scales = ["0.7071", "1", "1.4142"]', "scales = [1.0]", "scales is 1.0"),
        ('scales = ["0.7071", "1", "1.4142"]', 'scales = "1"', "not a list"),
        ('variant = "R101"', 'variant = " "', "variant is ' ', not a text"),
        ('[row.values]\n"roxford5k.medium.map" = "80.50"', "", "lacks values and costs"),
        ("[row.values]\n", '[row.costs]\n"latency" = "1"\n[row.values]\n', "end in its unit"),
    ],
)
def test_a_bad_row_is_one_sentence_that_names_it(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    assert old in GOOD
    with pytest.raises(BenchError, match="row one: ") as caught:
        load_text(tmp_path, GOOD.replace(old, new))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD + GOOD.split("[source.paper]")[1].split('"a paper"')[1], "a second row with this id"),
        (GOOD.replace('id = "one"', 'id = "One"'), "row One: id is 'One'"),
        (GOOD.replace('id = "one"\n', ""), "row number 1: the key id is missing"),
        (GOOD.replace("schema = 1", "schema = 2"), "schema = 1"),
        (GOOD.replace("schema = 1", "schema = 1\nextra = 1"), "extra"),
        (GOOD.replace('text = "a paper"', 'name = "a paper"'), "source paper"),
        (GOOD.replace('"a paper"', '"a paper"\nurl = "ftp://x"'), "url is 'ftp://x'"),
        ("schema = ", "cannot be read"),
        ("schema = 1\nrow = 3", "write sources as"),
        ("schema = 1\nrow = [3]", "row 1: it is not a table"),
        (GOOD.split("[row.values]")[0] + "values = 3", "row one: values is not a table"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BenchError) as caught:
        load_text(tmp_path, text)
    assert says in str(caught.value)


def test_a_bad_file_stops_the_report(tmp_path: Path) -> None:
    (tmp_path / "published.toml").write_text("schema = 7", encoding="utf-8")
    with pytest.raises(BenchError, match="schema = 1"):
        build(tmp_path)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('image_size = "322"', "image_size is '322'"),
        ("copied = 1", "copied is 1"),
        ('batch_dependent = "yes"', "batch_dependent is 'yes'"),
    ],
)
def test_new_fields_are_read_strictly(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(BenchError, match=says):
        load_text(tmp_path, GOOD.replace("[row.values]", f"{line}\n[row.values]"))


def test_a_variant_is_a_part_of_the_data_set(tmp_path: Path) -> None:
    text = GOOD.replace(
        '"roxford5k.medium.map" = "80.50"',
        """
"msls.val-gsv-cities.all.recall@1" = "92.2"
"msls.val.recall@1" = "91.0"
"tokyo247.full.night.recall@5" = "88.5"
"sf-xl.v1.all.recall@10" = "71.2"
"roxford5k+r1m.medium.map" = "50.0"
""",
    ).replace('tag = "img"', 'tag = "img"\nimage_size = "322x322"\ncopied = true')
    (row,) = load_text(tmp_path, text)
    assert list(row.values) == [
        ("msls.val-gsv-cities", "all", "recall@1"), ("msls", "val", "recall@1"),
        ("tokyo247.full", "night", "recall@5"), ("sf-xl.v1", "all", "recall@10"),
        ("roxford5k+r1m", "medium", "map"),
    ]  # fmt: skip
    assert (row.size, row.marks) == ("322 × 322 px", ("copied",))


@pytest.mark.slow
def test_a_conflict_names_values_that_are_there(tmp_path: Path) -> None:
    listed = published.conflicts(FILE, list(rows().values()))
    assert len(listed) > 10
    assert all(len({rows()[name].values[key] for name, key in c.entries}) > 1 for c in listed)
    conflict = """
[[conflict]]
what = "w"
values = [["one", "roxford5k.hard.map"]]
why = "y"
"""
    content = load_text(tmp_path, GOOD + conflict)
    with pytest.raises(BenchError, match=r"the row one has no value roxford5k\.hard\.map"):
        published.conflicts(tmp_path / "published.toml", content)


def test_the_readme_describes_the_format(tmp_path: Path) -> None:
    readme = FILE.with_name("README.md").read_text(encoding="utf-8")
    (row,) = load_text(tmp_path, readme.split("```toml\n")[1].split("```")[0])
    real = rows()[row.id]
    assert (row.crop, row.scales, row.dim, row.tag) == (
        real.crop, real.scales, real.dim, real.tag,
    )  # fmt: skip
    assert set(row.values.items()) < set(real.values.items())
    for word in (*published._KEYS - {"values", "costs"}, *published.TAGS, *published.PARTS):
        assert f"`{word}`" in readme, word
    for unit in published.UNITS:
        assert f"`_{unit}`" in readme, unit


def test_published_data_sets_have_the_names_of_measured_ones() -> None:
    without = {"baidu", "essex", "pitts250k", "sflandmark", "sfsm", "sfxlsmall"}  # no adapter
    names = {key[0].removesuffix("+r1m") for row in published.load(FILE) for key in row.values}
    for name in sorted(names - without):
        stem, variant = plugins.split(name)
        module = plugins.import_one(datasets.KIND, stem)
        assert variant is None or variant in module.VARIANTS, name
