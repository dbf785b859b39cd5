"""The values that travel through the system: frozen dataclasses; behaviour is functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from typing import Protocol as Interface

import numpy as np
from annotated_types import Ge, Gt, Le, Len
from numpy.typing import NDArray

Precision = Literal["float32", "float16"]
Candidates = Literal["official", "deployable"]  # `bench.rerank.verification`
Ransac = Literal["fast", "compatible"]  # `bench.rerank.geometry`
LimitRule = Literal["first-rows", "positives"]  # `bench.datasets.limited`
Measure = Literal["none", "sample", "latency"]  # `bench.measure.timing`
Rows = NDArray[np.int64]
NO_ROW = -1
Box = tuple[float, float, float, float]
Above0 = Annotated[float, Gt(0)]
AtLeast1 = Annotated[int, Ge(1)]
Scales = Annotated[tuple[Above0, ...], Len(1)]  # different ones

NOT_RETRIEVED = int(np.iinfo(np.int64).max)  # the rank of what an approximate search did not find


@dataclass(frozen=True, slots=True)
class Image:
    """One photograph: `file` is relative to the folder of its dataset.

    `box` is (left, top, right, bottom) in pixels of the original, or None for the whole image.
    `found` is where the file is on this machine, if that is another path than `file`.
    """

    id: str
    file: str
    box: Box | None = None
    found: str | None = None

    @property
    def path(self) -> str:
        """Return the path to open: relative to the folder of the dataset, or absolute."""
        return self.file if self.found is None else self.found


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Database rows of one query under one protocol: int64, sorted, unique, disjoint."""

    positive: Rows
    ignored: Rows


@dataclass(frozen=True)
class Protocol:
    """What counts as right for each query, and how it is scored.

    `metrics` are ids of `bench.scoring.metrics`; the first is the headline. `empty` says what a
    query without positives does to a mean: "skip" leaves it out, "miss" counts it as zero. `asked`
    says which queries the protocol asks at all (day, or one city), and is None where it asks all;
    the truth of the others is empty, and they count nowhere.
    """

    name: str
    truth: tuple[GroundTruth, ...]
    metrics: tuple[str, ...]
    empty: Literal["skip", "miss"] = "skip"
    asked: tuple[bool, ...] | None = None


@dataclass(frozen=True, eq=False)
class Areas:
    """Which part of the database each query searches: a query sees the rows of its own area.

    Numbers of areas, int64: one per database row, ascending, and one per query.
    """

    database: Rows
    queries: Rows


@dataclass(frozen=True)
class Dataset:
    """Image lists, query boxes and ground truth; rows of `database` are what the truth names.

    `folder` holds the images, and may be absent where only descriptors are scored. `crop` is the
    part of a query that the method gets: its box, or the whole image. `limit` is the number of
    images kept of each list, where a run asked for fewer, by `limit_rule`. `places` are folders in
    which images are looked for by name when they are not in `folder`. `absent` counts the database
    images and the queries that were left out because they are not on this machine. `rules` is the
    card's entry on the definition of positives. `areas` is None where every query searches the
    whole database. `groups` has a number per database row, int64; where it is given, only the first
    row of each group counts in a list. `notes` are lines on how the lists were made: what was left
    out of them. `unlike` has a line for each count or hash in which the lists are not the published
    ones; `renamed` says that these have the images under other names. `positions` (n_queries, 2)
    float64, metres, and `order` (n_queries, 2) int64, recording and place in it, tell intervals
    which queries are neighbours; None: unknown. No revision has them.
    """

    name: str
    variant: str
    folder: Path
    database: tuple[Image, ...]
    queries: tuple[Image, ...]
    protocols: tuple[Protocol, ...]
    licence: str
    citation: str
    description: str = ""
    crop: Literal["box", "whole"] = "box"
    limit: int | None = None
    limit_rule: LimitRule = "first-rows"
    places: tuple[Path, ...] = ()
    absent: tuple[int, int] | None = None
    rules: Mapping[str, Any] = field(default_factory=dict)
    areas: Areas | None = None
    groups: Rows | None = None
    notes: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    renamed: bool = False
    positions: NDArray[np.float64] | None = None
    order: Rows | None = None


