"""States that are elsewhere and ahead: what of a snapshot still counts when it comes back, and what a life finds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamflow import Eviction, In, Message, Node, StateRules, StateTensor, StreamflowError, ms, s
from streamflow.core.gaps import StepKind
from streamflow.errors import StateError
from streamflow.memory.states import States
from streamflow.runtime.stepping_elsewhere import Snapshot, SteppingElsewhere
from streamflow.runtime.stream_states import StreamStates, take_back
from streamflow.testing import drive

LAYOUT = (
    StateTensor("h", "float32", (2, 3), 1, np.full((2, 3), 7, np.float32)),
    StateTensor("count", "int64", (), 0),
)
LEAST_RECENT = StateRules(stream_count_max=2, eviction=Eviction.LEAST_RECENTLY_USED)


class Elsewhere:
    """A stage whose states are kept in a dictionary by slot; each step makes all of them one more."""

    def __init__(self, path: Path, rules: StateRules, **more: Any) -> None:
        self.states = StreamStates("x", States(path, LAYOUT, rules.stream_count_max), rules, lambda: 0, **more)
        self.kept: dict[int, list[Any]] = {}

    def begin(self, *data: Message) -> SteppingElsewhere:
        """The steps are made as well."""
        stepping = self.states.begin_elsewhere(data, self)
        for row, nth in enumerate(stepping.loaded):
            h, count = stepping.arrays
            self.kept[stepping.slots[nth]] = [h[:, row].copy(), count[row].copy()]
        for slot in stepping.slots:
            self.kept[slot] = [array + 1 for array in self.kept[slot]]
        stepping.made()
        return stepping

    def taken(self, snapshot: Snapshot) -> Callable[[], Collection[int]]:
        """What commits it, with what the slots have now."""
        hs, counts = zip(*(self.kept[slot] for slot in snapshot.slots), strict=True)
        arrays = [np.stack(hs, axis=1), np.array(counts)]
        return lambda: snapshot.commit(arrays)

    def step(self, *data: Message) -> Callable[[], Collection[int]]:
        stepping = self.begin(*data)
        return self.taken(stepping.snapshot(range(len(stepping.messages))))

    def committed(self, streams: str) -> list[int]:
        return [int(self.states.arrays(stream)["count"][0]) for stream in streams]


Make = Callable[..., Elsewhere]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Of a stage's lives, each with the same file."""
    made: list[Elsewhere] = []

    def one(rules: StateRules | None = None, **more: Any) -> Elsewhere:
        made.append(Elsewhere(tmp_path / "x.states", rules or StateRules(), **more))
        return made[-1]

    yield one
    for each in made:
        each.states.close()


def datum(stream: str, seq: int) -> Message:
    return Message({}, stream, seq, seq * 10 * ms)


def kinds(stepping: SteppingElsewhere) -> list[StepKind]:
    return [step.kind for step in stepping.steps]


def test_a_state_is_loaded_once_in_a_life_and_goes_on_from_what_was_made(make: Make) -> None:
    stage = make()
    assert (stage.begin(datum("a", 0), datum("b", 0)).loaded, stage.kept[0][1]) == ([0, 1], 1)
    second = stage.begin(datum("b", 1), datum("c", 0), datum("a", 1))
    assert second.loaded == [1]
    assert kinds(second) == [StepKind.STEP, StepKind.START, StepKind.STEP]
    assert second.arrays[0].shape == (2, 1, 3)
    assert stage.committed("abc") == [0, 0, 0]


def test_a_snapshot_commits_the_state_and_its_place_together(make: Make) -> None:
    stage = make()
    commit = stage.step(datum("a", 0), datum("b", 0))
    stage.begin(datum("a", 1))
    commit()
    assert stage.committed("ab") == [1, 1]
    later = make()
    stepping = later.begin(datum("a", 2), datum("b", 1))
    assert kinds(stepping) == [StepKind.FREEZE, StepKind.STEP]
    assert stepping.results(["x", "y"])[0].attributes == {"gap": 1, "gap_action": "freeze"}
    assert [int(later.kept[slot][1]) for slot in stepping.slots] == [2, 2]


def test_an_older_snapshot_never_goes_over_a_newer_one(make: Make) -> None:
    stage = make()
    older = stage.step(datum("a", 0), datum("b", 0))
    newer = stage.step(datum("a", 1))
    newer()
    older()
    assert stage.committed("ab") == [2, 1]
    assert kinds(make().begin(datum("a", 2), datum("b", 1))) == [StepKind.STEP, StepKind.STEP]


