"""Asking memory for rows ahead: those of random places take longer to come than to compute with; many come at once."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

#: Bytes that memory gives at once, nearly everywhere.
_LINE = 64


def _ask(typing: Any, array: Any, row: Any) -> Any:
    """Ask for a row of an array, (n, d) in C order, which needs it soon; of compiled loops."""

    def compile_it(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        count, byte = ir.IntType(64), ir.IntType(8).as_pointer()
        there = context.make_array(signature.args[0])(context, builder, arguments[0])
        length = builder.extract_value(there.strides, 0)
        begin = builder.bitcast(there.data, byte)
        begin = builder.gep(begin, [builder.mul(length, arguments[1])])
        flags = [ir.Constant(ir.IntType(32), flag) for flag in (0, 3, 1)]  # to read, often, data
        kind = ir.FunctionType(ir.VoidType(), [byte, *(flag.type for flag in flags)])
        ask = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        lines = builder.udiv(builder.add(length, count(_LINE - 1)), count(_LINE))
        with cgutils.for_range(builder, lines) as loop:
            builder.call(ask, [builder.gep(begin, [builder.mul(loop.index, count(_LINE))]), *flags])
        return context.get_dummy_value()

    return types.void(array, types.int64), compile_it


ask_for: Any = intrinsic(_ask)
