"""Slow merge rules from exact fractions, element by element, and the vectors made with them.

As `reference.py` they share no arithmetic with the library: every IEEE operation is an exact fraction, rounded by
`nearest`; distances are in Python's floats, as a sum by halves. Run `python -m tests.merge.rule_reference` to write
interop/vectors/merge_rules.json again.
"""

import json
import math
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from swarmp2p.core.schema import Schema, canonical_schema
from swarmp2p.merge.registry import RULES, rule_from_draft, rule_from_id
from swarmp2p.merge.rule import Rule
from tests.merge.reference import FORMATS, INTEGERS, ITEM, decode, encode, nearest, noise, weighted_mean

VECTORS = Path(__file__).parents[2] / "interop" / "vectors" / "merge_rules.json"
LIMITS = {"F64": 1e36, "F32": 1e36, "F16": 65504.0, "BF16": 1e36}
Column = Sequence[Fraction]


class Arithmetic:
    """Operations rounded to what a dtype is computed in."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.computed = "F64" if dtype == "F64" else "F32"

    def r(self, value: Fraction | float) -> Fraction:
        return nearest(Fraction(value), self.computed)

    def add(self, a: Fraction, b: Fraction) -> Fraction:
        return self.r(a + b)

    def sub(self, a: Fraction, b: Fraction) -> Fraction:
        return self.r(a - b)

    def mul(self, a: Fraction, b: Fraction | float) -> Fraction:
        return self.r(a * self.r(b))

    def div(self, a: Fraction, b: Fraction) -> Fraction:
        return self.r(a / b)

    def sqrt(self, a: Fraction) -> Fraction:
        if a == 0:
            return a
        scale = 1 << 400
        scaled = a * scale * scale
        root = math.isqrt(scaled.numerator // scaled.denominator)
        exact = root * root == scaled
        return self.r(Fraction(2 * root + (0 if exact else 1), 2 * scale))

    def clip(self, a: Fraction, most: float) -> Fraction:
        bound = self.r(most)
        return max(-bound, min(bound, a))

    def limit(self, a: Fraction) -> Fraction:
        return self.clip(a, LIMITS[self.dtype])

    def mean(self, xs: Column, shares: Sequence[float]) -> Fraction:
        acc = self.mul(xs[0], shares[0])
        for x, share in zip(xs[1:], shares[1:], strict=True):
            acc = self.add(acc, self.mul(x, share))
        return acc

    def even_mean(self, xs: Column) -> Fraction:
        acc = xs[0]
        for x in xs[1:]:
            acc = self.add(acc, x)
        return self.div(acc, Fraction(len(xs)))


def shares_of(weights: Sequence[int]) -> list[float]:
    return [weight / sum(weights) for weight in weights]


def squared(a: Column, b: Column) -> float:
    """Of at most one block, as distances.py says."""
    terms = [(float(x) - float(y)) * (float(x) - float(y)) for x, y in zip(a, b, strict=True)]
    width = 1
    while width < len(terms):
        width *= 2
    terms += [0.0] * (width - len(terms))
    while len(terms) > 1:
        half = len(terms) // 2
        terms = [low + high for low, high in zip(terms[:half], terms[half:], strict=True)]
    return terms[0]


def columns(vectors: Sequence[Column]) -> list[Column]:
    return list(zip(*vectors, strict=True))


def coordinate_median(a: Arithmetic, vectors: Sequence[Column], **_: Any) -> list[Fraction]:
    def one(xs: Column) -> Fraction:
        ordered = sorted(xs)
        low, high = ordered[(len(xs) - 1) // 2], ordered[len(xs) // 2]
        return low if len(xs) % 2 else a.mul(a.add(low, high), 0.5)

    return [one(xs) for xs in columns(vectors)]


def trimmed_mean(a: Arithmetic, vectors: Sequence[Column], beta: float, **_: Any) -> list[Fraction]:
    cut = math.floor(beta * len(vectors))
    return [a.even_mean(sorted(xs)[cut : len(xs) - cut]) for xs in columns(vectors)]


def geometric_shares(
    a: Arithmetic, vectors: Sequence[Column], weights: Sequence[int], iterations: int, nu: float
) -> list[float]:
    ours = now = shares_of(weights)
    for iteration in range(iterations):
        z = [a.mean(xs, now) for xs in columns(vectors)] if iteration else coordinate_median(a, vectors)
        pulls = [share / max(nu, math.sqrt(squared(x, z))) for share, x in zip(ours, vectors, strict=True)]
        total = 0.0
        for pull in pulls:
            total += pull
        now = [pull / total for pull in pulls]
    return now


def geometric_median(a: Arithmetic, vectors: Sequence[Column], weights: Sequence[int], **p: Any) -> list[Fraction]:
    now = geometric_shares(a, vectors, weights, p["iterations"], p["nu"])
    return [a.mean(xs, now) for xs in columns(vectors)]


def krum_choice(vectors: Sequence[Column], f: int, chosen: int) -> list[int]:
    nearest_ones = max(1, len(vectors) - f - 2)
    scores = []
    for i, x in enumerate(vectors):
        score = 0.0
        for each in sorted(squared(x, y) for j, y in enumerate(vectors) if j != i)[:nearest_ones]:
            score += each
        scores.append(score)
    return sorted(sorted(range(len(vectors)), key=lambda i: (scores[i], i))[:chosen])


def krum(a: Arithmetic, vectors: Sequence[Column], f: int, **_: Any) -> list[Fraction]:
    return list(vectors[krum_choice(vectors, f, 1)[0]])


def multi_krum(a: Arithmetic, vectors: Sequence[Column], f: int, **_: Any) -> list[Fraction]:
    kept = krum_choice(vectors, f, max(1, len(vectors) - f - 2))
    return [a.even_mean([xs[i] for i in kept]) for xs in columns(vectors)]


def norm_clipping(
    a: Arithmetic, vectors: Sequence[Column], weights: Sequence[int], heads: Sequence[Column], norm: float, **_: Any
) -> list[Fraction]:
    factors = []
    for share, x in zip(shares_of(weights), vectors, strict=True):
        length = math.sqrt(squared(x, heads[0]))
        factors.append(share if length <= norm else share * (norm / length))
    result = []
    for xs, h in zip(columns(vectors), heads[0], strict=True):
        acc = h
        for each, factor in zip(xs, factors, strict=True):
            acc = a.add(acc, a.mul(a.sub(each, h), factor))
        result.append(a.limit(acc))
    return result


def fedavgm(
    a: Arithmetic,
    vectors: Sequence[Column],
    weights: Sequence[int],
    heads: Sequence[Column],
    momentum: float,
    rate: float,
    **_: Any,
) -> list[Fraction]:
    result = []
    for xs, h, g in zip(columns(vectors), heads[0], heads[1], strict=True):
        moved = a.add(h, a.mul(a.sub(a.mean(xs, shares_of(weights)), h), rate))
        result.append(a.limit(a.add(moved, a.mul(a.sub(h, g), momentum))))
    return result


Moments = tuple[list[Fraction], list[Fraction], list[Fraction]]


def adaptive(
    a: Arithmetic, vectors: Sequence[Column], weights: Sequence[int], head: Moments, yogi: bool, **p: float
) -> Moments:
    """New weights, first and second moments."""
    made: Moments = ([], [], [])
    for xs, h, m, v in zip(columns(vectors), *head, strict=True):
        d = a.sub(a.mean(xs, shares_of(weights)), h)
        square = a.mul(d, d)
        step = a.mul(square, 1.0 - p["beta2"])
        if yogi:
            second = v if v == square else a.sub(v, step) if v > square else a.add(v, step)
        else:
            second = a.add(a.mul(v, p["beta2"]), step)
        second = min(second, a.r(1e38))
        first = a.clip(a.add(a.mul(m, p["beta1"]), a.mul(d, 1.0 - p["beta1"])), 1e36)
        below = a.add(a.sqrt(second), a.r(p["tau"]))
        made[0].append(a.limit(a.add(h, a.div(a.mul(first, p["rate"]), below))))
        made[1].append(first)
        made[2].append(second)
    return made


FLOAT_RULES: dict[str, Callable[..., list[Fraction]]] = {
    "coordinate_median": coordinate_median,
    "trimmed_mean": trimmed_mean,
    "geometric_median": geometric_median,
    "krum": krum,
    "multi_krum": multi_krum,
    "norm_clipping": norm_clipping,
    "fedavgm": fedavgm,
}


def merge_floats(
    rule: Rule, dtype: str, inputs: Sequence[bytes], weights: Sequence[int], heads: Sequence[bytes]
) -> bytes:
    """A model of one float tensor, by any rule without state."""
    name, parameters = rule.id.partition("/")[0], rule_parameters(rule)
    if name == "weighted_mean":
        return weighted_mean(dtype, inputs, weights)
    vectors, before = [decode(dtype, data) for data in inputs], [decode(dtype, data) for data in heads]
    made = FLOAT_RULES[name](Arithmetic(dtype), vectors, weights=weights, heads=before, **parameters)
    return encode(dtype, [nearest(value, dtype) for value in made])


def merge_others(rule: Rule, dtype: str, inputs: Sequence[bytes], weights: Sequence[int]) -> bytes:
    """A model of one tensor of integers or bools: whole vectors without floats are all equally far away."""
    name, parameters, item = rule.id.partition("/")[0], rule_parameters(rule), len(inputs)
    if name in ("coordinate_median", "trimmed_mean"):
        cut = (item - 1) // 2 if name == "coordinate_median" else math.floor(parameters["beta"] * item)
        ordered = [sorted(xs)[cut : item - cut] for xs in columns([decode(dtype, data) for data in inputs])]
        rows = [encode(dtype, list(row)) for row in zip(*ordered, strict=True)]
        return weighted_mean(dtype, rows, [1] * len(rows))
    if name in ("krum", "multi_krum"):
        chosen = 1 if name == "krum" else max(1, item - parameters["f"] - 2)
        return weighted_mean(dtype, inputs[:chosen], [1] * chosen)
    if name == "geometric_median":
        weights = [min(1 + int(share * 2**31), 2**32 - 1) for share in _equal_pulls(weights, parameters)]
    return weighted_mean(dtype, inputs, weights)


def _equal_pulls(weights: Sequence[int], parameters: dict[str, Any]) -> list[float]:
    return geometric_shares(Arithmetic("F64"), [[Fraction(0)]] * len(weights), weights, **parameters)


def merge_with_moments(
    rule: Rule, dtype: str, inputs: Sequence[bytes], weights: Sequence[int], head: tuple[bytes, bytes, bytes]
) -> tuple[bytes, bytes, bytes]:
    """The weights and moments of a model of one float tensor, by FedAdam or FedYogi."""
    a = Arithmetic(dtype)
    before = decode(dtype, head[0]), decode(a.computed, head[1]), decode(a.computed, head[2])
    vectors = [decode(dtype, data) for data in inputs]
    yogi = rule.id.startswith("fedyogi")
    made = adaptive(a, vectors, weights, before, yogi, **rule_parameters(rule))
    return (
        encode(dtype, [nearest(value, dtype) for value in made[0]]),
        encode(a.computed, made[1]),
        encode(a.computed, made[2]),
    )


def rule_parameters(rule: Rule) -> dict[str, Any]:
    """From the id: whole numbers are int."""
    parts = [part.split("=") for part in rule.id.split(";")[1:]]
    return {name: int(text) if text.isdigit() else float(text) for name, text in parts if name != "wire"}


def int8_values(dtype: str, steps: bytes, scales: bytes, head: bytes) -> bytes:
    """What an update of the wire int8 is decoded to."""
    a, f32 = Arithmetic(dtype), Arithmetic("F32")
    factors = decode("F32", scales)
    made = []
    for place, (step, h) in enumerate(zip(struct.unpack(f"{len(steps)}b", steps), decode(dtype, head), strict=True)):
        made.append(a.limit(a.add(h, f32.mul(Fraction(step), factors[place // 256]))))
    return encode(dtype, [nearest(value, dtype) for value in made])


def half_values(dtype: str, wire: str, data: bytes) -> bytes:
    """What an update of the wires bf16 and f16 is decoded to."""
    return encode(dtype, decode("BF16" if wire == "bf16" else "F16", data))


# ---- vectors


def tensor_bytes(schema: Schema, file: bytes, name: str) -> bytes:
    tensor = schema.by_name()[name]
    return bytes(file[tensor.start : tensor.stop])


def file_of(schema: Schema, tensors: dict[str, bytes]) -> bytes:
    return schema.head + b"".join(tensors[tensor.name] for tensor in schema.tensors)


def _case(
    rule: Rule, name: str, dtype: str, weights: Sequence[int], seeds: Sequence[int], count: int
) -> dict[str, Any]:
    """A model of one tensor `w`, with updates and earlier models of noise."""
    model = rule.model_schema(canonical_schema([("w", dtype, (count,))]))
    update = rule.update_schema(model)

    def made(schema: Schema, seed: int) -> bytes:
        tensors = {t.name: noise(t.dtype, seed + i, max(1, _count(t))) for i, t in enumerate(schema.tensors)}
        if "w:v" in tensors:  # second moments are not negative
            item = ITEM[schema.by_name()["w:v"].dtype]
            data = bytearray(tensors["w:v"])
            data[item - 1 :: item] = bytes(byte & 0x7F for byte in data[item - 1 :: item])
            tensors["w:v"] = bytes(data)
        return file_of(schema, tensors)

    files = [made(update, seed) for seed in seeds]
    heads = [made(model, 1000 + seeds[0] + i) for i in range(rule.heads)]
    return {
        "rule": rule.id,
        "name": name,
        "dtype": dtype,
        "count": count,
        "weights": list(weights),
        "updates": [file[len(update.head) :].hex() for file in files],
        "heads": [file[len(model.head) :].hex() for file in heads],
        "expected": expected(rule, model, files, weights, heads).hex(),
    }


def _count(tensor: Any) -> int:
    size = 1
    for extent in tensor.shape:
        size *= extent
    return size


def expected(
    rule: Rule, model: Schema, files: Sequence[bytes], weights: Sequence[int], heads: Sequence[bytes]
) -> bytes:
    """The tensors' bytes of the merged model, of a model with the one tensor `w` (and its moments)."""
    update = rule.update_schema(model)
    dtype = model.by_name()["w"].dtype
    wire = rule.wire.name
    data = [tensor_bytes(update, file, "w") for file in files]
    if dtype in FORMATS and wire == "int8":
        scales = [tensor_bytes(update, file, "w:scale") for file in files]
        base = tensor_bytes(model, heads[0], "w")
        data = [int8_values(dtype, steps, scale, base) for steps, scale in zip(data, scales, strict=True)]
    elif dtype in ("F32", "F64") and wire in ("bf16", "f16"):
        data = [half_values(dtype, wire, each) for each in data]
    if dtype not in FORMATS:
        return merge_others(rule, dtype, data, weights)
    reads = 2 if rule.id.startswith("fedavgm") else 1 if rule.id.startswith("norm_clipping") else 0
    if "w:m" not in model.by_name():
        return merge_floats(rule, dtype, data, weights, [tensor_bytes(model, head, "w") for head in heads[:reads]])
    before = tuple(tensor_bytes(model, heads[0], name) for name in ("w", "w:m", "w:v"))
    made = dict(zip(("w", "w:m", "w:v"), merge_with_moments(rule, dtype, data, weights, before), strict=True))  # type: ignore[arg-type]
    return b"".join(made[tensor.name] for tensor in model.tensors)


