"""Taking rows of whatever holds rows, by their positions, in the type that came in."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from subsel.errors import InputError, option
from subsel.fixedpoint import Int64Array


def take_rows(data: Any, rows: Int64Array, of: int) -> Any:  # noqa: PLR0911  (a table)
    """Return some rows of data, in the type that it has; a lazy polars frame stays lazy.

    Args:
        data: an Arrow table, batch, array or dataset; a pandas or polars frame or series; a Hugging Face dataset; a
            numpy or scipy array, by its first axis; a list or a tuple.
        rows: int64, ascending: their positions.
        of: how many rows there must be.

    Raises:
        InputError: there are more or fewer rows, or the type is not understood.
    """
    module = type(data).__module__.split(".")[0]
    if module == "polars" and hasattr(data, "collect"):
        return _of_lazy(data, rows, of)
    _check(_length(data), of)
    if isinstance(data, list | tuple):
        return type(data)([data[row] for row in rows.tolist()])
    if module == "pandas":
        return data.iloc[rows]
    if hasattr(data, "with_format") and hasattr(data, "select"):  # a Hugging Face dataset
        return data.select(rows)
    if module == "pyarrow":
        taken = data.take(pa.array(rows))
        if hasattr(data, "get_fragments"):
            import pyarrow.dataset as pads  # noqa: PLC0415  (it is there, as data is one)

            return pads.dataset(taken)
        return taken
    return data[rows]


def _length(data: Any) -> int:
    """Return the number of rows.

    Raises:
        InputError: that cannot be said, or rows cannot be taken.
    """
    if hasattr(data, "count_rows"):
        return int(data.count_rows())
    taken = hasattr(data, "__getitem__") and not isinstance(data, str | bytes | dict | set)
    if taken and getattr(data, "shape", None):
        return int(data.shape[0])
    if taken and hasattr(data, "__len__"):
        return len(data)
    raise InputError(
        f"filter does not understand {type(data).__name__}: give what was selected from, as an Arrow table, a "
        "pandas or polars frame, a Hugging Face dataset, a numpy array or a list; of a path the subset itself has "
        f"{option('keep_columns')}."
    )


def _of_lazy(frame: Any, rows: Int64Array, of: int) -> Any:
    """Return some rows of a lazy polars frame."""
    names = frame.collect_schema().names()
    number = next(name for name in ("row", *(f"row_{i}" for i in range(len(names) + 1))) if name not in names)
    numbered = frame.with_row_index(number)
    _check(int(numbered.select(number).collect().height), of)
    import polars  # noqa: PLC0415  (it is there, as the frame is of it)

    return numbered.filter(polars.col(number).is_in(polars.Series(rows).implode())).drop(number)


def _check(found: int, of: int) -> None:
    if found != of:
        raise InputError(f"data has {found:,} rows, the subset was selected from {of:,}: give those.")
