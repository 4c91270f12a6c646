"""Runs that fail in user code: one sentence with the stage's name, the user's own traceback, nothing lost or left."""

from __future__ import annotations

import json

import pytest

from tests.end_to_end.conftest import StartTogether
from tests.end_to_end.project import Ended, Project, Started

BROKEN = """
class Trouble(ValueError):
    pass


def fail(where, place):
    if where == place:
        raise Trouble(f"no luck in {place}")


class Broken(Node):
    data = In("int64[]")
    same = Out("int64[]")

    def __init__(self, where):
        self.where = where
        fail(where, "init")

    def inspect(self):
        fail(self.where, "inspect")

    def open(self):
        fail(self.where, "open")

    def process(self, message):
        if int(message.array) == 5:
            fail(self.where, "process")
        return self.results(message)

    def results(self, message):
        yield message.array
        if int(message.array) == 5:
            fail(self.where, "generator")

    def flush(self):
        fail(self.where, "flush")

    def close(self):
        fail(self.where, "close")


class BrokenSource(Numbers):
    async def run(self):
        for number in range(3):
            await self.emit(np.int64(number))
        fail("run", "run")


class InAsync(Broken):
    async def process(self, message):
        async with trio.open_nursery():
            await trio.to_thread.run_sync(self.in_thread)

    def in_thread(self):
        fail("thread", "thread")


def build(where: str, count: int = 100) -> Pipeline:
    p = Pipeline("broken")
    source = p.add("source", BrokenSource() if where == "run" else Numbers(count))
    broken = p.add("broken", (InAsync if where == "thread" else Broken)(where))
    sink, beside = p.add("sink", Keep("kept.txt")), p.add("beside", Keep("beside.txt"))
    p.connect(source, broken)
    p.connect(broken, sink)
    p.connect(source, beside)
    return p
"""


def assert_only_user_frames(ended: Ended) -> None:
    """The user's traceback is there, and no frame of anybody else's."""
    files = [line.split('"')[1] for line in ended.stderr.splitlines() if line.strip().startswith("File ")]
    assert files
    assert all(file.endswith("pipelines/probe.py") for file in files), ended.stderr


PLACES = ("open", "process", "generator", "flush", "close", "run", "thread")


@pytest.fixture(scope="module")
def broken(start_together: StartTogether) -> dict[str, Started]:
    return start_together(BROKEN, {place: ["--quiet", "--inline", "--set", f"where={place}"] for place in PLACES})


@pytest.mark.parametrize("where", PLACES)
def test_what_a_node_raises_while_it_runs_is_told_with_its_stage_and_its_own_traceback(
    broken: dict[str, Started], where: str
) -> None:
    project, ended = broken[where].project, broken[where].command.wait()
    stage = "source" if where == "run" else "broken"
    method = {"generator": "process", "thread": "process"}.get(where, where)
    assert ended.code == 1
    assert ended.sentence == f"stage {stage}: {method} raised Trouble: no luck in {where}"
    assert "Trouble: no luck in" in ended.stderr
    assert_only_user_frames(ended)
    assert project.kept("beside.txt").is_closed


@pytest.mark.parametrize("where", ["init", "inspect"])
def test_what_a_node_raises_when_it_is_made_is_found_before_anything_starts(project: Project, where: str) -> None:
    ended = project.run(project.pipeline(BROKEN), "--set", f"where={where}")
    assert ended.code == 2
    assert f"Trouble: no luck in {where}" in ended.sentence
    assert "pipelines/probe.py:" in ended.sentence
    assert "Traceback" not in ended.stderr
    assert not (project.folder / "kept.txt").exists()


def test_a_failing_stage_ends_a_run_of_processes_and_the_others_close_their_files(project: Project) -> None:
    report = project.folder / "report.json"
    reference = project.pipeline(BROKEN)
    ended = project.run(reference, "--offline", "--set", "where=process", "--report", report)
    assert ended.code == 1
    assert ended.sentence == "stage broken: process raised Trouble: no luck in process"
    assert_only_user_frames(ended)
    sink, beside = project.kept("kept.txt"), project.kept("beside.txt")
    assert sink.numbers == list(range(len(sink.numbers)))
    assert len(sink.numbers) <= 5
    assert sink.is_closed
    assert beside.is_closed
    told = json.loads(report.read_text())
    assert told["failure"] == ended.sentence
    assert told["ending"] == "failed"


