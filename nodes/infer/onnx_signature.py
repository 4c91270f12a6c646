"""What an ONNX file says of its inputs and outputs, read from its bytes without ONNX Runtime.

Every process of a run looks at every model to know the ports, and importing the runtime there would cost
more than the rest of its start. An ONNX file is one protobuf message; only the few fields that tell names,
dtypes and shapes are entered, everything else (the weights above all) is stepped over by its length.
Field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Size = int | str | None  # a number; the name of a free dimension; a free dimension without a name

# TensorProto.DataType; the first row are the dtypes a port can carry, as NumPy names them.
_DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128",
    8: "string", 16: "bfloat16",
}  # fmt: skip
_NOT_TENSORS = {4: "sequence", 5: "map", 8: "sparse tensor", 9: "optional"}

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_VARINT_SIZE_LIMIT = 10  # 64 bits in groups of seven


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output: `dtype` in NumPy's words (or what else it is), `shape` None where the rank is open."""

    name: str
    dtype: str
    shape: tuple[Size, ...] | None

    def __str__(self) -> str:
        sizes = "..." if self.shape is None else ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.dtype}[{sizes}]"


@dataclass(frozen=True, slots=True)
class Signature:
    """What must be fed to a model (initialisers are not) and what it returns, in the file's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def read_signature(path: str | Path) -> Signature:
    """Raises OSError for a file that cannot be read and ValueError for one that is no ONNX model."""
    with open(path, "rb") as file:
        if file.seek(0, 2) == 0:
            raise ValueError("empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
            return parse_signature(data)


def parse_signature(data: bytes | memoryview) -> Signature:
    """The signature in a serialised ModelProto. Any other bytes raise ValueError, one clause."""
    with memoryview(data) as view:
        graphs = [(start, end) for field, start, end in _messages(view, 0, len(view)) if field == 7]
        if not graphs:
            raise ValueError("not an ONNX model: there is no graph in it")
        inputs: list[TensorSpec] = []
        outputs: list[TensorSpec] = []
        initialisers: set[str] = set()
        for graph_start, graph_end in graphs:
            for field, start, end in _messages(view, graph_start, graph_end):
                if field == 11:
                    inputs.append(_tensor_spec(view, start, end))
                elif field == 12:
                    outputs.append(_tensor_spec(view, start, end))
                elif field == 5:
                    initialisers.add(_text_field(view, start, end, 8))
                elif field == 15:
                    initialisers.update(_text_field(view, *values, 8) for values in _submessages(view, start, end, 1))
    if not outputs:
        raise ValueError("not an ONNX model: its graph has no outputs")
    return Signature(tuple(spec for spec in inputs if spec.name not in initialisers), tuple(outputs))


def _tensor_spec(data: memoryview, start: int, end: int) -> TensorSpec:
    """A ValueInfoProto: name = 1, type = 2 {tensor_type = 1 {elem_type = 1, shape = 2}}."""
    name = _text_field(data, start, end, 1)
    dtype, shape = "undefined", None
    for type_start, type_end in _submessages(data, start, end, 2):
        for field, value_start, value_end in _messages(data, type_start, type_end):
            if field == 1:
                dtype, shape = _tensor_type(data, value_start, value_end)
            elif field in _NOT_TENSORS:
                dtype = _NOT_TENSORS[field]
    return TensorSpec(name, dtype, shape)


def _tensor_type(data: memoryview, start: int, end: int) -> tuple[str, tuple[Size, ...] | None]:
    dtype = "undefined"
    shape: tuple[Size, ...] | None = None
    for field, kind, value, value_end in _fields(data, start, end):
        if field == 1 and kind == _VARINT:
            dtype = _DTYPES.get(value, f"undefined (ONNX type {value})")
        elif field == 2 and kind == _BYTES:
            shape = tuple(_size(data, *dimension) for dimension in _submessages(data, value, value_end, 1))
    return dtype, shape


def _size(data: memoryview, start: int, end: int) -> Size:
    """A Dimension: dim_value = 1, dim_param = 2; a negative value is some exporters' word for a free one."""
    size: Size = None
    for field, kind, value, value_end in _fields(data, start, end):
        if field == 1 and kind == _VARINT:
            size = None if value >= 1 << 63 else value
        elif field == 2 and kind == _BYTES:
            size = _text(data, value, value_end) or None
    return size


def _text_field(data: memoryview, start: int, end: int, wanted: int) -> str:
    text = ""
    for field, value_start, value_end in _messages(data, start, end):
        if field == wanted:
            text = _text(data, value_start, value_end)
    return text


def _text(data: memoryview, start: int, end: int) -> str:
    try:
        return str(data[start:end], "utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"not an ONNX model: the name at byte {start} is no UTF-8 text") from None


def _submessages(data: memoryview, start: int, end: int, wanted: int) -> list[tuple[int, int]]:
    return [(first, last) for field, first, last in _messages(data, start, end) if field == wanted]


def _messages(data: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(field, start, end) of every length-delimited field."""
    for field, kind, value, value_end in _fields(data, start, end):
        if kind == _BYTES:
            yield field, value, value_end


def _fields(data: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(field, wire type, value or where it starts, where it ends) of every field between two offsets."""
    at = start
    while at < end:
        key, at = _varint(data, at, end)
        field, kind = key >> 3, key & 7
        if field == 0:
            raise ValueError(f"not an ONNX model: no protobuf field at byte {at}")
        if kind == _VARINT:
            value, at = _varint(data, at, end)
            yield field, kind, value, at
            continue
        if kind == _BYTES:
            size, at = _varint(data, at, end)
        elif kind in _FIXED_SIZES:
            size = _FIXED_SIZES[kind]
        else:
            raise ValueError(f"not an ONNX model: wire type {kind} at byte {at}")
        if size > end - at:
            raise ValueError(f"cut off or not an ONNX model: {size} bytes announced at byte {at}, {end - at} there")
        yield field, kind, at, at + size
        at += size


def _varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    value = 0
    for index in range(_VARINT_SIZE_LIMIT):
        if at + index >= end:
            raise ValueError(f"cut off or not an ONNX model: a number at byte {at} does not end")
        byte = data[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at + index + 1
    raise ValueError(f"not an ONNX model: a number at byte {at} does not end")
