"""Between a learner's tensors and the safetensors files that the swarm exchanges (docs/protocol.md, section 2).

Torch is never imported unless the learner itself handed over a torch tensor, or asks for torch tensors.
"""

import errno
import mmap
import os
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from swarmp2p.core.errors import MalformedModel, QuotaExceeded, SchemaMismatch, SwarmError
from swarmp2p.core.schema import (
    ITEM_SIZE,
    LENGTH_SIZE,
    METADATA,
    Schema,
    Tensor,
    canonical_schema,
    difference,
    head_length,
    parse_schema,
)
from swarmp2p.core.types import CHUNK_SIZE
from swarmp2p.merge.chunked_file import ChunkedFile, Look
from swarmp2p.merge.kernels import KERNELS

Array: TypeAlias = Any
"""A NumPy array, a torch tensor, or whatever offers `__array__` (a JAX array, a Keras variable's value)."""
Kind: TypeAlias = Literal["numpy", "torch"]
Weights: TypeAlias = Mapping[str, Array] | Path
"""What a learner's get_weights returns: named tensors, or the path of a safetensors file."""

PIECE = 1 << 20
"""Bytes copied at a time from file to file."""

_NUMPY = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BOOL": "?",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1",
}  # fmt: skip
_TORCH = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8",
}  # fmt: skip
_FROM_TORCH = {f"torch.{name}": dtype for dtype, name in _TORCH.items()}
_FROM_NUMPY = {np.dtype(name).newbyteorder("="): dtype for dtype, name in _NUMPY.items()}


@contextmanager
def atomic_file(path: Path, *, flush: bool = True) -> Iterator[IO[bytes]]:
    """A binary file that appears at `path`, whole, when the block ends; never in part.

    Args:
        flush: to disk as well.

    Raises:
        QuotaExceeded: no room on the disk. Other OSErrors pass. Whatever is raised, no file is left behind.
    """
    with _room(path.parent):
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                if flush:
                    os.fsync(file.fileno())
            os.replace(temporary, path)
            if flush:
                _sync_folder(path.parent)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


@contextmanager
def _room(folder: Path) -> Iterator[None]:
    """Turn the system's "no space left" into QuotaExceeded, naming the folder; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise QuotaExceeded(
            f"No room left on the disk of {folder}: {error.strerror}.",
            "Free some space there, or set the peer's home to a folder on a larger disk.",
        ) from error


def read_schema(path: Path) -> Schema:
    """The schema of a safetensors file, checked against the file's size.

    Raises:
        MalformedModel: names the file and what is wrong with it. OSErrors pass.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(LENGTH_SIZE)
        with _naming(path):
            return parse_schema(prefix + file.read(head_length(prefix, size) - LENGTH_SIZE), size)


def schema_of(weights: Weights) -> Schema:
    """The canonical schema of a learner's weights: a genesis written from them has it.

    Raises:
        SchemaMismatch: a value is no tensor, or has a dtype that no rule merges. MalformedModel: a bad file.
    """
    if isinstance(weights, Path):
        own = read_schema(weights)
        _require_supported(weights, own)
        return canonical_schema(_form(tensor) for tensor in own.tensors)
    if not isinstance(weights, Mapping):
        raise SchemaMismatch(
            f"The weights are {type(weights).__name__}, not a mapping.", "Return a dict of tensors, or a pathlib.Path."
        )
    return canonical_schema(_describe(name, value) for name, value in weights.items())


def write_weights(weights: Weights, path: Path, schema: Schema | None = None) -> Schema:
    """Writes weights as a safetensors file, atomically, with one tensor (of a file: one MiB) in memory at a time.

    Args:
        weights: named tensors on any device and in any memory order, or a safetensors file's path.
        path: the file to make; one that is there is replaced, and may be `weights` itself.
        schema: the swarm's; the file gets exactly its head. None: the canonical one, without metadata.

    Returns:
        The schema of the file.

    Raises:
        SchemaMismatch: the weights do not fit the schema (names the tensor, expected and got), or are no tensors.
        MalformedModel: `weights` is the path of a broken file.
        QuotaExceeded: no room. Nothing is left behind in any case.
    """
    target = _fitting(weights, schema)
    if isinstance(weights, Path):
        copy_tensors(weights, path, target)
        return target
    with atomic_file(path) as file:
        _write(weights, target, file.write)
    return target