FAILS_LATE = """
class Fails(Node):
    data, same = In("int64[]"), Out("int64[]")

    def process(self, message):
        if message.seq == 50:
            raise ValueError("enough")
        return message.array


def build() -> Pipeline:
    p = Pipeline("late")
    source, fails, sink = p.add("source", Numbers()), p.add("fails", Fails()), p.add("sink", Keep("kept.txt"))
    p.connect(source, fails)
    p.connect(fails, sink)
    return p
"""


@pytest.mark.parametrize("place", [[], ["--inline"]], ids=["processes", "inline"])
def test_what_a_stage_sent_before_it_failed_reaches_the_sink_and_the_sums_say_what_was_lost(
    project: Project, place: list[str]
) -> None:
    report = project.folder / "report.json"
    ended = project.run(project.pipeline(FAILS_LATE), *place, "--no-restart", "--report", report)
    assert ended.code == 1
    assert ended.sentence == "stage fails: process raised ValueError: enough"
    kept = project.kept("kept.txt")
    assert kept.numbers == list(range(50))
    assert kept.is_flushed
    told = json.loads(report.read_text())
    assert told["conserved"] is True
    assert told["stages"]["fails"]["processed"] == 50
    assert told["stages"]["fails"]["lost"] == told["edges"]["source.number->fails.data"]["delivered"] - 50 > 0
    assert "failed, every datum accounted for" in ended.stderr


RESULTS = """
class Wrong(Node):
    data = In("int64[]")
    pair = Out("float32[2]")

    def __init__(self, what):
        self.what = what

    def process(self, message):
        return {
            "dtype": np.zeros(2),
            "port": Output(np.zeros(2, np.float32), port="pear"),
            "tensor": {"left": np.zeros(2, np.float32), "right": np.zeros(2, np.float32)},
            "text": "two",
            "input": InputError("nothing.txt", "not what it should be", "something else"),
        }[self.what]


class Raises(Wrong):
    def process(self, message):
        raise super().process(message)


class WrongSource(Numbers):
    async def run(self):
        await self.emit(np.float64(0))


def build(what: str) -> Pipeline:
    p = Pipeline("results")
    source = p.add("source", WrongSource() if what == "source" else Numbers(3))
    wrong = p.add("wrong", (Raises if what == "input" else Wrong)(what))
    p.connect(source, wrong)
    return p
"""


UNFIT = {
    "dtype": "stage wrong, port pair: float64[2] sent, expected float32[2]; add .astype(np.float32)",
    "source": "stage source, port number: float64[] sent, expected int64[]",
    "port": "stage wrong: 'pear' is no Out port, expected one of pair",
    "tensor": "stage wrong: a mapping of left, right returned, expected the array of port pair alone, "
    "or a mapping with the key pair",
    "text": "stage wrong: a str was returned, expected an array, a mapping, an Output or None",
    "input": "stage wrong: nothing.txt: not what it should be, expected something else",
}


@pytest.fixture(scope="module")
def unfit(start_together: StartTogether) -> dict[str, Started]:
    return start_together(RESULTS, {what: ["--quiet", "--inline", "--set", f"what={what}"] for what in UNFIT})


@pytest.mark.parametrize("what", UNFIT)
def test_a_result_that_does_not_fit_is_told_in_one_sentence_without_a_traceback(
    unfit: dict[str, Started], what: str
) -> None:
    ended = unfit[what].command.wait()
    assert (ended.code, ended.stdout, ended.stderr) == (1, "", f"streamflow: {UNFIT[what]}\n")


