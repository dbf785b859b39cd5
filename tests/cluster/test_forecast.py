"""Hours and cost on a cluster: worked by hand, then the command."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from bench.cluster.forecast import Kind, lines, makespan, of_cluster, parse


def test_shards_go_to_the_device_that_is_free_first() -> None:
    assert makespan([10, 10, 10, 10], [1.0]) == 40
    assert makespan([10, 10, 10, 10], [1.0, 1.0]) == 20
    assert makespan([10, 10, 10], [1.0, 1.0]) == 20, "one idles at the end"
    # The fast one does three (0-5, 5-10, 10-15) while the slow one does its first (0-20).
    assert makespan([10, 10, 10, 10], [2.0, 0.5]) == 20
    assert makespan([10], [1.0, 5.0]) == 2, "the fastest of those that are free"
    assert makespan([], [1.0]) == 0


def test_hours_and_cost_worked_by_hand() -> None:
    # 720,000 images in 720 shards on 2 x 4 devices at 25 images/s: 90 shards each, an hour.
    text = lines([Kind(2, 4, 25.0, 3.0)], [[1000] * 720], None)
    assert text == [
        "cluster: 2 nodes with 4 devices of 25 images/s each, 3 per node and hour",
        "expected time on the cluster: about 60 min (1 hours) for 720000 images, "
        + "200 images/s, without start and search",
        "expected cost: about 6.00 (6 per hour for 2 nodes, all rented until the end)",
    ]


def test_lists_are_done_one_after_another_and_few_shards_leave_devices_idle() -> None:
    text = lines([Kind(4, 1, 10.0)], [[100] * 4, [100]], None)
    assert "about 20 s" in text[1], "10 s for the first list, 10 s for the second"
    assert not any("cost" in line for line in text)
    assert text[2].startswith("the 4 devices could take 12 s if all stayed busy;")
    assert "4 shards" in text[2]


def test_nodes_of_several_kinds_and_a_speed_measured_here() -> None:
    text = lines([Kind(1, 1, None, 1.0), Kind(1, 2, 30.0, 2.0)], [[100] * 70], 10.0)
    assert "10 images/s each, as measured here, 1 per node" in text[0]
    assert "30 images/s each, 2 per node" in text[1]
    assert "70 images/s" in text[2]
    assert "about 100 s" in text[2] or "about 2 min" in text[2]
    assert "(3 per hour for 2 nodes" in text[-1]


def test_without_a_speed_nothing_is_said_of_time() -> None:
    text = lines([Kind(3)], [[10]], None)
    assert text[-1] == "expected time on the cluster: not known; give images_per_s"
    assert lines([Kind(3)], [[]], 1.0)[-1].endswith("no image is left to describe")


def test_the_form_of_the_option() -> None:
    assert parse("nodes=4,images_per_s=200,price=2.5") == Kind(4, 1, 200.0, 2.5)
    assert parse("devices=8,nodes=2") == Kind(2, 8)
    assert parse("nodes=1,price=0") == Kind(1, price=0.0)
    for text in ("", "4", "nodes=0", "nodes=1.5", "nodes=x", "nodes=1,nodes=2", "images_per_s=3",
                 "nodes=1,speed=2", "nodes=1,images_per_s=0", "nodes=1,price=-1", "nodes=nan",
                 "nodes=1,images_per_s=inf", "nodes=1,", "nodes=9999999"):  # fmt: skip
        with pytest.raises(argparse.ArgumentTypeError, match="nodes=N"):
            parse(text)


class FakeRay:
    """Nodes as Ray lists them."""

    @staticmethod
    def nodes() -> list[dict[str, object]]:
        return [
            {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}},
            {"Alive": True, "Resources": {"CPU": 9.0, "GPU": 2.0}},
            {"Alive": True, "Resources": {"CPU": 3.0}},
            {"Alive": True, "Resources": {}},
            {"Alive": False, "Resources": {"CPU": 64.0}},
        ]


def test_the_nodes_of_a_cluster_that_is_there() -> None:
    assert of_cluster(FakeRay, "cpu", 4) == [Kind(1, 1), Kind(2, 2)]
    assert of_cluster(FakeRay, "cuda", 4) == [Kind(2, 2)]


def test_the_command(workspace, cli, refused, tiny: Path) -> None:
    run = ("run", "--method", tiny / "halves.py", "--dataset", tiny, "--device", "cpu")
    result = cli(*run, "--dry-run", "--engine", "ray",
               "--cluster", "nodes=4,images_per_s=0.5,price=2.5")  # fmt: skip
    assert result.status == 0, result.err
    # 600 images are 19 shards of 32 (the last of 24) on 4 devices: 5 rounds of 64 s, and 10 s
    # more for the 5 queries.
    assert "about 6 min (0.0917 hours) for 605 images" in result.out
    assert "expected cost: about 0.92 (10 per hour for 4 nodes" in result.out
    assert not (workspace.cache / "descriptors").exists()

    result = cli(*run, "--dry-run", "--engine", "ray", "--cluster", "nodes=2")
    assert re.search(r"[\d.,]+ images/s each, as measured here$", result.out, re.MULTILINE)

    for wrong in (("--dry-run",), ("--engine", "ray"),
                  ("--dry-run", "--engine", "ray", "--ray-address", "auto")):  # fmt: skip
        sentence = refused(cli(*run, *wrong, "--cluster", "nodes=2"))
        assert sentence == "--cluster needs --dry-run --engine ray, and excludes --ray-address."
    assert "nodes=N" in refused(cli(*run, "--dry-run", "--engine", "ray", "--cluster", "4"))