@dataclass(frozen=True)
class Preprocess:
    """How a method wants its pixels: data, applied by `bench.images.decode`, hashed and printed.

    channels        order of the three channels given to the method
    orientation     whether the EXIF orientation tag is applied
    crop_rounding   how the corners of a query box become pixels: Pillow's rounding of each
                    corner (half to even), or truncation; right and bottom are exclusive
    max_side_px     longest side of the image given to the network; never enlarged; None: no cap
    cap_filter      the filter that shrinks to the cap: Pillow's antialiased bilinear to
                    int(round(side * factor)), or Pillow's `thumbnail` with Lanczos
    query_cap       the cap of a cropped query: the same as for the database ("own"), or times
                    longest crop side / longest image side ("relative"), so that an object keeps
                    the scale it has in the database
    resize          what follows the cap, in the grammar of `bench.images.resize`: "native" for
                    nothing, one rule ("pillow-bilinear:322x322", height before width), or two
                    joined by + ("shorter:512+multiple-of-14")
    mean, std       per channel, in the order of `channels`, on pixel values 0..255:
                    (pixel - mean) / std
    scales          factors of the image pyramid; descriptors of all scales are combined
    scale_size      rounding of a scaled side: "round" (half to even) or "floor"
    scale_sampling  bilinear, not antialiased; source position from the ratio of sizes
                    ("size-ratio"), from 1 / scale ("scale-factor"), or the corner rule of
                    TensorFlow 1 ("legacy-corner"); antialiased where an image shrinks
                    ("antialias"); OpenCV on uint8, areas below scale 1, bilinear above ("opencv")
    combine         how unit descriptors of the scales become one, brought to unit norm: their sum
                    ("sum-of-units"), their mean of powers ("power-mean"; negative entries count
                    as 0), or the maximum of every entry ("maximum")
    combine_power   exponent of the power mean
    """

    channels: Literal["rgb", "bgr"] = "rgb"
    orientation: Literal["ignore", "apply"] = "ignore"
    crop_rounding: Literal["round", "truncate"] = "round"
    max_side_px: AtLeast1 | None = 1024
    cap_filter: Literal["bilinear", "thumbnail-lanczos"] = "bilinear"
    query_cap: Literal["own", "relative"] = "relative"
    resize: str = "native"
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[Above0, Above0, Above0] = (58.395, 57.12, 57.375)
    scales: Scales = (1.0,)
    scale_size: Literal["round", "floor"] = "round"
    scale_sampling: Literal[
        "size-ratio", "scale-factor", "legacy-corner", "antialias", "opencv"
    ] = "size-ratio"
    combine: Literal["sum-of-units", "power-mean", "maximum"] = "sum-of-units"
    combine_power: Annotated[float, Gt(0), Le(100)] = 1.0


@dataclass(frozen=True)
class LocalRule:
    """How a method's local features are chosen and matched: data, as `Preprocess` is.

    dim             numbers per descriptor
    stride_px       position (row, column) of a map stands for the pixel stride * (row, column) +
    offset_px       offset of the scaled image, in (y, x); with a receptive field of r pixels and a
                    padding of p the offset is (r - 1) / 2 - p, which is 0 for DELG (291 and 145)
    scales          factors of the image pyramid; not those of the global descriptor
    threshold       least attention of a feature
    threshold_rule  "at-least": attention >= threshold; "halved": at each scale attention >
                    threshold, which is halved until `max_features` are left or the next would
                    fall below 0.1 (DELG's PyTorch port)
    max_features    features of an image, the strongest over all scales
    match_distance  Euclidean distance of unit descriptors below which two features match
    mutual          only features that are each the other's nearest match
    upright         of affine maps between two images only those that keep photographs upright
    least_inliers   pairs with fewer inliers are not told from chance: as if they had none
    inlier_weight   0: candidates are ordered by inliers; above: by the similarity of the global
                    descriptors and this much more for each doubling of inliers
                    (`bench.rerank.verification`)
    """

    dim: AtLeast1
    stride_px: Above0
    offset_px: float = 0.0
    scales: Scales = (0.25, 0.35355338, 0.5, 0.70710677, 1.0, 1.4142135, 2.0)
    threshold: float = 0.0
    threshold_rule: Literal["at-least", "halved"] = "at-least"
    max_features: AtLeast1 = 1000
    match_distance: Above0 = 1.0
    mutual: bool = False
    upright: bool = False
    least_inliers: Annotated[int, Ge(0)] = 0
    inlier_weight: Annotated[float, Ge(0)] = 0.0


@dataclass(frozen=True, eq=False)
class LocalFeatures:
    """The local features of one image, strongest first; there may be none.

    points       (n, 2) float32, (y, x) in pixels of the image as shown to the method: cropped and
                 under its size cap, not scaled
    attention    (n,) float32
    scale        (n,) float32, the factor at which a feature was found
    descriptors  (n, dim) float32 or float16, of unit norm
    """

    points: NDArray[np.float32]
    attention: NDArray[np.float32]
    scale: NDArray[np.float32]
    descriptors: NDArray[np.floating]


class Method(Interface):
    """What a method plug-in's `load` returns; a plug-in need not import this package.

    `weights` is a mapping with exactly the keys source, licence, sha256 (or None), training_set and
    trained: False for random weights and chance, None where nothing is learned.
    `preprocess` is a mapping with any of the fields of `Preprocess`; what is left out keeps its
    default. `describe` takes a float32 tensor (n, 3, height, width), normalised as `preprocess`
    says, on the device that `load` was given, and returns a float tensor (n, dim); it must
    not change its input. The harness brings the rows to unit norm.

    Optional: `refusal(height, width)` says why an image of this size, as the network sees it, is
    not described, or None; such an image is like one that cannot be decoded. `whiten(rows)` returns
    (n, dim) of the unit rows that the scales were combined to. `timm_resize` is timm's own rule.
    `codes(batch)` returns bool (n, code_bits), a second output to search by.
    """

    version: str
    config: Mapping[str, Any]
    weights: Mapping[str, Any]
    dim: int
    preprocess: Mapping[str, Any]

    def describe(self, batch: Any) -> Any:
        """Return descriptors (n, dim) of a batch (n, 3, height, width)."""
        ...


