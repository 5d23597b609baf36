"""Which of a run of scores are worth a look: vector instructions, by a type of LLVM's that numba has none for.

A loop over a run is what numba would be given otherwise. Of a fixed length it is unrolled before anybody looks for
vectors in it, and compares one score after another, which takes six times as long.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from subsel.compiling import inner

#: Scores that are compared at once.
RUN = 32
#: Where the only bit of 32 stands, by a product (Leiserson et al. 1998).
_DE_BRUIJN = np.uint32(0x077CB531)
_PLACES = np.empty(RUN, np.int64)
_PLACES[((np.uint32(1) << np.arange(RUN, dtype=np.uint32)) * _DE_BRUIJN) >> np.uint32(27)] = np.arange(RUN)


def _compare(typing: Any, values: Any, begin: Any, bound: Any) -> Any:
    """Return as bits (uint32) which values (float32, (m,)), from ``begin`` on, are at least a number, or those there.

    ``bound``: float32, or float32, (m,). There must be `RUN` of them.
    """
    of_each = isinstance(bound, types.Array)
    vector, numbers = ir.VectorType(ir.FloatType(), RUN), ir.VectorType(ir.IntType(32), RUN)

    def compile_it(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def load(at: int) -> Any:
            array = context.make_array(signature.args[at])(context, builder, arguments[at])
            first = builder.gep(array.data, [arguments[1]])
            return builder.load(builder.bitcast(first, vector.as_pointer()), align=4)

        none = ir.Constant(vector, ir.Undefined)
        if of_each:
            least = load(2)
        else:
            one = builder.insert_element(none, arguments[2], ir.Constant(ir.IntType(32), 0))
            least = builder.shuffle_vector(one, none, ir.Constant(numbers, [0] * RUN))
        return builder.bitcast(builder.fcmp_ordered(">=", load(0), least), ir.IntType(32))

    return types.uint32(values, types.int64, bound if of_each else types.float32), compile_it


_at_least: Any = intrinsic(_compare)


@inner()
def hits(scores: Any, begin: int, threshold: Any, least: Any = None) -> Any:
    """Return which scores of a run are at least a threshold, or what each is to be at least.

    Args:
        scores: float32, (m,), C order.
        begin: first of the run, a multiple of `RUN`; where there are fewer, it ends with the last.
        threshold: float32.
        least: float32, (m,); None: the threshold counts alone.

    Returns:
        uint32: bit i is of ``scores[begin + i]``, see `first_of`.
    """
    m = len(scores)
    if m < RUN:
        found = np.uint32(0)
        for j in range(m):
            worth = scores[j] >= threshold
            if least is not None:
                worth |= scores[j] >= least[j]
            found |= np.uint32(worth) << np.uint32(j)
        return found
    first = min(begin, m - RUN)
    found = _at_least(scores, first, threshold)
    if least is not None:
        found |= _at_least(scores, first, least)
    return found >> np.uint32(begin - first)


@inner()
def first_of(found: Any) -> Any:
    """Return where the lowest bit of `hits` stands, int64, and the others; one there must be."""
    lowest = np.uint32(found & (~found + np.uint32(1)))
    return _PLACES[np.uint32(lowest * _DE_BRUIJN) >> np.uint32(27)], np.uint32(found ^ lowest)
