"""What `record` and `replay` refuse before anything starts, and what they say of a recording; runs are inline here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nodes.mcap_files.reader import open_recording
from streamflow.errors import UsageError
from streamflow.runtime.loading.amendments import Amendment
from streamflow.runtime.loading.loader import Reference, load
from tests.nodes.test_mcap_recorder import file_size_limit

TWO = """
    import numpy as np

    from nodes.infer import Function
    from nodes.ingest import Tone, WavFile
    from nodes.postprocess import JsonLines
    from streamflow import Pipeline, ms, s

    def build(seconds: float = 0.32, wav: str = "", loud: bool = True) -> Pipeline:
        p = Pipeline("two")
        tone = p.add("tone", WavFile(wav) if wav else Tone(duration_s=seconds))
        peak = p.add("peak", Function(max, input="float32[time]", output="float32[]"))
        p.connect(tone.samples if wav else tone.signal, peak)
        twice = p.add("twice", Function(lambda x: np.float32(2 * x), input="float32[]", output="float32[]"))
        p.connect(peak, twice)
        log = p.add("log", JsonLines())
        p.connect(twice, log)
        if loud:
            p.deadline("loud", tone, log, within=500 * ms)
            p.deadline("early", tone, peak, within=500 * ms)
            p.rate_deadline("speaks", peak, within=10 * s)
        return p

    def other() -> Pipeline:
        p = Pipeline("other")
        p.connect(p.add("tone", Tone(chunk=256)).signal, p.add("log", JsonLines()))
        return p
