"""The owner of states dies between any two of its stores, or in the midst of one that is many: nothing is half done.

Every line that it runs is followed: what the file is before and after each is what a death there leaves. A line that
stores more than a word may have got any of them out, so any mixture of the two is tried as well, word by word.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streamflow.core.gaps import NO_SEQ, NO_TIME_NS
from streamflow.memory import states as states_module
from streamflow.memory.state_view import StreamState
from streamflow.memory.states import NO_NOTES, States
from tests.marks import from_sources
from tests.memory.stepping import LAYOUT, TIME_NS, step

pytestmark = from_sources

COUNT = 3
STREAMS = [f"stream {number}" for number in range(5)]
Model = dict[int, StreamState]


def images(states: States, operate: Callable[[], None]) -> list[bytes]:
    """All that the file was, one after another, while that was done."""
    found = [states._map[:]]

    def called(frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        return lined if frame.f_code.co_filename == states_module.__file__ else None

    def lined(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
        now = states._map[:]
        if now != found[-1]:
            found.append(now)
        return lined

    before = sys.gettrace()
    sys.settrace(called)
    try:
        operate()
    finally:
        sys.settrace(before)
    return found if states._map[:] == found[-1] else [*found, states._map[:]]


def torn(before: bytes, after: bytes, seed: int) -> bytes:
    """Some of the words that changed have been stored, and the others have not."""
    old, new = np.frombuffer(before, np.uint64), np.frombuffer(after, np.uint64)
    has_come = np.random.default_rng(seed).random(len(old)) < 0.5
    return np.where(has_come, new, old).tobytes()


def same(found: StreamState | None, expected: StreamState | None) -> bool:
    if found is None or expected is None:
        return found is expected
    facts = [(one.stream, one.seq, one.event_time_ns, one.notes) for one in (found, expected)]
    pairs = zip(found.tensors, expected.tensors, strict=True)
    return facts[0] == facts[1] and all(np.array_equal(here, there) for here, there in pairs)


def of_step(stream: str, seq: int) -> StreamState:
    """What `step` commits."""
    tensors = tuple(np.full(tensor.shape, seq, tensor.dtype) for tensor in LAYOUT)
    return StreamState(stream, seq, TIME_NS + seq, (seq, -seq, seq + 1, 7), tensors)


def new(stream: str) -> StreamState:
    tensors = tuple(np.zeros(tensor.shape, tensor.dtype) for tensor in LAYOUT)
    return StreamState(stream, NO_SEQ, NO_TIME_NS, NO_NOTES, tensors)


class MortalOwner(RuleBasedStateMachine):
    """Against a model that is told what an operation is to change: each slot is as before it, or as after it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "x.states"
        self.other = Path(self.folder.name) / "torn.states"
        self.states = States(self.path, LAYOUT, COUNT)
        self.model: Model = {}
        self.seq = 0

    def teardown(self) -> None:
        self.states.close()
        self.folder.cleanup()

    def left_by(self, image: bytes) -> list[StreamState | None]:
        """What the next life finds in each slot."""
        self.other.write_bytes(image)
        states = States(self.other, LAYOUT, COUNT)
        found = [states.read(slot) for slot in range(COUNT)]
        names = [(state.stream, slot) for slot, state in enumerate(found) if state is not None]
        assert sorted(states.streams()) == sorted(names)
        assert len({name for name, _ in names}) == len(names), "a stream has one slot"
        states.close()
        return found

    def check(self, image: bytes, after: Model) -> Model:
        """What is left is what was, or what was to be; which of the two, for each slot."""
        left: Model = {}
        for slot, state in enumerate(self.left_by(image)):
            is_done = same(state, after.get(slot))
            assert is_done or same(state, self.model.get(slot)), f"slot {slot} has {state}"
            chosen = (after if is_done else self.model).get(slot)
            if chosen is not None:
                left[slot] = chosen
        return left

    def run_dying(self, operate: Callable[[], None], after: Model, data: st.DataObject) -> None:
        """Do it, look at what a death at any instant of it would have left, and let one in four happen."""
        found = images(self.states, operate)
        assert len(found) > 1
        seed = data.draw(st.integers(0, 1 << 20), "seed")
        for earlier, later in pairwise(found):
            self.check(earlier, after)
            self.check(torn(earlier, later, seed), after)
        if not data.draw(st.integers(0, 3), "death if 0"):
            nth = data.draw(st.integers(0, len(found) - 2), "where")
            image = torn(found[nth], found[nth + 1], seed)
            after = self.check(image, after)
            self.states.close()
            self.path.write_bytes(image)
            self.states = States(self.path, LAYOUT, COUNT)
        self.model = after

    @rule(slot=st.integers(0, COUNT - 1), name=st.integers(0, len(STREAMS) - 1), data=st.data())
    def assign(self, slot: int, name: int, data: st.DataObject) -> None:
        has = {state.stream for other, state in self.model.items() if other != slot}
        stream = next(one for one in STREAMS[name:] + STREAMS[:name] if one not in has)
        self.run_dying(lambda: self.states.assign(slot, stream), {**self.model, slot: new(stream)}, data)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        slots = data.draw(st.lists(st.sampled_from(sorted(self.model)), min_size=1, unique=True), "slots")
        self.seq += 1
        seqs = [10 * self.seq + slot for slot in slots]
        stepped = {slot: of_step(self.model[slot].stream, seq) for slot, seq in zip(slots, seqs, strict=True)}
        self.run_dying(lambda: step(self.states, slots, seqs), {**self.model, **stepped}, data)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def reset(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.model)), "slot")
        was = self.model[slot]
        tensors = new(was.stream).tensors
        is_reset = StreamState(was.stream, was.seq, was.event_time_ns, was.notes, tensors)
        self.run_dying(lambda: self.states.reset(slot), {**self.model, slot: is_reset}, data)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.model)), "slot")
        after = {other: state for other, state in self.model.items() if other != slot}
        self.run_dying(lambda: self.states.release(slot), after, data)

    @invariant()
    def the_owner_has_what_the_model_has(self) -> None:
        for slot in range(COUNT):
            assert same(self.states.read(slot), self.model.get(slot))
        slots = sorted(self.model)
        if slots:
            gathered = self.states.gather(slots)
            for nth, tensor in enumerate(LAYOUT):
                expected = np.stack([self.model[slot].tensors[nth] for slot in slots], tensor.axis)
                assert np.array_equal(gathered[nth], expected)


TestMortalOwner = MortalOwner.TestCase
TestMortalOwner.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)


def test_every_store_of_a_batch_is_a_point_at_which_it_may_die(tmp_path: Path) -> None:
    """What the machine above relies on: two tensors, two streams' facts, and then each stream's turn by itself."""
    states = States(tmp_path / "x", LAYOUT, COUNT)
    states.assign(0, "a")
    states.assign(1, "b")
    found = images(states, lambda: step(states, [0, 1], [5, 6]))
    assert len(found) == 1 + 2 + 2 + 2
    turned = [sum(same(one, of_step(n, seq)) for one, n, seq in zip(_read(tmp_path, image), "ab", (5, 6), strict=True))
              for image in found]  # fmt: skip
    assert turned == [0, 0, 0, 0, 0, 1, 2]
    states.close()


def _read(folder: Path, image: bytes) -> list[StreamState | None]:
    (folder / "image").write_bytes(image)
    states = States(folder / "image", LAYOUT, COUNT)
    found = [states.read(slot) for slot in range(2)]
    states.close()
    return found
