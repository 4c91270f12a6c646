"""Slots of shared memory: written once, read in place, free when nobody looks at them, whoever has died."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streamflow.errors import PoolError, WireError
from streamflow.memory.borrowed import Borrowed
from streamflow.memory.pool import FIRST_COUNT, Pool, class_of
from streamflow.memory.segment import PAGE, Segment
from streamflow.wire.arrays import Array, Form
from streamflow.wire.data import INLINE_SIZE_LIMIT, Place

SHAPE = (INLINE_SIZE_LIMIT + 1,)


def form_of(array: Array) -> Form:
    return Form(array.dtype, array.shape, array.nbytes)


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    pool = Pool(tmp_path, "camera", 2)
    yield pool
    pool.close()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Borrowed]:
    reader = Borrowed(tmp_path, "camera", 1)
    yield reader
    reader.close()


def made(pool: Pool, value: int = 7, shape: Any = SHAPE) -> Array:
    array = pool.allocate(shape, "uint8")
    assert array is not None
    array[...] = value
    return array


def is_free(pool: Pool, where: int) -> bool:
    """Whether the slot at that address is used before there is a further segment."""
    size, taken = pool.size, []
    while pool.size == size:
        taken.append(made(pool))
    return where in {array.ctypes.data for array in taken}


def test_what_is_written_in_a_slot_is_read_there(pool: Pool, reader: Borrowed) -> None:
    array = made(pool)
    place = pool.lend(array, 1)
    assert place is not None
    seen = reader.array(place, form_of(array))
    np.testing.assert_array_equal(seen, array)
    array[5] = 9
    assert seen[5] == 9
    with pytest.raises(ValueError, match="read-only"):
        seen[0] = 1
    with pytest.raises(ValueError, match="cannot set WRITEABLE"):
        seen.flags.writeable = True


def test_a_part_of_a_slot_is_lent_without_a_copy(pool: Pool, reader: Borrowed) -> None:
    array = made(pool, shape=(4, SHAPE[0]))
    array[2] = 3
    part = array[2:3]
    place = pool.lend(part, 1)
    assert place is not None
    assert place.offset == 2 * SHAPE[0]
    np.testing.assert_array_equal(reader.array(place, form_of(part)), part)


def test_what_cannot_be_read_in_place_is_not_lent(pool: Pool) -> None:
    assert pool.lend(np.zeros(SHAPE, "uint8"), 1) is None
    assert pool.lend(made(pool, shape=(4, SHAPE[0]))[:, ::2], 1) is None
    assert pool.allocate((INLINE_SIZE_LIMIT,), "uint8") is None
    assert pool.allocate(SHAPE, "O") is None


def test_what_is_placed_is_copied_once_and_then_stays(pool: Pool) -> None:
    array = np.arange(SHAPE[0] * 2, dtype="float32").reshape(2, -1).T
    placed = pool.placed(array)
    assert placed is not None
    np.testing.assert_array_equal(placed, array)
    assert not placed.flags.writeable
    again = pool.placed(placed)
    assert again is not None
    assert np.shares_memory(again, placed)
    own = made(pool)
    seen = pool.placed(own)
    assert seen is not None
    assert np.shares_memory(seen, own)
    assert not seen.flags.writeable


def test_a_slot_is_used_again_when_nobody_looks_at_it_here_or_there(pool: Pool, reader: Borrowed) -> None:
    array = made(pool)
    where = array.ctypes.data
    place = pool.lend(array, 1)
    assert place is not None
    seen = reader.array(place, form_of(array))
    part = seen[10:20]
    del array
    assert not is_free(pool, where)
    del seen
    assert not is_free(pool, where)
    del part
    assert is_free(pool, where)


def test_the_slot_that_came_back_last_goes_first(pool: Pool) -> None:
    arrays = [made(pool) for _ in range(3)]
    last = arrays[1].ctypes.data
    del arrays[1]
    made(pool)
    assert made(pool).ctypes.data == last


def test_what_was_lent_twice_comes_back_twice(pool: Pool, reader: Borrowed) -> None:
    array = made(pool)
    places = [pool.lend(array, 1), pool.lend(array, 1)]
    where, form = array.ctypes.data, form_of(array)
    del array
    for place in places:
        assert not is_free(pool, where)
        assert place is not None
        reader.array(place, form)
    assert is_free(pool, where)


def test_what_a_dead_reader_had_is_free(pool: Pool) -> None:
    array = made(pool)
    assert pool.lend(array, 0) is not None
    assert pool.lend(array, 1) is not None
    where = array.ctypes.data
    del array
    pool.forget_reader(1)
    assert not is_free(pool, where)
    pool.forget_reader(0)
    assert is_free(pool, where)


def test_what_a_dead_owner_had_lent_stays_as_long_as_it_is_looked_at(tmp_path: Path) -> None:
    dead = Pool(tmp_path, "camera", 1)
    reader = Borrowed(tmp_path, "camera", 0)
    array, lost = made(dead), made(dead, 8)
    place = dead.lend(array, 0)
    dead.lend(lost, 0)
    assert place is not None
    seen = reader.array(place, form_of(array))
    reader.settle()  # everything that was sent has been read
    successor = Pool(tmp_path, "camera", 1)
    others = [made(successor, 5) for _ in range(FIRST_COUNT - 1)]
    assert successor.size == dead.size
    assert (seen == 7).all()
    del seen
    others.append(made(successor, 5))
    assert successor.size == dead.size
    for one in (reader, successor, dead):
        one.close()


def test_a_slot_that_is_used_again_is_never_read_in_the_place_of_another(pool: Pool, reader: Borrowed) -> None:
    array = made(pool)
    place = pool.lend(array, 1)
    assert place is not None
    form = form_of(array)
    pool.forget_reader(1)
    del array
    made(pool, 9)
    with pytest.raises(WireError, match="used again"):
        reader.array(place, form)


@pytest.mark.parametrize("change", [{"slot": 99}, {"slot": -1}, {"offset": -1}, {"offset": 1 << 40}, {"segment": 5}])
def test_a_place_that_is_nowhere_is_a_wire_error(pool: Pool, reader: Borrowed, change: dict[str, int]) -> None:
    array = made(pool)
    place = pool.lend(array, 1)
    assert place is not None
    with pytest.raises(WireError):
        reader.array(place._replace(**change), form_of(array))


def test_beyond_its_limit_there_are_no_more_slots(tmp_path: Path) -> None:
    pool = Pool(tmp_path, "camera", 1, limit=3 * class_of(SHAPE[0]))
    kept = [made(pool) for _ in range(3)]
    assert pool.allocate(SHAPE, "uint8") is None
    assert pool.placed(np.zeros(SHAPE, "uint8")) is None
    kept.pop()
    assert pool.allocate(SHAPE, "uint8") is not None
    pool.close()


def test_a_file_that_is_no_segment_is_refused(tmp_path: Path) -> None:
    for number, content in enumerate([b"", b"x" * PAGE, bytes(2 * PAGE)]):
        (tmp_path / f"a.{number}.pool").write_bytes(content)
        with pytest.raises(PoolError):
            Segment(tmp_path / f"a.{number}.pool", is_owner=False)


@pytest.mark.parametrize("size", [16_385, 100_000, 640 * 480 * 3, 1920 * 1080 * 3, 25_000_000, 1 << 28])
def test_a_slot_is_at_most_a_quarter_larger_than_what_is_in_it(size: int) -> None:
    assert size <= class_of(size) <= size * 1.25 + PAGE
    assert class_of(size) % PAGE == 0
    assert class_of(class_of(size)) == class_of(size)


class Sharing(RuleBasedStateMachine):
    """An owner and two readers that lend, look, let go and die in any order and together.

    What is looked at never changes, and a slot is missing only as long as somebody has it.
    """

    LIMIT = 6

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name)
        self.pool = self._new_pool()
        self.readers = [Borrowed(self._path, "s", number) for number in range(2)]
        self.has_greeted = [False, False]
        self.serial = 0
        self.own: dict[int, tuple[Array, int]] = {}
        self.on_the_wire: list[list[tuple[Place, Form, int]]] = [[], []]
        self.looked_at: dict[int, tuple[int, Array, int, Place]] = {}

    def _new_pool(self) -> Pool:
        return Pool(self._path, "s", 2, self.LIMIT * class_of(SHAPE[0]))

    def _in_use(self) -> set[tuple[int, int]]:
        slots = [self.pool._slot_of(array) for array, _ in self.own.values()]
        own = {(slot.segment_number, slot.number) for slot in slots if slot is not None}
        places = [place for edge in self.on_the_wire for place, _, _ in edge]
        places += [place for _, _, _, place in self.looked_at.values()]
        return own | {(place.segment, place.slot) for place in places}

    @precondition(lambda self: len(self.own) < 4)
    @rule()
    def allocate(self) -> None:
        self.serial += 1
        array = self.pool.allocate(SHAPE, "uint8")
        if array is not None:
            array[...] = self.serial % 251
            self.own[self.serial] = array, self.serial % 251

    @invariant()
    def every_slot_is_in_use_or_free(self) -> None:
        if not all(self.has_greeted):
            return
        free = []
        while (array := self.pool.allocate(SHAPE, "uint8")) is not None:
            free.append(array)
        assert len(free) + len(self._in_use()) == self.LIMIT

    @precondition(lambda self: self.own)
    @rule(draw=st.data())
    def let_go(self, draw: st.DataObject) -> None:
        del self.own[draw.draw(st.sampled_from(sorted(self.own)))]

    @precondition(lambda self: not all(self.has_greeted))
    @rule()
    def greet(self) -> None:
        """The hellos of new lives have come."""
        for number, has_greeted in enumerate(self.has_greeted):
            if not has_greeted:
                self.readers[number].settle()
        self.has_greeted = [True, True]

    @precondition(lambda self: self.own and any(self.has_greeted))
    @rule(draw=st.data(), preferred=st.integers(0, 1))
    def lend(self, draw: st.DataObject, preferred: int) -> None:
        number = preferred if self.has_greeted[preferred] else 1 - preferred
        array, value = self.own[draw.draw(st.sampled_from(sorted(self.own)))]
        place = self.pool.lend(array, number)
        assert place is not None
        self.on_the_wire[number].append((place, form_of(array), value))

    @precondition(lambda self: any(self.on_the_wire))
    @rule(preferred=st.integers(0, 1))
    def look(self, preferred: int) -> None:
        self._look(preferred if self.on_the_wire[preferred] else 1 - preferred)

    def _look(self, number: int) -> None:
        self.serial += 1
        place, form, value = self.on_the_wire[number].pop(0)
        self.looked_at[self.serial] = number, self.readers[number].array(place, form), value, place

    @precondition(lambda self: self.looked_at)
    @rule(draw=st.data())
    def look_away(self, draw: st.DataObject) -> None:
        del self.looked_at[draw.draw(st.sampled_from(sorted(self.looked_at)))]

    @rule(owner=st.booleans(), readers=st.sets(st.integers(0, 1)))
    def die(self, owner: bool, readers: set[int]) -> None:
        """All at once: an owner that is dead too hears of no reader's death."""
        for number in readers:
            self._reader_is_gone(number)
            if not owner:
                self.pool.forget_reader(number)
        if owner:
            for number in range(2):
                while self.on_the_wire[number]:  # read before another life of the owner is expected
                    self._look(number)
            self.own.clear()
            self.has_greeted = [False, False]
            self.pool = self._new_pool()

    def _reader_is_gone(self, number: int) -> None:
        self.on_the_wire[number].clear()
        self.readers[number]._held.clear()  # nothing is given back by the dead
        self.looked_at = {key: held for key, held in self.looked_at.items() if held[0] != number}
        self.readers[number].close()
        self.readers[number] = Borrowed(self._path, "s", number)
        self.has_greeted[number] = False

    @invariant()
    def what_is_looked_at_stays_as_it_is(self) -> None:
        for _, array, value, _ in self.looked_at.values():
            assert (array == value).all()

    def teardown(self) -> None:
        self.own.clear()
        self.looked_at.clear()
        gc.collect()
        for reader in self.readers:
            reader.close()
        self._folder.cleanup()


TestSharing = Sharing.TestCase
TestSharing.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
