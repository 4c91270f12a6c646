"""Recurrent states in real processes: killed stages go on from their last step, and runs from where another ended."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.end_to_end.project import Command, Project, eventually

SUMMING = """
import json
from nodes.infer import OnnxModel

def build(model: str, out: str, first: int = 0, count: int = 100, rate_hz: float = 500.0, capacity: int = 8,
          name: str = "summing", context: bool = False, lossless: bool = False) -> Pipeline:
    p = Pipeline(name)
    source = p.add("source", Counted(first, count, rate_hz))
    state = {"on_gap": None} if not context else {"on_gap": OnGap.REPEAT}
    total = p.add("total", OnnxModel(model, state={"h": "hn"}, **state))
    p.connect(source, total, capacity=capacity, lossless=lossless)
    p.connect(total, p.add("sink", Told(out)), lossless=lossless)
    return p


from streamflow import OnGap


class Counted(Node):
    '''Numbers from `first` on, each with a one beside it, so that a sum tells how many it is of.'''

    x = Out("float32[3]")

    def __init__(self, first, count, rate_hz):
        self.first, self.count, self.rate_hz = first, count, rate_hz

    async def run(self):
        for nth in range(self.count):
            due_ns = await self.pace(round(nth * 1e9 / self.rate_hz))
            await self.emit(np.float32([self.first + nth, 1, 0]), event_time_ns=due_ns)


class Told(Node):
    y = In("float32[3]")

    def __init__(self, path):
        self.path = path

    def open(self):
        self.file = open(self.path, "w")

    def process(self, message):
        total, steps, _ = (int(value) for value in message.array)
        told = {"seq": message.seq, "total": total, "steps": steps, **message.attributes}
        print(json.dumps(told), file=self.file, flush=True)

    def close(self):
        self.file.close()
