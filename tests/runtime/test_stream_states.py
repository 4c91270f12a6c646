"""What a node is lent of its states: steps begun with data of several streams, committed at once, results marked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamflow import Eviction, In, Message, Node, OnGap, Out, Output, StateRules, StateTensor, StreamflowError, ms, s
from streamflow.core.gaps import StepKind
from streamflow.memory.states import States
from streamflow.runtime.stream_states import TOLD_LIMIT, Stepping, StreamStates, take_back
from streamflow.testing import drive

LAYOUT = (
    StateTensor("h", "float32", (2, 3), 1, np.full((2, 3), 7, np.float32)),
    StateTensor("count", "int64", (), 0),
)
Make = Callable[..., StreamStates]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Of a stage's lives, each in the same file."""
    made: list[StreamStates] = []

    def one(rules: StateRules | None = None, now_ns: Callable[[], int] = lambda: 0, **more: Any) -> StreamStates:
        rules = rules or StateRules()
        states = States(tmp_path / "x.states", LAYOUT, rules.stream_count_max)
        made.append(StreamStates("x", states, rules, now_ns, **more))
        return made[-1]

    yield one
    for each in made:
        each.close()


def datum(stream: str, seq: int, **attributes: Any) -> Message:
    return Message({}, stream, seq, seq * 10 * ms, attributes)


def step(states: StreamStates, *data: Message) -> Stepping:
    """Everything of a state is one more afterwards."""
    stepping = states.begin(data)
    stepping.commit([array + 1 for array in stepping.arrays])
    return stepping


def counts(states: StreamStates, streams: str) -> list[int]:
    return [int(states.arrays(stream)["count"][0]) for stream in streams]


def test_a_stream_starts_with_the_initial_state_at_first_sight(make: Make) -> None:
    stepping = make().begin([datum("a", 0), datum("b", 0)])
    h, count = stepping.arrays
    assert h.shape == (2, 2, 3)
    assert (h == 7).all()
    assert count.tolist() == [0, 0]
    assert [one.kind for one in stepping.steps] == [StepKind.START] * 2


def test_until_it_is_committed_a_step_was_not_made(make: Make) -> None:
    states = make()
    states.begin([datum("a", 0)]).arrays[1][...] = 99
    assert counts(states, "a") == [0]
    assert step(states, datum("a", 0)).steps[0].kind is StepKind.START


def test_steps_kept_apart_are_committed_in_any_order_while_they_are_of_other_streams(make: Make) -> None:
    states = make()
    steppings = []
    for streams in ("ab", "cd", "e"):
        steppings.append(states.begin([datum(stream, 0) for stream in streams]))
        steppings[-1].keep_apart()
    for nth in (2, 0, 1):
        steppings[nth].commit([array + 10 * nth + 1 for array in steppings[nth].arrays])
    assert counts(states, "abcde") == [1, 1, 11, 11, 21]
    assert [one.kind for one in states.begin([datum("a", 1), datum("e", 0)]).steps] == [StepKind.STEP]


def test_a_step_kept_apart_is_over_when_another_is_begun_on_one_of_its_streams(make: Make) -> None:
    states = make()
    first = states.begin([datum("a", 0), datum("b", 0)])
    first.keep_apart()
    step(states, datum("b", 0))
    with pytest.raises(StreamflowError, match="a step that is over"):
        first.commit(first.arrays)
    assert counts(states, "ab") == [0, 1]


def test_of_a_stream_that_made_room_meanwhile_nothing_is_kept(make: Make) -> None:
    states = make(StateRules(stream_count_max=3, eviction=Eviction.LEAST_RECENTLY_USED))
    under_way = states.begin([datum("a", 0), datum("b", 0), datum("c", 0)])
    under_way.keep_apart()
    step(states, datum("d", 0))
    under_way.commit([array + 5 for array in under_way.arrays])
    assert sorted(counts(states, "abc")) == [0, 5, 5]
    assert counts(states, "d") == [1]