def test_a_snapshot_is_committed_once(make: Make) -> None:
    stage = make()
    commit = stage.step(datum("a", 0))
    commit()
    changes = stage.states._states.change_count()
    commit()
    assert stage.states._states.change_count() == changes


def test_of_a_slot_that_is_another_s_by_now_nothing_is_committed(make: Make) -> None:
    stage = make(LEAST_RECENT)
    commit = stage.step(datum("a", 0), datum("b", 0))
    stage.begin(datum("c", 0))
    commit()
    assert stage.committed("abc") == [0, 1, 0]


def test_who_comes_back_to_its_slot_is_not_given_what_it_had_before(make: Make) -> None:
    stage = make(StateRules(stream_count_max=1, eviction=Eviction.LEAST_RECENTLY_USED))
    commit = stage.step(datum("a", 0))
    stage.begin(datum("b", 0))
    stage.begin(datum("a", 5))
    commit()
    assert stage.committed("a") == [0]
    assert make(StateRules(stream_count_max=1)).begin(datum("a", 6)).steps[0].kind is StepKind.START


def test_what_has_begun_anew_is_loaded_with_the_initial_state_and_drops_what_was_before(make: Make) -> None:
    stage = make(StateRules(max_gap_ns=s))
    stage.step(datum("a", 0), datum("b", 0))()
    before = stage.step(datum("a", 1))
    stepping = stage.begin(datum("b", 1), datum("a", 200))
    assert kinds(stepping) == [StepKind.STEP, StepKind.RESET]
    assert stepping.loaded == [1]
    assert (stepping.arrays[0] == 7).all()
    assert stepping.arrays[1].tolist() == [0]
    before()
    assert stage.committed("a") == [1]


def test_a_life_that_has_seen_a_reset_only_elsewhere_leaves_it_to_the_next(make: Make) -> None:
    rules = StateRules(max_gap_ns=s)
    stage = make(rules)
    stage.step(datum("a", 0))()
    stage.begin(datum("a", 200))
    assert kinds(make(rules).begin(datum("a", 201))) == [StepKind.RESET]


def test_who_is_to_start_anew_does_so_elsewhere_too(make: Make) -> None:
    stage = make()
    stage.step(datum("a", 0))()
    stage.states.start_anew()
    stepping = stage.begin(datum("a", 1))
    assert (kinds(stepping), stepping.loaded) == ([StepKind.RESET], [0])
    assert kinds(stage.begin(datum("a", 2))) == [StepKind.STEP]


def test_who_goes_on_here_goes_on_from_what_was_committed_and_elsewhere_loads_it_again(make: Make) -> None:
    stage = make()
    stage.step(datum("a", 0))()
    out_of_date = stage.step(datum("a", 1))
    here = stage.states.begin([datum("a", 2)])
    assert here.steps[0].missing_count == 1
    here.commit([array + 10 for array in here.arrays])
    out_of_date()
    assert stage.committed("a") == [11]
    stepping = stage.begin(datum("a", 3))
    assert (kinds(stepping), stepping.loaded, int(stage.kept[0][1])) == ([StepKind.STEP], [0], 12)


def test_where_two_have_states_of_the_same_streams_each_goes_on_from_what_was_committed(make: Make) -> None:
    stage, other = make(), make()
    other.states.close()
    other.states = stage.states
    stage.step(datum("a", 0))()
    out_of_date = stage.step(datum("a", 1))
    assert other.begin(datum("a", 2)).steps[0].missing_count == 1
    assert int(other.kept[0][1]) == 2
    out_of_date()
    assert stage.committed("a") == [1]
    assert stage.states.snapshot_of_rest(stage, 5).slots == []
    stage.taken(stage.begin(datum("a", 3)).snapshot([0]))()
    assert stage.committed("a") == [2]


def test_what_was_stepped_with_elsewhere_is_not_stepped_with_again(make: Make) -> None:
    stage = make()
    stage.begin(datum("a", 0), datum("b", 0))
    stepping = stage.begin(datum("a", 0), datum("b", 1))
    assert [message.stream for message in stepping.messages] == ["b"]
    assert stepping.results(["own"]) == [None, "own"]
    nothing = stage.states.begin_elsewhere([datum("a", 0)], stage)
    assert (nothing.messages, nothing.slots, nothing.loaded, nothing.arrays) == ([], [], [], ())


def due_each(stage: Elsewhere, every: int, rows: Sequence[Sequence[Message]]) -> list[tuple[list[str], bool]]:
    """In batches of these: whose snapshots are due, and whether they are waited for."""
    found = []
    for data in rows:
        stepping = stage.states.begin_elsewhere(data, stage)
        due = stepping.due(every)
        found.append(([stepping.messages[nth].stream for nth in due], stepping.is_awaited(every)))
        stepping.made()
        if due:
            stepping.snapshot(due)
    return found


