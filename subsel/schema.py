"""Column names and statuses, once for the whole package. Every stage ends in one of these contracts."""

from __future__ import annotations

from enum import IntEnum

import pyarrow as pa

# Points, as a user gives them; the three names are configurable, these are the defaults.
ID = "id"
EMBEDDING = "embedding"
UTILITY = "utility"

# A neighbour graph as an edge list in user ids: one row per undirected edge.
SRC = "src"
DST = "dst"
SIMILARITY = "similarity"

# A subset.
RANK = "rank"
GAIN = "gain"
DECIDED_BY = "decided_by"


class Status(IntEnum):
    """What is known of a point. Stored as int8."""

    UNDECIDED = 0
    DISCARDED = 1  #: not in the subset
    EXCLUDED = 2  #: not in the subset, by the user's wish
    ACCEPTED = 3  #: in every optimum, by bounding
    SELECTED = 4  #: picked by greedy
    INCLUDED = 5  #: in the subset, by the user's wish
    JOINING = 6  #: about to come into the subset, by refinement
    LEAVING = 7  #: about to leave it


#: Who has one of these, or one above, is in the subset; who has one of those below, but for `UNDECIDED`, is not.
FIRST_MEMBER = Status.ACCEPTED

#: In the place of a status, where it is noted how points came into the subset: they were in the one it began with.
KEPT = 8

#: What each way into the subset is called in the output column `decided_by`.
DECIDED_BY_NAMES: dict[int, str] = {
    Status.ACCEPTED: "bounding",
    Status.SELECTED: "greedy",
    Status.INCLUDED: "include",
    Status.JOINING: "refine",
    KEPT: "warm_start",
}


def edge_schema(id_type: pa.DataType, similarity_type: pa.DataType) -> pa.Schema:
    """Return the schema of an edge list whose ends are user ids of ``id_type``."""
    return pa.schema([(SRC, id_type), (DST, id_type), (SIMILARITY, similarity_type)])


def subset_schema(id_type: pa.DataType) -> pa.Schema:
    """Return the schema of a subset: `id`, `rank` (from 0), `gain` (float64) and `decided_by`."""
    return pa.schema([(ID, id_type), (RANK, pa.int64()), (GAIN, pa.float64()), (DECIDED_BY, pa.string())])
