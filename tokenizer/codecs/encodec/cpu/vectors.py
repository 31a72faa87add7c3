"""LLVM's own vectors of float32, of which numba's functions are written here where it has none."""

from __future__ import annotations

from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_code: Any = cgutils
LANES = 16
"""numbers of a vector: one of AVX-512's, or several of a smaller machine's"""
NUMBER = ir.FloatType()
VECTOR = ir.VectorType(NUMBER, LANES)


def has(feature: str) -> bool:
    """Whether the processor has it, by LLVM's name."""
    features: Any = llvmlite.binding.get_host_cpu_features()
    return bool(features.get(feature, False))


FUSES = has("fma") or not llvmlite.binding.get_default_triple().startswith(("x86_64", "i"))
"""whether the processor multiplies and adds in one step"""


@intrinsic
def _fused(_: Any, factor: Any, other: Any, term: Any) -> Any:
    """For numba: `factor * other + term`, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return multiply_add(builder, *values)

    return types.float32(types.float32, types.float32, types.float32), generate


fused: Any = _fused


def multiply_add(builder: Any, factor: Any, other: Any, term: Any) -> Any:
    """`factor * other + term`, rounded once, of numbers or vectors."""
    kind = factor.type
    name = "llvm.fma.f32" if kind == NUMBER else f"llvm.fma.v{kind.count}f32"
    function = _code.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)
    return builder.call(function, [factor, other, term])


def vector_at(builder: Any, start: Any, at: Any) -> Any:
    """The place of the vector that begins `at` numbers behind `start`, or as many as that value
    says."""
    place = at if isinstance(at, ir.Value) else ir.IntType(64)(at)
    return builder.bitcast(builder.gep(start, [place]), VECTOR.as_pointer())


def first_of(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    """The place of the first number of one of numba's arrays."""
    return context.make_array(kind)(context, builder, array).data


def load(builder: Any, pointer: Any) -> Any:
    """A vector, wherever it lies."""
    vector = builder.load(pointer)
    vector.align = 4
    return vector


def store(builder: Any, vector: Any, pointer: Any) -> None:
    """Likewise."""
    builder.store(vector, pointer).align = 4
