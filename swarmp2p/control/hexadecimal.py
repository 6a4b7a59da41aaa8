"""Bytes as JSON-RPC writes them."""


def to_hex(data: bytes) -> str:
    """0x and two digits a byte."""
    return "0x" + data.hex()


def from_hex(text: str) -> bytes:
    """The bytes; ValueError if it is not such a text. `node.is_data` says so beforehand."""
    return bytes.fromhex(text.removeprefix("0x"))
