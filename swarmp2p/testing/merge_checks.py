"""Checks of merge rules, for one's own too: `check_merge_rule(rule_from_draft("my_rule"))`.

They look for what makes a merge come out differently elsewhere: an order of summing that depends on place or portion, the
sign of zero, memory that is shared with inputs, settings of NumPy. Each raises AssertionError that says what is wrong.
"""

from collections.abc import Sequence

import numpy as np

from swarmp2p.core.schema import ITEM_SIZE, Schema, canonical_schema
from swarmp2p.core.types import CHUNK_SIZE
from swarmp2p.merge.floats import FLOATS
from swarmp2p.merge.kernels import KERNELS
from swarmp2p.merge.rule import Buffer, ChunkSource, Merge, RoundInputs, Rule
from swarmp2p.merge.self_test import noise

PERIOD = 509
"""Elements after which noise repeats: no multiple of anything that a processor works on at a time."""
MEMBERS = 5
WEIGHTS = (3_000_000_019, 7, 1_000_003, 12, 5)
SEVERAL_CHUNKS = 40_000
"""Elements of a tensor: more than two blocks of the kernels, and the tensors together take several chunks."""


def check_merge_rule(rule: Rule) -> None:
    """All of the checks below, on a model with tensors of every dtype."""
    model = rule.model_schema(canonical_schema([(dtype, dtype, (SEVERAL_CHUNKS + 13,)) for dtype in KERNELS]))
    rule.check_schema(model)
    update = rule.update_schema(model)
    files = [_tiled(update, member) for member in range(MEMBERS)]
    heads = [_tiled(model, MEMBERS + number) for number in range(rule.heads)]
    whole = _merged(rule, model, files, heads)
    check_portions(rule, model, files, heads, whole)
    check_needed_chunks(rule, model, files, heads, whole)
    check_places(rule, model, whole)
    check_inputs_untouched(rule, model, files, heads)
    check_settings(rule, model, files, heads, whole)
    check_zeros(rule)


def check_portions(rule: Rule, model: Schema, files: Sequence[Buffer], heads: Sequence[Buffer], whole: bytes) -> None:
    """Chunks in any order, into reused memory, and again, are those of the file made in one go."""
    merge, buffer = _begin(rule, model, files, heads), bytearray(CHUNK_SIZE)
    for index in [*range(model.chunks - 1, -1, -1), *range(0, model.chunks, 2)]:
        assert merge.chunk(index, buffer) == _chunk(whole, index), f"chunk {index} depends on what was made before it"


def check_needed_chunks(
    rule: Rule, model: Schema, files: Sequence[Buffer], heads: Sequence[Buffer], whole: bytes
) -> None:
    """A chunk comes out the same where of updates only those chunks are there that `update_chunks` names."""
    for index in range(model.chunks):
        wanted = rule.update_chunks(model, [index])
        partly = [bytearray(len(memoryview(file))) for file in files]
        for hole, file in zip(partly, files, strict=True):
            for chunk in wanted:
                part = slice(chunk * CHUNK_SIZE, (chunk + 1) * CHUNK_SIZE)
                hole[part] = memoryview(file)[part]
        made = _begin(rule, model, partly, heads).chunk(index)
        assert made == _chunk(whole, index), f"chunk {index} needs more of the updates than update_chunks says"


def check_places(rule: Rule, model: Schema, whole: bytes) -> None:
    """Equal elements give equal results wherever they stand, in a block's middle or in a vector's tail."""
    for tensor in model.tensors:
        period = PERIOD * ITEM_SIZE[tensor.dtype]
        data = whole[tensor.start : tensor.stop]
        assert data[period:] == data[:-period], f"{tensor}: equal elements come out differently at another place"


def check_inputs_untouched(rule: Rule, model: Schema, files: Sequence[Buffer], heads: Sequence[Buffer]) -> None:
    """Updates and earlier models are only read."""
    copies = [bytearray(each) for each in (*files, *heads)]
    _merged(rule, model, copies[: len(files)], copies[len(files) :])
    assert copies == [bytearray(each) for each in (*files, *heads)], "an input was written to"


def check_settings(rule: Rule, model: Schema, files: Sequence[Buffer], heads: Sequence[Buffer], whole: bytes) -> None:
    """What a program does with NumPy's error settings changes nothing."""
    with np.errstate(all="raise"):
        assert _merged(rule, model, files, heads) == whole, "NumPy's error settings change the result"


def check_zeros(rule: Rule) -> None:
    """Of zeros of both signs comes +0, in weights and in state that had none."""
    model = rule.model_schema(canonical_schema([(dtype, dtype, (PERIOD,)) for dtype in FLOATS]))
    update = rule.update_schema(model)

    def zeros(schema: Schema, member: int) -> bytes:
        parts = [schema.head]
        for tensor in schema.tensors:
            item = ITEM_SIZE[tensor.dtype]
            data = bytearray(tensor.stop - tensor.start)
            if ":" not in tensor.name and tensor.dtype in FLOATS:
                data[item - 1 :: item * (1 + member)] = b"\x80" * len(data[item - 1 :: item * (1 + member)])
            parts.append(bytes(data))
        return b"".join(parts)

    files = [zeros(update, member) for member in range(MEMBERS)]
    merged = _merged(rule, model, files, [zeros(model, number) for number in range(rule.heads)])
    assert merged == model.head + bytes(model.size - len(model.head)), "zeros do not come out as +0"


def _tiled(schema: Schema, member: int) -> bytes:
    """A file of noise that repeats itself; what a rule or a wire has beside the weights is not negative."""
    parts = [schema.head]
    for tensor in schema.tensors:
        item = ITEM_SIZE[tensor.dtype]
        # One scale serves 256 elements of the wire int8, so it must not repeat at another pace than the elements.
        unit = bytearray(noise(tensor.dtype, member)[: item * (1 if tensor.name.endswith(":scale") else PERIOD)])
        if ":" in tensor.name:
            unit[item - 1 :: item] = bytes(byte & 0x7F for byte in unit[item - 1 :: item])
        size = tensor.stop - tensor.start
        parts.append(bytes(unit * (size // len(unit) + 1))[:size])
    return b"".join(parts)


def _source(file: Buffer) -> ChunkSource:
    view = memoryview(file).cast("B")
    return lambda index: view[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE]


def _begin(rule: Rule, model: Schema, files: Sequence[Buffer], heads: Sequence[Buffer]) -> Merge:
    return rule.begin(RoundInputs(model, list(map(_source, files)), WEIGHTS, list(map(_source, heads))))


def _merged(rule: Rule, model: Schema, files: Sequence[Buffer], heads: Sequence[Buffer]) -> bytes:
    merge = _begin(rule, model, files, heads)
    return b"".join(bytes(merge.chunk(index)) for index in range(model.chunks))


def _chunk(file: bytes, index: int) -> bytes:
    return file[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE]