def write_watched(
    weights: Mapping[str, Array],
    path: Path,
    schema: Schema,
    look: Look,
    begun: Callable[[IO[bytes]], object] = lambda file: None,
    first: int = 0,
) -> None:
    """`write_weights` that shows each chunk of the file while it is in the processor's cache, and leaves flushing it to disk
    to others.

    Args:
        look: what it raises goes to the caller, and there is no file.
        begun: called with the file before anything is written; of the chunks that were shown all but the last are in it.
        first: the chunk to begin with; those before it come last.
    """
    target = _fitting(weights, schema)
    with atomic_file(path, flush=False) as file:
        begun(file)
        chunked, cut = ChunkedFile(file, look), min(first * CHUNK_SIZE, target.size)
        for start, stop in ((cut, target.size), (0, cut)):
            chunked.begin(start // CHUNK_SIZE)
            _write(weights, target, chunked.write, start, stop)
            chunked.end()


def _fitting(weights: Weights, schema: Schema | None) -> Schema:
    own = schema_of(weights)
    target = own if schema is None else schema
    if [_form(tensor) for tensor in _sorted(own)] != [_form(tensor) for tensor in _sorted(target)]:
        raise SchemaMismatch(
            f"The learner's weights do not fit the swarm's model. {difference(target, own)}",
            "Build the same model as the swarm's genesis; names, dtypes and shapes must be equal.",
        )
    return target


def _write(
    weights: Mapping[str, Array],
    target: Schema,
    write: Callable[[bytes | memoryview], object],
    start: int = 0,
    stop: int | None = None,
) -> None:
    """Bytes [start, stop) of the file; all of them by default."""
    end = target.size if stop is None else stop
    head = len(target.head)
    if start < head:
        write(target.head[start:end])
    for tensor in target.tensors:
        if start < tensor.stop and tensor.start < end:
            data = _data(weights[tensor.name])
            write(data[max(0, start - tensor.start) : end - tensor.start])


def kind_of(weights: Weights) -> Kind:
    """Which tensors the learner works with: "torch" if it handed over a torch tensor, else "numpy"."""
    if not isinstance(weights, Path) and any(_is_torch(value) for value in weights.values()):
        return "torch"
    return "numpy"


def read_weights(
    path: Path, like: Weights | Kind | None = None, names: Collection[str] | None = None
) -> dict[str, Array]:
    """The tensors of a safetensors file, as writable memory: pages of the file, of which those that are written to are
    copied first. Nothing of a large model takes up memory that was not touched, and the file is never changed.

    Args:
        path: the file. It may be deleted while tensors are in use, but not cut off.
        names: of the tensors to read; None: all.
        like: the learner's own weights, or their `kind_of`. Torch tensors come on the CPU (`load_state_dict` and
            `copy_` move them); bfloat16 in NumPy needs the package ml_dtypes. None is "numpy".

    Raises:
        MalformedModel: the file is broken. SchemaMismatch: a dtype that this kind cannot hold, with the mend.
    """
    kind = like if isinstance(like, str) else kind_of(like) if like is not None else "numpy"
    schema = read_schema(path)
    _require_supported(path, schema)
    make = _torch_maker() if kind == "torch" else _numpy_maker(schema)
    weights: dict[str, Array] = {}
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), schema.size, access=mmap.ACCESS_COPY)
    for tensor in schema.tensors:
        if names is not None and tensor.name not in names:
            continue
        data = np.frombuffer(mapped, np.uint8, tensor.stop - tensor.start, tensor.start)
        if tensor.start % ITEM_SIZE[tensor.dtype]:  # allowed in a file, but not by torch
            data = data.copy()
        weights[tensor.name] = make(tensor, data)
    return weights


def _sorted(schema: Schema) -> list[Tensor]:
    return sorted(schema.tensors, key=lambda tensor: tensor.name)


def _form(tensor: Tensor) -> tuple[str, str, tuple[int, ...]]:
    return tensor.name, tensor.dtype, tensor.shape


