"""Matrices: numpy arrays, in memory or in a file, as the tables that all else is read as."""

from __future__ import annotations

import io
import mmap
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from subsel.config import SelectConfig
from subsel.errors import InputError
from subsel.storage import Place


def load_matrix(place: Place) -> tuple[npt.NDArray[Any], Callable[[], object]]:
    """Return a matrix in a file, mapped where that is on this machine, and `subsel.input.source.TableSource.let_go`.

    Raises:
        InputError: the file cannot be read, or holds several arrays.
    """
    if place.name.endswith(".npz"):
        raise InputError(f"{place.uri} holds several arrays: give numpy.load(…)[name], or a .npy file.")
    local = getattr(place, "local", None)
    try:
        if local is None:
            loaded = np.load(io.BytesIO(place.read_bytes()), allow_pickle=False)
        else:
            loaded = np.load(local, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{place.uri} cannot be read as a numpy array: {str(error).splitlines()[0]}") from error
    mapped = getattr(loaded, "_mmap", None)
    if mapped is None or not hasattr(mmap, "MADV_DONTNEED"):
        return np.asarray(loaded), lambda: None
    return np.asarray(loaded), partial(mapped.madvise, mmap.MADV_DONTNEED)


def table_of_matrix(matrix: npt.NDArray[Any], config: SelectConfig, name: str = "the array") -> pa.Table:
    """Return a matrix as a column of lists, of its own memory where that can be, and ids that are row numbers.

    Raises:
        InputError: it is no matrix, is empty, or not of numbers.
    """
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InputError(f"{name} has shape {matrix.shape}, but must be (n, d) with n, d >= 1.")
    if not (np.issubdtype(matrix.dtype, np.floating) or np.issubdtype(matrix.dtype, np.integer)):
        raise InputError(f"{name} is {matrix.dtype}, but must be float16, float32, float64 or integers: cast it.")
    if isinstance(matrix, np.ma.MaskedArray):  # a masked value is no value
        kind = matrix.dtype if np.issubdtype(matrix.dtype, np.floating) else np.float32
        matrix = np.ma.filled(matrix.astype(kind), np.nan)
    if matrix.dtype == np.longdouble or not matrix.dtype.isnative:
        matrix = matrix.astype(np.float64 if matrix.dtype == np.longdouble else matrix.dtype.newbyteorder("="))
    flat = pa.array(np.ascontiguousarray(matrix).reshape(-1))
    columns: dict[str, Any] = {config.embedding_column: pa.FixedSizeListArray.from_arrays(flat, matrix.shape[1])}
    if config.id_column is not None:
        columns[config.id_column] = pa.array(np.arange(len(matrix)))
    return pa.table(columns)
