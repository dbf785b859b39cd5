"""What a stage searches: the rows and queries that have a descriptor, by area, exactly or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from bench.errors import BenchError
from bench.pipeline.ground import Ground
from bench.pipeline.lists import Lists
from bench.ranking import one_list
from bench.search import areas, dense, exact, faiss_index
from bench.search.areas import Job
from bench.search.faiss_index import Built, Retrieved
from bench.stage import Float64, Group, Local
from bench.store.matrix import Matrix, check_block, take
from bench.system.progress import Progress
from bench.types import Protocol, Ranking, Rows

Features = Callable[[Rows, Rows], Local]


@dataclass(frozen=True)
class How:
    """How is searched: memory, the device of the fast product, and who counts the pieces."""

    memory_bytes: int = 256 << 20
    device: str | None = None
    hand_out: exact.HandOut = exact.here


@dataclass(frozen=True)
class Timed:
    """What an exact search found, and the seconds it took."""

    found: exact.Found
    seconds: float


@dataclass(frozen=True, eq=False)
class SearchSpace:
    """The `bench.stage.Space` of a run: nothing in it is missing, and an area is a group.

    `ground` has the queries and labels, None without any; `index`, where there is one, answers in
    place of the exact search; `before_codes` are the rows before a compression.
    """

    searched: Lists
    ground: Ground | None = None
    how: How = field(default_factory=How)
    index: Built | None = None
    features: Features | None = None
    before_codes: Lists | None = None

    @cached_property
    def queries(self) -> Float64:
        """Return the queries (n_queries, dim)."""
        return _rows_of(self.searched.queries)

    @property
    def protocols(self) -> Sequence[Protocol]:
        """Return the ground truth."""
        return () if self.ground is None else self.ground.protocols

    @property
    def parts(self) -> Sequence[Matrix]:
        """Return the rows that are searched."""
        return self.searched.database

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Return the queries that search the same rows, and these rows."""
        return tuple(Group(job.queries, job.number) for job in self._jobs)

    @cached_property
    def _jobs(self) -> list[Job]:
        ground = self.ground
        if ground is None:
            return areas.jobs(None, self.parts, [])
        return areas.jobs(ground.areas, self.parts, ground.labelled)

    def rows(self, numbers: Rows) -> Float64:
        """Return database rows as they are searched (n, dim)."""
        return take(list(self.parts), numbers)

    def uncoded(self, numbers: Rows) -> Float64:
        """Return database rows (n, dim) as they were before a compression."""
        return take(list((self.before_codes or self.searched).database), numbers)

    @cached_property
    def uncoded_queries(self) -> Float64:
        """Return the queries as they were before a compression."""
        return _rows_of((self.before_codes or self.searched).queries)

    @property
    def uncoded_bytes(self) -> int:
        """Return the bytes of a database row as it was before a compression."""
        return (self.before_codes or self.searched).database[0].row_bytes()

    def ranked(self, scores: Sequence[Float64], depth: int) -> Ranking:
        """Return the ranking of scores: for each query one for every row of its group."""
        assert self.ground is not None
        number = {int(query): group.rows for group in self.groups for query in group.queries}
        rows = [number[query] for query in range(len(scores))]
        ranks, shortlist = dense.ranked(scores, rows, self.ground.labelled, depth)
        return one_list(ranks, shortlist, len(self.protocols))

    def local(self, queries: Rows, rows: Rows) -> Local:
        """Return the local features of queries and rows."""
        assert self.features is not None, "the stage does not list this in `needs`"
        assert self.ground is not None
        query_of, row_of = self.ground.query_of, self.ground.row_of
        of = self.features(query_of[queries], row_of[rows])
        return Local(
            lambda query: of.of_query(int(query_of[query])),
            lambda row: of.of_row(int(row_of[row])),
            of.features_per_image,
            of.bytes_per_image,
            of.phases_s,
        )

    def search(self, queries: Float64, depth: int) -> Ranking:
        """Search with other queries, exactly or with the run's index; refuse invalid vectors."""
        length = np.linalg.norm(queries, axis=1)
        if not np.all(np.isfinite(length) & (length > 0)):
            at = int(np.argmin(np.isfinite(length) & (length > 0)))
            raise BenchError(
                f"a stage searches again with a query {at} of norm {length[at]:g}; it must be "
                "finite and not zero."
            )
        if self.index is not None:
            return self.approximately(queries, depth)[0]
        found = self.exactly(queries, depth, "search again").found
        return one_list(found.ranks, found.shortlist, len(self.protocols))

    def exactly(self, queries: Float64, depth: int, phase: str = "search") -> Timed:
        """Search exactly, area by area."""
        memory = self.how.memory_bytes
        total = sum(
            len(job.number) * exact.passes(job.parts, job.labelled, depth, memory)
            for job in self._jobs
        )
        with Progress(phase, total, "rows") as progress:
            searched = [
                (
                    job,
                    self._search(job, queries[job.queries], job.labelled, depth, progress.advance),
                )
                for job in self._jobs
            ]
        apart = self.ground is not None and self.ground.areas is not None
        found = areas.join(searched, len(queries)) if apart else searched[0][1]
        return Timed(found, progress.seconds)

    def _search(
        self,
        job: Job,
        queries: Float64,
        labelled: Sequence[Rows],
        depth: int,
        advance: exact.Advance = lambda _rows: None,
    ) -> exact.Found:
        """Search one area exactly: here, or on the machines that the pieces are handed out to."""
        how, here = self.how, self.how.hand_out is exact.here
        return exact.search(
            job.parts,
            queries,
            labelled,
            depth,
            how.memory_bytes,
            advance,
            (how.device if here else None) or "cpu",
            None if here else 1,
            how.hand_out,
        )

    def approximately(self, queries: Float64, depth: int) -> tuple[Ranking, Retrieved]:
        """Search with the index; also what each query took."""
        assert self.index is not None
        assert self.ground is not None
        got = faiss_index.ask(self.index, queries)
        ranks, shortlist = faiss_index.ranks_of(got.lists, self.ground.labelled, depth)
        return one_list(ranks, shortlist, len(self.protocols)), got

    def neighbours(self, numbers: Rows, k: int, group: Group) -> tuple[Rows, Float64]:
        """Return the `k` other rows of a group nearest to each of `numbers`, and their scores."""
        if not len(numbers):
            empty = (0, min(k, len(group.rows) - 1))
            return np.empty(empty, dtype=np.int64), np.empty(empty)
        job = next(job for job in self._jobs if job.number is group.rows)
        nothing = [np.empty(0, dtype=np.int64)] * len(numbers)
        listed = self._search(job, self.rows(numbers), nothing, k + 1).shortlist
        row = group.rows[listed.row]
        other = row != numbers[:, None]
        other[other.all(axis=1), -1] = False  # its copies filled the list
        keep = np.nonzero(other)[1].reshape(len(numbers), -1)[:, :k]
        return np.take_along_axis(row, keep, 1), np.take_along_axis(listed.score, keep, 1)


def _rows_of(parts: Sequence[Matrix]) -> Float64:
    """Return all rows in float64; refuse rows that are not descriptors."""
    rows = np.concatenate([np.asarray(part.open()) for part in parts])
    check_block(parts, 0, rows)
    return rows.astype(np.float64)
