"""Eight float64 numbers side by side, as a type that numba compiles to the processor's vector registers.

numba has no vector type, and LLVM does not vectorise loops whose order of sums must not change. So this module gives numba
LLVM's ``<8 x double>``. In a compiled function ``+``, ``-``, ``*``, ``/``, comparisons, and the functions below act on all
eight lanes. LLVM maps a vector to one register of AVX-512, two of AVX2, or four of SSE and NEON.

The bits of every result are the same on each of these, because

- the number of lanes is always 8;
- each operation is correctly rounded by IEEE 754, lane by lane;
- products are added by ``fma`` where, and only where, the code says so (LLVM does not contract the rest);
- sums over lanes (``total``, ``totals``) have a fixed order.

Functions that take ``array`` and ``start`` address the flat elements of a C-contiguous array. They do not check bounds.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core import cgutils
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import models, register_model

intrinsic: Any = extending.intrinsic

LANES = 8

I8, I16, I32, I64, F64 = (ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.DoubleType())
VECTOR, MASK = ir.VectorType(F64, LANES), ir.VectorType(ir.IntType(1), LANES)
Lower = Callable[[Any, Any, Any, Any], Any]  # (context, builder, signature, arguments) -> LLVM value


class _Lanes(types.Type):
    """A numba type that LLVM holds as one vector."""


vector = _Lanes("float64x8")  # eight float64 numbers
mask = _Lanes("boolx8")  # eight truth values, from comparisons


class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, VECTOR if kind == vector else MASK)


register_model(_Lanes)(_LanesModel)


def _operator(function: Any, result: Any, arguments: tuple[Any, ...], lower: Callable[..., Any]) -> None:
    """Defines a Python operator for lanes. ``lower`` returns the LLVM value, from an LLVM builder and operands."""

    class Template(ConcreteTemplate):
        cases = (signature(result, *arguments),)

    infer_global(function)(Template)
    lower_builtin(function, *arguments)(lambda context, builder, sig, values: lower(builder, *values))


def _comparison(symbol: str) -> Callable[..., Any]:
    """Returns the code of a comparison that is false where a number is NaN."""
    return lambda builder, a, b: builder.fcmp_ordered(symbol, a, b)


for _function, _lower in (
    (operator.add, lambda builder, a, b: builder.fadd(a, b)),
    (operator.sub, lambda builder, a, b: builder.fsub(a, b)),
    (operator.mul, lambda builder, a, b: builder.fmul(a, b)),
    (operator.truediv, lambda builder, a, b: builder.fdiv(a, b)),
):
    _operator(_function, vector, (vector, vector), _lower)
for _function, _symbol in (
    (operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">="), (operator.eq, "==")
):  # fmt: skip
    _operator(_function, mask, (vector, vector), _comparison(_symbol))
_operator(operator.neg, vector, (vector,), lambda builder, a: builder.fneg(a))
_operator(operator.and_, mask, (mask, mask), lambda builder, a, b: builder.and_(a, b))
_operator(operator.or_, mask, (mask, mask), lambda builder, a, b: builder.or_(a, b))
_operator(operator.invert, mask, (mask,), lambda builder, a: builder.not_(a))


def _call(name: str, count: int) -> Lower:
    """Returns the code that calls one of LLVM's own functions on vectors."""

    def lower(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(VECTOR, [VECTOR] * count)
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f64"), arguments)

    return lower


def index(context: Any, builder: Any, sig: Any, arguments: Any, position: int) -> Any:
    """Returns an argument, which is an integer of any type, as int64."""
    return context.cast(builder, arguments[position], sig.args[position], types.int64)


def pointer(context: Any, builder: Any, array_type: Any, array: Any, start: Any, kind: Any) -> Any:
    """Returns a pointer to element ``start`` of an array, as LLVM type ``kind``."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [start]), kind.as_pointer())


def _everywhere(builder: Any, number: Any) -> Any:
    """Returns a vector with the same number in every lane."""
    first = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), number, I32(0))
    zeros = ir.Constant(ir.VectorType(I32, LANES), [0] * LANES)
    return builder.shuffle_vector(first, ir.Constant(VECTOR, ir.Undefined), zeros)


@intrinsic
def splat(typing_context: Any, number: Any) -> Any:
    """Returns a vector with the same number in every lane."""
    return vector(types.float64), lambda context, builder, sig, arguments: _everywhere(builder, arguments[0])


@intrinsic
def spread(typing_context: Any, array: Any, at: Any) -> Any:
    """Returns a vector with the float64 element ``at`` of an array in every lane."""

    def lower(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        element = index(context, builder, sig, arguments, 1)
        return _everywhere(builder, builder.load(pointer(context, builder, sig.args[0], arguments[0], element, F64)))

    return (vector(array, at), lower) if array.dtype == types.float64 else None


@intrinsic
def load(typing_context: Any, array: Any, start: Any) -> Any:
    """Returns the float64 elements ``start`` to ``start + 7`` of an array."""

    def lower(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        at = index(context, builder, sig, arguments, 1)
        value = builder.load(pointer(context, builder, sig.args[0], arguments[0], at, VECTOR))
        value.align = 8
        return value

    return (vector(array, start), lower) if array.dtype == types.float64 else None


@intrinsic
def store(typing_context: Any, array: Any, start: Any, value: Any) -> Any:
    """Writes a vector to the float64 elements ``start`` to ``start + 7`` of an array."""

    def lower(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        at = index(context, builder, sig, arguments, 1)
        builder.store(arguments[2], pointer(context, builder, sig.args[0], arguments[0], at, VECTOR), align=8)
        return context.get_dummy_value()

    return (types.void(array, start, vector), lower) if array.dtype == types.float64 else None


@intrinsic
def store_int16(typing_context: Any, array: Any, start: Any, value: Any) -> Any:
    """Writes a vector of whole numbers to the int16 elements ``start`` to ``start + 7`` of an array."""

    def lower(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        at, kind = index(context, builder, sig, arguments, 1), ir.VectorType(I16, LANES)
        whole = builder.fptosi(arguments[2], ir.VectorType(I32, LANES))
        address = pointer(context, builder, sig.args[0], arguments[0], at, kind)
        builder.store(builder.trunc(whole, kind), address, align=2)
        return context.get_dummy_value()

    return (types.void(array, start, vector), lower) if array.dtype == types.int16 else None


@intrinsic
def fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """Returns a b + c, rounded once."""
    return vector(vector, vector, vector), _call("fma", 3)


@intrinsic
def square_root(typing_context: Any, a: Any) -> Any:
    """Returns the square roots."""
    return vector(vector), _call("sqrt", 1)


@intrinsic
def absolute(typing_context: Any, a: Any) -> Any:
    """Returns the absolute values."""
    return vector(vector), _call("fabs", 1)


@intrinsic
def nearest(typing_context: Any, a: Any) -> Any:
    """Returns the nearest whole numbers, halves to even."""
    return vector(vector), _call("rint", 1)


@intrinsic
def copy_sign(typing_context: Any, a: Any, b: Any) -> Any:
    """Returns the sizes of ``a`` with the signs of ``b``."""
    return vector(vector, vector), _call("copysign", 2)


@intrinsic
def select(typing_context: Any, condition: Any, a: Any, b: Any) -> Any:
    """Returns ``a`` in the lanes where the condition holds, else ``b``."""
    return vector(mask, vector, vector), lambda context, builder, sig, arguments: builder.select(*arguments)


@intrinsic
def larger(typing_context: Any, a: Any, b: Any) -> Any:
    """Returns the larger of two numbers; ``b`` where either is NaN."""

    def lower(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *arguments), *arguments)

    return vector(vector, vector), lower


@intrinsic
def any_lane(typing_context: Any, condition: Any) -> Any:
    """Returns whether a condition holds in at least one lane."""

    def lower(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return builder.icmp_unsigned("!=", builder.bitcast(arguments[0], I8), I8(0))

    return types.boolean(mask), lower


@intrinsic
def lane(typing_context: Any, a: Any, number: Any) -> Any:
    """Returns the lane of a number from 0 to 7."""

    def lower(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        at = builder.trunc(index(context, builder, sig, arguments, 1), I32)
        return builder.extract_element(arguments[0], at)

    return types.float64(vector, number), lower


def _tree(builder: Any, terms: list[Any]) -> Any:
    """Returns the sum of eight terms: ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7))."""
    while len(terms) > 1:
        half = len(terms) // 2
        terms = [builder.fadd(terms[i], terms[i + half]) for i in range(half)]
    return terms[0]


@intrinsic
def total(typing_context: Any, a: Any) -> Any:
    """Returns the sum of the lanes, ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7))."""

    def lower(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return _tree(builder, [builder.extract_element(arguments[0], I32(i)) for i in range(LANES)])

    return types.float64(vector), lower


def transpose(builder: Any, rows: list[Any]) -> list[Any]:
    """Returns eight LLVM vectors of eight elements, transposed by three rounds of shuffles."""
    for width in (1, 2, 4):
        first = [i + k for i in range(0, LANES, 2 * width) for j in (0, LANES) for k in range(j, j + width)]
        orders = [ir.Constant(ir.VectorType(I32, LANES), order) for order in (first, [i + width for i in first])]
        shuffled = list(rows)
        for i in (i for i in range(LANES) if not i & width):
            for at, order in zip((i, i | width), orders, strict=True):
                shuffled[at] = builder.shuffle_vector(rows[i], rows[i | width], order)
        rows = shuffled
    return rows


@intrinsic
def totals(typing_context: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> Any:
    """Returns the ``total`` of eight vectors, the first in lane 0."""

    def lower(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return _tree(builder, transpose(builder, list(arguments)))

    return vector(*[vector] * LANES), lower
