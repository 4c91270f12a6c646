"""Streams whose state says which datum it belongs to, so that a torn one shows; for tests of states and snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from streamflow.core.gaps import NO_SEQ
from streamflow.memory.state_layout import StateTensor
from streamflow.memory.state_view import StreamState
from streamflow.memory.states import States
from streamflow.wire.arrays import Array

LAYOUT = (StateTensor("h", "float32", (2, 5), 1), StateTensor("tail", "int64", (3,)))
LARGE = (StateTensor("h", "float64", (2, 20_000), 1), StateTensor("tail", "int64", (3,)))  # long to write: torn if ever
TIME_NS = 10**12


def filled(tensor: StateTensor, value: int, count: int = 1) -> Array:
    """Of so many streams side by side."""
    return np.full(tensor.shape_of(count), value, tensor.dtype)


def following(tensors: Sequence[StateTensor], values: Sequence[int]) -> list[Array]:
    """A batch of which each stream has its own value, everywhere."""
    return [np.concatenate([filled(tensor, value) for value in values], tensor.axis) for tensor in tensors]


def step(states: States, slots: Sequence[int], seqs: Sequence[int]) -> None:
    """All that is committed of a stream is made of its seq."""
    notes = [(seq, -seq, seq + 1, 7) for seq in seqs]
    states.commit(slots, following(states.tensors, seqs), seqs, [TIME_NS + seq for seq in seqs], notes)


def is_whole(state: StreamState) -> bool:
    """Whether everything of it belongs to its seq, as `step` has it, or to none."""
    if state.seq == NO_SEQ:
        return not any(array.any() for array in state.tensors)
    seq = state.seq
    values = all(np.array_equal(array, np.full(array.shape, seq, array.dtype)) for array in state.tensors)
    return values and state.event_time_ns == TIME_NS + seq and state.notes == (seq, -seq, seq + 1, 7)


def step_for_ever(path: Path, tensors: Sequence[StateTensor], slot_count: int) -> None:
    """What a process does that is killed: every stream goes on from its last committed step, two at a time."""
    states = States(path, tensors, slot_count)
    for slot in range(slot_count):
        if states.read(slot) is None:
            states.assign(slot, f"stream {slot}")
    slot = 0
    while True:
        slots = [slot % slot_count, (slot + 1) % slot_count]
        step(states, slots, [states.last(each)[0] + 1 for each in slots])
        slot += 1
