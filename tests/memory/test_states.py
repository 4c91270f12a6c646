"""Recurrent states: each stream's are whole, and those of one step, whatever happens to who commits them."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.gaps import NO_SEQ, NO_TIME_NS
from streamflow.errors import StateError
from streamflow.memory import ring, state_view
from streamflow.memory import states as states_module
from streamflow.memory.state_layout import NAME_SIZE_LIMIT, StateTensor
from streamflow.memory.state_view import RETRY_COUNT, StateView
from streamflow.memory.states import NO_NOTES, States
from streamflow.memory.words import load
from streamflow.wire.arrays import Array
from tests.marks import from_sources
from tests.memory.stepping import LARGE, LAYOUT, TIME_NS, filled, following, is_whole, step, step_for_ever

COUNT = 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stage.states"


@pytest.fixture
def states(path: Path) -> Iterator[States]:
    """Of streams a and b, in slots 0 and 2."""
    states = States(path, LAYOUT, COUNT)
    states.assign(0, "a")
    states.assign(2, "b")
    yield states
    states.close()


def values(arrays: Sequence[Array]) -> list[list[float]]:
    """Of each tensor the different values in it."""
    return [np.unique(array).tolist() for array in arrays]


def test_a_new_stream_has_zeros_and_belongs_to_no_datum(states: States) -> None:
    assert values(states.gather([0, 2])) == [[0], [0]]
    assert states.last(0) == (NO_SEQ, NO_TIME_NS)
    assert states.notes(0) == NO_NOTES


def test_a_new_stream_has_the_initial_state_that_was_declared(path: Path) -> None:
    initial = np.arange(10, dtype=np.float32).reshape(2, 5)
    states = States(path, [replace(LAYOUT[0], initial=initial)], COUNT)
    states.assign(1, "a")
    assert np.array_equal(states.gather([1])[0][:, 0], initial)
    states.commit([1], [filled(LAYOUT[0], 3)], [9], [90])
    states.assign(1, "b")
    assert np.array_equal(states.gather([1])[0][:, 0], initial)
    states.close()


def test_a_step_is_what_the_next_one_begins_with(states: States) -> None:
    for seq in range(5):
        step(states, [0], [seq])
        assert values(states.gather([0])) == [[seq], [seq]]
        assert states.last(0) == (seq, TIME_NS + seq)
        assert states.notes(0) == (seq, -seq, seq + 1, 7)
    assert values(states.gather([2])) == [[0], [0]], "another stream's"


def test_a_batch_is_in_the_order_of_its_slots_along_the_batch_axis(states: States) -> None:
    step(states, [2, 0], [20, 10])
    h, tail = states.gather([0, 2])
    assert (h.shape, tail.shape) == ((2, 2, 5), (2, 3))
    assert h[:, 0].max() == h[:, 0].min() == 10
    assert tail[1].tolist() == [20, 20, 20]
    assert h.flags.c_contiguous


def test_a_batch_is_padded_with_a_slot_twice(states: States) -> None:
    step(states, [0, 2], [10, 20])
    h, _ = states.gather([0, 2, 2, 2])
    assert h[0, :, 0].tolist() == [10, 20, 20, 20]


def test_a_model_without_a_batch_axis_gets_one_stream_as_it_is(path: Path) -> None:
    states = States(path, [StateTensor("h", "float32", (2, 3), None), StateTensor("n", "int32", (), None)], 2)
    states.assign(0, "a")
    states.assign(1, "b")
    states.commit([1], [np.full((2, 3), 5, np.float32), np.array(7, np.int32)], [0], [0])
    h, n = states.gather([1])
    assert (h.shape, n.shape, h[0, 0], int(n)) == ((2, 3), (), 5, 7)
    with pytest.raises(StateError, match="no batch axis"):
        states.gather([0, 1])
    states.close()


def test_nothing_is_allocated_for_a_batch_of_a_size_that_was_there(states: States) -> None:
    both, one = [*states.gather([0, 2])], [*states.gather([0])]
    assert all(again is first for again, first in zip(states.gather([2, 0]), both, strict=True))
    assert all(again is first for again, first in zip(states.gather([2]), one, strict=True))


def test_a_caller_may_bring_the_arrays(states: States) -> None:
    step(states, [0, 2], [10, 20])
    own = following(LAYOUT, [0, 0])
    assert states.gather([2, 0], own) is own
    assert own[0][0, :, 0].tolist() == [20, 10]
    with pytest.raises(StateError, match=r"state h: float64\[2, 2, 5\], expected float32"):
        states.gather([2, 0], [own[0].astype(float), own[1]])


def test_what_was_gathered_may_be_stepped_in_place(states: States) -> None:
    step(states, [0, 2], [10, 20])
    arrays = states.gather([0, 2])
    for array in arrays:
        array += 1
    states.commit([0, 2], arrays, [11, 21], [0, 0])
    assert states.gather([0, 2])[0][0, :, 0].tolist() == [11, 21]


def test_without_notes_they_are_zeros(states: States) -> None:
    step(states, [0], [3])
    states.commit([0], following(LAYOUT, [4]), [4], [4])
    assert states.notes(0) == NO_NOTES


def test_reset_begins_anew_and_belongs_to_the_same_datum(states: States) -> None:
    step(states, [0], [3])
    states.reset(0)
    assert values(states.gather([0])) == [[0], [0]]
    assert states.last(0) == (3, TIME_NS + 3)
    assert states.notes(0) == (3, -3, 4, 7)


def test_a_slot_goes_to_another_stream_with_the_initial_state(states: States) -> None:
    step(states, [0], [3])
    states.assign(0, "c")
    assert sorted(states.streams()) == [("b", 2), ("c", 0)]
    assert values(states.gather([0])) == [[0], [0]]
    assert states.last(0) == (NO_SEQ, NO_TIME_NS)
    states.assign(1, "a")


def test_a_slot_that_was_released_is_nobodys(states: States) -> None:
    states.release(0)
    assert states.streams() == [("b", 2)]
    assert states.read(0) is None
    with pytest.raises(StateError, match="slot 0 is nobody's"):
        states.gather([2, 0])


def test_streams_are_told_with_the_longest_unused_first(states: States) -> None:
    states.assign(1, "c")
    step(states, [0, 2], [7, 5])
    assert states.streams() == [("c", 1), ("b", 2), ("a", 0)]


@pytest.mark.parametrize(
    ("commit", "message"),
    [
        (lambda states: states.commit([0, 1], following(LAYOUT, [1, 1]), [1, 1], [1, 1]), "slot 1 is nobody's"),
        (lambda states: states.commit([0, -2], following(LAYOUT, [1, 1]), [1, 1], [1, 1]), "slot -2 is nobody's"),
        (lambda states: states.commit([0, 0], following(LAYOUT, [1, 1]), [1, 1], [1, 1]), "a slot twice"),
        (lambda states: states.commit([0, 2], following(LAYOUT, [1]), [1, 1], [1, 1]), r"expected float32\[2, 2, 5\]"),
        (lambda states: states.commit([0], following(LAYOUT, [1])[:1], [1], [1]), "1 arrays, expected 2"),
        (lambda states: states.commit([0], [filled(LAYOUT[0], 1), np.zeros((1, 3))], [1], [1]), "state tail: float64"),
        (lambda states: states.commit([0], following(LAYOUT, [1]), [1, 2], [1]), "different lengths"),
        (lambda states: states.commit([0], following(LAYOUT, [1]), [1], [1], [NO_NOTES] * 2), "different lengths"),
        (lambda states: states.assign(1, "a"), "expected the one that it has, 0"),
        (lambda states: states.assign(COUNT, "c"), "expected one of 4"),
        (lambda states: states.assign(1, "x" * (NAME_SIZE_LIMIT + 1)), "a name of 121 bytes"),
        (lambda states: states.assign(1, ""), "a name of 0 bytes"),
        (lambda states: states.reset(1), "nobody's"),
        (lambda states: states.release(1), "nobody's"),
        (lambda states: states.read(COUNT), "slot 4"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_has_changed(
    states: States, commit: Callable[[States], None], message: str
) -> None:
    step(states, [0, 2], [5, 6])
    with pytest.raises(StateError, match=message):
        commit(states)
    assert sorted(states.streams()) == [("a", 0), ("b", 2)]
    found = [states.read(0), states.read(2)]
    assert [state is not None and is_whole(state) and state.seq for state in found] == [5, 6]


def test_the_next_life_finds_everything_as_it_was_last_committed(path: Path, states: States) -> None:
    step(states, [0, 2], [5, 6])
    step(states, [0], [7])
    states.assign(3, "überall")
    again = States(path, LAYOUT, COUNT)
    assert again.streams() == [("überall", 3), ("b", 2), ("a", 0)]
    assert [again.last(slot)[0] for slot in (0, 2, 3)] == [7, 6, NO_SEQ]
    assert again.gather([0, 2])[0][0, :, 0].tolist() == [7, 6]
    step(again, [0], [8])
    assert again.last(0)[0] == 8
    again.close()


@pytest.mark.parametrize(
    ("tensors", "slot_count", "message"),
    [
        (LAYOUT[:1], COUNT, r"2 states \(h, tail\) are kept there, expected 1 states \(h\)"),
        ((LAYOUT[1], LAYOUT[0]), COUNT, r"h: float32\[2, 5\], batch axis 1 is kept there, expected tail: int64\[3\]"),
        ((replace(LAYOUT[0], dtype="float16"), LAYOUT[1]), COUNT, r"expected h: float16\[2, 5\]"),
        ((replace(LAYOUT[0], shape=(2, 6)), LAYOUT[1]), COUNT, r"expected h: float32\[2, 6\]"),
        ((replace(LAYOUT[0], batch_axis=0), LAYOUT[1]), COUNT, "batch axis 0"),
        ((LAYOUT[0], replace(LAYOUT[1], batch_axis=None)), COUNT, "no batch axis"),
        (LAYOUT, COUNT + 1, "4 slots, expected 5"),
    ],
)
def test_states_of_another_layout_are_refused(
    path: Path, states: States, tensors: tuple[StateTensor, ...], slot_count: int, message: str
) -> None:
    with pytest.raises(StateError, match=message) as caught:
        States(path, tensors, slot_count)
    assert caught.value.subject == str(path)
    assert "remove it to begin anew" in caught.value.hint


@pytest.mark.parametrize(
    "make",
    [
        lambda: StateTensor("h", "nonsense", (2,)),
        lambda: StateTensor("h", "U5", (2,)),
        lambda: StateTensor("h", "O", (2,)),
        lambda: StateTensor("h", "longdouble", (2,)),
        lambda: StateTensor("h", "float32", (0, 2)),
        lambda: StateTensor("h", "float32", (2,), 2),
        lambda: StateTensor("h", "float32", (2,), initial=np.zeros(2)),
        lambda: StateTensor("h", "float32", (2,), initial=np.zeros(3, np.float32)),
    ],
)
def test_a_tensor_that_cannot_be_kept_is_refused(make: Callable[[], StateTensor]) -> None:
    with pytest.raises(StateError, match="state h"):
        make()


def test_a_layout_that_cannot_be_kept_is_refused(path: Path) -> None:
    for tensors, slot_count in [((), 1), ((LAYOUT[0], LAYOUT[0]), 1), (LAYOUT, 0)]:
        with pytest.raises(StateError):
            States(path, tensors, slot_count)
    assert not path.exists()


def test_a_file_that_holds_no_states_is_refused(path: Path, states: States) -> None:
    whole = path.read_bytes()
    other = path.with_name("other")
    for content in (b"", b"x" * 200, bytes(4096), whole[:-64], whole.replace(b'"h"', b"'h'", 1)):
        other.write_bytes(content)
        with pytest.raises(StateError, match="expected a file of states"):
            StateView(other)
    with pytest.raises(StateError, match="cannot be opened"):
        StateView(path.with_name("none"))


def test_states_for_which_there_is_no_room_are_told(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be made"):
        States(tmp_path / "nowhere" / "x.states", LAYOUT, COUNT)
    assert list(tmp_path.iterdir()) == []


def test_whoever_may_open_the_file_reads_it_without_knowing_the_layout(path: Path, states: States) -> None:
    step(states, [0], [9])
    view = StateView(path)
    assert (view.slot_count, view.tensors) == (COUNT, LAYOUT)
    found = view.read(0)
    assert found is not None
    assert (found.stream, found.seq) == ("a", 9)
    assert is_whole(found)
    assert view.read(1) is None
    view.close()


@from_sources
def test_a_reader_never_sees_two_steps_in_one(path: Path, states: States, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner commits twice, over what is being copied, whenever the reader has just looked at the turn."""
    step(states, [0], [0])
    view = StateView(path)
    looks = 0

    def interrupted(words: memoryview, at: int) -> int:
        nonlocal looks
        looks += 1
        turn = load(words, at)
        if looks in (1, 3, 5):  # the first look of each of three attempts
            seq = states.last(0)[0]
            step(states, [0], [seq + 1])
            step(states, [0], [seq + 2])
        return turn

    monkeypatch.setattr(state_view, "load", interrupted)
    found = view.read(0)
    assert found is not None
    assert found.seq == 6
    assert is_whole(found)
    view.close()


