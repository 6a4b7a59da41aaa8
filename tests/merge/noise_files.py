"""Files of noise for merges, by any program again: the standard library is enough."""

from swarmp2p.core.schema import ITEM_SIZE, Schema
from tests.merge import reference


def file_with(schema: Schema, seed: int) -> bytes:
    """A file of noise; second moments and scales are not negative."""
    parts = [schema.head]
    for number, tensor in enumerate(schema.tensors):
        unit = bytearray(reference.noise(tensor.dtype, seed + 31 * number, 331))
        item = ITEM_SIZE[tensor.dtype]
        if tensor.name.endswith((":v", ":scale")):
            unit[item - 1 :: item] = bytes(byte & 0x7F for byte in unit[item - 1 :: item])
        size = tensor.stop - tensor.start
        parts.append(bytes(unit * (size // len(unit) + 1))[:size])
    return b"".join(parts)
