"""How functions are compiled, once for all of them: machine code is kept, and only what is called has an entrance.

Entrances from Python and from C take a tenth of the time that the first use spends on compiling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[Function], Function]:
    """Return a decorator for functions that Python calls; ``options`` are numba's."""
    jit: Any = numba.njit  # its own types know fewer options
    made: Callable[[Function], Function] = jit(cache=True, no_cfunc_wrapper=True, **options)
    return made


def inner(**options: Any) -> Callable[[Function], Function]:
    """Return a decorator for functions that compiled ones call; Python can't."""
    return compiled(no_cpython_wrapper=True, **options)


def inlined() -> Callable[[Function], Function]:
    """Return a decorator for functions that become part of whoever calls them."""
    return compiled(inline="always")
