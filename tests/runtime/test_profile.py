"""What was measured once is stored beside a pipeline's file, and is there for the next start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamflow.core.budget import Estimate
from streamflow.core.paths import Paths
from streamflow.core.timebase import ms
from streamflow.core.verdict import Kind
from streamflow.errors import StreamflowError, UsageError
from streamflow.recorder.layout import EMITTED
from streamflow.recorder.reader import Recording
from streamflow.recorder.writer import Recorder
from streamflow.runtime.accounts.tables import shape_of
from streamflow.runtime.loading.loader import Loaded, Reference, load
from streamflow.runtime.loading.profile import load_profile, make_profile, profile_path, require_measured, write_profile

REFERENCE = Reference("pipelines.minimal", {})
DURATIONS_MS = range(1, 101)


@pytest.fixture(scope="module")
def minimal() -> Loaded:
    return load(REFERENCE)


@pytest.fixture
def recordings(minimal: Loaded) -> dict[str, Recording]:
    """Of a run in which `tone` sent 100 data in 10 s of event time, and `peak` sent every second one on."""
    graph = minimal.resolved.graph
    paths = Paths(graph, graph.deadlines)
    made = {name: Recorder.in_memory(shape_of(name, minimal.resolved, paths)) for name in minimal.resolved.order}
    tone, peak = made["tone"], made["peak"]
    for seq, duration_ms in enumerate(DURATIONS_MS):
        tone.note(Kind.ADMITTED, 0, 0, seq, 1000 * ms + seq * 100 * ms, 1, 0, -1, 1)
        tone.add(EMITTED)
        tone.outputs[0].offered(1)
        peak.service.record(duration_ms * ms)
        peak.transport[0].record(duration_ms * ms // 10)
        if seq % 2:
            peak.outputs[0].offered(1)
    return {name: Recording.over(recorder.buffer) for name, recorder in made.items()}


def test_what_a_device_takes_is_the_stages_and_counted_once_where_batches_wait_for_each_other(minimal):
    """Each is made in 2 ms and takes the device 8 ms, and is given to it 4 ms after the one before it."""
    graph = minimal.resolved.graph
    peak = Recorder.in_memory(shape_of("peak", minimal.resolved, Paths(graph, graph.deadlines)))
    done_ns = 0
    for number in range(10):
        begin_ns = (1000 + 4 * number) * ms
        given_ns = begin_ns + 2 * ms
        done_ns = max(given_ns, done_ns) + 8 * ms
        for seq in range(3):
            peak.record(Kind.RUN, 0, 0, 3 * number + seq, 1, 1, 1, begin_ns, given_ns, done_ns, 0, 0, -1, 3, 0)
            peak.service.record(2 * ms)
    content = make_profile(minimal, {"peak": Recording.over(peak.buffer)}, is_offline=True, duration_s=10.0)
    (told,) = content["stages"]["peak"]["service_ms"].values()
    assert told["count"] == 27
    assert told["p50"] == told["max"] == pytest.approx(10.0, rel=1 / 64)


def stored(minimal: Loaded, recordings: dict[str, Recording], path: Path, **changes: object) -> Path:
    content = make_profile(minimal, recordings, is_offline=False, duration_s=10.0)
    write_profile(path, content | changes)
    return path


def test_quantiles_of_service_are_stored_by_stage_and_batch(minimal, recordings):
    content = make_profile(minimal, recordings, is_offline=False, duration_s=10.0)
    (buckets,) = content["stages"]["peak"].values()
    assert list(buckets) == ["1"]
    assert set(buckets["1"]) == {"p50", "p90", "p99", "p999", "max", "count"}
    assert buckets["1"]["p50"] == pytest.approx(50, rel=1 / 64)
    assert (buckets["1"]["max"], buckets["1"]["count"]) == (100.0, 100)
    assert "tone" not in content["stages"]


@pytest.mark.parametrize("size", [1, 4])
def test_the_first_call_or_batch_of_a_stage_is_left_out(minimal, size):
    graph = minimal.resolved.graph
    peak = Recorder.in_memory(shape_of("peak", minimal.resolved, Paths(graph, graph.deadlines)))
    for number in range(10):
        took_ns = 20 * ms if not number else ms
        for seq in range(size):
            begin_ns = (1 + number) * 1000 * ms
            peak.record(Kind.RUN, 0, 0, seq, 1, 1, 1, begin_ns, begin_ns + took_ns, 0, 0, 0, -1, size, 0)
            peak.service.record(took_ns)
    content = make_profile(minimal, {"peak": Recording.over(peak.buffer)}, is_offline=True, duration_s=10.0)
    (told,) = content["stages"]["peak"]["service_ms"].values()
    assert told["count"] == 9 * size
    assert told["max"] == pytest.approx(1.0, rel=1 / 64)


def test_what_it_is_of_is_stored_too(minimal, recordings):
    content = make_profile(minimal, recordings, is_offline=False, duration_s=10.0)
    assert (content["pipeline"], content["mode"], content["settings"]) == ("minimal", "paced", {})
    assert set(content["machine"]) == {"cpu", "cores"}
    assert content["python"].count(".") == 2


def test_rates_are_by_event_time_and_by_what_was_sent_on(minimal, recordings):
    content = make_profile(minimal, recordings, is_offline=False, duration_s=10.0)
    rates = [edge["rate_hz"] for edge in content["edges"].values()]
    assert rates == pytest.approx([10.0, 5.0])


def test_offline_tells_nothing_of_transport(minimal, recordings):
    content = make_profile(minimal, recordings, is_offline=True, duration_s=1.0)
    assert not any("transport_ms" in edge for edge in content["edges"].values())
    assert all("rate_hz" in edge for edge in content["edges"].values())


def test_a_run_in_which_nothing_was_handled_makes_no_profile(minimal):
    with pytest.raises(StreamflowError, match="no stage handled anything"):
        require_measured(make_profile(minimal, {}, is_offline=True, duration_s=1.0))


def test_what_is_stored_is_loaded_as_estimates_by_stage_and_edge(minimal, recordings, tmp_path):
    profile = load_profile(REFERENCE, stored(minimal, recordings, tmp_path / "p.json"))
    assert profile is not None
    assert profile.notes == ()
    edges = [edge.name for edge in minimal.resolved.graph.edges]
    assert set(profile.estimates) == {"peak", edges[0]}
    assert profile.estimates["peak"].count == 100
    assert profile.estimates["peak"].p99_ns == pytest.approx(99 * ms, rel=1 / 64)
    assert profile.measured.rates_hz[edges[1]] == pytest.approx(5.0)
    assert isinstance(profile.estimates[edges[0]], Estimate)


def test_where_there_is_none_there_is_none(tmp_path):
    assert load_profile(REFERENCE, tmp_path / "none.json") is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("profile", 2), ("stages", []), ("stages", {"peak": {}}), ("edges", {"a->b": {"rate_hz": "fast"}}),
        ("stages", {"peak": {"service_ms": {"1": {"p50": -1, "p99": 1, "count": 1}}}}), ("machine", None),
        ("stages", {"peak": {"service_ms": {"1": {"p50": 1e999, "p99": 1, "count": 1}}}}), ("settings", 3),
    ],
)  # fmt: skip
def test_one_that_is_damaged_is_one_sentence(minimal, recordings, tmp_path, key, value):
    path = stored(minimal, recordings, tmp_path / "p.json", **{key: value})
    with pytest.raises(UsageError, match="damaged"):
        load_profile(REFERENCE, path)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00", "null"])
def test_one_that_is_no_json_of_a_profile_is_one_sentence(tmp_path, text):
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(UsageError, match="damaged"):
        load_profile(REFERENCE, tmp_path / "p.json")


def test_one_of_another_machine_or_other_settings_is_used_and_that_is_noted(minimal, recordings, tmp_path):
    path = stored(minimal, recordings, tmp_path / "p.json", machine={"cpu": "Z80", "cores": 1}, settings={"a": "1"})
    profile = load_profile(REFERENCE, path)
    assert profile is not None
    assert "peak" in profile.estimates
    assert len(profile.notes) == 2
    assert "Z80 with 1 cores" in profile.notes[0]
    assert profile.notes[1].endswith("other settings: a 1 (now by default)")


def test_it_lies_beside_the_file_under_the_name_of_the_module_and_of_another_function():
    here = Path("pipelines/speech.profile.json")
    assert profile_path(Reference("pipelines/speech.py", {})) == here
    assert profile_path(Reference("pipelines/speech.py:small", {})) == here.with_name("speech.small.profile.json")
    assert profile_path(REFERENCE).name == "minimal.profile.json"
    assert profile_path(REFERENCE).with_name("minimal.py").is_file()


def test_one_that_cannot_be_written_is_one_sentence(minimal, recordings, tmp_path):
    with pytest.raises(UsageError, match="cannot be written"):
        stored(minimal, recordings, tmp_path / "none" / "p.json")


def test_it_is_written_as_a_whole(minimal, recordings, tmp_path):
    path = stored(minimal, recordings, tmp_path / "p.json")
    assert json.loads(path.read_text())["profile"] == 1
    assert list(tmp_path.iterdir()) == [path]
