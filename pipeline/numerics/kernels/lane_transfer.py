"""Moves pixels between planes and lanes (``lanes``): bytes of eight planes into vectors, and int16 results back.

Eight elements of eight planes are an 8 x 8 matrix, which three rounds of shuffles transpose in registers.
"""

from typing import Any

from llvmlite import ir
from numba import types

from pipeline.numerics.kernels.lanes import I64, LANES, VECTOR, index, intrinsic, pointer, transpose


@intrinsic
def spread_bytes(typing_context: Any, source: Any, starts: Any, offset: Any, target: Any, to: Any, step: Any) -> Any:
    """Converts eight neighbouring bytes of eight planes to float64 lanes.

    It sets target[to + step i + k] = source[starts[k] + offset + i].

    Args:
        source: uint8.
        starts: int64 (8,), where each plane begins in ``source``.
        offset: of the first of the eight bytes in its plane.
        target: float64.
        to: index of the vector that receives the first bytes.
        step: from one vector to the next, in elements of ``target``.
    """

    def lower(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        offset, to, step = (index(context, builder, sig, arguments, i) for i in (2, 4, 5))
        kind, rows = ir.VectorType(ir.IntType(8), LANES), []
        for k in range(LANES):
            start = builder.load(pointer(context, builder, sig.args[1], arguments[1], I64(k), I64))
            at = builder.add(start, offset)
            rows.append(builder.load(pointer(context, builder, sig.args[0], arguments[0], at, kind)))
            rows[-1].align = 1
        for row in transpose(builder, rows):
            address = pointer(context, builder, sig.args[3], arguments[3], to, VECTOR)
            builder.store(builder.uitofp(row, VECTOR), address, align=8)
            to = builder.add(to, step)
        return context.get_dummy_value()

    known = (source.dtype, starts.dtype, target.dtype) == (types.uint8, types.int64, types.float64)
    return (types.void(source, starts, offset, target, to, step), lower) if known else None


@intrinsic
def gather_int16(typing_context: Any, source: Any, at: Any, step: Any, target: Any, to: Any, plane: Any) -> Any:
    """Copies eight vectors of int16 to eight planes: target[to + plane k + i] = source[at + step i + k].

    Args:
        source: int16, whose lanes are planes.
        at: index of the first vector.
        step: from one vector to the next, in elements of ``source``.
        target: int16.
        to: index in ``target`` of the first element of the first plane.
        plane: from one plane to the next, in elements of ``target``.
    """

    def lower(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        at, step, to, plane = (index(context, builder, sig, arguments, i) for i in (1, 2, 4, 5))
        kind, rows = ir.VectorType(ir.IntType(16), LANES), []
        for _ in range(LANES):
            rows.append(builder.load(pointer(context, builder, sig.args[0], arguments[0], at, kind)))
            rows[-1].align = 2
            at = builder.add(at, step)
        for row in transpose(builder, rows):
            builder.store(row, pointer(context, builder, sig.args[3], arguments[3], to, kind), align=2)
            to = builder.add(to, plane)
        return context.get_dummy_value()

    known = (source.dtype, target.dtype) == (types.int16, types.int16)
    return (types.void(source, at, step, target, to, plane), lower) if known else None


@intrinsic
def transpose_block(typing_context: Any, source: Any, start: Any, target: Any, to: Any) -> Any:
    """Transposes an 8 x 8 block of float64: target[to + 8 i + k] = source[start + 8 k + i].

    Args:
        source: float64.
        start: of the block in ``source``.
        target: float64.
        to: where the transposed block begins in ``target``.
    """

    def lower(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        start, to = index(context, builder, sig, arguments, 1), index(context, builder, sig, arguments, 3)
        rows = []
        for k in range(LANES):
            at = builder.add(start, I64(LANES * k))
            rows.append(builder.load(pointer(context, builder, sig.args[0], arguments[0], at, VECTOR)))
            rows[-1].align = 8
        for i, row in enumerate(transpose(builder, rows)):
            at = builder.add(to, I64(LANES * i))
            builder.store(row, pointer(context, builder, sig.args[2], arguments[2], at, VECTOR), align=8)
        return context.get_dummy_value()

    known = source.dtype == target.dtype == types.float64
    return (types.void(source, start, target, to), lower) if known else None
