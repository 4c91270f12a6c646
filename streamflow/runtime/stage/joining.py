"""Data that are worked on together: rows as a node gets them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamflow.core.graph import EdgeDef
from streamflow.core.joins.contract import InputState, Join, Row
from streamflow.core.joins.interpolate import Blend, Interpolate
from streamflow.core.message import Attribute, Flag, Message, Origin
from streamflow.core.ports import DEFAULT_TENSOR, PortType
from streamflow.core.timebase import ms
from streamflow.errors import MissingInputError
from streamflow.runtime.stage.interpolation import between


@dataclass(frozen=True, slots=True)
class Joined:
    """A row at its stage: `message` stands for it, `process` is called with `arguments`, and `data` end in it.

    Without `arguments` it is one datum, with which what handles it is called. `port`: where it goes as it is.
    """

    message: Message
    arguments: Mapping[str, Any] | None
    data: tuple[Message, ...]
    port: str = ""


def joined(
    row: Row[Message], join: Join, stage: str, seq: int = 0, seeds: Mapping[str, Message] | None = None
) -> Joined:
    """What the stage works on. Raises MissingInputError where the join says so.

    `seq`: of a row without a new datum. `seeds`: of inputs that come back, what they have at first.
    """
    seeds = seeds or {}
    if join.fails(row):
        name = row.missing[0]
        found = f"{row.parts[name].state.value} at event time {row.time_ns:,} ns"
        raise MissingInputError(f"stage {stage}: input {name}", found, "a value for every row (on_missing=FAIL)")
    data = tuple(row.fresh.values())
    first = data[0] if data else Message({}, stage, seq, row.time_ns, origins=(Origin("", seq, row.time_ns),))
    origins = tuple(dict.fromkeys(origin for part in data for origin in part.all_origins()))
    if join.is_plain and not seeds:
        arguments: dict[str, Any] = {name: part.items[0] for name, part in row.parts.items()}
        if len(origins) == 1:
            return Joined(first, arguments, data)
        return Joined(first.replace(origins=origins), arguments, data)
    arguments = {name: _argument(row, join, name, seeds) for name in row.parts}
    attributes = {**first.attributes, **facts(row)}
    flags = first.flags | _flags(row)
    message = first.replace(
        event_time_ns=row.time_ns, origins=origins or first.origins, attributes=attributes, flags=flags
    )
    return Joined(message, arguments, data)


def seed_of(edge: EdgeDef, expected: PortType) -> Message:
    """What an input that comes back has at first."""
    names = list(expected.tensors) or [DEFAULT_TENSOR]
    given = edge.initial if isinstance(edge.initial, Mapping) else {names[0]: edge.initial}
    tensors = {name: np.array(value) for name, value in given.items()}
    for array in tensors.values():
        array.flags.writeable = False
    return Message(tensors, edge.target, flags=int(Flag.HELD))


def passed_on(message: Message, port: str) -> Joined:
    """A datum that goes to an output as it is."""
    return Joined(message, None, (message,), port)


def _argument(row: Row[Message], join: Join, name: str, seeds: Mapping[str, Message]) -> Any:
    """A message, None where there is none, or a tuple of those of a window."""
    part = row.parts[name]
    if part.state is InputState.INITIAL:
        return seeds[name].replace(event_time_ns=row.time_ns)
    if join.gives_several(name):
        return part.items
    if not part.items:
        return None
    if part.weight:
        blend = join.blend_of(name) if isinstance(join, Interpolate) else Blend.LINEAR
        return between(part.items[0], part.items[1], part.weight, row.time_ns, blend)
    message = part.items[-1]
    return message.replace(flags=message.flags | Flag.HELD) if part.state is InputState.HELD else message


def facts(row: Row[Message]) -> dict[str, Attribute]:
    """What every result of a row says of it: of each input the state and, of what it has, the age; and the skew."""
    found: dict[str, Attribute] = {"skew_ms": row.skew_ns / ms}
    for name, part in row.parts.items():
        found[f"{name}_state"] = part.state.value
        if part.age_ns is not None:
            found[f"{name}_age_ms"] = part.age_ns / ms
    return found


def _flags(row: Row[Message]) -> int:
    states = {part.state for part in row.parts.values()}
    flags = int(Flag.HELD) if InputState.HELD in states else 0
    return flags | (int(Flag.PARTIAL) if states & {InputState.STALE, InputState.MISSING} else 0)


def flagged(arguments: Mapping[str, Any], flags: int) -> dict[str, Any]:
    """What a node is handed, each message with these flags as well."""

    def with_flags(argument: Any) -> Any:
        if isinstance(argument, tuple):
            return tuple(with_flags(part) for part in argument)
        return None if argument is None else argument.replace(flags=argument.flags | flags)

    return {name: with_flags(argument) for name, argument in arguments.items()}


def merged(data: Iterable[Message]) -> list[Origin]:
    """Origins of the pieces that end because others of the same datum go on in their place."""
    found = []
    seen: set[Origin] = set()
    for origin in (origin for part in data for origin in part.all_origins()):
        if origin in seen:
            found.append(origin)
        seen.add(origin)
    return found
