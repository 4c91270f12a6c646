"""Data that stay on a device between stages, in real processes: where they do, what a death takes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.end_to_end.project import Project

PIPELINE = """
    import os
    from pathlib import Path
    from nodes.infer import CupyFunction
    from streamflow import DeviceTensor, OnDevice
    from streamflow.device.contract import DeviceLostError

    SIZE = 8192  # int64: too large for the first frame of a message

    class Widen(Node):
        number = In("int64[]")
        samples = Out(f"int64[{{SIZE}}]")

        def process(self, message):
            return np.full(SIZE, message.array)

    class Narrow(Node):
        samples = In(f"int64[{{SIZE}}]", on_device=True)
        number = Out("int64[]")

        def open(self):
            self.queue, self.result = self.context.device.queue(), self.context.device.host_array((SIZE,), "int64")
            self.log = open("came", "a")

        def process(self, message):
            dies_at({kills} and message.seq == 200, "reader")
            stays = type(message.array) is DeviceTensor
            print(int(stays), file=self.log, flush=True)
            if not stays:
                return message.array.min()
            self.queue.copy_out(self.result, message.array.on(self.queue))
            return OnDevice(self.queue.ticket(), lambda: self.result.min())

    class Watch(Node):
        samples = In(f"int64[{{SIZE}}]")

        def process(self, message):
            assert message.array.min() == message.array.max() == 3 * message.seq

    mark = Path("mark")

    def dies_at(is_there, who):
        if is_there and not Path(who).exists():
            Path(who).touch()
            os.kill(os.getpid(), 9)

    def triple(x, xp):
        dies_at({kills} and (x == 100).any(), "writer")
        if {breaks} and x.max() >= 100 and not mark.exists():
            mark.touch()
            raise DeviceLostError("host", "an illegal memory access")
        return x * 3

    def function(f):
        return CupyFunction(f, input=f"int64[{{SIZE}}]", output=f"int64[{{SIZE}}]", rows_max=4)

    def build():
        p = Pipeline("resident")
        numbers, widen = p.add("numbers", Numbers({count}, rate_hz=500.0)), p.add("widen", Widen())
        work = p.add("work", function(triple), process="gpu", device={device!r})
        same = p.add("same", function(lambda x, xp: x), process="gpu", device={device!r})
        narrow = p.add("narrow", Narrow(), process={process!r}, device="host")
        keep = p.add("keep", Keep("kept"))
        p.connect(numbers, widen)
        p.connect(widen, work, capacity=16)
        p.connect(work, same, capacity=16)
        p.connect(same, narrow, capacity=16)
        p.connect(narrow, keep, capacity=64)
        if {watches}:
            p.connect(same, p.add("watch", Watch()))
        return p
"""


def pipeline(project: Project, **settings: Any) -> str:
    usual = {
        "device": ["cuda:7", "host"],
        "process": "gpu",
        "count": 200,
        "breaks": False,
        "watches": False,
        "kills": False,
    }
    return project.pipeline(PIPELINE.format(**usual | settings))


def came(project: Project) -> str:
    """Of each datum, in order, whether it came on the device."""
    return "".join((project.folder / "came").read_text().split())


@pytest.mark.parametrize("option", [(), ("--inline",)])
def test_in_one_process_data_stay_on_the_device_whichever_it_became(project: Project, option: tuple[str, ...]) -> None:
    report = project.report(pipeline(project), *option)
    assert project.kept("kept").numbers == [3 * number for number in range(200)]
    assert came(project) == "1" * 200
    assert report["stages"]["work"]["pool_exhausted"] == report["stages"]["same"]["pool_exhausted"] == 0


def test_where_one_of_those_who_get_them_takes_them_on_the_host_they_are_copied_out(project: Project) -> None:
    report = project.report(pipeline(project, watches=True))
    assert project.kept("kept").numbers == [3 * number for number in range(200)]
    assert came(project) == "0" * 200
    why = "copied: watch.samples is not declared on_device=True"
    assert report["edges"]["same.output->narrow.samples"]["on_device"] == why
    assert report["edges"]["work.output->same.input"]["on_device"] == "in process"


def test_between_processes_they_stay_through_the_deaths_of_who_writes_and_who_reads(project: Project) -> None:
    report = project.report(pipeline(project, process="elsewhere", kills=True, count=300))
    numbers = project.kept("kept").numbers
    assert numbers == sorted(set(numbers))
    assert set(numbers) <= {3 * number for number in range(300)}
    with_the_writer = 2 * 16 + 2 * (16 + 4) + 1 + 16  # what its process had, and what was on the edge to the reader
    assert 0 < 300 - len(numbers) <= with_the_writer + 16 + 1
    assert report["conserved"] is True
    assert [report["stages"][name]["restarts"] for name in ("work", "same", "narrow")] == [1, 1, 1]
    assert report["edges"]["same.output->narrow.samples"]["on_device"] == "between processes"
    lives = came(project)
    assert lives.startswith("1" * 20)
    assert lives.endswith("1" * 20)


def test_a_lost_device_takes_what_was_on_it_and_the_next_life_goes_on_there(project: Project) -> None:
    report = project.report(pipeline(project, breaks=True))
    numbers = project.kept("kept").numbers
    assert numbers == sorted(set(numbers))
    assert set(numbers) <= {3 * number for number in range(200)}
    in_the_process = 3 * 16 + 2 * (16 + 4) + 1  # on edges, waiting for a batch, in one, and the last in hand
    assert 0 < 200 - len(numbers) <= in_the_process
    assert set(came(project)) == {"1"}
    assert report["conserved"] is True
    assert [report["stages"][name]["restarts"] for name in ("work", "same", "narrow")] == [1, 1, 1]
