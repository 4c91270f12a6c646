"""Slots of shared memory: written once, read in place, free when nobody looks at them, whoever has died."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

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


def test_beyond_its_limit_there_are_no_more_slots_and_that_is_counted(tmp_path: Path) -> None:
    pool = Pool(tmp_path, "camera", 1, limit=3 * class_of(SHAPE[0]))
    kept = [made(pool) for _ in range(3)]
    assert pool.allocate(SHAPE, "uint8") is None
    assert pool.placed(np.zeros(SHAPE, "uint8")) is None
    assert pool.exhausted_count == 2
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
    """An owner and two readers that lend, look, let go and die in any order; what is looked at never changes."""

    arrays: Bundle[tuple[Array, int]] = Bundle("arrays")
    lent: Bundle[tuple[int, Place, Form, int, int]] = Bundle("lent")
    seen: Bundle[int] = Bundle("seen")

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name)
        self._limit = 6 * class_of(SHAPE[0])
        self.pool = Pool(self._path, "s", 2, self._limit)
        self.readers = [Borrowed(self._path, "s", number) for number in range(2)]
        self.lives = [0, 0]
        self.owner_life = 0
        self.value = 0
        self.looked_at: dict[int, tuple[int, Array, int]] = {}
        self.own: list[tuple[Array, int]] = []

    @rule(target=arrays)
    def allocate(self) -> tuple[Array, int] | Any:
        self.value = (self.value + 1) % 251
        array = self.pool.allocate(SHAPE, "uint8")
        if array is None:
            assert self.pool.lent_count >= FIRST_COUNT  # only what is in use is missing
            array = np.zeros(SHAPE, "uint8")
        array[...] = self.value
        return array, self.value

    @rule(one=arrays, number=st.integers(0, 1), target=lent)
    def lend(self, one: tuple[Array, int], number: int) -> Any:
        array, value = one
        if (array != value).any():
            return None  # of an owner that is dead: its slot is another's
        place = self.pool.lend(array, number)
        return None if place is None else (number, place, form_of(array), value, self.lives[number], self.owner_life)

    @rule(one=consumes(lent), target=seen)
    def look(self, one: Any) -> int:
        key = len(self.looked_at) + self.value * 1000
        if one is not None and (self.lives[one[0]], self.owner_life) == one[4:]:
            number, place, form, value = one[:4]
            self.looked_at[key] = number, self.readers[number].array(place, form), value
        return key

    @rule(key=consumes(seen))
    def let_go(self, key: int) -> None:
        self.looked_at.pop(key, None)

    @rule(number=st.integers(0, 1))
    def reader_dies(self, number: int) -> None:
        self.looked_at = {key: held for key, held in self.looked_at.items() if held[0] != number}
        self.lives[number] += 1
        self.readers[number]._held.clear()  # nothing is given back by the dead
        self.readers[number].close()
        self.pool.forget_reader(number)
        self.readers[number] = Borrowed(self._path, "s", number)

    @precondition(lambda self: self.owner_life < 3)
    @rule()
    def owner_dies(self) -> None:
        self.owner_life += 1
        for reader in self.readers:
            reader.settle()
        self.pool = Pool(self._path, "s", 2, self._limit)

    @invariant()
    def what_is_looked_at_stays_as_it_is(self) -> None:
        for _, array, value in self.looked_at.values():
            assert (array == value).all()

    def teardown(self) -> None:
        self.looked_at.clear()
        gc.collect()
        for reader in self.readers:
            reader.close()
        self._folder.cleanup()


TestSharing = Sharing.TestCase
TestSharing.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
