"""Counter tracks of a trace: exact where the recorders tell, cut or named otherwise where they do not."""

from __future__ import annotations

import pytest

from streamflow.core.verdict import Kind
from streamflow.recorder import layout
from streamflow.recorder.reader import Recording
from streamflow.recorder.records import to_records
from streamflow.recorder.shape import Shape
from streamflow.recorder.writer import Recorder
from streamflow.runtime.queue_tracks import QueueTrack, Ring, queue_tracks

STREAMS = ("mic", "vad")
BEGIN, END = 1_000, 9_000
MIC, VAD = range(2)
EDGE = ("mic.signal->vad.x", 8)


@pytest.fixture
def mic() -> Recorder:
    return Recorder.in_memory(Shape("mic", MIC, (), (EDGE,), STREAMS, ("p",), (), ring_capacity=8))


@pytest.fixture
def vad() -> Recorder:
    return Recorder.in_memory(Shape("vad", VAD, (EDGE,), (), STREAMS, ("p",), (0,), ring_capacity=8))


def handled(stage: Recorder, sent: int, begun: int, *, kind: Kind = Kind.RUN) -> None:
    stage.record(kind, 0, MIC, sent, 0, sent, sent + 1, begun, begun, 0, 0, 0, MIC, 1, 1)


def tracks(*stages: Recorder) -> list[QueueTrack]:
    recordings = [Recording.over(stage.buffer) for stage in stages]
    rings = [Ring(one, to_records(one.tail(0).records), one.in_service()) for one in recordings]
    return list(queue_tracks(rings, BEGIN, END))


def test_of_a_stage_that_has_closed_the_depth_is_known_to_the_end(mic, vad) -> None:
    handled(vad, 2_000, 3_000)
    handled(vad, 2_500, 4_000)
    vad.set(layout.PHASE, layout.CLOSED)
    (track,) = tracks(mic, vad)
    assert track == QueueTrack(VAD, "waiting from mic", [(1_000, 0), (2_000, 1), (2_500, 2), (3_000, 1), (4_000, 0)])


def test_what_was_dropped_waited_until_then(mic, vad) -> None:
    handled(vad, 2_000, 3_000, kind=Kind.DROPPED)
    handled(vad, 2_500, 4_000)
    vad.inputs[0].drop("drop_oldest")
    vad.set(layout.PHASE, layout.CLOSED)
    (track,) = tracks(mic, vad)
    assert track == QueueTrack(VAD, "waiting from mic", [(1_000, 0), (2_000, 1), (2_500, 2), (3_000, 1), (4_000, 0)])


def test_what_the_sender_dropped_had_waited_too(mic, vad) -> None:
    handled(mic, 2_000, 3_000, kind=Kind.DROPPED)
    handled(vad, 2_500, 4_000)
    mic.outputs[0].drop("drop_oldest")
    vad.set(layout.PHASE, layout.CLOSED)
    (track,) = tracks(mic, vad)
    assert track == QueueTrack(VAD, "waiting from mic", [(1_000, 0), (2_000, 1), (2_500, 2), (3_000, 1), (4_000, 0)])


def test_of_one_that_goes_on_it_is_known_until_the_last_that_was_served_had_been_sent(mic, vad) -> None:
    handled(vad, 2_000, 3_000)
    handled(vad, 2_500, 4_000)  # since then others may have been sent, of which nothing is written yet
    vad.set(layout.PHASE, layout.RUNNING)
    (track,) = tracks(mic, vad)
    assert track == QueueTrack(VAD, "waiting from mic", [(1_000, 0), (2_000, 1), (2_500, 2)])


def test_where_the_ring_does_not_go_back_nothing_is_told(mic, vad) -> None:
    for number in range(20):
        handled(vad, 2_000 + 100 * number, 2_250 + 100 * number)
    vad.set(layout.PHASE, layout.CLOSED)
    (track,) = tracks(mic, vad)
    oldest = Recording.over(vad.buffer).tail(0).records[0]
    assert track.samples[0] == (int(oldest["ended_ns"]), 2)
    assert track.samples[-1] == (2_250 + 1_900, 0)


@pytest.mark.parametrize("why", ["restart", "left out", "out of order", "no sender"])
def test_what_may_be_more_is_named_so(mic, vad, why: str) -> None:
    handled(vad, 2_500, 3_000)
    handled(vad, 2_600 if why != "out of order" else 2_000, 4_000)
    if why == "restart":
        vad.record(Kind.RESTARTED, 0, -1, 0, 0, 0, 0, 5_000, 6_000, 0, 0, 0, -1, 0, 0)
    if why == "left out":
        vad.inputs[0].drop("unmatched")
    (track,) = tracks(*([mic] if why != "no sender" else []), vad)
    assert track.name == "waiting from mic, at least"
    assert min(depth for _, depth in track.samples) >= 0
