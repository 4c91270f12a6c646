"""Ctrl-C, SIGTERM and `kill -9`, of stages and of the run: what is drained, what is told, and that nothing is left."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.end_to_end.project import Command, Project, eventually

ENDLESS = """
class Backlog(Pass):
    async def process(self, message):
        await trio.sleep(0.005)
        return message.array


class Blocks(Keep):
    def process(self, message):
        super().process(message)
        time.sleep(1000)


def build(blocks: bool = False, slow_start: bool = False) -> Pipeline:
    p = Pipeline("endless")
    if slow_start:
        time.sleep(1.0)
    source, middle = p.add("source", Numbers(rate_hz=500)), p.add("middle", Backlog())
    sink = p.add("sink", (Blocks if blocks else Keep)("kept.txt"))
    p.connect(source, middle, capacity=16)
    p.connect(middle, sink)
    return p
"""
PLACES = pytest.mark.parametrize("place", [[], ["--inline"]], ids=["processes", "inline"])


@pytest.fixture
def started(project: Project) -> Callable[..., Command]:
    """Starts the endless run, and returns when the sink has got something."""

    def start(*options: object, **settings: object) -> Command:
        words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        command = project.start("run", project.pipeline(ENDLESS), *options, *words)
        kept = project.folder / "kept.txt"
        eventually(lambda: kept.exists() and "got" in kept.read_text())
        return command

    return start


@PLACES
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_drains_what_is_under_way_and_flushes(
    project: Project, started: Callable[..., Command], place: list[str], number: signal.Signals
) -> None:
    report = project.folder / "report.json"
    command = started(*place, "--report", report)
    command.interrupt(number)
    ended = command.wait()
    kept = project.kept("kept.txt")
    assert ended.code == 130
    assert ended.sentences == []
    assert kept.numbers == list(range(len(kept.numbers)))
    assert kept.is_flushed
    assert kept.is_closed
    assert '"conserved": true' in report.read_text()


@PLACES
def test_the_second_signal_kills_although_user_code_is_stuck(
    project: Project, started: Callable[..., Command], place: list[str]
) -> None:
    command = started(*place, blocks=True)
    command.interrupt()
    with pytest.raises(TimeoutError):
        wait_for_end(command, 0.5)
    command.interrupt()
    wait_for_end(command, 5.0)
    ended = command.wait()
    assert ended.code == 130
    assert ended.sentences == []
    assert not project.kept("kept.txt").is_flushed


def wait_for_end(command: Command, limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while command.process.poll() is None:
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)


@PLACES
def test_a_signal_while_the_stages_start_ends_the_run_and_starts_nothing(project: Project, place: list[str]) -> None:
    command = project.start("run", project.pipeline(ENDLESS), *place, "--set", "slow_start=true")
    if not place:
        eventually(lambda: len(command.processes()) > 3)
    else:
        time.sleep(1.0)
    command.interrupt()
    ended = command.wait()
    assert ended.code == 130
    assert ended.sentences == []
    assert "Traceback" not in ended.stderr


def test_a_stage_that_is_killed_and_not_restarted_is_named_and_the_others_close_their_files(
    project: Project, started: Callable[..., Command]
) -> None:
    command = started("--no-restart")
    os.kill(command.stage("middle"), signal.SIGKILL)
    ended = command.wait()
    assert ended.code == 1
    assert ended.sentence == "stage middle: its process was killed by SIGKILL"
    assert "Traceback" not in ended.stderr
    assert "accounted for" not in ended.stderr  # the streams did not end in order
    kept = project.kept("kept.txt")
    assert kept.numbers == list(range(len(kept.numbers)))
    assert kept.is_closed


@PLACES
def test_of_a_run_that_is_killed_only_what_can_be_read_is_left_soon(
    project: Project, started: Callable[..., Command], place: list[str]
) -> None:
    command = started(*place)
    command.process.kill()
    command.wait()
    eventually(lambda: not (command.processes() or command.leftovers() or command.memory()), limit_s=2)
    kept = project.kept("kept.txt")
    assert kept.numbers == list(range(len(kept.numbers)))


def test_a_start_sweeps_away_what_a_run_and_its_janitor_left_when_both_were_killed(
    project: Project, started: Callable[..., Command]
) -> None:
    first = started()
    abandoned = first.folder
    janitor = next(pid for pid, line in first.processes().items() if "streamflow-janitor" in line)
    os.kill(janitor, signal.SIGKILL)
    first.process.kill()
    first.wait()
    assert first.leftovers()
    assert first.memory()
    second = project.start("run", "pipelines/probe.py", "--duration", 0.1, temporary=first.temporary)
    assert second.wait().code == 0
    assert abandoned.exists()
    assert not first.leftovers()
    assert not first.memory()
