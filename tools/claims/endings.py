"""Claims about how a run ends when it does not end by itself: exit code, one error or none, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tools.claims.command import Run, a_run, wait_until
from tools.claims.framework import Row, ShortfallError

PIPELINE = "tools.claims.endless"
VICTIM = "loud"
START_LIMIT_S = 60.0  # two slow processors under load start five processes
END_LIMIT_S = 30.0
GONE_LIMIT_S = 2.0
UNDER_WAY_S = 0.5  # so that the stage that gets stuck is stuck by then
STUCK_S = 8.0  # work that a drain waits for: the second Ctrl-C must not


def stage_is_killed(mode: Sequence[str]) -> Iterator[Row]:
    """`kill -9` of a stage in the middle: the run fails, and says which it was."""
    with _a_flowing_run(mode) as run:
        os.kill(_pid_of_stage(run, VICTIM), signal.SIGKILL)
        code = run.wait(END_LIMIT_S)
        errors = run.errors()
        yield Row("exit code", "1", str(code), code == 1)
        clear = len(errors) == 1 and f"stage {VICTIM}:" in errors[0] and "SIGKILL" in errors[0]
        yield Row("error", f"one line, names stage {VICTIM}", " / ".join(errors) or "none", clear)
        yield _lines_are_whole(run)
        yield _gone(run)


def run_is_killed(mode: Sequence[str]) -> Iterator[Row]:
    """`kill -9` of the run: it cannot clean up, and yet nothing of it stays."""
    with _a_flowing_run(mode) as run:
        os.kill(run.pid, signal.SIGKILL)
        code = run.wait(END_LIMIT_S)
        yield Row("exit code", "-9", str(code), code == -signal.SIGKILL)
        yield _lines_are_whole(run)
        yield _gone(run, may_be_read=True)


def run_is_terminated(mode: Sequence[str]) -> Iterator[Row]:
    """SIGTERM: sources stop, what is under way is finished, and every datum is accounted for."""
    with _a_flowing_run(mode) as run:
        os.kill(run.pid, signal.SIGTERM)
        code = run.wait(END_LIMIT_S)
        yield Row("exit code", "130", str(code), code == 130)
        errors = run.errors()
        yield Row("error", "none", " / ".join(errors) or "none", not errors)
        report = run.report()
        under_way = sum(edge["sent"] - edge["delivered"] for edge in report["edges"].values())
        lines = len(_lines(run))
        bound = "sent = delivered, conserved true"
        measured = f"{lines:,} data written, {under_way} under way, conserved {report['conserved']}"
        written = report["stages"]["log"]["processed"]
        yield Row("drained", bound, measured, under_way == 0 and report["conserved"] is True and lines == written)
        yield _gone(run)


def run_is_interrupted_twice(mode: Sequence[str]) -> Iterator[Row]:
    """Two Ctrl-C while a stage works on something long: the second does not wait for it."""
    with _a_flowing_run(mode, stuck_s=STUCK_S) as run:
        os.kill(run.pid, signal.SIGINT)
        time.sleep(0.3)
        yield Row("drains after the first", "still running", _state(run), run.is_running)
        started = time.monotonic()
        if run.is_running:
            os.kill(run.pid, signal.SIGINT)
        code = run.wait(END_LIMIT_S)
        took_s = time.monotonic() - started
        yield Row("ends after the second", f"within {GONE_LIMIT_S:g} s", f"{took_s:.2f} s", took_s <= GONE_LIMIT_S)
        yield Row("exit code", "130", str(code), code == 130)
        errors = run.errors()
        yield Row("error", "none", " / ".join(errors) or "none", not errors)
        yield _gone(run)


@contextmanager
def _a_flowing_run(mode: Sequence[str], stuck_s: float = 0.0) -> Iterator[Run]:
    """A run that has been under way for a moment."""
    with a_run(PIPELINE, mode, {"out": "{}/lines", "stuck_s": stuck_s}) as run:
        lines = run.folder / "lines"
        wait_until(lambda: _size(lines) or not run.is_running, START_LIMIT_S)
        time.sleep(UNDER_WAY_S)
        if not run.is_running:
            raise ShortfallError(f"the run has ended by itself: {' '.join(run.errors())}")
        yield run


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _pid_of_stage(run: Run, stage: str) -> int:
    for pid, words in run.processes().items():
        if "streamflow.runtime.process.stage_process" in words and stage in words:
            return pid
    raise ShortfallError(f"there is no process of stage {stage}")


def _state(run: Run) -> str:
    return "still running" if run.is_running else "ended"


def _lines(run: Run) -> list[str]:
    return (run.folder / "lines").read_text().splitlines()


def _lines_are_whole(run: Run) -> Row:
    """What was written before is a file of whole lines."""
    lines = _lines(run)
    samples = [json.loads(line)["sample"] for line in lines]
    in_order = samples == list(range(0, 160 * len(samples), 160))
    return Row("written until then", "whole lines, in order", f"{len(lines):,} lines", bool(lines) and in_order)


def _gone(run: Run, *, may_be_read: bool = False) -> Row:
    took_s = wait_until(lambda: not run.leftovers(may_be_read=may_be_read), GONE_LIMIT_S)
    measured = (
        ", ".join(run.leftovers(may_be_read=may_be_read)[:4]) if took_s is None else f"all gone after {took_s:.2f} s"
    )
    return Row("left behind", f"nothing within {GONE_LIMIT_S:g} s", measured, took_s is not None)
