"""Stages that somebody starts with `streamflow node`, in another terminal, in a run that waits for them."""

from __future__ import annotations

import json
import os
import shlex
import signal

from tests.end_to_end.project import Command, Project, eventually

LINE = """
class Fails(Pass):
    def process(self, message):
        raise ValueError("by hand")


class Says(Pass):
    def flush(self):
        import logging
        logging.getLogger("own").warning("by hand")


def build(count: int = 100, out: str = "kept here.txt", node: str = "Pass") -> Pipeline:
    p = Pipeline("line")
    source, middle = p.add("source", Numbers(count or None)), p.add("middle", globals()[node]())
    sink = p.add("sink", Keep(out), process="end")
    p.connect(source, middle)
    p.connect(middle, sink)
    return p
"""


def told_commands(command: Command, count: int) -> list[list[str]]:
    """What the run told its user to start."""
    assert command.process.stderr is not None
    lines = [command.process.stderr.readline() for _ in range(count)]
    assert all("streamflow node " in line for line in lines), lines
    return [shlex.split(line.partition("streamflow ")[2]) for line in lines]


def test_a_stage_by_hand_joins_the_run_that_waits_and_the_result_is_the_same(project: Project) -> None:
    options = ["--offline", "--quiet", "--wait-for", "middle", "--set", "out=kept here.txt"]
    run = project.start("run", project.pipeline(LINE), *options)
    (told,) = told_commands(run, 1)
    assert told == ["node", "pipelines/probe.py", "middle", "--set", "out=kept here.txt"]
    node = project.start(*told, temporary=run.temporary)
    assert run.wait().code == 0
    assert node.wait().code == 0
    assert project.kept("kept here.txt").numbers == list(range(100))
    assert project.kept("kept here.txt").is_flushed


def test_with_the_manual_launcher_every_stage_is_started_by_hand(project: Project) -> None:
    run = project.start("run", project.pipeline(LINE), "--offline", "--quiet", "--launcher", "manual")
    nodes = [project.start(*told, temporary=run.temporary) for told in told_commands(run, 3)]
    assert run.wait().code == 0
    assert [node.wait().code for node in nodes] == [0, 0, 0]
    kept = project.kept("kept here.txt")
    assert kept.numbers == list(range(100))
    assert kept.pid == nodes[2].process.pid


def test_where_no_run_waits_the_stage_says_how_to_start_one_and_leaves_nothing(project: Project) -> None:
    reference = project.pipeline(LINE)
    ended = project.start("node", reference, "middle").wait()
    assert ended.code == 2
    hint = "start one with streamflow run pipelines/probe.py --wait-for middle"
    assert ended.sentence == f"stage middle: no run waits for it; {hint}"
    assert project.start("node", reference, "muddle").wait().code == 2


def test_a_run_that_nobody_joins_names_the_stage_it_waited_for(project: Project) -> None:
    options = ["--quiet", "--wait-for", "middle", "--startup-timeout", 3]
    ended = project.run(project.pipeline(LINE), *options)
    assert ended.code == 1
    assert ended.sentence == "stage middle: not ready within the start-up deadline; --startup-timeout sets it"


def test_a_stage_by_hand_that_fails_is_told_by_the_run_and_where_it_was_started(project: Project) -> None:
    run = project.start("run", project.pipeline(LINE), "--quiet", "--wait-for", "middle", "--set", "node=Fails")
    node = project.start(*told_commands(run, 1)[0], temporary=run.temporary)
    for ended in (run.wait(), node.wait()):
        assert ended.code == 1
        assert ended.sentences[-1] == "stage middle: process raised ValueError: by hand"


def test_a_stage_by_hand_logs_where_it_was_started_and_into_the_log_of_the_run(project: Project) -> None:
    report = project.folder / "report.json"
    options = ["--offline", "--quiet", "--wait-for", "middle", "--set", "node=Says", "--report", report]
    run = project.start("run", project.pipeline(LINE), *options)
    node = project.start(*told_commands(run, 1)[0], temporary=run.temporary)
    ended = run.wait()
    assert (ended.code, "by hand" in ended.stderr) == (0, False)
    assert node.wait().stderr.count("stage middle: WARNING own: by hand\n") == 1
    (event,) = [one for one in json.loads(report.read_text())["events"] if one["event"] == "logged"]
    assert (event["stage"], event["sentence"]) == ("middle", "by hand")


def test_a_stage_may_name_the_pipeline_as_a_module(project: Project) -> None:
    run = project.start("run", project.pipeline(LINE), "--offline", "--quiet", "--wait-for", "middle")
    told_commands(run, 1)
    node = project.start("node", "pipelines.probe", "middle", temporary=run.temporary)
    assert [run.wait().code, node.wait().code] == [0, 0]


def joined(project: Project) -> tuple[Command, Command]:
    """An endless run and its stage by hand, at work."""
    run = project.start("run", project.pipeline(LINE), "--quiet", "--wait-for", "middle", "--set", "count=0")
    node = project.start(*told_commands(run, 1)[0], temporary=run.temporary)
    kept = project.folder / "kept here.txt"
    eventually(lambda: kept.exists() and "got" in kept.read_text())
    return run, node


def test_a_stage_by_hand_that_is_interrupted_is_missed_by_the_run(project: Project) -> None:
    run, node = joined(project)
    node.interrupt()
    assert node.wait().code == 130
    ended = run.wait()
    assert ended.code == 1
    assert ended.sentence == "stage middle: its process has ended"
    assert project.kept("kept here.txt").is_closed


def test_a_stage_by_hand_does_not_outlive_a_run_that_is_killed(project: Project) -> None:
    run, node = joined(project)
    os.kill(run.process.pid, signal.SIGKILL)
    ended = node.wait(10)
    assert ended.code == 1
    assert ended.sentences[-1].endswith("was killed")
    run.wait()