def test_snapshots_are_due_with_a_stream_s_first_step_and_then_each_so_many(make: Make) -> None:
    rows = [[datum("a", seq), *([datum("b", seq - 2)] if seq >= 2 else [])] for seq in range(7)]
    assert due_each(make(), 3, rows) == [
        (["a"], True), ([], False), (["b"], True), (["a"], False), ([], False), (["b"], False), (["a"], False),
    ]  # fmt: skip
    assert due_each(make(), 1, rows[:2]) == [(["a"], True), (["a"], True)]


def test_over_lossless_edges_each_step_is_committed_first_and_can_be_taken_back(make: Make, tmp_path: Path) -> None:
    turn = 1
    stage = make(tag=lambda: (turn, 70 + turn))
    stepping = stage.begin(datum("a", 0))
    assert (stepping.due(10), stepping.is_awaited(10)) == ([0], True)
    stage.taken(stepping.snapshot([0]))()
    turn = 2
    stage.step(datum("a", 1))()
    kept = States(tmp_path / "x.states", LAYOUT, StateRules().stream_count_max)
    take_back(kept, (2, 72))
    kept.close()
    again = make()
    assert again.committed("a") == [1]
    assert kinds(again.begin(datum("a", 1))) == [StepKind.STEP]


def test_a_handling_that_may_be_done_again_makes_one_step_of_a_stream(make: Make) -> None:
    stage = make(tag=lambda: (1, 71))
    stage.step(datum("a", 0))()
    with pytest.raises(StreamflowError, match="stream 'a': a second step for one datum, expected one"):
        stage.step(datum("a", 1))()


def test_at_the_end_the_rest_is_what_no_snapshot_was_taken_of(make: Make) -> None:
    stage = make()
    stage.step(datum("a", 0), datum("b", 0), datum("c", 0))
    stage.begin(datum("c", 1), datum("a", 1))
    first = stage.states.snapshot_of_rest(stage, 1)
    second = stage.states.snapshot_of_rest(stage, 1)
    assert sorted([*first.slots, *second.slots]) == [0, 2]
    assert stage.states.snapshot_of_rest(stage, 5).slots == []
    stage.taken(first)()
    stage.taken(second)()
    assert stage.committed("abc") == [2, 0, 2]


def test_arrays_that_do_not_fit_are_refused_and_nothing_is_changed(make: Make) -> None:
    stage = make()
    stepping = stage.begin(datum("a", 0))
    snapshot = stepping.snapshot([0])
    with pytest.raises(StateError, match="state h"):
        snapshot.commit([np.zeros((2, 2, 3), np.float32), np.zeros(1, np.int64)])
    assert stage.committed("a") == [0]


def test_a_node_that_has_declared_no_states_is_told_so() -> None:
    class Bare(Node):
        x = In("float32[]")

        def process(self, message: Message) -> Any:
            return self.begin_steps_elsewhere([message])

    with pytest.raises(StreamflowError, match=r"Bare: no state is kept, expected state_tensors\(\) that says which"):
        drive(Bare(), [np.float32(0)])


def test_a_snapshot_that_is_not_a_number_is_not_committed_and_its_stream_goes_on_from_before(make: Make) -> None:
    stage = make()
    stage.step(datum("a", 0), datum("b", 0))()
    spoilt = stage.begin(datum("a", 1), datum("b", 1))
    stage.kept[0][0][1, 2] = np.nan
    snapshot = stage.taken(spoilt.snapshot([0, 1]))
    meanwhile = stage.begin(datum("a", 2))  # given before it is known
    assert (meanwhile.loaded, kinds(meanwhile)) == ([], [StepKind.STEP])
    assert snapshot() == {0}
    assert stage.committed("ab") == [1, 2]
    again = stage.begin(datum("a", 3), datum("b", 2))
    assert (again.loaded, kinds(again), again.steps[0].missing_count) == ([0], [StepKind.FREEZE, StepKind.STEP], 2)
    meanwhile.left_none([0])
    assert stage.begin(datum("a", 4)).loaded == [], "what was known too late is of what it began with before"


def test_who_has_begun_anew_and_left_no_number_begins_anew_again(make: Make) -> None:
    stage = make()
    stage.step(datum("a", 0))()
    stage.states.start_anew()
    stepping = stage.begin(datum("a", 1))
    stepping.left_none([0])
    assert stepping.results([0])[0].attributes == {"gap": 0, "gap_action": "reset", "nan_state": True}
    assert kinds(stage.begin(datum("a", 2))) == [StepKind.RESET]