def test_a_step_is_over_when_the_next_is_begun(make: Make) -> None:
    states = make()
    first = states.begin([datum("a", 0)])
    step(states, datum("b", 0))
    with pytest.raises(StreamflowError, match="a step that is over"):
        first.commit(first.arrays)
    assert counts(states, "ab") == [0, 1]


def test_each_life_goes_on_from_what_the_one_before_has_committed(make: Make) -> None:
    former = make()
    step(former, datum("a", 0), datum("b", 0))
    step(former, datum("b", 1))
    former.begin([datum("b", 2)])  # and it dies in its work
    later = make()
    assert counts(later, "ab") == [1, 2]
    assert [one.kind for one in later.begin([datum("b", 2), datum("a", 1)]).steps] == [StepKind.STEP] * 2


def test_duplicates_of_a_batch_are_left_out_and_have_no_result(make: Make) -> None:
    states = make()
    step(states, datum("a", 0), datum("b", 0), datum("c", 0))
    stepping = step(states, datum("a", 0), datum("b", 1), datum("c", 0))
    assert [message.stream for message in stepping.messages] == ["b"]
    assert stepping.arrays[0].shape == (2, 1, 3)
    assert stepping.results(["own"]) == [None, "own", None]
    assert counts(states, "abc") == [1, 2, 1]


def test_where_all_of_a_batch_are_duplicates_nothing_is_to_be_done(make: Make) -> None:
    states = make()
    step(states, datum("a", 0))
    stepping = step(states, datum("a", 0))
    assert (stepping.messages, stepping.arrays, stepping.results([])) == ([], (), [None])


def test_results_behind_a_gap_say_so_in_whatever_form_they_are(make: Make) -> None:
    states = make()
    step(states, *(datum(stream, 0) for stream in "abcdef"))
    given = [
        np.zeros(2), {"y": np.zeros(2)}, Output(1, "y", attributes={"kind": "x"}), [np.ones(1), Output(2)], None, 5.0,
    ]  # fmt: skip
    array, mapping, output, several, nothing, number = step(states, *(datum(stream, 4) for stream in "abcdef")).results(
        given
    )
    marks = {"gap": 3, "gap_action": "freeze"}
    assert (array.value is given[0], array.attributes) == (True, marks)
    assert (mapping.value, mapping.attributes) == (given[1], marks)
    assert (output.value, output.port, output.attributes) == (1, "y", {"kind": "x", **marks})
    assert [one.attributes for one in several] == [marks, marks]
    assert nothing is None
    assert (number.value, number.attributes) == (5.0, marks)


def test_results_without_a_gap_are_as_they_were(make: Make) -> None:
    states = make()
    step(states, datum("a", 0))
    given = np.zeros(2)
    assert step(states, datum("a", 1)).results([given])[0] is given


def test_a_reset_is_of_the_stream_whose_gap_it_was_and_is_committed_with_the_step(make: Make) -> None:
    states = make(StateRules(max_gap_ns=s))
    step(states, datum("a", 0), datum("b", 99))
    stepping = states.begin([datum("b", 100), datum("a", 110)])
    assert stepping.arrays[1].tolist() == [1, 0]
    assert stepping.arrays[0][:, :, 0].tolist() == [[8, 7], [8, 7]]
    assert counts(states, "ab") == [1, 1], "not before the commit"
    stepping.commit(stepping.arrays)
    assert counts(states, "ab") == [0, 1]
    assert stepping.results([1, 2])[1].attributes == {"gap": 109, "gap_action": "reset"}


def test_time_is_the_recording_s_which_outlives_the_life_too(make: Make) -> None:
    step(make(), datum("a", 0, time_s=1.0))
    (one,) = make().begin([datum("a", 1, time_s=3.5)]).steps
    assert one.elapsed_ns == 2.5 * s


def test_windows_of_one_datum_are_all_stepped_with_but_each_once(make: Make) -> None:
    states = make()
    for sample in (0, 100, 100, 0, 200):
        step(states, datum("a", 5, sample=sample))
    assert counts(states, "a") == [3]


