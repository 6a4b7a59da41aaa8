"""Weighted means of one run of elements, equal to the bit on every machine (docs/protocol.md, section 8).

What keeps them so: element-wise ufuncs that write into `out`, in the order of the inputs; no reduction, no BLAS, no
sort, no fused multiply-add. Every kernel works in blocks that stay in the processor's cache, and needs scratch memory
for a block only. `VERSION` is part of the rule's id: any change of a result's bits changes it.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from swarmp2p.core.errors import KernelFault
from swarmp2p.merge.floats import Elements, narrow, sum_of_products, widen

Kernel: TypeAlias = Callable[[Sequence[Elements], Sequence[int], Elements], None]
"""(inputs, weights, out): `out` becomes the mean. All arrays have one length and the kernel's stored dtype."""

VERSION = 1
BLOCK = 16_384
"""Elements worked on at a time: 64 KiB of float32, so that input, accumulator and scratch fit into a core's cache."""
MAX_INPUTS = 256
MAX_WEIGHT = 2**32 - 1
MAX_TOTAL = MAX_INPUTS * MAX_WEIGHT
"""Largest sum of weights, below 2^40: the integer kernels' 64-bit sums depend on it."""

_LOW_BITS = np.uint64(20)
_LOW_MASK = np.uint64(2**20 - 1)


def require_sound_arithmetic() -> None:
    """Looks whether this thread keeps denormals and rounds to nearest even. Takes well under a microsecond.

    Both are settings of the processor for each thread, and other libraries change them (`torch.set_flush_denormal`,
    anything built with -ffast-math), so that one test at start-up is not enough.

    Raises:
        KernelFault: they are not what the protocol needs.
    """
    smallest, one, half_step = 5e-324, 1.0, 2.0**-53
    if smallest * one == 0.0 or (smallest * 3.0) * 0.5 != smallest * 2.0:
        raise KernelFault(
            "This thread flushes denormal numbers to zero, so its merges would differ from the other members'.",
            "Remove torch.set_flush_denormal(True), or the library that was built with -ffast-math, and restart.",
        )
    if one + half_step != one or -one - half_step != -one or one + 3.0 * half_step != one + 4.0 * half_step:
        raise KernelFault(
            "This thread does not round to nearest even, so its merges would differ from the other members'.",
            "Do not change the floating-point rounding mode in the process that merges.",
        )


def mean_float(dtype: str) -> Kernel:
    """The kernel of a float dtype: c_i = w_i / W, acc = c_0 x_0, then acc + c_i x_i, each operation rounded to the dtype
    computed in; 16-bit floats are widened to float32 and rounded once at the end."""
    if dtype in ("F64", "F32"):
        return _mean_native

    def kernel(inputs: Sequence[Elements], weights: Sequence[int], out: Elements) -> None:
        coefficients = shares(weights)
        acc, term = _scratch(out, np.float32), _scratch(out, np.float32)
        for start in range(0, out.size, BLOCK):
            block = slice(start, min(start + BLOCK, out.size))
            count = block.stop - start
            for index, (values, coefficient) in enumerate(zip(inputs, coefficients, strict=True)):
                target = acc[:count] if index == 0 else term[:count]
                widen(dtype, values[block], target)
                np.multiply(target, np.float32(coefficient), out=target)
                if index:
                    np.add(acc[:count], target, out=acc[:count])
            narrow(dtype, acc[:count], out[block])

    return kernel


def mean_integer(inputs: Sequence[Elements], weights: Sequence[int], out: Elements) -> None:
    """Half-even rounding of the exact sum(w x) / W, without a number that does not fit into 64 bits."""
    total = sum(weights)
    # |x| <= 2^bits, so |sum(w x)| <= W 2^bits.
    if out.dtype.itemsize < 8 and total << (8 * out.dtype.itemsize) < 2**62:
        _mean_small_integer(inputs, weights, out, total)
    else:
        _mean_large_integer(inputs, weights, out, total)


def mean_bool(inputs: Sequence[Elements], weights: Sequence[int], out: Elements) -> None:
    """Weighted majority, ties False. Inputs and `out` are uint8; any byte but 0 is True."""
    ayes, term, mask = _scratch(out, np.int64), _scratch(out, np.int64), _scratch(out, np.bool_)
    total = np.int64(sum(weights))
    for start in range(0, out.size, BLOCK):
        block = slice(start, min(start + BLOCK, out.size))
        count = block.stop - start
        ayes[:count] = 0
        for values, weight in zip(inputs, weights, strict=True):
            np.not_equal(values[block], np.uint8(0), out=mask[:count])
            np.multiply(mask[:count], np.int64(2 * weight), out=term[:count])
            np.add(ayes[:count], term[:count], out=ayes[:count])
        np.greater(ayes[:count], total, out=mask[:count])
        np.copyto(out[block], mask[:count])


def shares(weights: Sequence[int]) -> list[float]:
    """w_i / W, correctly rounded to float64: both are integers below 2^53."""
    total = sum(weights)
    return [weight / total for weight in weights]


def _scratch(out: Elements, dtype: type[np.generic]) -> Elements:
    return np.empty(min(BLOCK, out.size), dtype)


def _mean_native(inputs: Sequence[Elements], weights: Sequence[int], out: Elements) -> None:
    """Where the stored dtype is the one computed in."""
    coefficients = shares(weights)
    term = np.empty(min(BLOCK, out.size), out.dtype)
    for start in range(0, out.size, BLOCK):
        block = slice(start, min(start + BLOCK, out.size))
        acc = out[block]
        sum_of_products([values[block] for values in inputs], coefficients, acc, term[: acc.size])
        np.add(acc, acc.dtype.type(0.0), out=acc)