ENDS = """
class Ends(Node):
    data = In("int64[]")
    same = Out("int64[]")

    def __init__(self, how):
        self.how = how

    def process(self, message):
        if int(message.array) == 50:
            if self.how == "sys.exit":
                sys.exit(3)
            if self.how == "os._exit":
                os._exit(3)
            if self.how == "segfault":
                ctypes.string_at(0)
        return message.array


def build(how: str) -> Pipeline:
    p = Pipeline("ends")
    source, ends = p.add("source", Numbers(100), process="front"), p.add("ends", Ends(how))
    sink = p.add("sink", Keep("kept.txt"))
    p.connect(source, ends)
    p.connect(ends, sink)
    return p
"""


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("sys.exit", "stage ends: process raised SystemExit: 3"),
        ("os._exit", "stage ends: its process ended with status 3"),
        ("segfault", "stage ends: its process was killed by SIGSEGV"),
    ],
)
def test_a_process_that_ends_in_user_code_is_told_with_its_stage_and_the_sink_keeps_what_it_got(
    project: Project, how: str, sentence: str
) -> None:
    ended = project.run(project.pipeline(ENDS), "--quiet", "--offline", "--set", f"how={how}")
    assert ended.code == 1
    assert ended.sentence == sentence
    kept = project.kept("kept.txt")
    assert kept.numbers == list(range(len(kept.numbers)))
    assert len(kept.numbers) >= 40
    assert kept.is_closed


STUCK = """
class Stuck(Node):
    data = In("int64[]")
    same = Out("int64[]")

    def __init__(self, where):
        self.where = where

    def open(self):
        if self.where == "open":
            time.sleep(1000)

    def process(self, message):
        if self.where == "process" and int(message.array) == 20:
            time.sleep(1000)
        return message.array

    def close(self):
        if self.where == "exit":
            threading.Thread(target=time.sleep, args=[1000]).start()


def build(where: str) -> Pipeline:
    p = Pipeline("stuck")
    source = p.add("source", Numbers(100 if where == "exit" else None))
    stuck, sink = p.add("stuck", Stuck(where)), p.add("sink", Keep("kept.txt"))
    p.connect(source, stuck)
    p.connect(stuck, sink)
    return p
"""


@pytest.fixture(scope="module")
def stuck(start_together: StartTogether) -> dict[str, Started]:
    options = {
        "open": ["--startup-timeout", 7],
        "process": ["--duration", 0.5, "--drain-timeout", 4],
        "exit": ["--offline"],
    }
    return start_together(
        STUCK, {where: ["--quiet", *more, "--set", f"where={where}"] for where, more in options.items()}
    )


def test_a_process_that_does_not_exit_is_killed_and_named_and_its_results_are_whole(stuck: dict[str, Started]) -> None:
    ended = stuck["exit"].command.wait()
    assert ended.code == 1
    assert ended.sentence == "stage stuck: had finished, but the process did not exit, killed"
    kept = stuck["exit"].project.kept("kept.txt")
    assert kept.numbers == list(range(100))
    assert kept.is_flushed


def test_a_stage_that_is_stuck_when_it_should_drain_is_named_and_killed(stuck: dict[str, Started]) -> None:
    ended = stuck["process"].command.wait()
    assert ended.code == 1
    assert ended.sentence == "stage stuck: not drained in time, killed; --drain-timeout sets it"
    kept = stuck["process"].project.kept("kept.txt")
    assert kept.numbers == list(range(20))
    assert kept.is_closed


def test_a_stage_that_is_never_ready_is_named_and_killed(stuck: dict[str, Started]) -> None:
    ended = stuck["open"].command.wait()
    assert ended.code == 1
    assert ended.sentence == "stage stuck: not ready within the start-up deadline; --startup-timeout sets it"


def test_what_a_node_has_started_ends_with_it(project: Project) -> None:
    body = """
    import subprocess

    class Starts(Keep):
        def process(self, message):
            subprocess.Popen(["sleep", "1000"])

    def build() -> Pipeline:
        p = Pipeline("starts")
        p.connect(p.add("source", Numbers(1)), p.add("sink", Starts("kept.txt")))
        return p
    """
    assert project.run(project.pipeline(body), "--offline").code == 0


def test_standard_output_that_nobody_reads_ends_the_run_without_a_word(project: Project) -> None:
    body = """
    from nodes.postprocess import JsonLines

    def build() -> Pipeline:
        p = Pipeline("screen")
        p.connect(p.add("source", Numbers()), p.add("log", JsonLines("-")))
        return p
    """
    command = project.start("run", project.pipeline(body))
    assert command.process.stdout is not None
    assert json.loads(command.process.stdout.readline())["array"] == 0
    command.process.stdout.close()
    assert command.process.wait(20) == 141
    assert command.process.stderr is not None
    assert command.process.stderr.read() == ""
