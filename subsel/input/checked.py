"""The rows of a batch that are good: what `subsel.input.rows.RowChecker` returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsel.codes import hash_ids, hash_rows, rehash
from subsel.fixedpoint import Int64Array
from subsel.input.groups import content_of


@dataclass(frozen=True, slots=True)
class CheckedBatch:
    """The good rows of a batch.

    Attributes:
        kept: int64, (b,): where they stood in it.
        ids: as they are kept (`subsel.input.ids`).
        utility: float64, (b,): the first thing that utility is made of; 1.0 where rows have none.
        embeddings: float32, (b, d); None if not asked for.
        others: float64, (c, b): what else utility is made of.
        cost: int64, (b,); None if not asked for.
        groups: of each column of groups, see `subsel.input.groups.as_groups`.
        importance: float64, (b,): how much it counts that each is covered; None unless the objective is coverage.
    """

    kept: Int64Array
    ids: pa.Array
    utility: npt.NDArray[np.float64]
    embeddings: npt.NDArray[np.float32] | None
    others: npt.NDArray[np.float64]
    cost: Int64Array | None = None
    groups: tuple[pa.DictionaryArray, ...] = ()
    importance: npt.NDArray[np.float64] | None = None

    def take(self, some: Int64Array) -> CheckedBatch:
        """Return some of the rows."""
        rows = pa.array(some)
        return CheckedBatch(
            self.kept[some],
            self.ids.take(rows),
            self.utility[some],
            None if self.embeddings is None else self.embeddings[some],
            self.others[:, some],
            None if self.cost is None else self.cost[some],
            tuple(one.take(rows) for one in self.groups),
            None if self.importance is None else self.importance[some],
        )

    def content(self) -> npt.NDArray[np.uint64]:
        """Return a hash of each row's utility, all that this is made of, and embedding: uint64, (b,)."""
        words = np.ascontiguousarray(self.others.T).view(np.uint32)
        if self.embeddings is not None:
            vectors = np.ascontiguousarray(self.embeddings).view(np.uint32)
            words = np.concatenate([words, vectors], axis=1) if words.size else vectors
        return np.asarray(hash_rows(words, self.utility.view(np.uint64)))

    def beside(self) -> Int64Array | None:
        """Return a hash of each row's cost, groups and importance: int64, (b,); None if it has none of them."""
        return content_of(self.cost, self.groups, self.importance)


def content_sum(batch: CheckedBatch, beside: Int64Array | None = None) -> int:
    """Return a sum over rows, modulo 2^64, of hashes of what they hold: the same for any order and division of rows.

    Args:
        batch: rows.
        beside: of them, see `CheckedBatch.beside`.
    """
    code = rehash(hash_ids(batch.ids, seed=0) ^ batch.content().view(np.int64), 0)
    if beside is not None:
        code = rehash(code ^ beside, 1)
    return int(code.view(np.uint64).sum(dtype=np.uint64))
