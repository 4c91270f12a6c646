"""Runs all that needs a GPU on a machine that has one: `python -m tools.gpu_check`; a table, and a file of results.

Needs CuPy and pytest beside what streamflow needs; PyTorch only for the rows that are measured against it. Takes less
than eight minutes, whatever hangs. Exit code 2 where there is no GPU, 1 where something failed or falls short.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

from streamflow.device.contract import NoDeviceError
from streamflow.device.cuda import CudaDevice
from tools.claims.framework import ROOT
from tools.claims.gpu import CLAIMS

RESULTS = ROOT / "tools" / "gpu_results"
TESTS = (
    *("-m", "gpu", "--continue-on-collection-errors"),  # where what a file needs is not there the others are run
    *("-W", "default::Warning", "-W", "error::pytest.PytestUnraisableExceptionWarning"),  # of CuPy and PyTorch
)
COMMAND = ("-m", "tools.claims.gpu")
TESTS_LIMIT_S = 150.0
CLAIM_LIMIT_S = 150.0  # a million hand-overs between processes
LIMIT_S = 460.0  # of all; what has not begun by then is said not to have been run
DYING_S = 3.0  # for what was stopped to say where it was


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.gpu_check", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="the file of results; by default a new one in tools/gpu_results")
    parser.add_argument("--quick", action="store_true", help="shortened, for a first look")
    asked = parser.parse_args(arguments)
    device = CudaDevice()
    try:
        device.open()
    except NoDeviceError as error:
        print(f"gpu_check: {error}; `make claims-gpu` has the part for the host", file=sys.stderr)
        return 2
    name, driver, cupy = device.description.rsplit(", ", 2)
    device.close()
    at, ends_s = datetime.now(UTC), time.monotonic() + LIMIT_S
    rows: list[dict[str, Any]] = []
    results = {
        "at": at.isoformat(timespec="seconds"),
        "commit": _commit(),
        "device": name,
        "driver": driver,
        "cupy": cupy,
        "tests": "not run to their end",
        "claims": rows,
    }
    out = asked.out or RESULTS / f"{at:%Y-%m-%d}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    print(f"{name}, {driver}, {cupy}; commit {results['commit']}", flush=True)
    _write(out, results)
    has_passed, results["tests"] = passed([*TESTS, *_files()], TESTS_LIMIT_S)
    print(results["tests"], flush=True)
    for claim in sorted(CLAIMS, key=lambda claim: "host" in claim.name):  # what can only be run here goes first
        _write(out, results)
        for row in measured(claim.name, ends_s - time.monotonic(), is_quick=asked.quick):
            print(" | ".join(str(row[key]) for key in ("claim", "bound", "measured", "holds")), flush=True)
            rows.append(row)
    _write(out, results)
    print(f"written to {out}")
    return 1 if not has_passed or any(row["holds"] is False for row in rows) else 0


def _write(out: Path, results: dict[str, Any]) -> None:
    """What there is so far: whoever stops this has it."""
    out.write_text(json.dumps(results, indent=1) + "\n")


def _files() -> list[str]:
    """Those of the tests that a GPU is named in: others may need what is not there, and say nothing of it."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    named = (str(path) for path in files if re.search(r"\b(on_gpu|array_modules)\b", path.read_text()))
    return ["tests/conformance", *named]


def passed(tests: Sequence[str], limit_s: float) -> tuple[bool, str]:
    """Whether all did, and what pytest says in the end."""
    missing = [name for name in ("pytest", "pytest_trio") if find_spec(name) is None]
    if missing:
        return False, f"not run: {' and '.join(missing)} cannot be imported"
    ended = _run(["-m", "pytest", "-q", *tests], limit_s)
    if ended.status is None:
        return False, f"the tests have not ended after {limit_s:.0f} s{_where(ended.errors)}"
    lines = [line for line in ended.output.splitlines() if line.startswith(("FAILED", "ERROR"))]
    last = (ended.output.strip().splitlines() or [ended.errors.strip()])[-1]
    return ended.status == 0, "\n".join([*lines, last])


def measured(claim: str, left_s: float, *, is_quick: bool) -> Iterator[dict[str, Any]]:
    """The rows of a claim, in a process of its own: what hangs there, or what it breaks, is its own. `left_s`: of the
    time that there is for all; a claim that is stopped because of that has not fallen short."""
    if left_s <= 0:
        yield _row(claim, "not run: no time was left", holds=None)
        return
    limit_s = min(CLAIM_LIMIT_S, left_s)
    ended = _run([*COMMAND, "--json", "--only", claim, *(["--quick"] if is_quick else [])], limit_s)
    rows = list(_rows_in(ended.output))
    yield from rows
    if ended.status is None:
        told = f"not done after {limit_s:.0f} s{_where(ended.errors)}"
        yield _row(claim, told, holds=False if limit_s == CLAIM_LIMIT_S else None)
    elif not rows or ended.status not in (0, 1):
        last = (ended.errors.strip().splitlines() or ["it printed nothing"])[-1]
        yield _row(claim, f"ended with status {ended.status}: {last}", holds=False)
    elif ended.status == 1 and "Traceback" in ended.errors:
        print(ended.errors, file=sys.stderr, flush=True)


class _Ended(NamedTuple):
    """`status` None: it had to be stopped."""

    status: int | None
    output: str
    errors: str


def _run(arguments: Sequence[str], limit_s: float) -> _Ended:
    """A Python process, and whatever it has started, for so long at most; where it is then goes to its errors."""
    command = [sys.executable, "-X", "faulthandler", *arguments]
    with TemporaryFile("w+") as output, TemporaryFile("w+") as errors:  # no pipes: who is left behind may hold one open
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=errors, start_new_session=True)
        status: int | None = None
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(DYING_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        errors.seek(0)
        return _Ended(status, output.read(), errors.read())


def _where(errors: str) -> str:
    """The innermost lines of the thread that a process was in when it was stopped, ours if it has any."""
    thread = errors.rpartition("Current thread")[2].partition("(most recent call first):")[2].partition("\n\n")[0]
    frames = [line.strip() for line in thread.splitlines() if "File" in line]
    told = [frame for frame in frames if str(ROOT) in frame and "site-packages" not in frame] or frames
    return f", in {'; '.join(told[:3])}" if told else ""


def _rows_in(output: str) -> Iterator[dict[str, Any]]:
    """One a line, of a list that may have no end."""
    for line in output.splitlines():
        with suppress(ValueError):
            yield json.loads(line.strip("[], "))


def _row(claim: str, told: str, *, holds: bool | None) -> dict[str, Any]:
    return {"topic": "gpu", "claim": claim, "bound": "can be measured", "measured": told, "holds": holds}


def _commit() -> str:
    try:
        found = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return "unknown"
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