def test_what_a_source_has_counted_and_nobody_has_seen_is_marked(make: Make) -> None:
    states = make(sources={"mic"})
    stepping = step(states, datum("mic", 3), datum("other", 3))
    known, unknown = stepping.results([1, 2])
    assert known.attributes == {"gap": 3, "gap_action": "start"}
    assert unknown == 2


def test_behind_a_stage_that_cuts_anew_numbers_do_not_tell(make: Make) -> None:
    states = make(is_numbered=False)
    step(states, datum("a", 0))
    assert step(states, datum("a", 9)).results([1]) == [1]
    said = make(StateRules(stride=3), is_numbered=False)
    assert step(said, datum("a", 15)).steps[0].missing_count == 1


def test_rows_are_views_of_one_stream_in_a_batch_of_one(make: Make) -> None:
    stepping = make().begin([datum("a", 0), datum("b", 0)])
    h, count = stepping.rows(1)
    h[...] = 3
    assert (h.shape, count.shape) == ((2, 1, 3), (1,))
    assert stepping.arrays[0][:, :, 0].tolist() == [[7, 3], [7, 3]]


def test_streams_are_bounded_and_who_has_no_room_is_left_out_and_told_once(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    states = make(StateRules(stream_count_max=2))
    for seq in range(3):
        stepping = step(states, datum("a", seq), datum("c", seq), datum("b", seq))
        assert [one.stream for one in stepping.messages] == ["a", "c"]
        assert stepping.results([1, 2]) == [1, 2, None]
        assert states.begin([datum("b", seq)]).results(()) == [None]
    assert counts(states, "ac") == [3, 3]
    (told,) = caplog.messages
    assert told.startswith("stream b: no room for its state at stage x beside those of 2 others; its data have no")
    assert "allow for more (streams_max, " in told
    for seq in range(100):
        states.begin([datum(f"more{seq}", seq)])
    assert len(caplog.messages) == 1 + TOLD_LIMIT, "one that names none is the last"


def test_idle_ones_make_room_where_that_is_declared_also_those_of_a_former_life(make: Make) -> None:
    rules = StateRules(stream_count_max=1, eviction=Eviction.IDLE, idle_ns=10 * s)
    step(make(rules), datum("a", 0))
    now = [100 * s]
    later = make(rules, lambda: now[0])
    assert later.begin([datum("b", 0)]).messages == []
    now[0] += 10 * s
    step(later, datum("b", 0))
    assert counts(later, "ab") == [0, 1]


@pytest.mark.parametrize(
    "make_rules",
    [
        lambda: StateRules(stream_count_max=0),
        lambda: StateRules(eviction=Eviction.IDLE),
        lambda: StateRules(idle_ns=5),
        lambda: StateRules(max_gap_ns=-1),
        lambda: StateRules(max_gap_ns=1.5),  # type: ignore[arg-type]
        lambda: StateRules(OnGap.REPEAT, repeat_count_max=0),
    ],
)
def test_rules_that_make_no_sense_are_refused(make_rules: Callable[[], StateRules]) -> None:
    with pytest.raises(StreamflowError):
        make_rules()


class Sum(Node):
    """The running sum of each stream, kept by the runtime."""

    x = In("float32[n]")
    y = Out("float32[n]")

    def __init__(self, tensors: Sequence[StateTensor] = (StateTensor("sum", "float32", (2,)),)) -> None:
        self._tensors = tensors

    def state_tensors(self) -> Sequence[StateTensor]:
        return self._tensors

    def process(self, message: Message) -> Any:
        stepping = self.begin_steps([message])
        sums = [array + one.array for array, one in zip(stepping.arrays, stepping.messages, strict=False)]
        stepping.commit(sums)
        return stepping.results([one[0] for one in sums])[0]


def test_a_node_of_one_s_own_declares_its_state_and_steps_with_it(tmp_path: Path) -> None:
    def sums(start: int, generation: int) -> list[float]:
        data = [Message({"x": np.full(2, 1, np.float32)}, "s", start + nth, 0) for nth in range(3)]
        sent = drive(Sum(), data, states=tmp_path / "sum", generation=generation)
        return [float(array[0]) for array in sent.arrays]

    assert sums(0, 0) == [1, 2, 3]
    assert sums(2, 1) == [4, 5], "the first comes again"


def test_a_node_that_has_declared_none_is_told_so() -> None:
    with pytest.raises(StreamflowError, match=r"Sum: no state is kept, expected state_tensors\(\) that says which"):
        drive(Sum(()), [np.zeros(2, np.float32)])


def test_steps_of_a_handling_that_is_done_again_are_taken_back_and_no_others(make: Make, tmp_path: Path) -> None:
    turn = 1
    states = make(tag=lambda: (turn, 70 + turn))
    step(states, datum("a", 0), datum("b", 0))
    turn = 2
    step(states, datum("a", 1), datum("n", 0))
    kept = States(tmp_path / "x.states", LAYOUT, StateRules().stream_count_max)
    take_back(kept, (2, 72))
    kept.close()
    again = make()
    assert counts(again, "a") == [1]
    assert counts(again, "b") == [1]
    assert counts(again, "n") == [0]
    stepping = step(again, datum("a", 1), datum("n", 0))
    assert [one.kind for one in stepping.steps] == [StepKind.STEP, StepKind.START]


def test_a_handling_that_may_be_done_again_makes_one_step_of_a_stream(make: Make) -> None:
    states = make(tag=lambda: (1, 71))
    step(states, datum("a", 0))
    step(states, datum("b", 0))
    with pytest.raises(StreamflowError, match="stream 'a': a second step for one datum, expected one"):
        step(states, datum("a", 1))


def spoil(states: StreamStates, *data: Message, streams: str) -> list[Any]:
    """A step in which the states of these become NaN; its results."""
    stepping = states.begin(data)
    h, count = (array + 1 for array in stepping.arrays)
    h[1, [one.stream in streams for one in stepping.messages], 2] = np.nan
    stepping.commit([h, count])
    return stepping.results([np.float32(seq) for seq, _ in enumerate(stepping.messages)])


def test_a_state_that_is_not_a_number_is_not_committed_and_its_datum_is_missing_to_the_next(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    states = make()
    step(states, datum("a", 0), datum("b", 0))
    kept, spoilt = spoil(states, datum("b", 1), datum("a", 1), streams="a")
    assert (kept, spoilt.attributes) == (0, {"nan_state": True})
    assert counts(states, "ab") == [1, 2]
    assert spoil(states, datum("a", 2), streams="a")[0].attributes == {"nan_state": True} | gap(1)
    (goes_on,) = step(states, datum("a", 3)).results([np.float32(0)])
    assert (goes_on.attributes, counts(states, "a")) == (gap(2), [2])
    told = "stream a: datum 1 has left a state that is not a number (NaN); it goes on from datum 0"
    assert caplog.messages == [told], "once, while it lasts"
    spoil(states, datum("a", 4), streams="a")
    assert len(caplog.messages) == 2


def test_a_reset_that_leaves_no_number_is_made_again(make: Make) -> None:
    states = make()
    step(states, datum("a", 0))
    states.start_anew()
    spoil(states, datum("a", 1), streams="a")
    stepping = step(states, datum("a", 2))
    assert (stepping.steps[0].kind, counts(states, "a")) == (StepKind.RESET, [1])


def gap(count: int) -> dict[str, Any]:
    return {"gap": count, "gap_action": "freeze"}


def test_what_came_as_no_number_or_may_begin_as_none_is_kept(tmp_path: Path) -> None:
    nan = np.full(2, np.nan, np.float32)
    layout = [StateTensor("before", "float32", (2,), is_input=True), StateTensor("last", "float32", (2,), 0, nan)]
    states = StreamStates("x", States(tmp_path / "x.states", layout, 1), StateRules(stream_count_max=1), lambda: 0)
    for seq in range(2):
        stepping = states.begin([datum("a", seq)])
        stepping.commit([nan[None], nan[None]])
        assert stepping.results([0]) == [0]
    states.close()
