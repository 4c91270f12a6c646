"""What the messages in a file are, told in the file itself: Foxglove's own schemas, and ours beside them.

A view is how a datum is shown: `foxglove.RawImage`, `foxglove.RawAudio`, `streamflow.Imu` (its fields are named as in
`sensor_msgs/Imu`) or, of what is none of these, `streamflow.Datum`, numbers that can be plotted. The first three carry
a `streamflow.Datum` in their field `datum`: what the view cannot say, such as the exact float32 of sound that a player
wants as 16 bits. Who knows the view only passes over it, as the format wants. *Not taken*: two channels for each
output, a view and the exact one; then there are two counts of what was kept, and images twice.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

from streamflow import MissingExtraError

DATUM_FIELD: Final = 1000
"""In each view: far above what Foxglove will ever number its own."""


class View(Enum):
    """The schema of a channel."""

    IMAGE = "foxglove.RawImage"
    AUDIO = "foxglove.RawAudio"
    IMU = "streamflow.Imu"
    TENSOR = "streamflow.Datum"

    @property
    def word(self) -> str:
        return self.name.lower()


LOSSES_SCHEMA: Final = {
    "title": "streamflow.Losses",
    "description": "What was sent to the recorder of each output, what of it the file has, and why not the rest.",
    "type": "object",
    "properties": {
        "monotonic_ns": {"type": "integer"},
        "offered": {"type": "integer"},
        "kept": {"type": "integer"},
        "not_kept": {"type": "integer"},
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "output": {"type": "string"},
                    "offered": {"type": "integer"},
                    "kept": {"type": "integer"},
                    "not_kept": {"type": "integer"},
                    "rejected": {"type": "integer"},
                    "reasons": {"type": "object", "additionalProperties": {"type": "integer"}},
                },
            },
        },
    },
}

# Field numbers as `datum` writes them; (name, number, type, is it repeated).
_ATTRIBUTE = (
    ("name", 1, "string", False),
    ("integer", 2, "int64", False),
    ("unsigned", 3, "uint64", False),
    ("number", 4, "double", False),
    ("text", 5, "string", False),
    ("truth", 6, "bool", False),
)
_ORIGIN = (("stream", 1, "string", False), ("seq", 2, "int64", False), ("event_time_ns", 3, "sfixed64", False))
_TENSOR = (
    ("name", 1, "string", False),
    ("dtype", 2, "string", False),
    ("shape", 3, "int64", True),
    ("float32", 4, "float", True),
    ("float64", 5, "double", True),
    ("int32", 6, "sfixed32", True),
    ("uint32", 7, "fixed32", True),
    ("int64", 8, "sfixed64", True),
    ("uint64", 9, "fixed64", True),
    ("boolean", 10, "bool", True),
    ("data", 11, "bytes", False),
    ("numbers", 12, "double", True),
)
_DATUM = (
    ("timestamp", 1, ".google.protobuf.Timestamp", False),
    ("stream", 2, "string", False),
    ("seq", 3, "int64", False),
    ("event_time_ns", 4, "sfixed64", False),
    ("sent_ns", 5, "sfixed64", False),
    ("deadline_ns", 6, "sfixed64", False),
    ("flags", 7, "uint32", False),
    ("attributes", 8, ".streamflow.Attribute", True),
    ("origins", 9, ".streamflow.Origin", True),
    ("tensors", 10, ".streamflow.Tensor", True),
)
_XYZ = (("x", 1, "double", False), ("y", 2, "double", False), ("z", 3, "double", False))
_IMU = (
    ("timestamp", 1, ".google.protobuf.Timestamp", False),
    ("linear_acceleration", 2, ".streamflow.Vector3", False),
    ("angular_velocity", 3, ".streamflow.Vector3", False),
    ("datum", DATUM_FIELD, ".streamflow.Datum", False),
)
_MESSAGES = {
    "Attribute": _ATTRIBUTE,
    "Origin": _ORIGIN,
    "Tensor": _TENSOR,
    "Datum": _DATUM,
    "Vector3": _XYZ,
    "Imu": _IMU,
}
_OURS = "streamflow/datum.proto"


def schema_of(view: View) -> bytes:
    """A serialised FileDescriptorSet, which is what MCAP has for protobuf. Raises MissingExtraError."""
    pb = _library()
    found = pb.FileDescriptorSet()
    found.file.append(_file_of(_timestamps()))
    found.file.append(_own_file(pb))
    module = {View.IMAGE: "RawImage_pb2", View.AUDIO: "RawAudio_pb2"}.get(view)
    if module is not None:
        file = _file_of(_foxglove(module))
        file.dependency.append(_OURS)
        _add(pb, file.message_type[0], "datum", DATUM_FIELD, ".streamflow.Datum", is_repeated=False)
        found.file.append(file)
    encoded: bytes = found.SerializeToString(deterministic=True)
    return encoded


def _own_file(pb: Any) -> Any:
    file = pb.FileDescriptorProto(name=_OURS, package="streamflow", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    for name, members in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, is_repeated in members:
            _add(pb, message, field, number, kind, is_repeated=is_repeated)
    return file


def _add(pb: Any, message: Any, name: str, number: int, kind: str, *, is_repeated: bool) -> None:
    kinds = pb.FieldDescriptorProto
    label = kinds.LABEL_REPEATED if is_repeated else kinds.LABEL_OPTIONAL
    if kind.startswith("."):
        message.field.add(name=name, number=number, label=label, type=kinds.TYPE_MESSAGE, type_name=kind)
    else:
        message.field.add(name=name, number=number, label=label, type=getattr(kinds, f"TYPE_{kind.upper()}"))


def _file_of(descriptor: Any) -> Any:
    file = _library().FileDescriptorProto()
    descriptor.CopyToProto(file)
    return file


def _library() -> Any:
    try:
        from google.protobuf import descriptor_pb2
    except ImportError:
        raise MissingExtraError("MCAP", "protobuf", "mcap") from None
    return descriptor_pb2


def _timestamps() -> Any:
    from google.protobuf import timestamp_pb2

    return timestamp_pb2.DESCRIPTOR


def _foxglove(module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(f"foxglove_schemas_protobuf.{module}").DESCRIPTOR
    except ImportError:
        raise MissingExtraError("MCAP", "foxglove-schemas-protobuf", "mcap") from None
