"""Runs all that needs a GPU on a machine that has one: `python -m tools.gpu_check`; a table, and a file of results.

Needs CuPy and pytest beside what streamflow needs; PyTorch only for the rows that are measured against it. Takes less
than eight minutes, whatever hangs. Exit code 2 where there is no GPU, 1 where something failed or falls short.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streamflow.device.contract import NoDeviceError
from streamflow.device.cuda import CudaDevice
from tools.claims.framework import ROOT
from tools.claims.gpu import CLAIMS

RESULTS = ROOT / "tools" / "gpu_results"
TESTS = ("-m", "gpu", "tests")
TESTS_LIMIT_S = 150.0
CLAIM_LIMIT_S = 150.0  # a million hand-overs between processes
LIMIT_S = 460.0  # of all; what has not begun by then is said not to have been run


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.gpu_check", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="the file of results; by default a new one in tools/gpu_results")
    parser.add_argument("--quick", action="store_true", help="shortened, for a first look")
    asked = parser.parse_args(arguments)
    device = CudaDevice()
    try:
        device.open()
    except NoDeviceError as error:
        print(f"gpu_check: {error}", file=sys.stderr)
        return 2
    name, driver, cupy = device.description.rsplit(", ", 2)
    device.close()
    at, ends_s = datetime.now(UTC), time.monotonic() + LIMIT_S
    print(f"{name}, {driver}, {cupy}; commit {_commit()}", flush=True)
    has_passed, tests = passed(TESTS, TESTS_LIMIT_S)
    print(tests, flush=True)
    rows = []
    for claim in sorted(CLAIMS, key=lambda claim: "host" in claim.name):  # what can only be run here goes first
        for row in measured(claim.name, min(CLAIM_LIMIT_S, ends_s - time.monotonic()), is_quick=asked.quick):
            print(" | ".join(str(row[key]) for key in ("claim", "bound", "measured", "holds")), flush=True)
            rows.append(row)
    results = {
        "at": at.isoformat(timespec="seconds"),
        "commit": _commit(),
        "device": name,
        "driver": driver,
        "cupy": cupy,
        "tests": tests,
        "claims": rows,
    }
    out = asked.out or RESULTS / f"{at:%Y-%m-%d}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")
    print(f"written to {out}")
    return 1 if not has_passed or any(row["holds"] is False for row in rows) else 0


def passed(tests: Sequence[str], limit_s: float) -> tuple[bool, str]:
    """Whether all did, and what pytest says in the end."""
    try:
        command = [sys.executable, "-m", "pytest", "-q", *tests]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return False, f"the tests have not ended after {limit_s:.0f} s"
    lines = [line for line in ended.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    last = (ended.stdout.strip().splitlines() or [ended.stderr.strip()])[-1]
    return ended.returncode == 0, "\n".join([*lines, last])


def measured(claim: str, limit_s: float, *, is_quick: bool) -> Iterator[dict[str, Any]]:
    """The rows of a claim, in a process of its own: what hangs there, or what it breaks, is its own."""
    command = [sys.executable, "-m", "tools.claims.gpu", "--json", "--only", claim, *(["--quick"] if is_quick else [])]
    if limit_s <= 0:
        yield _row(claim, "not run: no time was left", holds=None)
        return
    try:
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit_s)
        yield from json.loads(ended.stdout)
    except subprocess.TimeoutExpired:
        yield _row(claim, f"not done after {limit_s:.0f} s", holds=False)
    except ValueError:
        yield _row(claim, (ended.stderr.strip().splitlines() or ["it printed nothing"])[-1], holds=False)


def _row(claim: str, told: str, *, holds: bool | None) -> dict[str, Any]:
    return {"topic": "gpu", "claim": claim, "bound": "can be measured", "measured": told, "holds": holds}


def _commit() -> str:
    found = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