@from_sources
def test_what_changes_faster_than_it_can_be_copied_is_told(
    path: Path, states: States, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = StateView(path)

    def interrupted(words: memoryview, at: int) -> int:
        step(states, [0], [states.last(0)[0] + 1])
        return load(words, at)

    monkeypatch.setattr(state_view, "load", interrupted)
    with pytest.raises(StateError, match=f"changed in each of {RETRY_COUNT} looks"):
        view.read(0)
    view.close()


def test_with_fences_as_without(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (states_module, state_view):
        monkeypatch.setattr(module, "fence", ring._locked_fence())
    states = States(path, LAYOUT, COUNT)
    states.assign(0, "a")
    for seq in range(5):
        step(states, [0], [seq])
        found = states.read(0)
        assert found is not None
        assert found.seq == seq
        assert is_whole(found)
    states.close()


tensors = st.builds(
    lambda dtype, shape, axis: (dtype, tuple(shape), min(axis, len(shape))),
    st.sampled_from(["float32", "float64", "int16", "bool", "complex64", "float16"]),
    st.lists(st.integers(1, 4), max_size=3),
    st.integers(0, 3),
).map(lambda made: StateTensor("t", made[0], made[1], made[2]))


@given(st.lists(tensors, min_size=1, max_size=4), st.lists(st.lists(st.integers(0, 5), unique=True), max_size=8))
def test_any_tensors_along_any_axes_are_gathered_as_they_were_committed(
    tensors: list[StateTensor], batches: list[list[int]]
) -> None:
    layout = [replace(tensor, name=f"t{number}") for number, tensor in enumerate(tensors)]
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        states = States(Path(folder) / "x", layout, 6)
        for slot in range(6):
            states.assign(slot, f"s{slot}")
        model: list[list[Array]] = [[filled(tensor, 0) for tensor in layout] for _ in range(6)]
        for seq, slots in enumerate(batches):
            found = states.gather(slots)
            for nth, tensor in enumerate(layout):
                expected = [model[slot][nth] for slot in slots]
                assert found[nth].shape == tensor.shape_of(len(slots))
                assert not slots or np.array_equal(found[nth], np.concatenate(expected, tensor.axis))
            new = [random.integers(0, 2, tensor.shape_of(len(slots))).astype(tensor.dtype) for tensor in layout]
            states.commit(slots, new, [seq] * len(slots), [seq] * len(slots))
            for place, slot in enumerate(slots):
                model[slot] = [np.take(array, [place], tensor.axis) for array, tensor in zip(new, layout, strict=True)]
        states.close()


def test_whenever_the_owner_is_killed_each_stream_is_as_after_its_last_committed_step(path: Path) -> None:
    """Real kills; each life goes on from what the one before had committed."""
    last = [NO_SEQ] * COUNT
    States(path, LARGE, COUNT).close()
    view = StateView(path)
    for life in range(12):
        process = multiprocessing.get_context("fork").Process(target=step_for_ever, args=(path, LARGE, COUNT))
        process.start()
        enough = max(last) + 5 + 3 * life
        while (found := view.read(life % COUNT)) is None or found.seq < enough:
            assert process.is_alive()
            assert found is None or is_whole(found), "as others see it meanwhile"
        process.kill()
        process.join()
        states = States(path, LARGE, COUNT)
        for slot in range(COUNT):
            state = states.read(slot)
            assert state is not None
            assert state.stream == f"stream {slot}"
            assert is_whole(state)
            assert state.seq >= last[slot], "a committed step is never undone"
            last[slot] = state.seq
        states.close()
    view.close()
