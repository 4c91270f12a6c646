"""Stages on devices in real processes: the next device where one cannot be had or is lost, and who is to blame."""

from __future__ import annotations

from pathlib import Path

from streamflow.recorder.reader import Recording
from streamflow.runtime.rundir import recording_path
from tests.end_to_end.project import Project
from tests.marks import without_gpu

PIPELINE = """
    from pathlib import Path
    from nodes.infer import CupyFunction
    from streamflow import ms
    from streamflow.device.contract import DeviceLostError

    def double(x, xp):
        time.sleep({seconds})
        if {breaks} and x.max() >= 100 and not mark.exists():
            mark.touch()
            raise DeviceLostError("host", "an illegal memory access")
        return x * 2

    def build():
        p = Pipeline("on_device")
        numbers = p.add("numbers", Numbers({count}, rate_hz={rate_hz}))
        work = p.add("work", CupyFunction(double, input="int64[]", output="int64[]", rows_max=1), device={device!r})
        keep = p.add("keep", Keep("kept"))
        p.connect(numbers, work, capacity=1000)
        p.connect(work, keep, capacity=64)
        p.deadline("quick", numbers, keep, within={within} * ms)
        return p
"""


STAGED = """
    from nodes.infer import CupyFunction

    def double(x, xp):
        time.sleep(0.012)  # in a thread of the device's
        return x * 2

    class Double(CupyFunction):
        def process_batch(self, messages):
            time.sleep(0.008)  # in the stage's
            return super().process_batch(messages)

    def build():
        p = Pipeline("staged")
        numbers, keep = p.add("numbers", Numbers(400, rate_hz=4000.0)), p.add("keep", Keep("kept"))
        work = p.add("work", Double(double, input="int64[]", output="int64[]", rows_max=8), device={device!r})
        p.connect(numbers, work, capacity=64)
        p.connect(work, keep, capacity=64)
        return p
"""


def pipeline(project: Project, device: object, **settings: object) -> object:
    """`settings` as the pipeline's text has them."""
    usual = {"seconds": 0.0, "breaks": False, "within": 1000, "count": 300, "rate_hz": 1000.0}
    body = PIPELINE.format(**usual | {"device": device} | settings)
    return project.pipeline(body.replace("mark.", f"Path({str(project.folder / 'mark')!r})."))


@without_gpu
def test_where_there_is_no_gpu_the_next_device_does_it_and_that_is_told(project: Project) -> None:
    report = project.report(pipeline(project, ["cuda:0", "host"]))
    assert report["stages"]["work"]["device"] == "host"
    assert report["stages"]["work"]["processed"] == 300
    (told,) = [event for event in report["events"] if event["event"] == "device"]
    assert told["sentence"].startswith("stage work: works on host instead of cuda:0 (")


@without_gpu
def test_where_there_is_no_other_the_run_ends_with_what_is_missing(project: Project) -> None:
    ended = project.run(pipeline(project, "cuda"))
    assert ended.code == 1
    assert ended.sentence.startswith("stage work: cuda:0: ")
    assert "Traceback" not in ended.stderr


@without_gpu
def test_a_device_that_is_lost_ends_the_process_and_the_next_life_goes_on(project: Project) -> None:
    report = project.report(pipeline(project, ["host", "cuda:0"], breaks=True, within=20, rate_hz=200.0))
    work = report["stages"]["work"]
    assert work["restarts"] == 1
    assert 0 < work["lost"] < 20, "what was in hand, and what waited there for a batch"
    assert report["conserved"] is True
    culprits = report["paths"]["quick"]["culprits"]
    assert culprits.get("device work", 0) > sum(culprits.values()) / 2, culprits
    (failed,) = [event for event in report["events"] if event["event"] == "restarting"]
    assert "host: an illegal memory access" in failed["reason"]


def test_what_a_device_takes_too_long_for_is_its_fault(project: Project) -> None:
    report = project.report(pipeline(project, "host", seconds=0.06, within=40, count=30, rate_hz=12.0))
    culprits = report["paths"]["quick"]["culprits"]
    assert sum(culprits.values()) == report["paths"]["quick"]["missed"] == 30
    assert report["stages"]["work"]["busy"] > 0.5
    assert culprits.get("device work", 0) > 0.8 * sum(culprits.values()), culprits


LARGE = """
    from nodes.infer import CupyFunction

    class Frames(Node):
        frame = Out("float32[65536]")

        async def run(self):
            for number in range(200):
                await self.pace(number * 5_000_000)
                frame = self.allocate((65536,), "float32")
                frame[...] = number
                await self.emit(frame)

    class Check(Node):
        frame = In("float32[65536]")

        def process(self, message):
            seq = message.seq
            if not (message.array == 3 * seq + 1).all():
                raise ValueError(f"frame {seq} is not whole")

    def build():
        p = Pipeline("large")
        frames = p.add("frames", Frames())
        work = CupyFunction(lambda x, xp: x * 3 + 1, input="float32[65536]", output="float32[65536]", rows_max=4)
        work = p.add("work", work, device="host")
        check = p.add("check", Check())
        p.connect(frames, work, capacity=8)
        p.connect(work, check, capacity=8)
        return p
"""


def test_large_tensors_reach_the_device_from_shared_memory_whole_and_the_report_tells_what_was_measured(
    project: Project,
) -> None:
    report = project.report(project.pipeline(LARGE))
    work, check = report["stages"]["work"], report["stages"]["check"]
    assert check["processed"] == 200
    assert report["conserved"] is True
    for choices, ways in ((work["launches"], {"launch", "graph"}), (work["copies"]["ways"], {"staged", "straight"})):
        assert [one["rows"] for one in choices] == [1, 2, 4]
        assert all(one["way"] in ways for one in choices)
        assert all({f"{way}_us" for way in ways} <= set(one) or one["reason"] for one in choices)
    assert work["copies"]["straight"] + work["copies"]["staged"] == 200
    assert work["copies"]["refused"] == 0
    if {one["way"] for one in work["copies"]["ways"]} == {"straight"}:
        assert work["copies"]["straight"] > 100, "all but those that came before their segment was registered"
    assert check["launches"] == []


def staged_share(recordings: Path, stage: str) -> float:
    """Of its batches those that the device was given while it worked on another."""
    recording = Recording.open(recording_path(recordings, stage))
    spans = {(one.ended_ns, one.device_done_ns) for one in recording.between(0, 1 << 62) if one.device_done_ns}
    recording.close()
    return sum(any(one[0] < given_ns < one[1] for one in spans) for given_ns, _ in spans) / len(spans)


def test_while_the_device_works_on_a_batch_the_next_is_made(project: Project) -> None:
    shares = {}
    for device in ("host", None):
        kept = project.folder / f"kept on {device}"
        report = project.report(project.pipeline(STAGED.format(device=device)), "--keep", kept)
        assert report["conserved"] is True
        assert project.kept("kept").numbers == [2 * n for n in range(400)]
        shares[device] = staged_share(kept / "recordings", "work")
    assert shares["host"] > 0.5
    assert shares[None] == 0, "who asks for no device has one batch at a time, as on a processor"
