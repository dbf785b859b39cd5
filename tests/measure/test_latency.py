"""Latency: that every phase is what it says, told from a method and a clock that are known."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch import nn

from bench import contract
from bench.describe import engine, pyramid
from bench.errors import BenchError
from bench.images import decode
from bench.measure import busy, costs, latency, throughput, timing
from bench.measure.timing import Effort
from bench.search.faiss_index import Retrieved
from bench.store import matrix
from bench.system import memory
from bench.types import Image

SCALES = (0.5, 1.0, 2.0)
QUICK = Effort(things=3, rounds=4, budget_s=2.0, round_s=0.0)
WEIGHTS = {"source": "none", "licence": "none", "sha256": None, "training_set": "none",
           "trained": None}  # fmt: skip


class Sleeper:
    """A method that sleeps `ms` per megapixel of each scale, and counts its calls."""

    version, dim, config, weights = "1", 4, {}, WEIGHTS

    def __init__(self, ms: float = 0.0, scales: tuple[float, ...] = SCALES) -> None:
        self.ms, self.preprocess = ms, {"scales": scales, "max_side_px": None}
        self.batches: list[tuple[int, ...]] = []
        self.keepers: set[int] = set()
        self.network = nn.Linear(3, 4).eval()

    def describe(self, batch: Any) -> Any:
        self.batches.append(tuple(batch.shape))
        self.keepers.add(memory._keepers)
        time.sleep(self.ms * batch.shape[0] * batch.shape[2] * batch.shape[3] / 1e9)
        return self.network(batch.mean(dim=(2, 3)))


def loaded(method: Any, device: str = "cpu") -> engine.Loaded:
    info, rule = contract.check(method, "sleeper", "one")
    return engine.Loaded(method, info, rule, device)


@pytest.fixture
def sizes(tmp_path: Path) -> tuple[Path, list[Image]]:
    """Return a folder of seven images, small and large in turn, and their list."""
    draw = np.random.default_rng(0)
    widths = [40, 400, 80, 360, 120, 320, 200]
    for width in widths:
        pixels = draw.integers(0, 256, (100, width, 3), dtype=np.uint8)
        Pillow.fromarray(pixels).save(tmp_path / f"{width}.png")
    return tmp_path, [Image(str(width), f"{width}.png") for width in widths]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "EFFORTS", {"sample": QUICK, "latency": QUICK})


def test_the_sample_is_spread_over_the_sizes_and_has_the_median_in_its_middle(
    sizes: tuple[Path, list[Image]],
) -> None:
    folder, listed = sizes
    by_size = latency._by_size(folder, listed)
    assert [image.id for image in by_size] == ["40", "80", "120", "200", "320", "360", "400"]
    assert [i.id for i in latency._spread(by_size, 1)] == ["200"]
    assert [i.id for i in latency._spread(by_size, 3)] == ["80", "200", "360"]
    assert [i.id for i in latency._spread(by_size, 9)] == [i.id for i in by_size]
    assert [i.id for i in latency._spread(by_size[:2], 9)] == ["80"]  # odd in number, always
    for count in range(1, 40):
        chosen = latency._spread([Image(str(i), "") for i in range(count)], 27)
        assert len(chosen) % 2 == 1
        assert chosen[len(chosen) // 2].id == str(count // 2)
        assert len(set(chosen)) == len(chosen)


@pytest.mark.usefixtures("quick")
def test_every_phase_is_where_its_time_was_spent(
    sizes: tuple[Path, list[Image]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times are those of a clock that only known work moves, so they are exact."""
    folder, listed = sizes
    now = [0.0]

    def clocked(name: str, place: Any, seconds: float) -> None:
        true = getattr(place, name)

        def slower(*arguments: Any, **named: Any) -> Any:
            now[0] += seconds
            return true(*arguments, **named)

        monkeypatch.setattr(place, name, slower)

    method = Sleeper()
    plain = method.describe

    def describe(batch: Any) -> Any:
        now[0] += batch.shape[2] * batch.shape[3] * 1e-6
        return plain(batch)

    method.describe = describe  # type: ignore[method-assign]
    clocked("load", decode, 0.25)
    clocked("to_batch", pyramid, 0.002)
    clocked("at_scale", pyramid, 0.003)
    monkeypatch.setattr(latency.time, "perf_counter", lambda: now[0])
    item = latency._one(loaded(method), folder, listed[6])  # 200 x 100
    assert item == pytest.approx(
        {
            "decode": 250.0,
            "preprocess": 2.0 + 3 * 3.0,
            "network": 5.0 + 20.0 + 80.0,
            "describe": 116.0,
            0: 5.0,
            1: 20.0,
            2: 80.0,
        }
    )


