"""States on a device in real processes: a killed stage goes on from its last snapshots, and says what is missing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from nodes.kernels.recurrent import Cell
from tests.end_to_end.project import Project
from tests.end_to_end.test_states import count_of, kill_stage, report
from tests.nodes.recurrent_streams import Lineage, network, state_dict, wave

MODEL = network(Cell.GRU, inputs=4, hidden=12, outputs=2)
PIPELINE = """
import json
from nodes.infer import RecurrentModel
from streamflow.core.message import Message

def build(model: str, out: str, every: int = 1, streams: int = 1, count: int = 100, rate_hz: float = 500.0,
          lossless: bool = False) -> Pipeline:
    p = Pipeline("recurrent")
    source = p.add("source", Waves(count, rate_hz, streams))
    rows = 1 if lossless else 4
    step = p.add("step", RecurrentModel(model, snapshot_every=every, rows_max=rows), device="host")
    p.connect(source, step, capacity=8, lossless=lossless)
    p.connect(step, p.add("sink", Told(out)), lossless=lossless)
    return p


class Waves(Node):
    x = Out("float32[4]")

    def __init__(self, count, rate_hz, streams):
        self.count, self.rate_hz, self.streams = count, rate_hz, streams

    async def run(self):
        for nth in range(self.count):
            due_ns = await self.pace(round(nth * 1e9 / self.rate_hz))
            stream, seq = nth % self.streams, nth // self.streams
            x = np.sin(np.float32([1, 2, 3, 4]) * (seq + 1) * 0.37 + stream)
            if self.streams == 1:
                await self.emit(x, event_time_ns=due_ns)
            else:
                await self.emit(Output(x, stream=f"s{stream}", seq=seq), event_time_ns=due_ns)


class Told(Node):
    y = In("float32[2]")

    def __init__(self, path):
        self.path = path

    def open(self):
        self.file = open(self.path, "a")

    def process(self, message):
        told = {"stream": message.stream, "seq": message.seq, "y": message.array.tolist(), **message.attributes}
        print(json.dumps(told), file=self.file, flush=True)

    def close(self):
        self.file.close()
"""


@dataclass(frozen=True)
class Result:
    stream: str
    seq: int
    y: list[float]
    gap: int = 0
    gap_action: str = ""


def arguments(project: Project, *more: object, out: str = "told", **settings: object) -> list[object]:
    np.savez(project.folder / "model.npz", **state_dict(MODEL))
    all_settings = {"model": project.folder / "model.npz", "out": project.folder / out, **settings}
    given = [word for name, value in all_settings.items() for word in ("--set", f"{name}={value}")]
    return [project.pipeline(PIPELINE, "recurrent"), "--report", "report.json", *given, *more]


def results(path: Path, stream: str) -> list[Result]:
    found = [Result(**json.loads(line)) for line in path.read_text().splitlines()]
    return [result for result in found if result.stream == stream]


@pytest.mark.parametrize(("every", "streams"), [(1, 1), (8, 3)])
def test_a_killed_stage_goes_on_from_its_last_snapshots_and_marks_the_rest(
    project: Project, every: int, streams: int
) -> None:
    """Every result is what the network says of exactly what its state has seen, by the marks; and of that no more is
    lost than is between two snapshots."""
    count, kills, path = 2400, 3, project.folder / "told"
    settings = {"every": every, "streams": streams, "count": count, "rate_hz": 800}
    command = project.start("run", *arguments(project, "--restart-limit", "1000/0.1", **settings))
    for kill in range(kills):
        kill_stage(command, "step", partial(lambda least: count_of(path) >= least, 200 + 500 * kill))
    ended = command.wait()
    assert ended.code == 0, ended.stderr
    assert report(project)["stages"]["step"]["restarts"] == kills
    assert report(project)["conserved"] is True
    marked = []
    for stream in range(streams):
        name = "source" if streams == 1 else f"s{stream}"
        found, lineage, last = results(path, name), Lineage(MODEL, partial(wave, stream=stream)), -1
        assert len(found) > count / streams / 2
        for result in found:
            base = result.seq - 1 - result.gap
            assert base >= last - (every if every > 1 else 0), f"more than {every} steps were lost before {result}"
            assert (result.gap_action == "freeze") == (result.gap > 0)
            np.testing.assert_allclose(result.y, lineage.result(base, result.seq), atol=1e-5, err_msg=f"{result}")
            last = result.seq
        marked.append(sum(result.gap > 0 for result in found))
    assert max(marked) <= kills
    assert sum(marked) > 0 or every == 1, "each kill would have met a snapshot that was just committed"


def test_over_lossless_edges_killed_stages_change_nothing_in_what_comes_out(project: Project) -> None:
    """Each step is committed first there, however rare snapshots were to be."""
    count, path = 3000, project.folder / "told"
    settings = {"every": 10, "count": count, "rate_hz": 1500, "lossless": True}
    command = project.start("run", *arguments(project, "--restart-limit", "1000/0.1", **settings))
    for kill, victim in enumerate(("step", "source", "step")):
        kill_stage(command, victim, partial(lambda least: count_of(path) >= least, 400 + 700 * kill))
    ended = command.wait()
    assert ended.code == 0, ended.stderr
    found, lineage = results(path, "source"), Lineage(MODEL, wave)
    assert [result.seq for result in found] == list(range(count))
    for result in found:
        assert result.gap == 0
        np.testing.assert_allclose(result.y, lineage.result(result.seq - 1, result.seq), atol=1e-5)
    assert sum(edge["lost"] for edge in report(project)["edges"].values()) == 0


def test_half_in_one_run_and_half_in_another_is_as_in_one_go(project: Project) -> None:
    """Also where the first run ends between two snapshots."""
    options = ("--offline", "--state", "kept")
    assert project.run(*arguments(project, *options, every=50, count=75)).code == 0
    assert project.run(*arguments(project, *options, out="more", every=50, count=25)).code == 0
    lineage = Lineage(MODEL, wave)
    first, second = (results(project.folder / name, "source") for name in ("told", "more"))
    for result in first:
        lineage.result(result.seq - 1, result.seq)
    assert [result.gap for result in second] == [0] * 25
    for place, result in enumerate(second, 75):
        np.testing.assert_allclose(result.y, lineage.result(place - 1, result.seq, place), atol=1e-5)
