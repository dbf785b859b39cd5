"""The typed model of what a record measured: times, memory, bytes, losses."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from annotated_types import Len
from pydantic import Field
from typing_extensions import TypedDict

from bench.system.typed import OPEN, Above0, Amount, Count, Fraction, One, Positive, Share, Text

Day = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
Measure = Literal["sample", "latency"]  # --measure
Busy = list[Literal["waited", "others", "steal", "load", "spread"]]  # `bench.measure.busy`
Means = Annotated[dict[str, dict[str, Fraction]], Len(1)]  # protocol, then metric id


class Percentiles(TypedDict):
    """Times, in milliseconds."""

    p50: Amount
    p95: Amount
    p50_interval: NotRequired[Annotated[list[Amount], Len(2, 2)] | None]
    """95 % prediction interval of p50 in another round; null with fewer than three."""
    n: NotRequired[Positive]
    """Times taken."""
    rounds: NotRequired[Positive]


class ScaleTime(TypedDict):
    """Time of the network at one scale."""

    scale: Above0
    network_ms: Percentiles


class Tried(TypedDict):
    """Throughput at one batch."""

    batch: Positive
    images_per_s: Amount


class Throughput(TypedDict):
    """Images per second at the best batch."""

    images_per_s: Amount
    """Pixels to descriptors at the best batch, copies of the image of median size."""
    batch: Positive
    """The best batch."""
    tried: Annotated[list[Tried], Len(1)]
    stopped: str
    """Why no larger batch: no gain, time, memory, largest, or what failed."""


class Latency(TypedDict):
    """Describing, batch 1, after warm-up, device synchronised; milliseconds per image."""

    measure: NotRequired[Measure]
    measured: NotRequired[Day]
    """The day of the measurement, where it is that of a run before."""
    batch: One
    images: Positive
    """Different images timed, in every round."""
    warm_up: Count
    """Runs before, which do not count."""
    image_px: NotRequired[Annotated[list[Positive], Len(2, 2)]]
    """Width and height of the image of median size, as shown to the method."""
    precision: NotRequired[Text]
    """Of the network."""
    threads: NotRequired[Positive]
    """Of torch within an operation."""
    load_average: NotRequired[Amount]
    """Processes that wanted to run, mean of the minute before."""
    waited_share: NotRequired[Share]
    """Of the time of the threads, ready and waiting for a processor."""
    others_share: NotRequired[Share]
    """Of the processors, used by other programs."""
    steal_share: NotRequired[Share]
    """Of the processors, given to other machines by a hypervisor."""
    busy: NotRequired[Busy]
    """Signs of other work; with any the figures are not usable."""
    decode_ms: Percentiles
    """File to pixels."""
    preprocess_ms: NotRequired[Percentiles]
    """Upload, normalisation, resizing for every scale."""
    network_ms: NotRequired[Percentiles]
    """All scales, unit norm, sum, download of the descriptor."""
    describe_ms: Percentiles
    """Preprocess and network."""
    scales: NotRequired[list[ScaleTime]]
    """The method's describe at each scale."""
    throughput: NotRequired[Throughput]
    flops_per_image: NotRequired[Positive | None]
    """Multiplications and additions, a multiply-add counted as two, of the image of median size
    over all scales; null: not counted."""


class SizeTime(TypedDict):
    """Search of drawn rows of the dimension and compression of the run's."""

    rows: Positive
    ms_per_query: Percentiles | None
    """Null: not measured."""
    busy: NotRequired[Busy]
    """As of latency."""
    reason: NotRequired[Text]
    """Why it is not measured: memory, time, or what the index refuses."""


class SearchTime(TypedDict):
    """One query at a time against the whole database."""

    measure: Measure
    measured: NotRequired[Day]
    """The day of the measurement, where it is that of a run before."""
    rows: Positive
    """Database images and distractors."""
    dim: Positive
    shortlist: Count
    """Images found per query."""
    queries: Positive
    """Different queries timed, in every round."""
    warm_up: Count
    waited_share: NotRequired[Share]
    """Of the time of the threads, ready and waiting for a processor."""
    others_share: NotRequired[Share]
    steal_share: NotRequired[Share]
    load_average: NotRequired[Amount]
    busy: NotRequired[Busy]
    """As of latency."""
    ms_per_query: Percentiles
    """Descriptor to shortlist."""
    at: NotRequired[list[SizeTime]]
    """At stated sizes, of drawn rows."""


