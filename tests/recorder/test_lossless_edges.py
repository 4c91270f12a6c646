"""What a new life says of the edges of a former one whose data are not lost with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamflow.recorder.layout import NUMBER_BITS
from streamflow.recorder.reader import Recording
from streamflow.recorder.shape import Shape
from streamflow.recorder.writer import Recorder

SHAPE = Shape(
    stage="infer",
    stage_index=1,
    in_edges=(("mic.out -> infer.x", 2),),
    out_edges=(("infer.out -> show.x", 3), ("infer.out -> log.x", 3)),
    streams=("mic", "infer", "show", "log"),
    paths=("alert",),
    sink_paths=(),
    ring_capacity=16,
)


def name(generation: int, number: int) -> int:
    return (generation << NUMBER_BITS) + number + 1


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    """Of a life that has put two data onto each of its edges, one of which is out."""
    recorder = Recorder.create(tmp_path / "infer", SHAPE)
    for output in recorder.outputs:
        for seq in range(2):
            slot = output.accept([(0, seq)], serial=7)
            output.offered(seq)
            if not seq:
                output.sent(slot, 5, generation=3)
    recorder.close()
    return Recorder.attach(tmp_path / "infer", SHAPE)


def test_what_is_kept_stays_where_it_is_and_the_rest_is_forgotten(recorder: Recorder) -> None:
    recording = Recording.over(recorder.buffer)
    places = [one.place for one in recording.live(0)]
    recorder.reset_live({0: frozenset(places)})
    assert [(one.place, one.is_out, one.number, one.origins) for one in recording.live(0)] == [
        (places[0], True, 5, ((0, 0),)),
        (places[1], False, -1, ((0, 1),)),
    ]
    assert recording.live(1) == []
    taken = [recorder.outputs[0].accept([(0, 9)], serial=1)]
    assert recorder.outputs[0].nth(taken[0]) not in places
    recording.close()


def test_what_was_out_and_comes_back_is_held_and_can_go_again(recorder: Recorder) -> None:
    recording = Recording.over(recorder.buffer)
    (place,) = [one.place for one in recording.live(0) if one.is_out]
    output = recorder.outputs[0]
    output.returned(output.slot(place))
    (live,) = [one for one in recording.live(0) if one.place == place]
    assert (live.is_out, live.number, live.origins) == (False, -1, ((0, 0),))
    output.sent(output.slot(place), 0, generation=4)
    (live,) = [one for one in recording.live(0) if one.place == place]
    assert (live.is_out, live.number, live.generation) == (True, 0, 4)
    recording.close()


def test_what_had_left_the_mailbox_and_was_not_done_has_not_left_it() -> None:
    recorder = Recorder.in_memory(SHAPE)
    recording = Recording.over(recorder.buffer)
    edge = recorder.inputs[0]
    edge.set_generation(3)
    edge.removed(0)
    edge.removed(1)
    edge.correct(name(3, 1), is_removed=False)
    assert recording.removed_names(0) == {(3, 0)}
    edge.correct(name(3, 1), is_removed=False)
    assert recording.removed_names(0) == {(3, 0)}
    recording.close()


def test_what_was_done_and_had_not_left_it_leaves_in_place_of_the_oldest() -> None:
    recorder = Recorder.in_memory(SHAPE)
    recording = Recording.over(recorder.buffer)
    edge = recorder.inputs[0]
    edge.set_generation(3)
    for number in range(6):
        edge.removed(number)
    edge.correct(name(3, 6), is_removed=True)
    edge.correct(name(3, 6), is_removed=True)
    assert recording.removed_names(0) == {(3, 3), (3, 4), (3, 5), (3, 6)}
    recording.close()
