"""The real command line as a claim runs it: in a temporary folder of its own, where whatever is left shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tools.claims.framework import ROOT, ShortfallError

RUN_TIME_LIMIT_S = 600.0  # the longest claim takes two minutes on two slow processors
READABLE = ("run.json", "events.jsonl", "state.json", "lock")  # of a dead run, beside its recorders
SHARED_MEMORY = Path("/dev/shm")


class Run:
    """`streamflow run` in the making, under way or done. Its files are in `folder`, its TMPDIR is `scratch`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scratch = folder / "t"  # short: socket paths are limited
        self.scratch.mkdir()
        self.report_path = folder / "report.json"
        self._errors_path = folder / "stderr"
        self._shared_before = _shared_memory()
        self._process: subprocess.Popen[bytes]

    def start(self, pipeline: str, arguments: Sequence[str], settings: Mapping[str, object]) -> None:
        command = [
            *(sys.executable, "-m", "streamflow"),  # there is no script where it runs from its sources
            *("run", pipeline, "--quiet", "--report", str(self.report_path), *arguments),
            *(word for name, value in settings.items() for word in ("--set", f"{name}={value}")),
        ]
        environment = os.environ | {"TMPDIR": str(self.scratch)}
        with self._errors_path.open("wb") as errors:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait(self, time_limit_s: float = RUN_TIME_LIMIT_S) -> int:
        """The exit code, negative for a signal. Raises ShortfallError when it does not end."""
        try:
            return self._process.wait(time_limit_s)
        except subprocess.TimeoutExpired:
            raise ShortfallError(f"the run has not ended after {time_limit_s:g} s") from None

    def succeed(self) -> dict[str, Any]:
        """Wait for a run that is to end well, and give its report. Raises ShortfallError."""
        code = self.wait()
        if code:
            raise ShortfallError(f"exit code {code}: {''.join(self.errors()[-1:]) or 'no error'}")
        return self.report()

    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.report_path.read_text())
        return report

    def errors(self) -> list[str]:
        """The lines of its standard error."""
        return self._errors_path.read_text().splitlines()

    def processes(self) -> dict[int, list[str]]:
        """Command lines of the processes of this run that live, by pid: those that were given its TMPDIR."""
        mark = f"TMPDIR={self.scratch}".encode()
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                    found[int(entry.name)] = words
            except (OSError, ValueError):
                continue  # it has ended meanwhile, or is another user's
        return found

    def leftovers(self, *, may_be_read: bool = False) -> list[str]:
        """What there still is of the run: processes, files in its temporary folder, shared memory.

        `may_be_read`: it was killed, and what `misses` and `trace` read of it stays until the next run.
        """
        processes = [f"process {pid} ({' '.join(words)[:60]})" for pid, words in self.processes().items()]
        files = [
            f"file {path.relative_to(self.scratch)}"
            for path in files_below(self.scratch)
            if not (may_be_read and (path.is_dir() or path.suffix == ".rec" or path.name in READABLE))
        ]
        shared = [f"shared memory {name}" for name in sorted(_shared_memory() - self._shared_before)]
        return processes + files + shared

    def kill(self) -> None:
        """End the run, whatever it does; the janitor and the parent-death signal see to the rest."""
        if self.is_running:
            self._process.kill()
        self._process.wait()


@contextmanager
def a_run(pipeline: str, arguments: Sequence[str] = (), settings: Mapping[str, object] | None = None) -> Iterator[Run]:
    """Start a run in a temporary folder, which `{}` in a setting stands for; both are gone in the end."""
    with tempfile.TemporaryDirectory(prefix="claim-", ignore_cleanup_errors=True) as name:
        run = Run(Path(name))
        filled = {key: str(value).replace("{}", name) for key, value in (settings or {}).items()}
        run.start(pipeline, arguments, filled)
        try:
            yield run
        finally:
            run.kill()


def processor_time_s(pid: int) -> float:
    """What a process has used so far, its children not counted, to the ns: `/proc/PID/stat` has hundredths of a second,
    and a supervisor needs less. The clock's number is that of clock_getcpuclockid(3)."""
    return time.clock_gettime(~pid << 3 | 2)


def wait_until(is_so: Any, time_limit_s: float) -> float | None:
    """Seconds until `is_so()`, looked at every 10 ms; None when that took too long."""
    started = time.monotonic()
    while not is_so():
        if time.monotonic() - started > time_limit_s:
            return None
        time.sleep(0.01)
    return time.monotonic() - started


def files_below(folder: Path) -> list[Path]:
    """Everything in it, also while somebody moves things about."""
    while True:
        try:
            return list(folder.rglob("*"))
        except FileNotFoundError:
            continue  # a folder went while it was looked into


def _shared_memory() -> set[str]:
    return set(os.listdir(SHARED_MEMORY)) if SHARED_MEMORY.is_dir() else set()