def _mean_small_integer(inputs: Sequence[Elements], weights: Sequence[int], out: Elements, total: int) -> None:
    """The weighted sum fits into int64."""
    acc, term, mask = _scratch(out, np.int64), _scratch(out, np.int64), _scratch(out, np.bool_)
    for start in range(0, out.size, BLOCK):
        block = slice(start, min(start + BLOCK, out.size))
        sums, terms = acc[: block.stop - start], term[: block.stop - start]
        np.multiply(inputs[0][block], np.int64(weights[0]), out=sums, dtype=np.int64)
        for values, weight in zip(inputs[1:], weights[1:], strict=True):
            np.multiply(values[block], np.int64(weight), out=terms, dtype=np.int64)
            np.add(sums, terms, out=sums)
        np.floor_divide(sums, np.int64(total), out=terms)
        quotient = terms.view(np.uint64)
        remainder = sums.view(np.uint64)
        _subtract_product(remainder, quotient, total)
        _round_half_even(quotient, remainder, total, mask[: sums.size])
        np.copyto(out[block], terms, casting="unsafe")  # the mean is within the inputs' range, so it fits


def _mean_large_integer(inputs: Sequence[Elements], weights: Sequence[int], out: Elements, total: int) -> None:
    """The weighted sum may need more than 64 bits, but the mean does not.

    With x_i = q_i W + r_i, 0 <= r_i < W, the mean is sum(w_i q_i) + sum(w_i r_i) / W. The first sum may wrap: the mean
    is right modulo 2^64. The second is kept exact as high 2^20 + low: W < 2^40, so each part stays below 2^60.
    """
    wide = np.int64 if out.dtype.kind == "i" else np.uint64
    names = ("value", "quotient", "remainder", "whole", "high", "low")
    scratch = {name: _scratch(out, np.uint64) for name in names}
    mask = _scratch(out, np.bool_)
    divisor = np.uint64(total)
    for start in range(0, out.size, BLOCK):
        block = slice(start, min(start + BLOCK, out.size))
        count = block.stop - start
        value, quotient, remainder, whole, high, low = (scratch[name][:count] for name in names)
        whole[:], high[:], low[:] = 0, 0, 0
        for values, weight in zip(inputs, weights, strict=True):
            factor = np.uint64(weight)
            np.copyto(value.view(wide), values[block])
            np.floor_divide(value.view(wide), wide(total), out=quotient.view(wide))
            np.copyto(remainder, value)
            _subtract_product(remainder, quotient, total)
            np.multiply(quotient, factor, out=quotient)
            np.add(whole, quotient, out=whole)
            np.right_shift(remainder, _LOW_BITS, out=value)
            np.multiply(value, factor, out=value)
            np.add(high, value, out=high)
            np.bitwise_and(remainder, _LOW_MASK, out=value)
            np.multiply(value, factor, out=value)
            np.add(low, value, out=low)
        # high = q W + r, then the mean's rest is q 2^20 + (r 2^20 + low) / W.
        np.floor_divide(high, divisor, out=quotient)
        _subtract_product(high, quotient, total)
        np.left_shift(quotient, _LOW_BITS, out=quotient)
        np.add(whole, quotient, out=whole)
        np.left_shift(high, _LOW_BITS, out=high)
        np.add(high, low, out=high)
        np.floor_divide(high, divisor, out=quotient)
        _subtract_product(high, quotient, total)
        np.add(whole, quotient, out=whole)
        _round_half_even(whole, high, total, mask[:count])
        np.copyto(out[block], whole.view(wide), casting="same_kind")


def _subtract_product(remainder: Elements, quotient: Elements, total: int) -> None:
    """remainder - quotient W modulo 2^64, in place; exact where the result is in [0, W)."""
    product = np.multiply(quotient, np.uint64(total))
    np.subtract(remainder, product, out=remainder)


def _round_half_even(quotient: Elements, remainder: Elements, total: int, mask: Elements) -> None:
    """Adds 1 to the quotient where the remainder is over W / 2, or W / 2 and the quotient odd; spoils the remainder."""
    np.left_shift(remainder, np.uint64(1), out=remainder)
    odd = np.bitwise_and(quotient, np.uint64(1))
    np.add(remainder, odd, out=remainder)
    np.greater(remainder, np.uint64(total), out=mask)
    np.add(quotient, mask, out=quotient)


KERNELS: dict[str, tuple[np.dtype[Any], Kernel]] = {
    "F64": (np.dtype("<f8"), mean_float("F64")),
    "F32": (np.dtype("<f4"), mean_float("F32")),
    "F16": (np.dtype("<f2"), mean_float("F16")),
    "BF16": (np.dtype("<u2"), mean_float("BF16")),
    "I64": (np.dtype("<i8"), mean_integer),
    "I32": (np.dtype("<i4"), mean_integer),
    "I16": (np.dtype("<i2"), mean_integer),
    "I8": (np.dtype("i1"), mean_integer),
    "U64": (np.dtype("<u8"), mean_integer),
    "U32": (np.dtype("<u4"), mean_integer),
    "U16": (np.dtype("<u2"), mean_integer),
    "U8": (np.dtype("u1"), mean_integer),
    "BOOL": (np.dtype("u1"), mean_bool),
}
"""Stored dtype and kernel for each dtype that can be merged; safetensors' others have no mean worth the name."""
