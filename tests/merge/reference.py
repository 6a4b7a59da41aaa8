"""A slow weighted mean from exact fractions, and the vectors made with it.

It shares no arithmetic with the library: every IEEE operation is an exact fraction, rounded by `nearest` below. Run
`python -m tests.merge.reference` to write interop/vectors/merge.json again.
"""

import json
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parents[2] / "interop" / "vectors" / "merge.json"

FORMATS = {"F64": (53, -1022), "F32": (24, -126), "F16": (11, -14), "BF16": (8, -126)}
"""Bits of the significand, and exponent of the smallest normal number."""
ITEM = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "BOOL": 1}
INTEGERS = {f"{kind}{bits}": bits // 8 for kind in "IU" for bits in (8, 16, 32, 64)}


def nearest(value: Fraction, dtype: str) -> Fraction:
    """`value` rounded to the dtype, ties to even; no range check at the top."""
    if value == 0:
        return Fraction(0)
    precision, smallest = FORMATS[dtype]
    magnitude = abs(value)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    while Fraction(2) ** exponent > magnitude:
        exponent -= 1
    while Fraction(2) ** (exponent + 1) <= magnitude:
        exponent += 1
    step = Fraction(2) ** (max(exponent, smallest) - precision + 1)
    return round(value / step) * step  # round() of a Fraction is exact and half-even


def decode(dtype: str, data: bytes) -> list[Fraction]:
    """The elements of finite numbers, little-endian."""
    if dtype in INTEGERS:
        size = INTEGERS[dtype]
        parts = [data[i : i + size] for i in range(0, len(data), size)]
        return [Fraction(int.from_bytes(part, "little", signed=dtype[0] == "I")) for part in parts]
    if dtype == "BOOL":
        return [Fraction(int(byte != 0)) for byte in data]
    if dtype == "BF16":
        data = b"".join(b"\0\0" + data[i : i + 2] for i in range(0, len(data), 2))
        dtype = "F32"
    code = {"F64": "d", "F32": "f", "F16": "e"}[dtype]
    return [Fraction(value) for (value,) in struct.iter_unpack(f"<{code}", data)]


def encode(dtype: str, values: Sequence[Fraction]) -> bytes:
    """The inverse of `decode`; zero has no sign."""
    if dtype in INTEGERS:
        return b"".join(int(value).to_bytes(INTEGERS[dtype], "little", signed=dtype[0] == "I") for value in values)
    if dtype == "BOOL":
        return bytes(int(value) for value in values)
    if dtype == "BF16":
        return b"".join(struct.pack("<f", float(value))[2:] for value in values)
    code = {"F64": "d", "F32": "f", "F16": "e"}[dtype]
    return b"".join(struct.pack(f"<{code}", float(value)) for value in values)


def weighted_mean(dtype: str, inputs: Sequence[bytes], weights: Sequence[int]) -> bytes:
    """Section 8, one element and one operation at a time."""
    total = sum(weights)
    columns = zip(*(decode(dtype, data) for data in inputs), strict=True)
    if dtype == "BOOL":
        return bytes(int(2 * sum(w * x for w, x in zip(weights, xs, strict=True)) > total) for xs in columns)
    if dtype in INTEGERS:
        exact = [sum(w * x for w, x in zip(weights, xs, strict=True)) / total for xs in columns]
        return encode(dtype, [Fraction(round(value)) for value in exact])
    computed = "F64" if dtype == "F64" else "F32"
    shares = [nearest(nearest(Fraction(weight, total), "F64"), computed) for weight in weights]
    results = []
    for xs in columns:
        acc = nearest(shares[0] * xs[0], computed)
        for share, x in zip(shares[1:], xs[1:], strict=True):
            acc = nearest(acc + nearest(share * x, computed), computed)
        results.append(nearest(acc, dtype))
    return encode(dtype, results)


def noise(dtype: str, seed: int, count: int) -> bytes:
    """`count` finite elements from a linear congruential generator: integers and bools over their whole range, floats
    of any sign with exponents around 1 and, one in eight, denormal or zero."""
    item = ITEM.get(dtype) or INTEGERS[dtype]
    state, data = seed, bytearray()
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        value = (state >> 7) % 2 ** (8 * item)
        if dtype == "BOOL":
            value &= 1
        elif dtype in FORMATS:
            fraction = FORMATS[dtype][0] - 1
            exponents = 2 ** (8 * item - 1 - fraction)
            exponent = 0 if (state >> 3) % 8 == 0 else exponents // 2 - 5 + (state >> 3) % 9
            sign = value >> (8 * item - 1)
            value = (sign << (8 * item - 1)) | (exponent << fraction) | (value % 2**fraction)
        data += value.to_bytes(item, "little")
    return bytes(data)


def _floats(dtype: str, *values: float) -> bytes:
    return encode(dtype, [Fraction(value) for value in values])


def _bits(dtype: str, *values: int) -> bytes:
    item = ITEM.get(dtype) or INTEGERS[dtype]
    return b"".join(value.to_bytes(item, "little") for value in values)


def _case(name: str, dtype: str, weights: Sequence[int], *inputs: bytes) -> dict[str, Any]:
    return {
        "name": name,
        "dtype": dtype,
        "weights": list(weights),
        "inputs": [data.hex() for data in inputs],
        "expected": weighted_mean(dtype, inputs, weights).hex(),
    }


def _named_cases() -> list[dict[str, Any]]:
    cases = []
    for dtype in FORMATS:
        sign = 1 << (8 * ITEM[dtype] - 1)
        cases += [
            _case("minus zero becomes zero", dtype, (1,), _bits(dtype, sign, 0, sign)),
            _case("zeros of both signs", dtype, (1, 2), _bits(dtype, sign, 0, sign), _bits(dtype, sign, sign, 0)),
            _case("smallest denormals", dtype, (1, 1), _bits(dtype, 1, 1, sign | 1, 3), _bits(dtype, 1, 0, sign, 2)),
            _case("one input is itself", dtype, (7,), _bits(dtype, 1, sign | 2) + _floats(dtype, 1.5, -0.375)),
            _case("order matters for the bits", dtype, (3, 5, 9), *(noise(dtype, seed, 8) for seed in (1, 2, 3))),
        ]
    half = 1 + 2**-8
    cases += [
        _case(
            "bfloat16 ties to even", "BF16", (1, 1), _floats("BF16", 1, 1.0078125), _floats("BF16", 1.0078125, 1.015625)
        ),
        _case(
            "float16 ties to even", "F16", (1, 1), _floats("F16", 1, 1 + 2**-10), _floats("F16", 1 + 2**-10, 1 + 2**-9)
        ),
        _case("small negative rounds to zero", "F16", (1, 2**32 - 1), _bits("F16", 0x8001), _bits("F16", 0x8000)),
        _case("largest float16", "F16", (1, 1, 1), *[_bits("F16", 0x7BFF, 0xFBFF)] * 3),
        _case("below the limit", "F32", (1, 2, 3), *[_floats("F32", half * 2**99, -(2.0**99))] * 3),
        _case("majority", "BOOL", (2, 1, 1), b"\1\0\1\0", b"\0\1\1\0", b"\0\1\0\0"),
    ]
    for dtype, size in INTEGERS.items():
        low = 1 << (8 * size - 1) if dtype[0] == "I" else 0
        high = low - 1 if dtype[0] == "I" else 2 ** (8 * size) - 1
        cases += [
            _case("half to even", dtype, (1, 1), _bits(dtype, 0, 1, 2, 3, high), _bits(dtype, 1, 2, 3, 4, high - 1)),
            _case("extremes", dtype, (2**32 - 1, 2**32 - 1, 1), *[_bits(dtype, low, high, low, high)] * 3),
            _case("between extremes", dtype, (1, 2), _bits(dtype, low, high, 0), _bits(dtype, high, low, high)),
        ]
    return cases


def vectors() -> dict[str, Any]:
    """The whole content of merge.json."""
    cases = _named_cases()
    for seed, dtype in enumerate([*FORMATS, *INTEGERS, "BOOL"]):
        weights = [1000003 + 17 * seed, 3000000019, 2000000011, 77]
        cases.append(_case("noise", dtype, weights, *(noise(dtype, 10 * seed + k, 9) for k in range(4))))
    return {
        "about": "Weighted mean of docs/protocol.md, section 8. Elements are little-endian; inputs are in merge order.",
        "rule": "weighted_mean/1",
        "cases": cases,
    }


def main() -> None:
    text = json.dumps(vectors(), indent=1)
    VECTORS.write_text(text + "\n")


if __name__ == "__main__":
    main()
