"""Heads of model files, good and bad, for other implementations.

Run `python -m tests.core.schema_vectors` to write interop/vectors/schema.json and interop/vectors/invalid/schema.json.
"""

import json
from pathlib import Path
from typing import Any

from swarmp2p.core.schema import canonical_schema

FOLDER = Path(__file__).parents[2] / "interop" / "vectors"
GOOD_FILE = FOLDER / "schema.json"
BAD_FILE = FOLDER / "invalid" / "schema.json"

MODELS: dict[str, list[tuple[str, str, tuple[int, ...]]]] = {
    "empty": [],
    "one scalar": [("s", "F32", ())],
    "sorted by element size, dtype and name": [
        ("b.bias", "F32", (3,)),
        ("a.weight", "F32", (3, 2)),
        ("steps", "I64", ()),
        ("mask", "BOOL", (5,)),
        ("half", "F16", (2,)),
        ("brain", "BF16", (2,)),
        ("double", "F64", (1,)),
    ],
    "no elements": [("none", "F64", (0, 3)), ("some", "F32", (1,))],
    "names beyond ASCII": [('é"\\\n\u2028\U0001f41d', "U8", (1,)), ("", "U8", (2,))],
}


def head_of(entries: object, padding: bytes = b"") -> bytes:
    """The head with this JSON, right or wrong."""
    text = (entries if isinstance(entries, bytes) else json.dumps(entries).encode()) + padding
    return len(text).to_bytes(8, "little") + text


def entry(dtype: object = "F32", shape: object = (1,), offsets: object = (0, 4), **more: object) -> dict[str, Any]:
    """A tensor's entry in the head; right when no argument is given."""
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


BAD_HEADS: dict[str, bytes] = {
    name: head_of(entries)
    for name, entries in {
        "not an object": b"[1]",
        "not closed": b'{"a": ',
        "not UTF-8": b'{"\xff": 1}',
        "nothing": b"",
        "a tensor twice": b'{"a":%b,"a":%b}' % ((json.dumps(entry()).encode(),) * 2),
        "a key twice": b'{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        "NaN": b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}',
        "padding before": b" {}",
        "other padding": b"{}\n",
        "no entry": {"a": None},
        "one key too many": {"a": entry(stride=1)},
        "a key missing": {"a": {"dtype": "F32", "shape": [1]}},
        "unknown dtype": {"a": entry("F33")},
        "dtype of half bytes": {"a": entry("F4", [2], [0, 1])},
        "dtype no text": {"a": entry(["F32"])},
        "shape no list": {"a": entry(shape=1)},
        "negative": {"a": entry(shape=[-1], offsets=[0, -4])},
        "fraction": {"a": entry(shape=[1.0])},
        "truth as a number": {"a": entry(shape=[True])},
        "overflow": {"a": entry(shape=[2**40, 2**40, 0], offsets=[0, 0])},
        "too many dimensions": {"a": entry(shape=[1] * 33)},
        "three offsets": {"a": entry(offsets=[0, 4, 8])},
        "backwards": {"a": entry(offsets=[4, 0])},
        "too large for its shape": {"a": entry(offsets=[0, 8])},
        "starts late": {"a": entry(offsets=[4, 8])},
        "gap": {"a": entry(), "b": entry(offsets=[8, 12])},
        "overlap": {"a": entry(shape=[2], offsets=[0, 8]), "b": entry(offsets=[4, 8])},
        "twice the same bytes": {"a": entry(), "b": entry()},
        "metadata of numbers": {"__metadata__": {"a": 1}},
        "metadata no object": {"__metadata__": "a"},
        "half a surrogate pair": b'{"\\ud800":%b}' % json.dumps(entry()).encode(),
    }.items()
}


def good() -> dict[str, Any]:
    """The content of schema.json."""
    cases = []
    for name, model in MODELS.items():
        schema = canonical_schema(model)
        cases.append(
            {
                "name": name,
                "tensors": [{"name": n, "dtype": d, "shape": list(s)} for n, d, s in model],
                "head": schema.head.hex(),
                "size": schema.size,
                "digest": schema.digest.hex(),
                "starts": {tensor.name: tensor.start for tensor in schema.tensors},
            }
        )
    return {
        "about": "Canonical layouts: heads of safetensors files. Starts count from the file's first byte.",
        "cases": cases,
    }


def bad() -> dict[str, Any]:
    """The content of invalid/schema.json."""
    cases = [{"name": name, "head": head.hex()} for name, head in BAD_HEADS.items()]
    return {"about": "Heads of safetensors files that must be refused.", "cases": cases}


def main() -> None:
    BAD_FILE.parent.mkdir(exist_ok=True)
    for file, content in ((GOOD_FILE, good()), (BAD_FILE, bad())):
        file.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
