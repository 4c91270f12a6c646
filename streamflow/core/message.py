"""One datum on its way: named tensors and what is known of when and whence they came."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntFlag
from types import FunctionType
from typing import Any, Final, NamedTuple

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
    """An older result, repeated; or made with a value of an input that was used before."""
    DEGRADED = 4
    """Made by a cheaper variant, or by the handler of a miss."""
    PARTIAL = 8
    """Made without some of the inputs that belong to it."""


class Message:
    """What a node is handed and what an edge carries; it cannot be changed, only `replace` makes another.

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

    # No dataclass: every stage makes two of these of each datum, and compiled, a plain class is a structure in C.
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
        self.tensors: Final[Mapping[str, Any]] = tensors
        self.stream: Final[str] = stream
        self.seq: Final[int] = seq
        self.event_time_ns: Final[int] = event_time_ns
        self.attributes: Final[Mapping[str, Attribute]] = {} if attributes is None else attributes
        self.deadline_ns: Final[int] = deadline_ns
        self.flags: Final[int] = flags
        self.sent_ns: Final[int] = sent_ns
        self.enqueued_ns: Final[int] = enqueued_ns
        self.origins: Final[tuple[Origin, ...]] = origins

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

    def replace(self, **changes: Any) -> Message:
        """The message with other values of these names. Raises TypeError for a name that it has not."""
        given = {name: getattr(self, name) for name in _NAMES}
        given.update(changes)
        return Message(**given)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _NAMES)

    def __hash__(self) -> int:
        raise TypeError("unhashable type: 'Message'")

    def __repr__(self) -> str:
        return f"Message({', '.join(f'{name}={getattr(self, name)!r}' for name in _NAMES)})"

    def __reduce__(self) -> tuple[type[Message], tuple[Any, ...]]:
        """For copies."""
        return Message, tuple(getattr(self, name) for name in _NAMES)


def with_tensors(message: Message, tensors: Mapping[str, Any]) -> Message:
    """The same datum with other tensors; `replace` takes many times as long."""
    return Message(
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


_NAMES = (
    "tensors",
    "stream",
    "seq",
    "event_time_ns",
    "attributes",
    "deadline_ns",
    "flags",
    "sent_ns",
    "enqueued_ns",
    "origins",
)


def _guard() -> None:
    """What compiling does by itself: only `__init__` can store; by the slots, which takes a fifth of the time."""
    (
        set_tensors,
        set_stream,
        set_seq,
        set_event_time_ns,
        set_attributes,
        set_deadline_ns,
        set_flags,
        set_sent_ns,
        set_enqueued_ns,
        set_origins,
    ) = (getattr(Message, name).__set__ for name in _NAMES)

    def fill(
        self: Message,
        tensors: Any,
        stream: Any = "",
        seq: Any = 0,
        event_time_ns: Any = 0,
        attributes: Any = None,
        deadline_ns: Any = 0,
        flags: Any = 0,
        sent_ns: Any = 0,
        enqueued_ns: Any = 0,
        origins: Any = (),
    ) -> None:
        set_tensors(self, tensors)
        set_stream(self, stream)
        set_seq(self, seq)
        set_event_time_ns(self, event_time_ns)
        set_attributes(self, {} if attributes is None else attributes)
        set_deadline_ns(self, deadline_ns)
        set_flags(self, flags)
        set_sent_ns(self, sent_ns)
        set_enqueued_ns(self, enqueued_ns)
        set_origins(self, origins)

    def refuse(self: Message, name: str, value: object) -> None:
        raise AttributeError(f"a message cannot be changed; message.replace({name}=...) makes another")

    setattr(Message, "__init__", fill)  # noqa: B010
    setattr(Message, "__setattr__", refuse)  # noqa: B010


if isinstance(Message.__init__, FunctionType):  # interpreted
    _guard()
