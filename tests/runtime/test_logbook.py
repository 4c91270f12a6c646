"""What a stage writes down of the data it sends and takes, so that after its death it is known where they were."""

from __future__ import annotations

import pytest

from streamflow.core.graph import EdgeDef, Graph, Resolved, StageDef
from streamflow.core.message import Message
from streamflow.core.outbox import Outbox
from streamflow.core.overflow import Overflow
from streamflow.core.paths import Paths
from streamflow.core.verdict import Kind
from streamflow.recorder.reader import Recording
from streamflow.recorder.writer import Recorder
from streamflow.runtime.accounts.edge_traces import SentOn
from streamflow.runtime.accounts.logbook import Logbook
from streamflow.runtime.accounts.tables import shape_of
from streamflow.runtime.clock import TrioClock

IN = EdgeDef("a", "", "b", "")
OUT = EdgeDef("b", "", "c", "", Overflow.DROP_NEWEST, 2)
OTHER = EdgeDef("b", "", "d", "")
STAGES = tuple(StageDef(name, "Node", name, {}, {}, is_source=name == "a") for name in "abcd")
RESOLVED = Resolved(Graph("p", STAGES, (IN, OUT, OTHER)), ("a", "b", "c", "d"), {}, {})


@pytest.fixture
async def logbook() -> Logbook:
    """That of stage b."""
    paths = Paths(RESOLVED.graph, ())
    return Logbook("b", RESOLVED, paths, Recorder.in_memory(shape_of("b", RESOLVED, paths)), TrioClock())


def datum(seq: int) -> Message:
    return Message({}, "a", seq, seq * 1000)


def recording_of(logbook: Logbook) -> Recording:
    return Recording.over(logbook.recorder.buffer)


async def test_of_each_datum_on_an_edge_it_is_known_which_handling_sent_it_and_as_which(logbook: Logbook) -> None:
    sent, other = logbook.sender_trace(OUT), logbook.sender_trace(OTHER)
    for seq in range(2):
        logbook.begin(datum(seq), 0, seq)
        sent.accepted(datum(seq))
        other.accepted(datum(seq))
        sent.accepted(datum(seq))
    recording = recording_of(logbook)
    assert [(live.serial, live.nth) for live in recording.live(0)] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert [(live.serial, live.nth) for live in recording.live(1)] == [(1, 0), (2, 0)]


async def test_a_piece_that_the_full_edge_turned_away_was_never_on_it_and_has_a_record(logbook: Logbook) -> None:
    outbox = Outbox(OUT.overflow, OUT.capacity, trace=logbook.sender_trace(OUT))
    logbook.begin(datum(7), 0, 0)
    for _ in range(3):
        outbox.offer(datum(7))
    recording = recording_of(logbook)
    assert [live.nth for live in recording.live(0)] == [0, 1]
    assert [(record.kind, record.seq) for record in recording.tail_records(0).records] == [(Kind.DROPPED, 7)]
    assert recording.outputs()[0].dropped == {"drop_newest": 1}


async def test_what_a_handling_has_sent_is_known_also_when_the_receiver_is_done_with_it(logbook: Logbook) -> None:
    trace: SentOn = logbook.sender_trace(OUT)
    outbox = Outbox(OUT.overflow, OUT.capacity, trace=trace)
    outbox.credit(2)
    logbook.begin(datum(7), 0, 0)
    for _ in range(5):
        outbox.offer(datum(7))
        list(outbox.actions())
        outbox.credit(1)
    recording = recording_of(logbook)
    assert recording.live(0) == []
    assert max(live.nth for live in recording.live(0, with_free=True) if live.serial == logbook.recorder.turn) == 4


async def test_what_is_taken_leaves_the_mailbox_once_it_is_in_service(logbook: Logbook) -> None:
    trace = logbook.receiver_trace(IN)
    trace.set_generation(3)
    recording = recording_of(logbook)
    trace.arrived(datum(5), 1)
    trace.taken(datum(5), 0, 0)
    assert recording.removed(0, 3) == set()
    logbook.begin(datum(5), 0, 9)
    assert recording.removed(0, 3) == {0}
    served = recording.in_service()
    assert served is not None
    assert (served.stream, served.seq) == (0, 5)


async def test_where_several_may_be_sent_the_stage_keeps_a_piece_until_it_has_done_with_the_datum(
    logbook: Logbook,
) -> None:
    logbook.begin(datum(7), 0, 1)
    logbook.keep()
    logbook.sending(datum(7), 1)
    logbook.sending(datum(7), 1)
    logbook.ended(Kind.RUN, datum(7), 0, 1, 2, 0, 0)
    pieces = [(record.kind, record.mask & 1) for record in recording_of(logbook).tail_records(0).records]
    assert pieces == [(Kind.SPLIT, 1), (Kind.SPLIT, 1), (Kind.RUN, 1)]


async def test_where_one_is_sent_its_piece_goes_on_and_nothing_is_written_of_that(logbook: Logbook) -> None:
    logbook.begin(datum(7), 0, 1)
    logbook.sending(datum(7), 1)
    logbook.ended(Kind.RUN, datum(7), 0, 1, 2, 0, 0)
    pieces = [(record.kind, record.mask & 1) for record in recording_of(logbook).tail_records(0).records]
    assert pieces == [(Kind.RUN, 0)]


async def test_what_was_kept_and_of_which_nothing_was_sent_ends_once(logbook: Logbook) -> None:
    logbook.begin(datum(7), 0, 1)
    logbook.keep()
    logbook.ended(Kind.RUN, datum(7), 0, 1, 2, 0, 0)
    (record,) = recording_of(logbook).tail_records(0).records
    assert record.mask == logbook._through["a"]


@pytest.mark.parametrize("goes", ["into service", "out of the mailbox"])
async def test_what_was_picked_is_its_senders_until_it_goes_somewhere_here(logbook: Logbook, goes: str) -> None:
    trace = logbook.receiver_trace(IN)
    message = datum(5).replace(sent_ns=10, enqueued_ns=30)
    trace.passed(message, 0)
    recording = recording_of(logbook)
    assert (recording.inputs()[0].received, recording.inputs()[0].taken, recording.removed(0, 0)) == (0, 0, set())
    if goes == "into service":
        logbook.begin(message, 0, 40)
    else:
        logbook.settle()
        logbook.shed(message, 0, 40)
    recording = recording_of(logbook)
    assert (recording.inputs()[0].received, recording.inputs()[0].taken, recording.removed(0, 0)) == (1, 1, {0})
    if goes == "into service":
        logbook.finished(message, 50, 0, 0)
    (record,) = recording_of(logbook).tail_records(0).records
    assert (record.kind, record.seq) == (Kind.RUN if goes == "into service" else Kind.SHED, 5)
    assert recording_of(logbook).live(4) == [], "nothing is in hand any more"