@pytest.mark.usefixtures("quick")
def test_what_is_measured_is_what_the_record_says(sizes: tuple[Path, list[Image]]) -> None:
    folder, listed = sizes
    method = Sleeper(ms=200.0)
    got = latency.measure(loaded(method), folder, listed, "sample")
    text = got.latency
    assert text["measure"] == "sample"
    assert (text["images"], text["image_px"]) == (3, [200, 100])
    assert text["describe_ms"]["n"] == text["images"] * text["describe_ms"]["rounds"]
    assert text["warm_up"] == 2 + 3
    singles = [shape for shape in method.batches if shape[0] == 1]
    assert len(singles) == len(SCALES) * (text["warm_up"] + text["describe_ms"]["n"])
    # 200 ms per megapixel: 200 x 100 at 0.25, 1 and 4 times the pixels.
    assert [s["scale"] for s in text["scales"]] == list(SCALES)
    for scale, least in zip(text["scales"], (1.0, 4.0, 16.0), strict=True):
        assert scale["network_ms"]["p50"] >= least
    assert text["network_ms"]["p50"] >= 21.0
    assert text["describe_ms"]["p50"] >= text["network_ms"]["p50"]
    assert text["decode_ms"]["p50"] > 0
    assert text["flops_per_image"] == len(SCALES) * 2 * 3 * 4
    assert method.keepers == {1}, "freed memory is kept, as where images are described in earnest"
    assert memory._keepers == 0
    assert got.memory["parameters"] == 16
    assert set(text["busy"]) <= set(busy.MOST)
    assert 0 <= text["waited_share"] <= 1
    assert latency.middle(folder, listed).id == "200"
    assert text["precision"] == "float32"
    assert text["threads"] == torch.get_num_threads()


