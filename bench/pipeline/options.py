"""The options of a run: each is declared here, with its default and its line of help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.describe.pixels import Chosen
from bench.option import group, line, natural, option, positive
from bench.root import RESULTS
from bench.settings import Settings
from bench.types import Candidates, Measure, Precision, Ransac

# Fields that several commands take over.
DESCRIBING = ("pixels", "weights", "device", "settings")
SEARCHING = ("stages", "compression", "search", "shortlist", "memory_budget_mib", "measure",
             "force", "results")  # fmt: skip


@dataclass(frozen=True)
class Options:
    """The options of a run besides the names of methods and data sets."""

    pixels: Chosen = group(Chosen)
    stages: tuple[str, ...] = option(
        (),
        "apply a stage to descriptors or lists; repeatable, applied in the given order: "
        "pca-whiten:D, aqe:K,alpha=A, rerank:RULE, FILE.py:… (your own stage), and others"
        " (bench/rerank/README.md)",
        flag="stage",
        metavar="NAME[:value,key=value]",
    )
    rerank: Candidates | None = option(
        None,
        "re-rank lists by geometric verification of local features; the candidates are the first "
        "100 of the list, or, official, the first 100 that a protocol does not ignore (default: no "
        "re-ranking; without a value: deployable)",
        optional="deployable",
    )
    ransac: Ransac = option(
        "fast",
        "compatible: scikit-image, as in DELG's official program; fast: the same counts "
        "up to rounding",
    )
    local: str | None = option(
        None,
        "method that provides the local features for re-ranking (default: the method of the run)",
        metavar="METHOD",
    )
    local_precision: Precision = option("float32", "storage type of local descriptors")
    distractors: tuple[str, ...] = option(
        (),
        "data sets, or paths of a dataset.json, whose database images are described and added as "
        "negatives for every query, such as revisitop1m",
        metavar="NAME",
        many="list",
    )
    compression: str = option(
        "none",
        "compression of database descriptors: none, float16, int8, binary (signs, also of "
        "queries), codes (bits that the method gives), or pqMxB for product quantisation with M "
        "sub-vectors of B bits, such as pq64x8",
        metavar="NAME",
    )
    search: str = option(
        "exact",
        "exact, or a faiss index: ivfN,flat,nprobeP; ivfN,pqMxB,nprobeP; hnswN,efE; "
        "append ,kL to set the length of a list",
        metavar="NAME",
    )
    shortlist: int = option(100, "length of the list kept per query", metavar="N", parse=natural)
    memory_budget_mib: int = option(
        256,
        "memory of the exact search in MiB, for blocks of rows, tables and lists; results"
        " do not depend on it",
        flag="memory-budget",
        metavar="MIB",
        parse=positive,
    )
    measure: Measure = option(
        "none",
        "how thoroughly latency and memory are measured (for your own descriptors: the "
        "search time): latency (minutes), sample (seconds), none",
    )
    limit: int | None = option(
        None,
        "use N queries and N database images, among them all positives of these queries; the "
        "result is marked partial",
        metavar="N",
        parse=positive,
    )
    allow_partial: bool = option(
        False,
        "use the images of the data set that are on this machine; the result is marked partial",
    )
    allow_missing: bool = option(
        False,
        "continue without images that are missing or cannot be decoded: such a database image is "
        "ranked last, such a query scores 0, and the result is marked partial",
    )
    force: bool = option(
        False,
        "recompute stored descriptors, codes and rows of stages; allow stages that take more "
        "than 10 hours",
    )
    results: Path = option(
        RESULTS,
        "folder of the results (default: results/ of the checkout, or of the current folder)",
        old=("output",),
        metavar="DIR",
    )
    weights: str | None = option(
        None, "weights to use instead of the variant's own", metavar="PATH"
    )
    device: str | None = option(
        None,
        "cpu, cuda or cuda:N (default: a GPU where there is one); `run` takes several GPUs of this "
        "host, cuda:0,cuda:1, and starts a process for each",
        metavar="DEVICE",
    )
    settings: Settings = group(Settings)
    command: str = line()
