"""What the monitor shows: every view at three sizes of a real terminal, of a run that is well, overloaded, or ill."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tools.claims.command import Run, a_run, wait_until
from tools.claims.framework import ROOT, AbsentError, Claim, Options, Row, ShortfallError
from tools.terminal import Terminal, is_there

ROVER = str(ROOT / "tools" / "pictures" / "rover.py")
STAGES = ("camera", "imu", "resize", "detect", "steady", "fuse", "plan", "motors")
RUNS: Mapping[str, Mapping[str, object]] = {
    "healthy": {"load": 0.4},
    "overloaded": {"load": 1.7},
    "crash loop": {"load": 0.4, "crash": 0.05},
}
SIZES = ((80, 24), (120, 40), (200, 60))
WARM_S, WARM_QUICK_S = 12.0, 5.0
VIEWS = ("Paths", "Graph", "Stages", "Misses", "Events")
FOLDER_VARIABLE = "STREAMFLOW_SCREENS"
HUNG_LIMIT_S = 1.0
DRAWN = re.compile(r"[ -~…→↩↑↓▶┃╋│┴┬┼─╭╰▏▎▍▌▋▊▉█▁▂▃▄▅▆▇▕]*")
"""All characters that there are on a screen that is not garbled."""


def screens(options: Options) -> Iterator[Row]:
    """Each view of each run at each size, by its keys."""
    require_terminal()
    for name, settings in RUNS.items():
        with a_run(ROVER, (), settings) as run:
            wait_for_data(run)
            time.sleep(WARM_QUICK_S if options.is_quick else WARM_S)
            faults: list[str] = []
            count = 0
            for width, height in SIZES[:1] if options.is_quick else SIZES:
                with top(run, width, height) as terminal:
                    terminal.until("within")
                    for number, view in enumerate(VIEWS, 1):
                        terminal.press(str(number))
                        text = terminal.until(f"[{number} {view}")
                        count += 1
                        faults += [f"{width}x{height} {view}: {fault}" for fault in _faults(name, view, text, width)]
                        _keep(f"{name.replace(' ', '-')}-{width}x{height}-{view.lower()}", text)
                    terminal.press("q")
                    terminal.until("EXIT 0")
            end(run)
        measured = f"{count} screens, {'; '.join(faults[:3]) or 'nothing cut or garbled, all that is expected on them'}"
        yield Row(name, "whole, and says what is so", measured, not faults)


def _faults(run: str, view: str, text: str, width: int) -> Iterator[str]:
    lines = text.splitlines()
    if any(len(line) > width for line in lines):
        yield "wider than the terminal"
    if garbled := [line for line in lines if not DRAWN.fullmatch(line)]:
        yield f"strange characters in {garbled[0]!r}"
    if view in ("Paths", "Graph", "Stages") and (cut := [line for line in lines if "…" in line]):
        yield f"cut: {cut[0]!r}"
    if "? help  q leave" not in lines[-1]:
        yield "no line of keys"
    if "rover" not in lines[0] or "running" not in lines[0]:
        yield "no head"
    expected: Sequence[str] = ()
    if view == "Paths":
        expected = ("steer", "balance", "within 80.0 ms", "in time", "p99.9", "10 s", "1 min")
    elif view in ("Graph", "Stages"):
        expected = STAGES
    if run != "healthy" and view == "Misses":
        expected = ("missed", "steer", "camera#")
    if run == "overloaded" and view == "Graph":
        expected = (*expected, "shed")
    if run == "crash loop" and view == "Events":
        expected = ("restarting", "back", "worn out")
    if missing := [word for word in expected if word not in text]:
        yield f"without {', '.join(missing)}"


def hung(options: Options) -> Iterator[Row]:
    """A stage is stopped by a signal, and its supervisor as well: the monitor draws on, and says so."""
    require_terminal()
    with a_run(ROVER, (), {"load": 0.4}) as run:
        wait_for_data(run)
        with top(run, 80, 24, "--view", "stages") as terminal:
            terminal.until("detect")
            took: list[float] = []
            for _ in range(1 if options.is_quick else 5):
                terminal.until(lambda text: re.search(r"detect +(ready|busy)", text) is not None)
                os.kill(_stage(run, "detect"), signal.SIGSTOP)
                took.append(_seconds_until(terminal, r"detect +hung"))
            measured = f"shown after {max(took) * 1e3:.0f} ms at most, {len(took)} times"
            yield Row("a stage under SIGSTOP", f"hung, within {HUNG_LIMIT_S:g} s", measured, max(took) <= HUNG_LIMIT_S)
            terminal.until(lambda text: re.search(r"detect +(ready|busy)", text) is not None)
            os.kill(run.pid, signal.SIGSTOP)
            os.kill(_stage(run, "plan"), signal.SIGSTOP)
            alone = _seconds_until(terminal, r"plan +hung")
            before = terminal.until("has told nothing")
            after = terminal.until(lambda text: text != before)
            for pid in (_stage(run, "plan"), run.pid):
                os.kill(pid, signal.SIGCONT)
            measured = f"shown after {alone * 1e3:.0f} ms, and drawn on: {after.splitlines()[0]}"
            yield Row("a stage and its supervisor under SIGSTOP", "hung, and drawn on", measured, True)
            terminal.press("q")
            terminal.until("EXIT 0")
        end(run)


def _seconds_until(terminal: Terminal, pattern: str) -> float:
    began = time.monotonic()
    terminal.until(lambda text: re.search(pattern, text) is not None, 5.0)
    return time.monotonic() - began


def require_terminal() -> None:
    """Raises AbsentError where there is none to drive."""
    if not is_there():
        raise AbsentError("there is no tmux")


def top(run: Run, width: int, height: int, *options: str) -> Terminal:
    """The monitor on a terminal, beside that run."""
    command = [str(Path(sys.executable).with_name("streamflow")), "top", *options]
    return Terminal(command, width, height, run.folder, {"TMPDIR": str(run.scratch)})


def wait_for_data(run: Run) -> None:
    """Until the first state is told of a run whose data flow. Raises ShortfallError."""

    def flows() -> bool:
        for path in run.scratch.glob("*/[!.]*/recordings/state.json"):
            try:
                return bool(json.loads(path.read_bytes()).get("phase") == "running")
            except (OSError, ValueError):
                return False
        return False

    if wait_until(flows, 30.0) is None:
        raise ShortfallError(f"data do not flow after 30 s: {run.errors()}")


def end(run: Run) -> None:
    """Let it drain."""
    os.kill(run.pid, signal.SIGINT)
    run.wait()


def _stage(run: Run, name: str) -> int:
    """The process of a stage that lives."""
    for path in run.scratch.glob("*/[!.]*/recordings/state.json"):
        known = {pid for pid, words in run.processes().items() if name in words}
        if known:
            return max(known)
        raise ShortfallError(f"{name} has no process, as {path} says")
    raise ShortfallError("the run has gone")


def _keep(name: str, text: str) -> None:
    """For who wants to look at them all."""
    if folder := os.environ.get(FOLDER_VARIABLE):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{name}.txt").write_text(text + "\n")


CLAIMS = [Claim("screens", screens), Claim("hung", hung)]
