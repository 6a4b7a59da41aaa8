"""Start-up test of the kernels on this machine (docs/protocol.md, sections 7 and 8): a member whose processor, NumPy
or thread settings give other bits must not attest a merge, and learns so before it signs anything."""

from functools import lru_cache, partial
from hashlib import sha256, shake_256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swarmp2p.core.errors import KernelFault
from swarmp2p.core.schema import ITEM_SIZE, Schema, canonical_schema
from swarmp2p.core.types import CHUNK_SIZE
from swarmp2p.merge.kernels import KERNELS, require_sound_arithmetic
from swarmp2p.merge.registry import rule_from_id
from swarmp2p.merge.rule import RoundInputs
from swarmp2p.merge.weighted_mean import WeightedMean

KNOWN: tuple[tuple[str, tuple[int, ...], tuple[str, ...], str], ...] = (
    # dtype, weights, inputs and expected mean in hexadecimal: signs of zero, denormals, ties, extremes of integers
    ("F64", (1, 1), ("0100000000000080" "0300000000000000", "0000000000000080" "0200000000000000"),
     "0000000000000000" "0300000000000000"),
    ("F32", (1,), ("00000080" "01000000" "01000080",), "00000000" "01000000" "01000080"),
    ("F32", (1, 1), ("00000080" "01000000" "03000000", "00000080" "01000000" "02000000"),
     "00000000" "00000000" "03000000"),
    ("F16", (1, 1), ("003c" "013c" "0180" "ff7b", "013c" "023c" "0080" "ff7b"), "003c" "023c" "0000" "ff7b"),
    ("BF16", (1, 1), ("803f" "813f" "0180" "0100", "813f" "823f" "0080" "0100"), "803f" "823f" "0000" "0100"),
    ("I64", (4294967295, 4294967295), ("00000000000000800000000000000000", "ffffffffffffff7f0100000000000000"),
     "00000000000000000000000000000000"),
    ("U64", (4294967295, 1), ("ffffffffffffffff", "ffffffffffffffff"), "ffffffffffffffff"),
    ("I8", (1, 1), ("000102fd", "010203fe"), "000202fe"),
    ("BOOL", (2, 1, 1), ("01000100", "00010100", "00010000"), "00000100"),
)  # fmt: skip

NOISE_WEIGHTS = (1000003, 3000000019, 2000000011)
NOISE_COUNT = 1031
"""Elements of the noise test: several of a processor's vectors and a rest."""
NOISE_DIGESTS: dict[str, str] = {
    "F64": "b9cbcd3320f43886f70b89076f81355219cd27ea6b6d1c1d6e914ea0588b3017",
    "F32": "8fb51f87a0e6cc7175bb2f152ce37fafdb25500430a5fa36f57d15ae5141d20f",
    "F16": "e44b7b77cfc11794ed03a07e929e078faad3d10f72c1790a8553c3aaa9922755",
    "BF16": "5c18f31c5e3ce09ef1a05dde9361765f9f5077d630ce8627742312a0cb0e1952",
    "I64": "e0331c409d5de4f71d64bd999c64a2ea9f944220aaea49df778cfdb7ce534091",
    "I32": "4ab2668d9f3549f47af6d126e6e075b051cd5105060ba2903051289139d7f276",
    "I16": "b1bbc6340e73af2edb7e8ababa71b25d492190df6dba62e284fe12d94ca3f5ae",
    "I8": "a7003cc762fffc3dba2f0020f2537fe0b4f2a7b494319bd4c32047c2fee392d3",
    "U64": "65973c1623d811baaad798cc78c2e73df7e759bbec30acbb24f26ca34fa2ee4b",
    "U32": "9d2c9ef922b7a850fc4b93e402e062602c2d2177012c9fbbd1afd084ef104319",
    "U16": "ca85b83942ff9f5f8f71a44bfab05cb2375a519ec339eb4948f90cbb3f2ff6dc",
    "U8": "acd23529d99a7ee1f62cb169eec5d350b4afffff37be3887285b0f34327b6f6e",
    "BOOL": "cacbe482fdf170979fdfb522bfa2894292fd2d2a3d0cacb37e41ee0da88eaf3f",
}
"""sha2-256 of the merged noise of each dtype, computed with exact fractions (tests/merge/reference.py)."""