class QueryPart(TypedDict):
    """One part of the time of a query."""

    part: Literal["decode", "describe", "stage", "encode", "search", "local features"]
    of: NotRequired[Text]
    """The stage by its name; the method, where it is not the run's own."""
    ms: Percentiles | None
    """Null: not measured."""


class QueryTime(TypedDict):
    """What a query takes from its file to its list, one at a time."""

    parts: list[QueryPart]
    """In order."""
    ms: Percentiles | None
    """The parts added; null where one is not measured."""
    busy: Busy
    """Signs of other work at any part."""


@OPEN
class Extraction(TypedDict):
    """How descriptors are computed."""

    precision: Literal["float32", "float32 (TF32)", "bf16", "fp16"]
    """Of the convolutions."""
    compiled: bool
    batch_size: Positive
    batch_pixels: Positive
    """At scale 1."""
    workers: Count
    """Processes that decode; 0: threads."""


class Timing(TypedDict):
    """Times of the run."""

    phases_s: dict[str, Amount]
    """Wall seconds per phase of this run; descriptors that were in the store cost nothing."""
    images_from_store: NotRequired[Count]
    """Images whose descriptors were there already."""
    extraction: NotRequired[Extraction]
    latency: Latency | None
    """Null: not measured."""
    search: NotRequired[SearchTime]
    query: NotRequired[QueryTime]
    definitions: NotRequired[Positive]
    """Version of the definitions of costs; absent: the first."""


class Peaks(TypedDict):
    """Peaks of memory."""

    resident_bytes: Count | None
    device_allocated_bytes: Count | None
    device_reserved_bytes: Count | None


class Held(TypedDict):
    """Memory of a process that describes with one method, one image at a time."""

    empty_bytes: Count
    """Without the method: interpreter, libraries, code."""
    weights_bytes: Count
    """Of the network, over empty."""
    activations_bytes: Count
    """Most while an image is described, over both."""
    reserved_bytes: NotRequired[Count]
    """On a device: reserved by torch, in all."""


class Network(TypedDict):
    """Memory of one method in a process of its own."""

    method: Text
    resident: Held | None
    """Null: the system does not say."""
    device: Held | None
    """Null: on a processor."""


class Memory(TypedDict):
    """Memory of the run."""

    peak_resident_bytes: Count | None
    """Of the process until the record was written."""
    peak_device_bytes: Count | None
    """Allocated by torch on the device; null on a CPU."""
    peak_device_reserved_bytes: NotRequired[Count | None]
    """Reserved by torch on the device; null on a CPU."""
    parameters: NotRequired[Positive | None]
    """Of the networks that the method holds; null: not known."""
    parameter_bytes: NotRequired[Positive | None]
    networks: NotRequired[list[Network]]
    """Of the methods that a query needs, the run's own first."""
    batch_1: NotRequired[Peaks]
    """Of the first definitions: peaks of the run's process, single images."""
    best_batch: NotRequired[Peaks | None]
    """Of the first definitions: peaks at the batch of the throughput; null: that batch is 1."""
    index_rows: NotRequired[Positive]
    """Database images and distractors."""
    index_bytes: NotRequired[Positive]
    """Of all descriptors that are searched."""
    local_features_bytes: NotRequired[Count]
    """Of local features, if all of these images had as many as those re-ranked."""


class Rerank(TypedDict):
    """Geometric verification: only where lists were re-ranked by it."""

    pairs: Count
    """Pairs of images verified, over all queries and protocols."""
    ms_per_query: Percentiles
    """Matching and RANSAC of all candidates of a query, their features read from disk."""
    features_per_image: Amount
    """Mean over database images."""
    bytes_per_image: Amount
    """Local features of a database image on disk, mean."""


class ShortlistRecall(TypedDict):
    """Share of the exact lists that an index found."""

    depth: Count
    fraction: Fraction
    """Of the first `depth` of the exact lists that are in the first `depth` of the index."""


class Approximate(TypedDict):
    """What an approximate search lost against the exact one of the same descriptors and run."""

    index: Text
    """Its name, with all parameters."""
    seconds: dict[str, Amount]
    """Train, add and search of the index, all queries, one thread; exact_search: all threads."""
    index_bytes: Positive
    """Vectors or codes, ids, links and centroids, computed from their sizes."""
    scores: Means
    """Of the index, before re-ranking."""
    exact_scores: Means
    shortlist_recall: ShortlistRecall
    positives_missed: dict[str, Count]
    """Per protocol, over all queries: positives not retrieved."""