"""


@pytest.fixture
def two(write) -> str:
    write("pipelines/two.py", TWO)
    return "pipelines/two.py"


@pytest.fixture
def recorded(streamflow, two):
    """Record inline and offline; the path."""

    def record(*options: str) -> str:
        ended = streamflow("record", two, "a.mcap", "--offline", "--inline", "--quiet", *options)
        assert ended.code == 0, ended.err
        return "a.mcap"

    return record


@pytest.mark.parametrize(
    ("edges", "told"),
    [
        ("mike", "--edges mike: two has no stage mike, expected one of tone, peak, twice"),
        ("tone.sound", "--edges tone.sound: tone has no output sound, expected one of tone.signal, tone.truth"),
        ("log", "--edges log: log sends nothing, expected one of tone.signal, tone.truth, peak.output, twice.output"),
        ("tone->log", "--edges tone->log: two has no such edge, expected one of tone.signal->peak.input, "),
        ("tonne", "--edges tonne: two has no stage tonne, expected one of tone, peak, twice; did you mean tone?"),
    ],
)
def test_an_unknown_name_is_answered_with_what_there_is(streamflow, two, edges, told):
    ended = streamflow("record", two, "a.mcap", "--edges", edges)
    assert ended.code == 2
    assert ended.err.startswith(f"streamflow: {told}")
    assert not Path("a.mcap").exists()


@pytest.mark.parametrize(
    ("edges", "outputs"),
    [
        ([], ["tone.signal", "tone.truth"]),
        (["--edges", "peak,tone.signal"], ["peak.output", "tone.signal"]),
        (["--edges", "tone->peak", "--edges", "peak.output->twice.input"], ["tone.signal", "peak.output"]),
    ],
)
def test_stages_ports_and_edges_can_be_named(recorded, edges, outputs):
    found = open_recording(recorded(*edges))
    assert list(found.outputs) == outputs
    assert {output.count for output in found.outputs.values()} == {10}


def test_a_recording_is_not_overwritten_unasked(streamflow, two, recorded):
    before = Path(recorded()).read_bytes()
    ended = streamflow("record", two, "a.mcap", "--offline", "--inline")
    assert (ended.code, Path("a.mcap").read_bytes()) == (2, before)
    assert ended.err == ("streamflow: a.mcap: is there already, expected a new file; --overwrite takes its place\n")
    assert streamflow("record", two, "a.mcap", "--offline", "--inline", "--overwrite").code == 0


def test_a_recording_is_not_made_of_what_it_takes_the_place_of(streamflow, write, recorded):
    before = Path(recorded()).read_bytes()
    write(
        "pipelines/reads.py",
        TWO.replace("wav: str", "mcap: str")
        .replace("WavFile(wav) if wav", "McapFile(mcap, 'tone') if mcap")
        .replace("samples if wav", "signal if mcap")
        .replace("Tone, WavFile", "Tone, McapFile"),
    )
    ended = streamflow("record", "pipelines/reads.py", "a.mcap", "--set", "mcap=a.mcap", "--inline", "--overwrite")
    assert (ended.code, Path("a.mcap").read_bytes()) == (2, before)
    told = "stage tone reads it, expected another file; it would be written over while it is read"
    assert ended.err == f"streamflow: {Path('a.mcap').resolve()}: {told}\n"
    ended = streamflow("record", "pipelines/reads.py", "b.mcap", "--set", "mcap=a.mcap", "--inline", "--quiet")
    assert ended.code == 0, ended.err


def test_the_report_and_a_sentence_say_what_was_kept(streamflow, two):
    ended = streamflow("record", two, "a.mcap", "--offline", "--inline", "--report", "report.json")
    told = json.loads(Path("report.json").read_text())["recording"]
    assert (told["offered"], told["kept"], told["not_kept"], told["is_whole"]) == (20, 20, 0, True)
    assert told["outputs"] == {"tone.signal": 10, "tone.truth": 10}
    assert ended.sentences[-1].startswith("streamflow: a.mcap: 20 data of 2 outputs, 0.1 MB")


def test_a_recording_that_fails_is_exit_code_1_and_says_so_also_when_quiet(streamflow, two):
    options = ["--offline", "--inline", "--quiet", "--set", "seconds=60", "--report", "r.json", "--report", "r.html"]
    with file_size_limit(2_000_000):
        ended = streamflow("record", two, "a.mcap", *options)
    assert ended.code == 1
    told = json.loads(Path("r.json").read_text())["recording"]
    assert told["kept"] + told["reasons"]["not_written"] == told["offered"] == 3750
    assert told["failure"] == "the file has reached the size limit of this process or file system"
    assert not told["is_whole"]
    page = Path("r.html").read_text()
    assert "<h2>Recording</h2>" in page
    assert f"not written {told['not_kept']:,}" in page
    assert f'<b class="bad">{told["failure"]}</b>' in page
    assert ended.err.endswith(
        f"; {told['not_kept']:,} of 3,750 could not be kept, {told['not_kept']:,} of them had been delivered; "
        f"the recording failed: {told['failure']}\n"
    )


@pytest.mark.parametrize(("strict", "code"), [([], 0), (["--strict"], 3)])
def test_what_the_recorder_cannot_keep_up_with_is_told_and_a_failure_only_where_that_is_asked_for(
    streamflow, write, strict, code
):
    write(
        "pipelines/bursts.py",
        """
        import numpy as np

        from nodes.postprocess import JsonLines
        from streamflow import Node, Out, Output, Pipeline

        class Bursts(Node):
            number = Out("int64[]")

            async def run(self):
                await self.emit([Output(np.int64(n)) for n in range(200)], event_time_ns=await self.pace(0))

        def build() -> Pipeline:
            p = Pipeline("bursts")
            p.connect(p.add("bursts", Bursts()).number, p.add("log", JsonLines()))
            return p
        """,
    )
    ended = streamflow(
        "record",
        "pipelines/bursts.py",
        "a.mcap",
        "--inline",
        "--quiet",
        "--mailbox",
        "1",
        "--report",
        "r.json",
        *strict,
    )
    assert ended.code == code, ended.err
    told = json.loads(Path("r.json").read_text())["recording"]
    assert (told["offered"], told["is_whole"], told["failure"]) == (200, False, "")
    assert told["reasons"] == {"drop_newest": told["not_kept"]}
    assert f"; {told['not_kept']} of 200 could not be kept" in ended.sentences[0]


@pytest.mark.parametrize("edges", [[], ["--edges", "peak"], ["--edges", "tone,peak"]])
def test_a_replay_gives_the_same_as_the_recorded_run(streamflow, two, edges):
    then = streamflow("record", two, "a.mcap", "--offline", "--inline", "--quiet", *edges)
    now = streamflow("replay", two, "a.mcap", "--offline", "--inline", "--quiet")
    assert (then.code, now.code, now.out) == (0, 0, then.out)
    assert len(then.out.splitlines()) == 10


@pytest.mark.parametrize(
    ("options", "speed", "told"), [(["--offline"], None, "offline"), (["--speed", "20"], 20.0, "at 20 times its pace")]
)
def test_a_report_says_of_what_it_is_a_replay(streamflow, two, recorded, options, speed, told):
    options = [*options, "--inline", "--quiet", "--report", "r.json", "--report", "r.html"]
    assert streamflow("replay", two, recorded("--edges", "tone"), *options).code == 0
    assert json.loads(Path("r.json").read_text())["replay"] == {
        "file": "a.mcap",
        "edges": ["tone.signal", "tone.truth"],
        "speed": speed,
        "offline": speed is None,
    }
    assert f"A replay of <code>a.mcap</code>: tone.signal, tone.truth, {told}" in Path("r.html").read_text()


def test_sensors_of_the_recorded_run_need_not_be_there(streamflow, two, recorded):
    """A file that is missing is a fault of `run`, and none of a replay in whose place it stands."""
    recorded("--edges", "peak")
    missing = ["--set", "wav=none.wav"]
    assert "none.wav: No such file" in streamflow("run", two, *missing).err
    ended = streamflow("replay", two, "a.mcap", "--offline", "--inline", *missing)
    assert (ended.code, len(ended.out.splitlines())) == (0, 10)
    assert ended.sentences[:2] == [
        "streamflow: {}: recorded without settings, replayed with --set wav=none.wav".format(Path("a.mcap").resolve()),
        "streamflow: {}: replays peak; left out: tone".format(Path("a.mcap").resolve()),
    ]


def amended(two: str, **arguments: object):
    path = str(Path("a.mcap").resolve())
    amendment = Amendment("nodes.mcap_files.replaying:replay", {"path": path, **arguments})
    return load(Reference(two, {}, (amendment,)))


def test_deadlines_begin_at_the_stage_that_is_replayed(recorded, two):
    recorded("--edges", "peak")
    graph = amended(two).definition.graph
    assert [(path.name, path.source, path.sink) for path in graph.deadlines] == [("loud", "peak", "log")]
    assert graph.rates == ()
    notes = amended(two).definition.notes
    assert "deadline early: not looked at, what it is about is not replayed" in notes


def test_an_output_that_nobody_needs_any_more_is_not_replayed(recorded, two):
    recorded("--edges", "tone,peak")
    graph = amended(two).definition.graph
    assert [stage.name for stage in graph.stages] == ["peak", "twice", "log"]
    assert [stage.name for stage in amended(two, outputs=["tone"]).definition.graph.stages] == [
        "tone", "peak", "twice", "log",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pipeline", "options", "told"),
    [
        (
            "pipelines/two.py:other",
            [],
            "tone.signal: float32[512] recorded, float32[256] expected; it was recorded from",
        ),
        ("pipelines/minimal.py", [], "no such file"),
        ("pipelines/two.py", ["--edges", "twice"], "has nothing of it, expected one of tone.truth"),
    ],
)
def test_a_recording_that_does_not_fit_is_refused(streamflow, two, recorded, pipeline, options, told):
    recorded("--edges", "tone.truth,tone.signal")
    ended = streamflow("replay", pipeline, "a.mcap", *options)
    assert ended.code == 2
    assert told in ended.err


def test_a_needed_output_that_was_not_recorded_is_named(streamflow, two, recorded):
    recorded("--edges", "tone.truth")
    ended = streamflow("replay", two, "a.mcap", "--offline", "--inline")
    assert ended.code == 2
    found = "stage peak needs tone.signal, which is not replayed; record it too, as in record --edges tone.truth,"
    assert ended.err.endswith(f"/a.mcap: {found}tone.signal\n")


FUSED = """
    from nodes.infer import Function
    from nodes.ingest import Tone
    from nodes.postprocess import JsonLines
    from streamflow import In, Node, Out, Pipeline

    class Fuse(Node):
        left = In("float32[time]")
        right = In("float32[]")
        both = Out("float32[]")

        def process(self, *, left, right):
            return right.array

    def build(cam: str = "cam") -> Pipeline:
        p = Pipeline("fused")
        camera, imu = p.add(cam, Tone(duration_s=0.32)), p.add("imu", Tone(duration_s=0.32))
        spot, fuse = p.add("spot", Function(max, input="float32[time]", output="float32[]")), p.add("fuse", Fuse())
        p.connect(camera.signal, spot)
        p.connect(imu.signal, fuse.left)
        p.connect(spot, fuse.right)
        p.connect(fuse, p.add("log", JsonLines()))
        return p
