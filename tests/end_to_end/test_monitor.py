"""The monitor on a real terminal, beside runs in real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import ROOT
from tests.end_to_end.project import Command, Project, eventually
from tools.terminal import Terminal, is_there

pytestmark = pytest.mark.skipif(not is_there(), reason="there is no tmux: apt-get install tmux")

ROVER = ROOT / "tools" / "pictures" / "rover.py"
ENDLESS = """
    def build():
        p = Pipeline("endless")
        p.connect(p.add("numbers", Numbers(rate_hz=50)).number, p.add("keep", Keep("kept")))
        return p
"""
STREAMFLOW = [sys.executable, "-m", "streamflow"]


@contextmanager
def terminal(run: Command, *words: object, width: int = 80, height: int = 24) -> Iterator[Terminal]:
    """`streamflow WORDS` on a terminal, with the temporary folder of the run."""
    command = [*STREAMFLOW, *map(str, words)]
    with Terminal(command, width, height, run.temporary.parent, {"TMPDIR": str(run.temporary)}) as opened:
        yield opened


def rover(project: Project, *options: object) -> Command:
    """A run whose data flow."""
    run = project.start("run", ROVER, *options)
    eventually(lambda: run.folder.exists() and any(one["event"] == "priority" for one in run.events()))
    return run


def stop(run: Command) -> None:
    run.interrupt()
    assert run.wait().code == 130


def test_every_view_is_drawn_on_a_real_terminal_and_keys_and_mouse_work(project: Project) -> None:
    run = rover(project)
    with terminal(run, "top", "rover") as shown:
        shown.until("within 80.0 ms")
        for key, expected in (("2", "─▶detect"), ("3", "▶camera"), ("4", "4 Misses"), ("5", "started")):
            shown.press(key)
            shown.until(lambda text, expected=expected: expected in text)
        text = shown.until("5 Events")
        rows = text.splitlines()
        row = next(i for i, one in enumerate(rows) if "3 Stages" in one)
        shown.click(rows[row].index("Stages"), row)
        shown.until("[3 Stages]")
        shown.press("/", "d", "e", "t", "Enter")
        shown.until(lambda text: "detect" in text and "camera" not in text)
        shown.resize(120, 40)
        shown.until(lambda text: len(text.splitlines()) == 40 and "process" in text)
        shown.press("Escape", "?")
        shown.until("this help")
        shown.press("q")
        shown.until("EXIT 0")
    stop(run)


def test_a_terminal_without_colours_shows_the_same(project: Project) -> None:
    run = rover(project)
    environment = {"TMPDIR": str(run.temporary), "NO_COLOR": "1"}
    with Terminal([*STREAMFLOW, "top", "--view", "stages"], 80, 24, project.folder, environment) as shown:
        shown.until("camera")
        assert not re.search(r"\x1b\[[0-9;]*3[1-6]m", shown.coloured())
        shown.press("q")
        shown.until("EXIT 0")
    stop(run)


def test_a_stopped_stage_is_shown_as_hung_and_the_end_of_the_run_is_told(project: Project) -> None:
    run = rover(project)
    with terminal(run, "top", "rover", "--view", "stages") as shown:
        shown.until("detect")
        os.kill(run.stage("detect"), signal.SIGSTOP)
        shown.until(lambda text: re.search(r"detect +hung", text) is not None, 5)
        shown.until(lambda text: re.search(r"detect +(ready|busy)", text) is not None)
        stop(run)
        shown.until("HAS ENDED: interrupted")
        shown.press("q")
        shown.until("EXIT 0")


def test_a_killed_run_shows_no_event_twice_and_its_time_does_not_go_back(project: Project) -> None:
    run = rover(project)
    with terminal(run, "top", "rover", "--view", "events", width=120, height=40) as shown:
        text = shown.until(lambda text: re.search(r"Events \d+\]", text) is not None)
        run.process.kill()
        run.wait()
        seen_s = 0.0
        while "HAS ENDED: killed" not in text:
            text = "\n".join(shown.screen())
            shown_s = float(re.findall(r"(\d+\.\d) s", text.splitlines()[0])[-1])
            assert shown_s >= seen_s
            seen_s = shown_s
        eventually(lambda: not run.memory())
        shown.press("1", "5")
        text = shown.until("[5 Events")
        assert len(re.findall(r" started  ", text)) == 1
        shown.press("q")
        shown.until("EXIT 0")


def test_the_monitor_goes_on_with_the_next_run_of_the_pipeline(project: Project) -> None:
    run = rover(project)
    with terminal(run, "top", "rover") as shown:
        shown.until("within 80.0 ms")
        stop(run)
        shown.until("HAS ENDED")
        again = project.start("run", ROVER, temporary=run.temporary)
        shown.until("STARTED AGAIN")
        shown.until("within 80.0 ms")
        stop(again)
        shown.press("q")
        shown.until("EXIT 0")


def test_ctrl_c_in_run_top_drains_the_run_and_leaves_its_table_on_the_terminal(project: Project) -> None:
    started = project.start("doctor")  # for its temporary folder
    started.wait()
    with terminal(started, "run", ROVER, "--top", width=110, height=40) as shown:
        shown.until("within 80.0 ms")
        shown.press("C-c")
        text = shown.until("EXIT 130")
        assert "every datum accounted for" in text
        assert "steer" in text


def test_q_in_run_top_leaves_the_screen_and_the_run_goes_on_until_ctrl_c(project: Project) -> None:
    started = project.start("doctor")  # for its temporary folder
    started.wait()
    with terminal(started, "run", ROVER, "--top", width=110, height=40) as shown:
        shown.until("within 80.0 ms")
        shown.press("?")
        shown.until("the run goes on here")
        shown.press("q")
        shown.until("the run goes on; Ctrl-C drains")
        shown.until(lambda text: len(re.findall(r"^ *\d+\.\d s  .*dropped", text, re.MULTILINE)) >= 2)  # it goes on
        assert "EXIT" not in "\n".join(shown.screen())
        shown.press("C-c")
        text = shown.until("EXIT 130")
        assert "draining" in text
        assert "every datum accounted for" in text


def test_a_screen_of_run_top_that_is_killed_does_not_end_the_run(project: Project) -> None:
    started = project.start("doctor")  # for its temporary folder
    started.wait()
    with terminal(started, "run", ROVER, "--top", "--duration", 8, width=110, height=40) as shown:
        shown.until("within 80.0 ms")
        screen = next(pid for pid, line in started.processes().items() if "tools.monitor.screen" in line)
        os.kill(screen, signal.SIGKILL)
        text = shown.until("EXIT 0")
        assert "every datum accounted for" in text


def test_who_asked_for_no_run_goes_on_with_the_newest_that_lives_and_from_run_to_run(project: Project) -> None:
    other = project.start("run", project.pipeline(ENDLESS))
    eventually(lambda: other.folder.exists() and (other.folder / "recordings" / "state.json").exists())
    run = project.start("run", ROVER, temporary=other.temporary)
    eventually(lambda: len(list(run.temporary.glob("*/[!.]*/recordings/state.json"))) == 2)
    with terminal(run, "top", width=120) as shown:
        shown.until("within 80.0 ms")
        shown.press("n")
        shown.until(lambda text: text.startswith("endless "))
        shown.press("n")
        shown.until(lambda text: text.startswith("rover "))
        stop(run)
        text = shown.until(lambda text: text.startswith("endless "))
        assert re.search(r"THE NEWEST NOW; rover-\S+ has ended: interrupted", text)
        stop(other)
        shown.until("HAS ENDED: interrupted")
        shown.press("q")
        shown.until("EXIT 0")


def test_monitors_that_are_killed_leave_nothing_and_hold_up_nobody(project: Project) -> None:
    run = rover(project)
    for _ in range(3):
        watching = project.start("top", "rover", "--json", "--interval", 0.1, temporary=run.temporary)
        first = json.loads(watching.process.stdout.readline())
        assert first["pipeline"] == "rover"
        watching.process.kill()
        watching.wait()
    last = project.start("top", "rover", "--json", temporary=run.temporary)
    last.process.stdout.readline()
    stop(run)
    lines = [json.loads(line) for line in last.wait().stdout.splitlines()]
    assert lines[-1]["ending"] == "interrupted"
    assert {stage["condition"] for stage in lines[-1]["stages"]} == {"stopped"}


def test_a_screen_on_paper_has_every_stage(project: Project) -> None:
    run = rover(project)
    ended = project.start("top", "--once", temporary=run.temporary).wait()
    assert ended.code == 0
    for stage in ("camera", "imu", "resize", "detect", "steady", "fuse", "plan", "motors"):
        assert re.search(rf"^{stage} ", ended.stdout, re.MULTILINE)
    assert subprocess.run([*STREAMFLOW, "top", "nosuch"], capture_output=True, check=False).returncode == 2
    stop(run)