"""


@dataclass(frozen=True)
class Result:
    seq: int
    total: int
    steps: int
    gap: int = 0
    gap_action: str = ""


def results(path: Path) -> list[Result]:
    return [Result(**json.loads(line)) for line in path.read_text().splitlines()]


def totals(found: Sequence[Result]) -> list[tuple[int, int]]:
    return [(result.total, result.steps) for result in found]


def summed(numbers: range) -> list[tuple[int, int]]:
    return [(sum(numbers[: nth + 1]), nth + 1) for nth in range(len(numbers))]


def arguments(project: Project, *more: object, out: str = "told", **settings: object) -> list[object]:
    model = ROOT / "tests" / "models" / "running_sum.onnx"
    all_settings = {"model": model, "out": project.folder / out, **settings}
    given = [word for name, value in all_settings.items() for word in ("--set", f"{name}={value}")]
    return [project.pipeline(SUMMING, "summing"), "--report", "report.json", *given, *more]


def report(project: Project) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project.folder / "report.json").read_text())
    return found


def kill_stage(command: Command, stage: str, when: Callable[[], object]) -> None:
    pid = command.stage(stage)
    eventually(when)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: command.stage(stage) != pid)


def count_of(path: Path) -> int:
    return path.read_text().count("\n") if path.exists() else 0


def test_a_killed_stage_goes_on_from_its_last_step_and_marks_what_it_has_not_seen(project: Project) -> None:
    """Every result is the sum of exactly what its state had seen, by what was marked; the rest the accounts have."""
    count, path = 3000, project.folder / "told"
    command = project.start("run", *arguments(project, "--restart-limit", "1000/0.1", count=count, rate_hz=600))
    for kill in range(5):
        kill_stage(command, "total", partial(lambda least: count_of(path) >= least, 150 + 450 * kill))
    ended = command.wait()
    assert ended.code == 0, ended.stderr
    found = results(path)
    assert report(project)["stages"]["total"]["restarts"] == 5
    missing = unmarked = 0
    last = Result(-1, 0, 0)
    for result in found:
        between = range(last.seq + 1, result.seq)
        unseen_result_count = result.steps - last.steps - 1  # steps whose results went with the process
        left = len(between) - result.gap - unseen_result_count
        assert left == 0, f"{last} then {result}"
        stepped = between[:unseen_result_count]  # what is missing was so just before a result that says it
        assert result.total - last.total == result.seq + sum(stepped)
        assert result.gap_action == ("freeze" if result.gap else "")
        missing += len(between)
        unmarked += unseen_result_count
        last = result
    missing += count - 1 - last.seq
    unmarked += count - 1 - last.seq
    account = report(project)["paths"]["source->sink"]
    assert account["lost"] == missing
    assert sum(result.gap for result in found) == missing - unmarked > 0
    assert report(project)["conserved"] is True


def test_over_lossless_edges_killed_stages_change_nothing_in_what_comes_out(project: Project) -> None:
    """At a rate at which a kill mostly meets work, and mailboxes that are full when the stage is back."""
    count, path = 5000, project.folder / "told"
    options = arguments(project, "--restart-limit", "1000/0.1", count=count, rate_hz=2000, lossless=True)
    command = project.start("run", *options)
    for kill, victim in enumerate(("total", "source", "total", "total")):
        kill_stage(command, victim, partial(lambda least: count_of(path) >= least, 500 + 1000 * kill))
    ended = command.wait()
    assert ended.code == 0, ended.stderr
    found = results(path)
    assert [result.seq for result in found] == list(range(count))
    assert totals(found) == summed(range(count))
    assert report(project)["stages"]["total"]["restarts"] == 3
    assert sum(edge["lost"] for edge in report(project)["edges"].values()) == 0
    assert report(project)["conserved"] is True


def test_half_in_one_run_and_half_in_another_is_as_in_one_go(project: Project) -> None:
    whole = project.run(*arguments(project, "--offline", out="whole", count=200))
    assert whole.code == 0, whole.stderr
    assert totals(results(project.folder / "whole")) == summed(range(200))

    first = project.run(*arguments(project, "--offline", "--state", "kept", out="a", count=120))
    assert first.code == 0, first.stderr
    assert "stage total: its state begins anew, nothing of it that is whole is in" in first.sentence
    second = project.run(*arguments(project, "--offline", "--state", "kept", out="b", first=120, count=80))
    assert "stage total: its state goes on from" in second.sentence
    assert "(1 stream, of " in second.sentence
    both = results(project.folder / "a") + results(project.folder / "b")
    assert totals(both) == summed(range(200))
    assert [result for result in both if result.gap_action] == []


def test_an_inline_run_keeps_its_states_as_well(project: Project) -> None:
    for first, out in ((0, "a"), (50, "b")):
        ended = project.run(
            *arguments(project, "--inline", "--offline", "--state", "kept", out=out, first=first, count=50)
        )
        assert ended.code == 0, ended.stderr
    assert totals(results(project.folder / "b")) == summed(range(100))[50:]


def test_a_run_that_was_killed_is_gone_on_from_its_last_snapshot(project: Project) -> None:
    path, kept = project.folder / "a", project.folder / "kept"
    command = project.start("run", *arguments(project, "--state", "kept", out="a", count=100_000, rate_hz=300))
    eventually(lambda: list(kept.glob("*.snapshot")))
    command.interrupt(signal.SIGKILL)
    command.wait()
    seen = results(path)

    ended = project.run(*arguments(project, "--state", "kept", out="b", first=1_000, count=20, rate_hz=300))
    assert ended.code == 0, ended.stderr
    assert "stage total: its state goes on from" in ended.sentence
    first = results(project.folder / "b")[0]
    resumed_at = next(result for result in seen if result.steps == first.steps - 1)
    assert first.total == resumed_at.total + 1_000


def test_two_runs_do_not_share_a_folder(project: Project) -> None:
    running = project.start("run", *arguments(project, "--state", "kept", out="a", count=100_000, rate_hz=300))
    eventually(lambda: count_of(project.folder / "a"))
    other = project.run(*arguments(project, "--state", "kept", out="b"))
    assert (other.code, other.sentence) == (
        2,
        "--state kept: another run keeps its states there, expected a folder of its own",
    )
    running.interrupt()
    running.wait()


def test_what_another_pipeline_or_model_has_kept_is_not_gone_on_from(project: Project) -> None:
    assert project.run(*arguments(project, "--offline", "--state", "kept")).code == 0
    other = project.run(*arguments(project, "--offline", "--state", "kept", name="other"))
    assert other.code == 1
    assert "stage total:" in other.sentence
    assert "of pipeline summing, expected one of other" in other.sentence
    changed = project.run(*arguments(project, "--offline", "--state", "kept", context=True))
    assert changed.code == 1
    assert "are kept there, expected 2 states (h, x before)" in changed.sentence


def test_a_snapshot_that_is_torn_is_passed_over_and_told(project: Project) -> None:
    for first in (0, 10):
        assert project.run(*arguments(project, "--offline", "--state", "kept", first=first, count=10)).code == 0
    older, newest = sorted((project.folder / "kept").glob("*.snapshot"))
    newest.write_bytes(newest.read_bytes()[:-9])
    ended = project.run(*arguments(project, "--offline", "--state", "kept", first=10, count=10))
    assert ended.code == 0
    passed_over, goes_on = ended.sentences
    assert f"passed over {newest}: torn" in passed_over
    assert f"goes on from {older}" in goes_on
    assert totals(results(project.folder / "told"))[-1] == summed(range(20))[-1]


def test_a_folder_that_cannot_be_one_is_refused_before_anything_starts(project: Project) -> None:
    project.write("occupied", "")
    ended = project.run(*arguments(project, "--state", "occupied/kept"))
    assert (ended.code, ended.sentence) == (
        2, "--state occupied/kept: cannot be used: Not a directory, expected a folder for states",
    )  # fmt: skip


@pytest.mark.parametrize("state", [[], ["--state", "kept"]])
def test_nothing_of_the_states_is_left_in_memory_or_with_a_dead_run(project: Project, state: list[str]) -> None:
    """That nothing of another kind is left is what every test here asserts."""
    command = project.start("run", *arguments(project, *state, count=100_000, rate_hz=300))
    eventually(lambda: count_of(project.folder / "told"))
    assert [path.name for path in (command.folder / "recordings").glob("*.states")] == ["total.states"]
    command.interrupt(signal.SIGKILL)
    command.wait()
    eventually(lambda: not command.memory())
    assert list(command.temporary.rglob("*.states*")) == []
