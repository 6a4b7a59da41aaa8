"""UnixFS roots the slow way: recursive from the top, every message built field by field. Shares nothing with the library."""

import hashlib

CHUNK, WIDTH = 262_144, 174


def _number(value: int) -> bytes:
    groups = []
    while True:
        groups.append(value % 128)
        value //= 128
        if not value:
            break
    return bytes(g + 128 for g in groups[:-1]) + bytes(groups[-1:])


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _number(number * 8) + _number(value)
    return _number(number * 8 + 2) + _number(len(value)) + value


def _tree(leaves: list[bytes], size: int, height: int) -> tuple[bytes, int, int]:
    """CID bytes, file bytes and cumulative block bytes of the sub-tree of this height over these leaves."""
    if height == 0:
        (leaf,) = leaves
        return bytes([1, 0x55, 0x12, 32]) + leaf, size, size
    below = WIDTH ** (height - 1)
    links, sizes, total = b"", [], 0
    for at in range(0, len(leaves), below):
        here = min(size - at * CHUNK, below * CHUNK)
        name, file_bytes, block_bytes = _tree(leaves[at : at + below], here, height - 1)
        links += _field(2, _field(1, name) + _field(2, b"") + _field(3, block_bytes))
        sizes.append(file_bytes)
        total += block_bytes
    message = _field(1, 2) + _field(3, sum(sizes)) + b"".join(_field(4, s) for s in sizes)
    block = links + _field(1, message)
    return bytes([1, 0x70, 0x12, 32]) + hashlib.sha256(block).digest(), sum(sizes), total + len(block)


def reference_digest(leaves: list[bytes], size: int) -> bytes:
    """Digest of the root over these leaf hashes, for a file of `size` bytes."""
    height = 0
    while WIDTH**height < len(leaves):
        height += 1
    return _tree(leaves, size, height)[0][4:]