def _is_torch(value: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _describe(name: object, value: Array) -> tuple[str, str, tuple[int, ...]]:
    """(name, dtype, shape) without copying the tensor."""
    if not isinstance(name, str) or name == METADATA:
        raise SchemaMismatch(f"{name!r} cannot name a tensor.", "Use strings as keys, as state_dict() does.")
    if _is_torch(value):
        if str(value.layout) != "torch.strided" or value.is_quantized or value.is_meta:
            raise SchemaMismatch(
                f"Tensor {name!r} is sparse, quantized or without data (meta).",
                "Make it dense before get_weights returns it.",
            )
        dtype, shape = _FROM_TORCH.get(str(value.dtype)), tuple(value.shape)
    else:
        array = _as_numpy(name, value)
        dtype, shape = _numpy_dtype(array), array.shape
    if dtype is None:
        raise SchemaMismatch(f"Tensor {name!r} is {value.dtype}, which cannot be merged.", _mend_dtype())
    return name, dtype, shape


def _as_numpy(name: str, value: Array) -> NDArray[Any]:
    if isinstance(value, np.ndarray):
        return value
    if not hasattr(value, "__array__") or not hasattr(value, "dtype"):
        raise SchemaMismatch(
            f"Weight {name!r} is {type(value).__name__}, not an array.", "Return NumPy arrays or torch tensors by name."
        )
    return np.asarray(value)


def _numpy_dtype(array: NDArray[Any]) -> str | None:
    # ml_dtypes' bfloat16 is known by its name, so that ml_dtypes need not be there.
    if array.dtype.name == "bfloat16" and array.dtype.itemsize == 2:
        return "BF16"
    return _FROM_NUMPY.get(array.dtype.newbyteorder("="))


def _data(value: Array) -> memoryview:
    """A tensor's elements in C order, little-endian."""
    if _is_torch(value):
        torch = sys.modules["torch"]
        flat = value.detach().resolve_neg().to("cpu").contiguous().reshape(-1)
        array: NDArray[Any] = flat.view(torch.uint8).numpy() if flat.numel() else np.empty(0, np.uint8)
    else:
        array = np.ascontiguousarray(np.asarray(value)).reshape(-1)
    if array.dtype.kind in "fiu":
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return array.view(np.uint8).data


def copy_tensors(
    source: Path, path: Path, target: Schema, other: Callable[[IO[bytes], Tensor], bool] = lambda file, tensor: False
) -> None:
    """Writes the tensors of `source` in the layout of `target`, atomically, with one MiB in memory at a time.

    Args:
        target: of these tensors, or fewer, or more.
        other: writes a tensor that `source` has not, and says that it did.

    Raises:
        MalformedModel: `source` is broken. QuotaExceeded: no room.
    """
    places = read_schema(source).by_name()
    with source.open("rb") as reader, atomic_file(path) as writer:
        writer.write(target.head)
        for tensor in target.tensors:
            if other(writer, tensor):
                continue
            reader.seek(places[tensor.name].start)
            left = tensor.stop - tensor.start
            while left:
                piece = reader.read(min(PIECE, left))
                if not piece:
                    raise MalformedModel(f"{source.name} was cut off while it was read.", "Write it again.")
                writer.write(piece)
                left -= len(piece)


def _numpy_maker(schema: Schema) -> Callable[[Tensor, NDArray[Any]], Array]:
    dtypes = {dtype: np.dtype(name) for dtype, name in _NUMPY.items()}
    if any(tensor.dtype == "BF16" for tensor in schema.tensors):
        try:
            import ml_dtypes
        except ImportError:
            first = next(tensor for tensor in schema.tensors if tensor.dtype == "BF16")
            raise SchemaMismatch(
                f"Tensor {first} is bfloat16, which NumPy alone does not have.",
                "Run `pip install ml_dtypes`, or give torch tensors from get_weights.",
            ) from None
        dtypes["BF16"] = np.dtype(ml_dtypes.bfloat16)
    return lambda tensor, data: data.view(dtypes[tensor.dtype]).reshape(tensor.shape)


def _torch_maker() -> Callable[[Tensor, NDArray[Any]], Array]:
    try:
        import torch
    except ImportError:
        raise SchemaMismatch(
            "Torch tensors are wanted, and torch is not installed.", "Run `pip install 'swarmp2p[torch]'`."
        ) from None

    def make(tensor: Tensor, data: NDArray[Any]) -> Array:
        dtype = getattr(torch, _TORCH[tensor.dtype])
        if not data.size:
            return torch.empty(tensor.shape, dtype=dtype)
        return torch.from_numpy(data).view(dtype).reshape(tensor.shape)

    return make


def _require_supported(path: Path, schema: Schema) -> None:
    for tensor in schema.tensors:
        if tensor.dtype not in KERNELS:
            raise SchemaMismatch(f"{path.name}: tensor {tensor} has a dtype that cannot be merged.", _mend_dtype())


def _mend_dtype() -> str:
    return f"Convert it to one of {', '.join(KERNELS)}, or leave it out of get_weights."


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Puts the file's name before what is wrong with it."""
    try:
        yield
    except SwarmError as error:
        raise MalformedModel(f"{path.name}: {error.args[0]}", error.mend) from None


def _sync_folder(folder: Path) -> None:
    """Makes a rename in this folder survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
