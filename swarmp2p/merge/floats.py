"""Floats widened to the dtype that is computed in, and rounded back, equal to the bit on every machine (section 8).

float16 and bfloat16 are computed in float32 and rounded once at the end, to nearest even; float32 and float64 are
computed in themselves. NumPy has no bfloat16, so its bits are kept as uint16: it is the upper half of a float32.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Elements: TypeAlias = NDArray[Any]

FLOATS: Mapping[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f4"),
    "BF16": np.dtype("<f4"),
}
"""What each float dtype is computed in."""
LIMITS: Mapping[str, float] = {"F64": 1e36, "F32": 1e36, "F16": 65504.0, "BF16": 1e36}
"""Where rules that may leave the range of their inputs stop: 256 times that is finite in the dtype computed in."""

_ZERO_16 = np.uint16(0)
_MINUS_ZERO_16 = np.uint16(0x8000)
with np.errstate(all="ignore"):
    _WIDE_16 = np.arange(2**16, dtype="<u2").view("<f2").astype(np.float32)
"""float32 of each float16 by its bits: looking it up is 2.5 times as fast as NumPy's conversion."""


def widen(dtype: str, values: Elements, out: Elements) -> None:
    """`values` of the stored dtype, exactly, into `out` of `FLOATS[dtype]`; -0 stays."""
    if dtype == "F16":
        np.take(_WIDE_16, values.view(np.uint16), out=out, mode="clip")
    elif dtype == "BF16":
        bits = out.view(np.uint32)
        np.copyto(bits, values)
        np.left_shift(bits, np.uint32(16), out=bits)
    else:
        np.copyto(out, values)


def narrow(dtype: str, values: Elements, out: Elements) -> None:
    """`values` of `FLOATS[dtype]` rounded into `out` of the stored dtype, ties to even; -0 becomes +0.

    Spoils `values`. A number beyond the stored dtype becomes infinite: `limit` before, where that can be.
    """
    if dtype == "BF16":
        bits = values.view(np.uint32)
        # Half a unit of the last place kept, less one bit where that place is even: ties go to even.
        odd = np.right_shift(bits, np.uint32(16))
        np.bitwise_and(odd, np.uint32(1), out=odd)
        np.add(odd, np.uint32(0x7FFF), out=odd)
        np.add(bits, odd, out=bits)
        np.right_shift(bits, np.uint32(16), out=bits)
        np.copyto(out, bits, casting="same_kind")
    elif dtype == "F16":
        np.copyto(out, values, casting="same_kind")
    else:
        np.add(values, values.dtype.type(0.0), out=out)
        return
    # Rounding makes new -0 from small negative numbers, so it is by the rounded bits that they are found.
    bits = out.view(np.uint16)
    np.copyto(bits, _ZERO_16, where=np.equal(bits, _MINUS_ZERO_16))


def limit(dtype: str, values: Elements) -> None:
    """Brings `values`, which hold no NaN, into the dtype's LIMITS, in place."""
    most = values.dtype.type(LIMITS[dtype])
    np.minimum(values, most, out=values)
    np.maximum(values, -most, out=values)


def sum_of_products(
    values: Sequence[Elements], coefficients: Sequence[float], out: Elements, scratch: Elements
) -> None:
    """acc = c_0 x_0, then acc + c_i x_i, each operation rounded to the dtype of `out`; coefficients are rounded to it
    first."""
    kind = out.dtype.type
    np.multiply(values[0], kind(coefficients[0]), out=out)
    for each, coefficient in zip(values[1:], coefficients[1:], strict=True):
        np.multiply(each, kind(coefficient), out=scratch)
        np.add(out, scratch, out=out)