@pytest.mark.usefixtures("quick")
def test_a_slow_method_is_run_as_rarely_as_can_be(
    sizes: tuple[Path, list[Image]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, listed = sizes
    monkeypatch.setattr(latency, "SLOW_S", 0.0)
    monkeypatch.setattr(
        timing, "EFFORTS", {"sample": Effort(things=9, rounds=10, budget_s=1e-6, round_s=0.0)}
    )
    method = Sleeper(scales=(1.0,))
    text = latency.measure(loaded(method), folder, listed, "sample").latency
    assert len(method.batches) == 1 + timing.LEAST_ROUNDS  # one of them is warm-up
    assert (text["warm_up"], text["images"], text["describe_ms"]["n"]) == (1, 1, 3)
    assert text["describe_ms"]["p50_interval"] is not None
    assert text["throughput"]["stopped"] == "time"
    assert text["throughput"]["batch"] == 1


def test_descriptors_are_the_same_while_they_are_timed() -> None:
    method = Sleeper()
    pixels = np.arange(3000, dtype=np.uint8).reshape(20, 50, 3)
    ready = loaded(method)
    watched: Any = latency.Watched(method, latency.Clock("cpu"))
    again = engine.describe(replace(ready, method=watched), [pixels])
    assert np.array_equal(again, engine.describe(ready, [pixels]))
    assert len(watched.marks) == len(SCALES)
    assert watched.dim == method.dim


# --- throughput ---------------------------------------------------------------------------------


def tried(method: Any, budget_s: float = 5.0) -> dict[str, Any]:
    pixels = np.zeros((10, 10, 3), dtype=np.uint8) + 7
    effort = replace(QUICK, budget_s=budget_s)
    return throughput.measure(loaded(method), pixels, effort, 10.0, memory.Peaks("cpu"))[0]


def timed_as(monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float]) -> None:
    monkeypatch.setattr(throughput, "_median_s", lambda loaded, pixels, batch: seconds[batch])


def test_the_best_batch_is_found_and_two_without_gain_end_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timed_as(monkeypatch, {2: 0.01, 4: 0.021, 8: 0.02, 16: 0.04, 32: 0.0796})
    text = tried(Sleeper())
    assert text["tried"][:3] == [
        {"batch": 1, "images_per_s": 100.0},
        {"batch": 2, "images_per_s": 200.0},
        {"batch": 4, "images_per_s": 190.476},  # one that is worse does not end it
    ]
    assert text["tried"][-1]["batch"] == 32
    assert (text["batch"], text["images_per_s"], text["stopped"]) == (8, 400.0, "no gain")


def test_no_batch_is_tried_that_would_take_too_long_or_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timed_as(monkeypatch, {2: 0.02, 4: 0.02})
    text = tried(Sleeper(), budget_s=0.1)  # 4 runs of 2 at 100 images/s are 0.08 s
    assert [item["batch"] for item in text["tried"]] == [1, 2]
    assert text["stopped"] == "time"
    timed_as(monkeypatch, {2**i: 0.001 for i in range(1, 12)})
    assert tried(Sleeper())["batch"] == throughput.LARGEST
    assert tried(Sleeper())["stopped"] == "largest"
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1 << 30)
    monkeypatch.setattr(memory, "held_bytes", lambda device: -(300 << 20))
    text = tried(Sleeper())
    assert [item["batch"] for item in text["tried"]] == [1, 2]
    assert text["stopped"] == "memory"
    monkeypatch.setattr(memory, "free_bytes", lambda device: None)
    assert tried(Sleeper())["tried"][-1]["batch"] == throughput.LARGEST_UNKNOWN


def test_a_batch_that_fails_is_said_and_costs_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    class Two(Sleeper):
        def describe(self, batch: Any) -> Any:
            if len(batch) > 2:
                raise RuntimeError("only two")
            return super().describe(batch)

    text = tried(Two())
    assert text["stopped"].startswith("batch 4 failed: the method sleeper.one failed on a batch of")
    assert {item["batch"] for item in text["tried"]} == {1, 2}
    with pytest.raises(BenchError, match="only two"):
        engine.describe(loaded(Two()), [np.ones((5, 5, 3), dtype=np.uint8)] * 3)


# --- search -------------------------------------------------------------------------------------


def test_one_query_at_a_time_is_asked_and_the_rows_are_those_that_are_searched() -> None:
    draw = np.random.default_rng(2)
    rows = draw.standard_normal((7, 5)).astype(np.float32)
    queries = [matrix.from_array(rows[:4], "q"), matrix.from_array(rows[4:], "more")]
    asked: list[Any] = []
    text = costs.searching(asked.append, queries, QUICK)
    assert (text["queries"], text["warm_up"]) == (3, 1)
    assert text["ms_per_query"]["n"] == len(asked) - 1 == 3 * text["ms_per_query"]["rounds"]
    assert {item.shape for item in asked} == {(1, 5)}
    assert np.array_equal(np.concatenate(asked[1:4]), rows[[0, 3, 6]].astype(np.float64))


