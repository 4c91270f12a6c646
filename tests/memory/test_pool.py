"""Slots of shared memory: written once, read in place, free when nobody looks at them, whoever has died."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streamflow.errors import PoolError, WireError
from streamflow.memory.lending import Borrowing
from streamflow.memory.pool import FIRST_COUNT, Pool, class_of
from streamflow.memory.segment import PAGE, Segment
from streamflow.memory.shares import Owner, Shares
from streamflow.wire.arrays import Array, Form
from streamflow.wire.data import INLINE_SIZE_LIMIT, Place

SHAPE = (INLINE_SIZE_LIMIT + 1,)
EDGES = ("a", "b", "c")
OWNERS = (Owner("camera", {"a": 0, "b": 1, "c": 2}), Owner("relay", {"c": 0}))


def form_of(array: Array) -> Form:
    return Form(array.dtype, array.shape, array.nbytes)


class Process:
    """One of a run: a camera that sends on `a` and `b`, a relay that gets `a` and sends on `c`, or a sink of both."""

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        self.shares = Shares(folder, OWNERS, limit)
        self.pool = self.shares.pool("camera")
        self.ends = {edge: Borrowing(self.shares, edge) for edge in EDGES}

    def lend(self, array: Array, edge: str) -> Place:
        place = self.shares.lend(array, edge)
        assert place is not None
        return place

    def die(self) -> None:
        """Nothing is given back by the dead."""
        self.shares._borrowed.clear()


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.shares.close()


@pytest.fixture
def pool(camera: Process) -> Pool:
    return camera.pool


@pytest.fixture
def reader(tmp_path: Path, camera: Process) -> Iterator[Borrowing]:
    shares = Shares(tmp_path, OWNERS)
    reader = Borrowing(shares, "b")
    yield reader
    reader.close()
    shares.close()


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


def test_what_is_written_in_a_slot_is_read_there(camera: Process, pool: Pool, reader: Borrowing) -> None:
    array = made(pool)
    place = camera.shares.lend(array, "b")
    assert place is not None
    seen = reader.array(place, form_of(array))
    np.testing.assert_array_equal(seen, array)
    array[5] = 9
    assert seen[5] == 9
    with pytest.raises(ValueError, match="read-only"):
        seen[0] = 1
    with pytest.raises(ValueError, match="cannot set WRITEABLE"):
        seen.flags.writeable = True


def test_a_part_of_a_slot_is_lent_without_a_copy(camera: Process, pool: Pool, reader: Borrowing) -> None:
    array = made(pool, shape=(4, SHAPE[0]))
    array[2] = 3
    part = array[2:3]
    place = camera.shares.lend(part, "b")
    assert place is not None
    assert place.offset == 2 * SHAPE[0]
    np.testing.assert_array_equal(reader.array(place, form_of(part)), part)


def test_what_cannot_be_read_in_place_is_not_lent(camera: Process, pool: Pool) -> None:
    assert camera.shares.lend(np.zeros(SHAPE, "uint8"), "b") is None
    assert camera.shares.lend(made(pool, shape=(4, SHAPE[0]))[:, ::2], "b") is None
    assert pool.allocate((INLINE_SIZE_LIMIT,), "uint8") is None
    assert pool.allocate(SHAPE, "O") is None


def test_what_is_placed_is_copied_once_and_then_stays(camera: Process, pool: Pool) -> None:
    array = np.arange(SHAPE[0] * 2, dtype="float32").reshape(2, -1).T
    placed = camera.shares.placed(array, pool)
    assert placed is not None
    np.testing.assert_array_equal(placed, array)
    assert not placed.flags.writeable
    again = camera.shares.placed(placed, pool)
    assert again is not None
    assert np.shares_memory(again, placed)
    own = made(pool)
    seen = camera.shares.placed(own, pool)
    assert seen is not None
    assert np.shares_memory(seen, own)
    assert not seen.flags.writeable


def test_a_slot_is_used_again_when_nobody_looks_at_it_here_or_there(
    camera: Process, pool: Pool, reader: Borrowing
) -> None:
    array = made(pool)
    where = array.ctypes.data
    place = camera.shares.lend(array, "b")
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


def test_what_was_lent_twice_comes_back_twice(camera: Process, pool: Pool, reader: Borrowing) -> None:
    array = made(pool)
    places = [camera.shares.lend(array, "b"), camera.shares.lend(array, "b")]
    where, form = array.ctypes.data, form_of(array)
    del array
    for place in places:
        assert not is_free(pool, where)
        assert place is not None
        reader.array(place, form)
    assert is_free(pool, where)


def test_what_a_dead_reader_had_is_free(camera: Process, pool: Pool) -> None:
    array = made(pool)
    assert camera.shares.lend(array, "a") is not None
    assert camera.shares.lend(array, "b") is not None
    where = array.ctypes.data
    del array
    camera.shares.forget("b")
    assert not is_free(pool, where)
    camera.shares.forget("a")
    assert is_free(pool, where)


def test_what_a_dead_owner_had_lent_stays_as_long_as_it_is_looked_at(tmp_path: Path) -> None:
    dead, reader = Process(tmp_path), Process(tmp_path)
    array, lost = made(dead.pool), made(dead.pool, 8)
    place = dead.lend(array, "a")
    dead.lend(lost, "a")
    seen = reader.ends["a"].array(place, form_of(array))
    reader.ends["a"].settle()  # everything that was sent has been read
    successor = Process(tmp_path)
    others = [made(successor.pool, 5) for _ in range(FIRST_COUNT - 1)]
    assert successor.pool.size == dead.pool.size
    assert (seen == 7).all()
    del seen
    others.append(made(successor.pool, 5))
    assert successor.pool.size == dead.pool.size
    for one in (reader, successor, dead):
        one.shares.close()


def test_what_was_lent_is_passed_on_without_a_copy(tmp_path: Path) -> None:
    camera, relay, sink = Process(tmp_path), Process(tmp_path), Process(tmp_path)
    array = made(camera.pool, 3)
    array[0] = 9
    where = array.ctypes.data
    seen = relay.ends["a"].array(camera.lend(array, "a"), form_of(array))
    part = seen[1:]
    passed_on = relay.shares.placed(part, relay.shares.pool("relay"))
    assert passed_on is part
    place = relay.lend(part, "c")
    assert place.owner == 0
    last = sink.ends["c"].array(place, form_of(part))
    del array, seen, part, passed_on
    gc.collect()
    assert (last == 3).all()
    assert not is_free(camera.pool, where)
    del last
    assert is_free(camera.pool, where)
    assert relay.shares.pool("relay").size == 0
    for one in (camera, relay, sink):
        one.shares.close()


def test_on_an_edge_by_which_it_cannot_come_nothing_is_lent(tmp_path: Path, camera: Process, pool: Pool) -> None:
    other = camera.shares.pool("relay")
    array = made(other)
    assert camera.shares.lend(array, "c") is not None
    assert camera.shares.lend(array, "a") is None


def test_a_slot_that_is_used_again_is_never_read_in_the_place_of_another(
    camera: Process, pool: Pool, reader: Borrowing
) -> None:
    array = made(pool)
    place = camera.shares.lend(array, "b")
    assert place is not None
    form = form_of(array)
    camera.shares.forget("b")
    del array
    made(pool, 9)
    with pytest.raises(WireError, match="used again"):
        reader.array(place, form)


@pytest.mark.parametrize(
    "change",
    [{"slot": 99}, {"slot": -1}, {"offset": -1}, {"offset": 1 << 40}, {"segment": 5}, {"owner": 1}, {"owner": 9}],
)
def test_a_place_that_is_nowhere_is_a_wire_error(
    camera: Process, pool: Pool, reader: Borrowing, change: dict[str, int]
) -> None:
    array = made(pool)
    place = camera.shares.lend(array, "b")
    assert place is not None
    with pytest.raises(WireError):
        reader.array(place._replace(**change), form_of(array))


def test_beyond_its_limit_there_are_no_more_slots(tmp_path: Path) -> None:
    process = Process(tmp_path, limit=3 * class_of(SHAPE[0]))
    kept = [made(process.pool) for _ in range(3)]
    assert process.pool.allocate(SHAPE, "uint8") is None
    assert process.shares.placed(np.zeros(SHAPE, "uint8"), process.pool) is None
    kept.pop()
    assert process.pool.allocate(SHAPE, "uint8") is not None
    process.shares.close()


def test_what_is_reserved_is_there_before_it_is_needed(pool: Pool) -> None:
    assert pool.reserve(SHAPE[0], 7)
    size = pool.size
    assert size == 7 * class_of(SHAPE[0])
    assert pool.reserve(SHAPE[0], 7)
    kept = [made(pool) for _ in range(7)]
    assert pool.size == size
    assert len({array.ctypes.data for array in kept}) == 7


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
    """Camera, relay and sink that lend, pass on, look, let go and die in any order and together.

    What is looked at never changes, and a slot is missing only as long as somebody has it.
    """

    LIMIT = 6
    SENDER: ClassVar = {"a": "camera", "b": "camera", "c": "relay"}
    RECEIVER: ClassVar = {"a": "relay", "b": "sink", "c": "sink"}

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name)
        self.processes = {name: self._new() for name in ("camera", "relay", "sink")}
        self.has_greeted = dict.fromkeys(EDGES, False)
        self.serial = 0
        self.own: dict[int, tuple[Array, int]] = {}
        self.on_the_wire: dict[str, list[tuple[Place, Form, int]]] = {edge: [] for edge in EDGES}
        self.looked_at: dict[int, tuple[str, Array, int, Place]] = {}

    def _new(self) -> Process:
        return Process(self._path, self.LIMIT * class_of(SHAPE[0]))

    def _in_use(self) -> set[tuple[int, int]]:
        slots = [self.processes["camera"].pool.where(array) for array, _ in self.own.values()]
        own = {(slot.segment_number, slot.number) for slot in slots if slot is not None}
        places = [place for edge in self.on_the_wire.values() for place, _, _ in edge]
        places += [place for _, _, _, place in self.looked_at.values()]
        return own | {(place.segment, place.slot) for place in places}

    @precondition(lambda self: len(self.own) < 4)
    @rule()
    def allocate(self) -> None:
        self.serial += 1
        array = self.processes["camera"].pool.allocate(SHAPE, "uint8")
        if array is not None:
            array[...] = self.serial % 251
            self.own[self.serial] = array, self.serial % 251

    @invariant()
    def every_slot_is_in_use_or_free(self) -> None:
        if not all(self.has_greeted.values()):
            return
        free = []
        while (array := self.processes["camera"].pool.allocate(SHAPE, "uint8")) is not None:
            free.append(array)
        assert len(free) + len(self._in_use()) == self.LIMIT

    @precondition(lambda self: self.own)
    @rule(draw=st.data())
    def let_go(self, draw: st.DataObject) -> None:
        del self.own[draw.draw(st.sampled_from(sorted(self.own)))]

    @precondition(lambda self: not all(self.has_greeted.values()))
    @rule()
    def greet(self) -> None:
        """The hellos of new lives have come."""
        for edge, has_greeted in self.has_greeted.items():
            if not has_greeted:
                self.processes[self.RECEIVER[edge]].ends[edge].settle()
        self.has_greeted = dict.fromkeys(EDGES, True)

    @precondition(lambda self: self.own and (self.has_greeted["a"] or self.has_greeted["b"]))
    @rule(draw=st.data())
    def lend(self, draw: st.DataObject) -> None:
        edge = draw.draw(st.sampled_from([edge for edge in ("a", "b") if self.has_greeted[edge]]))
        array, value = self.own[draw.draw(st.sampled_from(sorted(self.own)))]
        self.on_the_wire[edge].append((self.processes["camera"].lend(array, edge), form_of(array), value))

    @precondition(lambda self: self.has_greeted["c"] and self._seen_by("relay"))
    @rule(draw=st.data())
    def pass_on(self, draw: st.DataObject) -> None:
        _, array, value, _ = self.looked_at[draw.draw(st.sampled_from(self._seen_by("relay")))]
        self.on_the_wire["c"].append((self.processes["relay"].lend(array, "c"), form_of(array), value))

    def _seen_by(self, process: str) -> list[int]:
        return [key for key, (edge, *_) in self.looked_at.items() if self.RECEIVER[edge] == process]

    @precondition(lambda self: any(self.on_the_wire.values()))
    @rule(draw=st.data())
    def look(self, draw: st.DataObject) -> None:
        self._look(draw.draw(st.sampled_from([edge for edge in EDGES if self.on_the_wire[edge]])))

    def _look(self, edge: str) -> None:
        self.serial += 1
        place, form, value = self.on_the_wire[edge].pop(0)
        array = self.processes[self.RECEIVER[edge]].ends[edge].array(place, form)
        self.looked_at[self.serial] = edge, array, value, place

    @precondition(lambda self: self.looked_at)
    @rule(draw=st.data())
    def look_away(self, draw: st.DataObject) -> None:
        del self.looked_at[draw.draw(st.sampled_from(sorted(self.looked_at)))]

    @rule(dead=st.sets(st.sampled_from(["camera", "relay", "sink"]), min_size=1), arrives=st.integers(0, 3))
    def die(self, dead: set[str], arrives: int) -> None:
        """All at once: who is dead too hears of nobody's death. Of what the dead had sent, the first arrive."""
        for edge in EDGES:
            if self.RECEIVER[edge] not in dead and self.SENDER[edge] in dead:
                for _ in range(min(arrives, len(self.on_the_wire[edge]))):
                    self._look(edge)
            if dead & {self.RECEIVER[edge], self.SENDER[edge]}:
                self.on_the_wire[edge].clear()
                self.has_greeted[edge] = False
        for name in dead:
            self.processes[name].die()
        self.looked_at = {key: held for key, held in self.looked_at.items() if self.RECEIVER[held[0]] not in dead}
        if "camera" in dead:
            self.own.clear()
        for edge in EDGES:
            if self.RECEIVER[edge] in dead and self.SENDER[edge] not in dead:
                self.processes[self.SENDER[edge]].shares.forget(edge)
        for name in dead:
            self.processes[name] = self._new()

    @invariant()
    def what_is_looked_at_stays_as_it_is(self) -> None:
        for _, array, value, _ in self.looked_at.values():
            assert (array == value).all()

    def teardown(self) -> None:
        self.own.clear()
        self.looked_at.clear()
        gc.collect()
        for process in self.processes.values():
            process.shares.close()
        self._folder.cleanup()


TestSharing = Sharing.TestCase
TestSharing.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
