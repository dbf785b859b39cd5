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
    """What the command line says of a run beyond names."""

    pixels: Chosen = group(Chosen)
    stages: tuple[str, ...] = option(
        (),
        "apply a stage to descriptors or lists, in the order given: pca-whiten:D, aqe:K,alpha=A, "
        "rerank:RULE, FILE.py:… for a stage of your own, and others (bench/rerank/README.md)",
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
        "compatible: scikit-image, as in DELG's official program; fast: the same counts but for "
        "rounding",
    )
    local: str | None = option(
        None,
        "method whose local features re-rank, where it is not the one of the descriptors",
        metavar="METHOD",
    )
    local_precision: Precision = option("float32", "how local descriptors are kept")
    distractors: tuple[str, ...] = option(
        (),
        "data sets, or paths of a dataset.json, whose database images are described and added as "
        "negatives for every query, for instance revisitop1m",
        metavar="NAME",
        many="list",
    )
    compression: str = option(
        "none",
        "how database descriptors are kept: none, float16, int8, binary (signs, of queries too), "
        "or pqMxB for product quantisation in M sub-vectors of B bits, as in pq64x8",
        metavar="NAME",
    )
    search: str = option(
        "exact",
        "exact, or an index of faiss: ivfN,flat,nprobeP; ivfN,pqMxB,nprobeP; hnswN,efE; each may "
        "end with ,kL for the length of a list",
        metavar="NAME",
    )
    shortlist: int = option(100, "length of the list kept per query", metavar="N", parse=natural)
    memory_budget_mib: int = option(
        256,
        "MiB that the exact search may take for blocks of rows, tables and lists; the answer does "
        "not depend on it",
        flag="memory-budget",
        metavar="MIB",
        parse=positive,
    )
    measure: Measure = option(
        "none",
        "latency and memory, or, of descriptors that are brought, the time of a search: latency, "
        "in full (minutes); sample, in seconds; none",
    )
    limit: int | None = option(
        None,
        "use N queries and N database images, among them all positives of these queries; the "
        "result is marked partial",
        metavar="N",
        parse=positive,
    )
    allow_partial: bool = option(
        False, "use those images of a data set that are here; the result is marked partial"
    )
    allow_missing: bool = option(
        False,
        "go on without images that are absent or cannot be decoded: such a database image is "
        "behind all others, such a query counts as 0, and the result is marked",
    )
    force: bool = option(
        False,
        "make descriptors, codes and rows of stages again even where the store has them; begin a "
        "stage that takes more than 10 hours",
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
        None, "cpu, cuda or cuda:N (default: a GPU where there is one)", metavar="DEVICE"
    )
    settings: Settings = group(Settings)
    command: str = line()