RULE_DIGESTS: dict[str, str] = {
    "coordinate_median/1": "61aa990f2aff784f3f8521617080b7ef",
    "fedadam/1;beta1=0.9;beta2=0.99;rate=0.01;tau=0.001;wire=int8": "a01c7bb823515ed643f4668d5ddab2c5",
    "fedavgm/1;momentum=0.9;rate=1.0;wire=bf16": "d3431c26ff7a5b136dbad8706c1656a5",
    "fedyogi/1;beta1=0.9;beta2=0.99;rate=0.01;tau=0.001;wire=f16": "8f866d9c13f1d5454aeca49a46599e06",
    "geometric_median/1;iterations=8;nu=1e-06": "0bb09139dfec1e0f60ab01e4063e75a8",
    "krum/1;f=1;wire=int8": "ac77495cff58673f86a7e86b1d1c72c9",
    "multi_krum/1;f=1;wire=bf16": "401746d90aa084db9c7170f4236a2f04",
    "norm_clipping/1;norm=1.0;wire=f16": "98916d4a6296b87f18a2b731b5bc4ab8",
    "trimmed_mean/1;beta=0.25": "50db483a9c533cda27f5bbffe354e7af",
    "weighted_mean/1;wire=int8": "77e7e9c3488e4d3df49afac2221aba70",
}
"""First 16 bytes of the sha2-256 of the file that these rules make of noise in every dtype, as this library's vectors and
its exact references (tests/merge) confirm their kernels. Rules take turns with the wires."""
_EXPONENT = {"F64": (52, 0x7FF), "F32": (23, 0xFF), "F16": (10, 0x1F), "BF16": (7, 0xFF)}
"""Bits of the fraction and mask of the exponent."""


@lru_cache(maxsize=1)
def self_test() -> None:
    """Merges known vectors with every kernel; a success is remembered for the process.

    A thread's own settings can differ: `Merge.chunk` looks at those in every call (`require_sound_arithmetic`).

    Raises:
        KernelFault: names the dtype whose merge came out wrong.
    """
    require_sound_arithmetic()
    for dtype, weights, inputs, expected in KNOWN:
        if _merge(dtype, weights, [bytes.fromhex(text) for text in inputs]) != bytes.fromhex(expected):
            _fault(dtype)
    for dtype in KERNELS:
        merged = _merge(dtype, NOISE_WEIGHTS, [noise(dtype, position) for position in range(len(NOISE_WEIGHTS))])
        if sha256(merged).hexdigest() != NOISE_DIGESTS[dtype]:
            _fault(dtype)
    for rule_id, digest in RULE_DIGESTS.items():
        if rule_digest_here(rule_id) != digest:
            _fault(f"by {rule_id}")


def rule_digest_here(rule_id: str) -> str:
    """What this machine makes of the noise by a rule, as RULE_DIGESTS has it."""
    rule = rule_from_id(rule_id)
    model = rule.model_schema(canonical_schema((dtype, dtype, (NOISE_COUNT,)) for dtype in KERNELS))
    update = rule.update_schema(model)
    count = len(NOISE_WEIGHTS)
    updates = [partial(_chunk, _noise_file(update, position)) for position in range(count)]
    heads = [partial(_chunk, _noise_file(model, count + position)) for position in range(rule.heads)]
    merge = rule.begin(RoundInputs(model, updates, NOISE_WEIGHTS, heads))
    hashed = sha256()
    for index in range(model.chunks):
        hashed.update(merge.chunk(index))
    return hashed.hexdigest()[:32]


def _noise_file(schema: Schema, position: int) -> bytes:
    """A file of noise; tensors of a rule's or a wire's own hold what they can: nothing negative."""
    parts = [schema.head]
    for tensor in schema.tensors:
        data = bytearray(noise(tensor.dtype, position))[: tensor.stop - tensor.start]
        if ":" in tensor.name:
            item = ITEM_SIZE[tensor.dtype]
            data[item - 1 :: item] = bytes(byte & 0x7F for byte in data[item - 1 :: item])
        parts.append(bytes(data))
    return b"".join(parts)


def noise(dtype: str, position: int) -> bytes:
    """NOISE_COUNT elements that any program can make again from SHAKE-256.

    Integers and bools over their whole range; floats with exponents around that of 1, and each eighth one denormal.
    """
    stored = KERNELS[dtype][0]
    seed = f"swarmp2p self-test {dtype} {position}".encode()
    stream = shake_256(seed).digest(NOISE_COUNT * stored.itemsize)
    bits: NDArray[Any] = np.frombuffer(stream, stored.str.replace("f", "u")).copy()
    if dtype == "BOOL":
        bits &= 1
    elif dtype in _EXPONENT:
        fraction, mask = _EXPONENT[dtype]
        unsigned = bits.dtype.type
        exponent = (bits >> unsigned(fraction)) & unsigned(7)
        exponent += unsigned(mask // 2 - 4)
        exponent[::8] = 0
        bits &= unsigned(~(mask << fraction) & (2 ** (8 * stored.itemsize) - 1))
        bits |= exponent << unsigned(fraction)
    return bits.tobytes()


def _merge(dtype: str, weights: tuple[int, ...], inputs: list[bytes]) -> bytes:
    """The mean of bare tensors, through the rule itself."""
    count = len(inputs[0]) // KERNELS[dtype][0].itemsize
    schema = canonical_schema([("test", dtype, (count,))])
    files = [schema.head + data for data in inputs]
    merged = WeightedMean().begin(RoundInputs(schema, [partial(_chunk, file) for file in files], weights)).chunk(0)
    return bytes(merged[len(schema.head) :])


def _chunk(file: bytes, index: int) -> bytes:
    return file[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE]


def _fault(dtype: str) -> None:
    raise KernelFault(
        f"Merging {dtype} gives other bits on this machine than the protocol says (NumPy {np.__version__}).",
        "Do not attest from this machine; try another NumPy release, and report this with the processor's name.",
    )
