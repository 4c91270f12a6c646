"""Stages on devices in real processes: the next device where one cannot be had or is lost, and who is to blame."""

from __future__ import annotations

import pytest

from streamflow.device.contract import NoDeviceError
from streamflow.device.cuda import CudaDevice
from tests.end_to_end.project import Project

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
        p.connect(numbers, work, capacity=64)
        p.connect(work, keep, capacity=64)
        p.deadline("quick", numbers, keep, within={within} * ms)
        return p
"""


def no_gpu() -> bool:
    try:
        CudaDevice().open()
    except NoDeviceError:
        return True
    return False


def pipeline(project: Project, device: object, **settings: object) -> object:
    """`settings` as the pipeline's text has them."""
    usual = {"seconds": 0.0, "breaks": False, "within": 1000, "count": 300, "rate_hz": 1000.0}
    body = PIPELINE.format(**usual | {"device": device} | settings)
    return project.pipeline(body.replace("mark.", f"Path({str(project.folder / 'mark')!r})."))


@pytest.mark.skipif(not no_gpu(), reason="there is a GPU")
def test_where_there_is_no_gpu_the_next_device_does_it_and_that_is_told(project: Project) -> None:
    report = project.report(pipeline(project, ["cuda:0", "host"]))
    assert report["stages"]["work"]["device"] == "host"
    assert report["stages"]["work"]["processed"] == 300
    (told,) = [event for event in report["events"] if event["event"] == "device"]
    assert told["sentence"].startswith("stage work: works on host, not on what it would rather: cuda:0: ")


@pytest.mark.skipif(not no_gpu(), reason="there is a GPU")
def test_where_there_is_no_other_the_run_ends_with_what_is_missing(project: Project) -> None:
    ended = project.run(pipeline(project, "cuda"))
    assert ended.code == 1
    assert ended.sentence.startswith("stage work: cuda:0: ")
    assert "Traceback" not in ended.stderr


@pytest.mark.skipif(not no_gpu(), reason="there is a GPU")
def test_a_device_that_is_lost_ends_the_process_and_the_next_life_goes_on(project: Project) -> None:
    report = project.report(pipeline(project, ["host", "cuda:0"], breaks=True))
    work = report["stages"]["work"]
    assert work["restarts"] == 1
    assert 0 < work["lost"] < 20, "what was in hand, and what waited there for a batch"
    assert report["conserved"] is True
    (failed,) = [event for event in report["events"] if event["event"] == "restarting"]
    assert "host: an illegal memory access" in failed["reason"]


def test_what_a_device_takes_too_long_for_is_its_fault(project: Project) -> None:
    report = project.report(pipeline(project, "host", seconds=0.06, within=40, count=30, rate_hz=12.0))
    culprits = report["paths"]["quick"]["culprits"]
    assert sum(culprits.values()) == report["paths"]["quick"]["missed"] == 30
    assert report["stages"]["work"]["busy"] > 0.5
    assert culprits.get("device work", 0) > 0.8 * sum(culprits.values()), culprits
