"""Floats of 16 bits in compiled loops: numba has no such type, so they come as their bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types
from numba.extending import overload

from subsel.compiling import inlined

#: Half a float's exponent is short of float32's by this factor; multiplying by it makes subnormals right, too.
_RANGE = np.float32(2.0**112)


def bits_of(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return float16 as uint16, a view, for `number`; all else as it is."""
    return values.view(np.uint16) if values.dtype == np.float16 else values


@inlined()
def from_bits(bits: Any) -> Any:
    """Return what a float16 is, by its bits (uint16), as float32; finite ones only."""
    word = np.uint32(bits)
    magnitude = np.uint32((word & np.uint32(0x7FFF)) << np.uint32(13))
    return np.uint32(magnitude | np.uint32((word & np.uint32(0x8000)) << np.uint32(16))).view(np.float32) * _RANGE


def number(value: Any) -> Any:
    """Return an element of what `bits_of` returns as the float that it is; for compiled loops."""
    return np.uint16(value).view(np.float16) if isinstance(value, np.uint16) else value


@overload(number, inline="always", strict=False)
def _number(value: Any) -> Any:
    if value == types.uint16:
        return lambda value: from_bits(value)  # noqa: PLW0108  (numba wants a function of its own)
    return lambda value: value