@pytest.mark.slow
def test_costs_count_distractors_and_local_features(workspace, quick_costs) -> None:
    rows = matrix.from_array(np.eye(6, 4, dtype=np.float32) + 1, "db")
    more = matrix.from_array(np.eye(3, 4, dtype=np.float32) + 1, "far")
    content: dict[str, Any] = {
        "timing": {}, "memory": {}, "bytes_per_image": 16, "rerank": {"bytes_per_image": 100.5},
    }  # fmt: skip
    costs.add(content, [rows, more], [rows], 5, 1 << 20, None, "sample")
    kept = content["memory"]
    assert (kept["index_rows"], kept["index_bytes"]) == (9, 144)
    assert kept["local_features_bytes"] == 904
    assert kept["peak_device_bytes"] is kept["peak_device_reserved_bytes"] is None
    text = content["timing"]["search"]
    assert (text["rows"], text["dim"], text["shortlist"]) == (9, 4, 5)
    assert [item["rows"] for item in text["at"]] == [10_000, 100_000, 1_000_000]
    assert text["at"][0]["ms_per_query"]["p50"] > 0
    assert content["timing"]["definitions"] == costs.DEFINITIONS
    bare: dict[str, Any] = {"timing": {}, "memory": {}, "bytes_per_image": 16}
    costs.add(bare, [rows], [rows], 5, 1 << 20, None, "none")
    assert bare["timing"] == {}
    assert "local_features_bytes" not in bare["memory"]


def test_an_approximate_search_is_timed_as_it_was_done_and_its_index_weighed(
    workspace, quick_costs
) -> None:
    rows = matrix.from_array(np.eye(6, 4, dtype=np.float32) + 1, "db")
    index = Retrieved([], 777, {}, [3.0, 1.0, 2.0, 9.0, 8.0])
    content: dict[str, Any] = {"timing": {}, "memory": {}, "bytes_per_image": 16}
    costs.add(content, [rows], [rows], 5, 1 << 20, None, "sample", index=index)
    assert content["memory"]["index_bytes"] == 777
    text = content["timing"]["search"]
    assert (text["queries"], text["warm_up"]) == (5, 0)
    assert text["ms_per_query"]["p50"] == 3.0


def test_blocks_of_queries_make_the_spread_of_re_ranking() -> None:
    text = timing.summarise(timing.in_blocks([float(i) for i in range(1, 26)]))
    assert (text["p50"], text["n"], text["rounds"]) == (13.0, 25, 5)
    assert text["p50_interval"][0] < 13 < text["p50_interval"][1]


# --- on a GPU -----------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.usefixtures("quick")
def test_on_a_gpu_its_own_events_are_read(sizes: tuple[Path, list[Image]]) -> None:
    folder, listed = sizes

    class Busy(Sleeper):
        def __init__(self) -> None:
            super().__init__()
            self.network = nn.Conv2d(3, 64, 7, padding=3).cuda().eval()

        def describe(self, batch: Any) -> Any:
            assert batch.is_cuda
            for _ in range(20):  # queued faster than it is done
                rows = self.network(batch).amax(dim=(2, 3))
            return rows[:, :4] + 1

    method = Busy()
    start = torch.cuda.Event(enable_timing=True)
    end = torch.cuda.Event(enable_timing=True)
    got = latency.measure(loaded(method, "cuda"), folder, listed, "sample")
    batch = torch.zeros(1, 3, 200, 400, device="cuda")
    with torch.inference_mode():
        method.describe(batch)
        start.record()
        method.describe(batch)
        end.record()
    torch.cuda.synchronize()
    alone_ms = start.elapsed_time(end)
    text = got.latency
    assert text["scales"][2]["network_ms"]["p50"] == pytest.approx(alone_ms, rel=0.7)
    parts = sum(s["network_ms"]["p50"] for s in text["scales"])
    assert text["describe_ms"]["p50"] >= 0.9 * parts
    assert text["preprocess_ms"]["p50"] > 0
    for part in ("device_allocated_bytes", "device_reserved_bytes"):
        assert got.peaks.total()[part] > 64 * 200 * 400 * 4
    assert memory.free_bytes("cuda") > 0


def test_a_method_is_seen_through_while_it_is_watched() -> None:
    method = SimpleNamespace(describe=lambda batch: batch, other="kept")
    assert latency.Watched(method, latency.Clock("cpu")).other == "kept"