class NetworkMethod(Method, Interface):
    """A method that names the torch module behind `describe` and `local`, so that it runs faster.

    The harness may then replace modules inside `network` by equal ones (see
    `bench.describe.speedup`): `describe` and `local` must call these as modules, every time, and
    keep no weights aside.
    """

    network: Any


class LocalMethod(Method, Interface):
    """A method that offers local features as well, so that its lists can be re-ranked.

    `local_rule` is a mapping with the fields of `LocalRule`; `dim` and `stride_px` must be there.
    `local` takes one scale of a batch, as `describe` does, and returns two float tensors as
    convolutions give them: descriptors (n, dim, h, w) of any norm, and attention (n, 1, h, w);
    an image too small for a feature may have h or w of 0. A detector of key points returns a third,
    their places (n, 2, h, w), (y, x) in pixels of the batch, with h 1 for a list; then `stride_px`
    and `offset_px` place nothing. Scales, selection and unit norm are the harness's.
    """

    local_rule: Mapping[str, Any]

    def local(self, batch: Any) -> tuple[Any, ...]:
        """Return descriptors (n, dim, h, w), attention (n, 1, h, w), and places or none."""
        ...


class Trainable(Interface):
    """What a method plug-in's `trainable(variant, classes, options, device)` returns.

    `network` is the torch module with everything that is trained or kept in a checkpoint, heads
    and class weights included; parameters with `requires_grad` False are frozen, and so are the
    statistics of normalisations whose own parameters are. `preprocess` is that of `Method`; of it
    channels, mean and std are used. Optional: `frozen(images)`, the part that does not train, which
    may be computed once and kept (where it is absent, the images themselves); `pairs` True, for
    two views of each image: the inputs of the second views then come after those of the first, and
    each has behind it the nine numbers of the homography to the photograph
    (`bench.training.augment.placing`; for recipes with views); and `metadata()`, a mapping of
    strings that goes into the final file for the plug-in's own use.
    """

    network: Any
    preprocess: Mapping[str, Any]

    def losses(self, inputs: Any, labels: Any) -> Mapping[str, Any]:
        """Return the terms of the loss, weighted: scalar tensors, whose sum is minimised.

        `inputs` is what `frozen` gives for normalised images (n, 3, side, side), `labels` (n,) are
        int64.
        """
        ...

    def weights(self) -> Mapping[str, Any]:
        """Return what the final file holds: tensors that `load` takes through --weights."""
        ...


@dataclass(frozen=True)
class Checkpoint:
    """A published file of weights, as a plug-in's WEIGHTS describes it for one variant.

    `owner` is the first variant of the method with the same file; the cache keeps it once, there.
    `url` is downloaded, or `file` from the repository `hub` of huggingface.co, OWNER/NAME or
    OWNER/NAME@COMMIT; `manual` says in words where a person finds the file; one of them is given.
    `licence` is that of the weights, `licence_code` that of the program; `dim` the descriptor's.
    `file` is its name in the cache. `note` is a line of what else is known. `size_bytes` and
    `sha256` are exact, or None if unpublished.
    """

    method: str
    variant: str
    owner: str
    file: str
    licence: str
    training_set: str
    url: str | None = None
    hub: str | None = None
    manual: str | None = None
    note: str | None = None
    licence_code: str | None = None
    dim: int | None = None
    size_bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, eq=False)
class LabelledRanks:
    """Exact places of the labelled images of each query in the full ranking.

    Flat arrays, one entry per (query, labelled image); query i owns offsets[i]:offsets[i + 1],
    sorted by database row. `rank` is zero-based among all database rows (score descending, then
    row ascending), nothing removed; NOT_RETRIEVED where an approximate search did not find the
    image. `score` is float64. `tied` counts the other rows of the database with exactly this score.
    """

    offsets: Rows
    row: Rows
    rank: Rows
    score: NDArray[np.float64]
    tied: Rows

    def of_query(self, index: int) -> slice:
        """Return the slice of the flat arrays that belongs to query `index`."""
        return slice(int(self.offsets[index]), int(self.offsets[index + 1]))


@dataclass(frozen=True, eq=False)
class Shortlist:
    """The first `depth` rows of each query, best first: both arrays (n_queries, depth).

    Where a query searches fewer rows than that, its list ends with `NO_ROW` and the least float64.
    """

    row: Rows
    score: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ranking:
    """Ranks and shortlist of every distinct list; `of` says which is that of each protocol.

    Protocols share one list until a stage that uses labels parts them.
    """

    ranks: tuple[LabelledRanks, ...]
    shortlist: tuple[Shortlist, ...]
    of: tuple[int, ...]


@dataclass(frozen=True)
class MethodInfo:
    """The method as a record keeps it: everything but the network."""

    name: str
    variant: str
    version: str
    dim: int
    config: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, Any] = field(default_factory=dict)