"""


@pytest.mark.parametrize(
    ("recorded", "options", "told"),
    [
        ([], ["--edges", "imu.signal"], "it is made of cam.signal, in the recording: --edges imu.signal,cam.signal"),
        (["--edges", "imu.signal"], [], "record it too, as in record --edges imu.signal,spot.output"),
        (
            ["--edges", "cam.signal,imu.signal"],
            ["--set", "cam=camera"],
            "fused has no stage cam, expected one of camera, imu, spot, fuse, log; "
            "camera.signal is not in the recording: was a stage renamed?",
        ),
        (
            ["--edges", "cam.signal,imu.signal"],
            ["--set", "cam=camera", "--edges", "imu"],
            "stage fuse needs spot.output, which is not replayed; "
            "the recording has cam.signal, for which fused has no stage: was one renamed?",
        ),
    ],
)
def test_who_lacks_an_input_is_told_where_it_is_to_be_had(streamflow, write, recorded, options, told):
    write("pipelines/fused.py", FUSED)
    inline = ["--inline", "--offline", "--quiet"]
    assert streamflow("record", "pipelines/fused.py", "a.mcap", *inline, *recorded).code == 0
    ended = streamflow("replay", "pipelines/fused.py", "a.mcap", *inline, *options)
    assert ended.code == 2
    assert ended.err.endswith(f"{told}\n")
    if "in the recording" in told and "made of" in told:
        named = ended.err.split("--edges ")[1].strip()
        assert streamflow("replay", "pipelines/fused.py", "a.mcap", *inline, "--edges", named).code == 0


@pytest.mark.parametrize("content", [None, b"", b"no recording"])
def test_a_file_that_is_no_recording_is_refused(streamflow, two, content):
    if content is not None:
        Path("a.mcap").write_bytes(content)
    ended = streamflow("replay", two, "a.mcap")
    assert ended.code == 2
    assert ended.err.startswith(f"streamflow: {Path('a.mcap').resolve()}: ")
    assert ended.err.endswith("expected an MCAP file that streamflow record has written\n")


def test_a_view_can_be_chosen_and_changes_nothing_in_what_is_replayed(streamflow, two):
    then = streamflow(
        "record", two, "a.mcap", "--offline", "--inline", "--quiet", "--view", "tone.signal=tensor", "--edges", "tone"
    )
    assert open_recording("a.mcap").outputs["tone.signal"].view.word == "tensor"
    assert streamflow("replay", two, "a.mcap", "--offline", "--inline", "--quiet").out == then.out
    ended = streamflow("record", two, "b.mcap", "--view", "tone.signal=sound")
    assert "expected PORT=VIEW, one of image, audio, imu, tensor, bgr8, rgb8, mono8, mono16" in ended.err
    ended = streamflow("record", two, "b.mcap", "--view", "peak=rgb8")
    assert (ended.code, Path("b.mcap").exists()) == (2, False)
    assert ended.err.startswith("streamflow: --view peak=rgb8: peak.output is float32[]")
    assert ended.err.endswith(", expected uint8[height, width, 3]\n")
    ended = streamflow("record", two, "b.mcap", "--view", "tine=audio")
    assert ended.err.startswith("streamflow: --view tine: two has no stage tine, expected one of ")


def test_a_pipeline_may_have_a_stage_called_recorder(streamflow, write):
    write("pipelines/named.py", TWO.replace('"twice", Function', '"recorder", Function'))
    ended = streamflow("record", "pipelines/named.py", "a.mcap", "--offline", "--inline", "--edges", "recorder")
    assert ended.code == 0, ended.err
    assert ended.sentences[-1].startswith("streamflow: a.mcap: 10 data of 1 outputs")
    assert open_recording("a.mcap").outputs["recorder.output"].count == 10


def test_processes_with_other_amendments_are_not_of_the_same_run(recorded, two):
    recorded()
    keys = {load(Reference(two, {})).key, amended(two).key, amended(two, outputs=["tone"]).key}
    assert len(keys) == 3
    assert amended(two).key in keys


@pytest.mark.parametrize("function", ["nodes.nothing:record", "nodes.mcap_files.recording:nothing"])
def test_an_amendment_that_is_none_is_a_sentence(two, function):
    with pytest.raises(UsageError, match=f"amendment {function}: "):
        load(Reference(two, {}, (Amendment(function),)))
