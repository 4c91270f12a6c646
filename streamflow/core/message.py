"""One datum on its way: named tensors and what is known of when and whence they came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import IntFlag
from typing import TYPE_CHECKING, Any, NamedTuple

Attribute = int | float | str | bool


class Origin(NamedTuple):
    """A datum as its source made it: what a deadline runs from, and what the accounts are kept by."""

    stream: str
    seq: int
    event_time_ns: int


class Flag(IntFlag):
    """What happened to a datum on its way."""

    MISSED = 1
    """It was too late for its deadline, and delivered all the same."""
    HELD = 2
    """An older result, repeated."""
    DEGRADED = 4
    """Made by a cheaper variant, or by the handler of a miss."""


class _Open:
    """The memory of a message, not yet closed: see `made`."""

    __slots__ = (
        "attributes",
        "deadline_ns",
        "enqueued_ns",
        "event_time_ns",
        "flags",
        "origins",
        "sent_ns",
        "seq",
        "stream",
        "tensors",
    )

    if TYPE_CHECKING:
        tensors: Mapping[str, Any]
        stream: str
        seq: int
        event_time_ns: int
        attributes: Mapping[str, Attribute]
        deadline_ns: int
        flags: int
        sent_ns: int
        enqueued_ns: int
        origins: tuple[Origin, ...]


@dataclass(frozen=True, slots=True)
class Message(_Open):
    """What a node is handed and what an edge carries.

    `stream` and `seq` name the datum at its source: the source stage, and the number (from 0) it gave it; a
    result made from several data has the name of the newest. `event_time_ns` is when the sensor took the
    (newest) sample, in CLOCK_MONOTONIC ns; under `--offline` it is the recording's own time, from 0.
    `attributes` are small facts that travel along (`sample`, `frame`, `time_s`, ...) and are inherited by
    every result. Tensors that were received are read-only.

    `deadline_ns` is when the result is due at the sink: the tightest over the deadlines it is under; 0 is none.
    `sent_ns` is when the stage before offered it, `enqueued_ns` when this process read it. `origins` names the data
    of sources that it was made from, where that is not what `stream`, `seq` and `event_time_ns` say: a joined datum
    has one of each source.
    """

    tensors: Mapping[str, Any]
    stream: str = ""
    seq: int = 0
    event_time_ns: int = 0
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    deadline_ns: int = 0
    flags: int = 0
    sent_ns: int = 0
    enqueued_ns: int = 0
    origins: tuple[Origin, ...] = ()

    def __init__(
        self,
        tensors: Mapping[str, Any],
        stream: str = "",
        seq: int = 0,
        event_time_ns: int = 0,
        attributes: Mapping[str, Attribute] | None = None,
        deadline_ns: int = 0,
        flags: int = 0,
        sent_ns: int = 0,
        enqueued_ns: int = 0,
        origins: tuple[Origin, ...] = (),
    ) -> None:
        # As a frozen dataclass would do it, in a third of the time; `made` takes half of that.
        _set_tensors(self, tensors)
        _set_stream(self, stream)
        _set_seq(self, seq)
        _set_event_time_ns(self, event_time_ns)
        _set_attributes(self, {} if attributes is None else attributes)
        _set_deadline_ns(self, deadline_ns)
        _set_flags(self, flags)
        _set_sent_ns(self, sent_ns)
        _set_enqueued_ns(self, enqueued_ns)
        _set_origins(self, origins)

    @property
    def array(self) -> Any:
        """The only tensor. Raises ValueError where there are several: index by name then."""
        try:
            (array,) = self.tensors.values()
        except ValueError:
            found = f"a message of {len(self.tensors)} tensors has no single array: {', '.join(self.tensors)}"
            raise ValueError(found) from None
        return array

    def __getitem__(self, name: str) -> Any:
        return self.tensors[name]

    def age_ns(self, now_ns: int) -> int:
        """How long ago the sensor took the newest sample."""
        return now_ns - self.event_time_ns

    def all_origins(self) -> tuple[Origin, ...]:
        """The data of sources that this was made from, at least one."""
        return self.origins or (Origin(self.stream, self.seq, self.event_time_ns),)

    def time_left_ns(self, now_ns: int) -> int | None:
        """How long until the result is due; None without a deadline."""
        return self.deadline_ns - now_ns if self.deadline_ns else None


def made(
    tensors: Mapping[str, Any],
    stream: str,
    seq: int,
    event_time_ns: int,
    attributes: Mapping[str, Attribute],
    deadline_ns: int,
    flags: int,
    sent_ns: int,
    enqueued_ns: int,
    origins: tuple[Origin, ...],
) -> Message:
    """A message, in half of the time that `Message` takes: every stage makes two of every datum.

    It is filled while it is open, and closed by becoming a `Message`, which has the same memory.
    """
    message = _Open()
    message.tensors = tensors
    message.stream = stream
    message.seq = seq
    message.event_time_ns = event_time_ns
    message.attributes = attributes
    message.deadline_ns = deadline_ns
    message.flags = flags
    message.sent_ns = sent_ns
    message.enqueued_ns = enqueued_ns
    message.origins = origins
    message.__class__ = Message
    return message  # type: ignore[return-value]


def with_tensors(message: Message, tensors: Mapping[str, Any]) -> Message:
    """The same datum with other tensors; `dataclasses.replace` takes many times as long."""
    return made(
        tensors,
        message.stream,
        message.seq,
        message.event_time_ns,
        message.attributes,
        message.deadline_ns,
        message.flags,
        message.sent_ns,
        message.enqueued_ns,
        message.origins,
    )


(
    _set_tensors,
    _set_stream,
    _set_seq,
    _set_event_time_ns,
    _set_attributes,
    _set_deadline_ns,
    _set_flags,
    _set_sent_ns,
    _set_enqueued_ns,
    _set_origins,
) = (getattr(Message, field.name).__set__ for field in fields(Message))
