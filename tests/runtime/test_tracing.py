"""A trace of what recorders hold: slices that nest, flows that follow each datum, instants for what went wrong."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.core.message import Flag
from streamflow.core.verdict import Kind
from streamflow.recorder.reader import Recording
from streamflow.recorder.shape import Shape
from streamflow.recorder.writer import Recorder
from streamflow.runtime.inspection import LoggedEvents, open_recordings
from streamflow.runtime.tracing import Trace, write_trace
from tests.left_behind import BEGIN_NS, LOG, MIC, NONE, VAD, LeftBehind, at_ns

Events = list[dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path) -> LeftBehind:
    return LeftBehind(tmp_path / "run")


def written(trace: Trace) -> Events:
    """Written as JSON and loaded back."""
    parts: list[str] = []
    count = write_trace(trace, parts.append, {"pipeline": "speech"})
    loaded = json.loads("".join(parts))
    assert len(loaded["traceEvents"]) == count
    found: Events = loaded["traceEvents"]
    return found


def trace_of(run: LeftBehind, **options: Any) -> Events:
    recordings = open_recordings(run.folder)
    events = written(
        Trace(recordings.by_stage.values(), LoggedEvents(run.folder), started_ns=BEGIN_NS, **options),
    )
    recordings.close()
    return events


def slices(events: Events, category: str | None = None) -> Events:
    return [e for e in events if e["ph"] == "X" and category in (None, e["cat"])]


def flows(events: Events) -> dict[int, Events]:
    found: dict[int, Events] = defaultdict(list)
    for event in events:
        if event["ph"] in ("s", "t", "f"):
            found[event["id"]].append(event)
    return found


def ns(us: float) -> int:
    return round(us * 1e3)


def assert_nested(events: Events) -> None:
    """On one track, two slices have no time in common, or one is in the other."""
    tracks: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for event in slices(events):
        assert event["ts"] >= 0
        assert event["dur"] >= 0
        tracks[event["pid"], event["tid"]].append((ns(event["ts"]), ns(event["ts"] + event["dur"])))
    for spans in tracks.values():
        open_until: list[int] = []
        for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
            while open_until and open_until[-1] <= start:
                open_until.pop()
            assert not open_until or end <= open_until[-1]
            open_until.append(end)


def assert_connected(events: Events) -> None:
    """Every flow begins once, ends once, goes forwards, and each of its points is in a slice of its track."""
    for flow in flows(events).values():
        assert [e["ph"] for e in flow] == ["s", *["t"] * (len(flow) - 2), "f"]
        assert [e["ts"] for e in flow] == sorted(e["ts"] for e in flow)
        for point in flow:
            assert any(
                (one["pid"], one["tid"]) == (point["pid"], point["tid"])
                and ns(one["ts"]) <= ns(point["ts"]) <= ns(one["ts"] + one["dur"])
                for one in slices(events)
            )


def test_a_handling_is_a_slice_named_by_its_datum(run):
    run.passed(7, 10)
    (service,) = [e for e in slices(trace_of(run), "service") if e["pid"] == VAD + 1]
    assert service["name"] == "mic#7"
    assert (service["ts"], service["dur"]) == (13_000, 2_000)
    assert service["args"]["verdict"] == "run"
    assert service["args"]["deadline_us"] == 57_000


def test_what_a_slice_was_is_told(run):
    run.handled("vad", 7, 1, 2, 3, 5, kind=Kind.DEGRADED, flags=Flag.MISSED | Flag.DEGRADED, ends=True)
    (service,) = slices(trace_of(run), "service")
    assert service["args"]["verdict"] == "degraded"
    assert service["args"]["flags"] == ["missed", "degraded"]
    assert service["args"]["ended_on"] == ["speech"]
    assert (service["args"]["wire_ms"], service["args"]["mailbox_ms"]) == (1, 1)


def test_waits_are_slices_of_their_own_cut_where_the_datum_arrived(run):
    run.handled("vad", 7, 1, 2, 4, 5)
    waits = {e["name"]: (e["ts"], e["dur"]) for e in slices(trace_of(run), "wait")}
    assert waits == {"mic#7": (1_000, 3_000), "wire": (1_000, 1_000), "mailbox": (2_000, 2_000)}


def test_data_that_wait_together_are_on_tracks_of_their_own(run):
    for seq in range(3):
        run.handled("vad", seq, 1, 2, 10 + seq, 11 + seq)
    events = trace_of(run)
    assert len({e["tid"] for e in slices(events, "wait")}) == 3
    assert_nested(events)


def test_time_blocked_is_the_end_of_the_service(run):
    run.handled("vad", 7, 1, 2, 3, 9, blocked_ms=4)
    (blocked,) = [e for e in slices(trace_of(run)) if e["name"] == "blocked"]
    assert (blocked["ts"], blocked["dur"]) == (5_000, 4_000)


def test_device_work_after_the_handling_is_a_slice_of_its_own(run):
    run.handled("vad", 7, 1, 2, 3, 5, device_ms=9)
    (device,) = slices(trace_of(run), "device")
    assert (device["ts"], device["dur"]) == (5_000, 4_000)


def test_a_source_has_a_slice_from_the_event_to_its_admission(run):
    run.admitted(7, 10, 12)
    (source,) = slices(trace_of(run), "source")
    assert (source["ts"], source["dur"]) == (10_000, 2_000)


def test_offline_event_times_are_no_instants(run):
    run.recorders["mic"].note(Kind.ADMITTED, 0, MIC, 7, 3_000, at_ns(12), 0, NONE, 1)
    (source,) = slices(trace_of(run, is_offline=True), "source")
    assert source["ts"] == 12_000


def test_a_flow_follows_a_datum_from_its_source_to_its_sink(run):
    run.passed(7, 10)
    (flow,) = flows(trace_of(run)).values()
    assert [e["ph"] for e in flow] == ["s", "t", "f"]
    assert [e["pid"] for e in flow] == [MIC + 1, VAD + 1, LOG + 1]
    assert {e["name"] for e in flow} == {"mic#7"}


def test_a_datum_that_was_split_has_a_flow_for_each_piece(run):
    run.admitted(7, 0, 1)
    run.handled("vad", 7, 1, 2, 3, 6)
    run.handled("log", 7, 4, 5, 5, 6)
    run.handled("log", 7, 6, 7, 8, 9, ends=True)
    found = flows(trace_of(run))
    assert [[e["pid"] for e in flow] for flow in found.values()] == [[1, 2, 3]] * 2


def test_a_datum_that_only_its_source_still_knows_has_no_flow(run):
    run.admitted(7, 0, 1)
    assert flows(trace_of(run)) == {}


def test_where_a_datum_was_admitted_twice_it_has_one_slice(run):
    run.admitted(7, 0, 1)
    run.admitted(7, 0, 2)
    assert len(slices(trace_of(run), "source")) == 1


@pytest.mark.parametrize("kind", [Kind.SHED, Kind.DROPPED, Kind.LOST, Kind.REJECTED])
def test_what_became_of_a_datum_otherwise_is_an_instant(run, kind):
    run.recorders["vad"].note(kind, 0, MIC, 7, at_ns(0), at_ns(5), 0, NONE, 1)
    (instant,) = [e for e in trace_of(run) if e["ph"] == "i"]
    assert instant["name"] == f"{kind.name.lower()} mic#7"
    assert (instant["pid"], instant["ts"]) == (VAD + 1, 5_000)
    assert instant["args"] == {"on": ["speech"]}


def test_stalls_and_restarts_are_slices_and_instants(run):
    vad = run.recorders["vad"]
    vad.record(Kind.STALL, 1, NONE, 0, 0, 0, 0, at_ns(5), at_ns(8), 0, 0, 0, NONE, 0, 0)
    vad.record(Kind.RESTARTED, 0, NONE, 0, 0, 0, 0, at_ns(10), at_ns(20), 0, 0, 0, NONE, 0, 0)
    events = trace_of(run)
    assert [(e["name"], e["ts"], e["dur"]) for e in slices(events, "loop")] == [
        ("stall: garbage collection", 5_000, 3_000),
        ("down", 10_000, 10_000),
    ]
    assert [e["name"] for e in events if e["ph"] == "i"] == ["stall: garbage collection", "down"]


def test_a_new_lifes_loop_that_stood_still_before_it_was_back_lies_beside_what_it_overlaps(run):
    vad = run.recorders["vad"]
    vad.record(Kind.RESTARTED, 0, NONE, 0, 0, 0, 0, at_ns(10), at_ns(20), 0, 0, 0, NONE, 0, 0)
    vad.record(Kind.STALL, 0, NONE, 0, 0, 0, 0, at_ns(15), at_ns(24), 0, 0, 0, NONE, 0, 0)
    events = trace_of(run)
    assert len(slices(events, "loop")) == 2
    assert_nested(events)
    assert [e["args"]["name"] for e in events if e["name"] == "thread_name"] == ["loop 1", "loop 2"]


def test_misses_are_instants_of_the_stage_that_is_blamed(run):
    run.passed(7, 0)
    run.miss(7, 60)
    (instant,) = [e for e in trace_of(run) if e["ph"] == "i"]
    assert (instant["name"], instant["pid"], instant["ts"]) == ("miss mic#7 speech", VAD + 1, 60_000)
    assert instant["args"]["culprit"] == "service"


def test_what_concerns_the_run_is_an_instant_for_all(run):
    run.passed(7, 0)
    run.event("restarting", 30, processes=["vad"], attempt=1)
    (instant,) = [e for e in trace_of(run) if e["ph"] == "i"]
    assert (instant["s"], instant["pid"]) == ("g", 0)


def test_what_was_in_service_when_the_run_was_killed_is_drawn_to_its_end(run):
    run.recorders["vad"].begin(MIC, 7, at_ns(0), at_ns(1), at_ns(2), at_ns(3), at_ns(50), MIC)
    (service,) = slices(trace_of(run, until_ns=at_ns(100)), "service")
    assert (service["ts"], service["dur"]) == (3_000, 97_000)
    assert service["args"]["unfinished"] is True


def test_every_process_and_track_has_a_name(run):
    run.passed(7, 0)
    run.miss(7, 60)
    events = trace_of(run)
    named = {(e["pid"], e["tid"]) for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
    assert {(e["pid"], e["tid"]) for e in events if e["ph"] not in "MC"} <= named
    processes = {e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "process_name"}
    assert processes == {"mic", "vad", "log"}


def test_a_row_of_a_join_is_one_slice_with_a_flow_for_each_of_its_data(tmp_path):
    streams = ("left", "right", "join")
    shapes = [
        Shape("left", 0, (), (("left.x->join.x", 4),), streams, ("p", "q")),
        Shape("right", 1, (), (("right.x->join.y", 4),), streams, ("p", "q")),
        Shape("join", 2, (("left.x->join.x", 4), ("right.x->join.y", 4)), (), streams, ("p", "q"), (0, 1)),
    ]
    left, right, join = recorders = [Recorder.in_memory(shape) for shape in shapes]
    left.note(Kind.ADMITTED, 0, 0, 7, at_ns(0), at_ns(1), 0, NONE, 1)
    right.note(Kind.ADMITTED, 0, 1, 9, at_ns(0), at_ns(2), 0, NONE, 2)
    for stream, seq in ((0, 7), (1, 9)):
        join.record(
            Kind.RUN, 0, stream, seq, at_ns(0), at_ns(2), at_ns(3), at_ns(4), at_ns(5), 0, 0, 0, 1, 1, 1 << stream
        )  # fmt: skip
    events = written(Trace([Recording.over(recorder.buffer) for recorder in recorders]))
    (service,) = slices(events, "service")
    assert service["name"] == "left#7"
    assert service["args"]["with"] == ["right#9"]
    assert len([e for e in slices(events, "wait") if e["name"] == "left#7"]) == 1
    assert sorted([e["pid"] for e in flow] for flow in flows(events).values()) == [[1, 3], [2, 3]]
    assert_connected(events)


def test_of_a_stage_that_is_missing_the_rest_is_traced(run):
    run.passed(7, 0)
    run.folder.recording("vad").unlink()
    events = trace_of(run)
    assert {e["pid"] for e in slices(events)} == {MIC + 1, LOG + 1}
    assert_nested(events)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, int, int, int]]:
    """Of each datum: when it was sent, and how long it was on its way, waited and was worked on, in µs."""
    duration = st.integers(0, 3_000)
    return draw(st.lists(st.tuples(st.integers(0, 2_000), duration, duration, duration), min_size=1, max_size=12))


def busy_until(history: list[tuple[int, int, int, int]]) -> Iterator[tuple[int, int, int, int, int]]:
    """A single server, first come, first served."""
    sent, free = 0, 0
    for seq, (gap, wire, idle, work) in enumerate(history):
        sent += gap
        start = max(sent + wire, free) + idle
        free = start + work
        yield seq, sent, sent + wire, start, free


@settings(max_examples=60)
@given(histories(), histories())
def test_whatever_happened_slices_nest_and_flows_connect(first, second):
    shapes = [
        Shape("mic", 0, (), (("a", 4),), ("mic", "vad", "log"), ("p",)),
        Shape("vad", 1, (("a", 4),), (("b", 4),), ("mic", "vad", "log"), ("p",)),
        Shape("log", 2, (("b", 4),), (), ("mic", "vad", "log"), ("p",), (0,)),
    ]
    mic, vad, log = (Recorder.in_memory(shape) for shape in shapes)
    base = BEGIN_NS
    handed_on = []
    for seq, sent, got, start, end in busy_until(first):
        mic.note(Kind.ADMITTED, 0, 0, seq, base + sent * 1000 - 500, base + sent * 1000, 0, NONE, 1)
        times = (base + sent * 1000, base + got * 1000, base + start * 1000, base + end * 1000)
        vad.record(Kind.RUN, 0, 0, seq, base, *times, 0, 0, 0, 0, 1, 0)
        handed_on.append(end)
    free = 0
    for seq, (sent, (_, wire, idle, work)) in enumerate(zip(handed_on, second, strict=False)):
        start = max(sent + wire, free) + idle
        free = start + work
        times = (base + sent * 1000, base + (sent + wire) * 1000, base + start * 1000, base + free * 1000)
        log.record(Kind.RUN, 0, 0, seq, base, *times, 0, 0, 0, 1, 1, 1)
    events = written(Trace([Recording.over(recorder.buffer) for recorder in (mic, vad, log)]))
    assert_nested(events)
    assert_connected(events)
    assert len(flows(events)) == len(first)