def vectors() -> dict[str, Any]:
    """The whole content of merge_rules.json."""
    cases, seed = [], 0
    for name in RULES:
        for dtype in [*FORMATS, *INTEGERS, "BOOL"]:
            for members in (1, 4, 7) if dtype in FORMATS else (5,):
                weights = [1000003, 3000000019, 2000000011, 77, 5, 123456, 9][:members]
                seeds = [seed + 10 * k for k in range(members)]
                cases.append(_case(rule_from_draft(name), f"{members} updates", dtype, weights, seeds, 5))
                seed += 100
    for wire in ("bf16", "f16", "int8"):
        for dtype in [*FORMATS, "I32"]:
            rule = rule_from_draft(f"coordinate_median;wire={wire}")
            cases.append(_case(rule, f"wire {wire}", dtype, [1, 2, 3], [seed, seed + 10, seed + 20], 300))
            seed += 100
    return {
        "about": "Merge rules of docs/protocol.md, section 8. Models have one tensor w (fedadam and fedyogi: and its "
        "moments) in the canonical layout; bytes are those of the tensors, without the head; updates are in merge order.",
        "cases": cases,
    }


def rule_of(case: dict[str, Any]) -> Rule:
    """The rule of a vector."""
    return rule_from_id(case["rule"])


def main() -> None:
    VECTORS.write_text(json.dumps(vectors(), indent=1) + "\n")


if __name__ == "__main__":
    main()
