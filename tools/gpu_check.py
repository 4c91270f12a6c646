"""Runs all that needs a GPU on a machine that has one: `python -m tools.gpu_check`; a table, and a file of results.

Needs CuPy beside what streamflow needs; PyTorch only for the rows that are measured against it. Exit code 2 where there
is no GPU, 1 where something failed or falls short.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streamflow.device.contract import NoDeviceError
from streamflow.device.cuda import CudaDevice
from tools.claims.framework import ROOT

RESULTS = ROOT / "tools" / "gpu_results"
TESTS = ("tests/conformance/test_devices.py", "tests/nodes/test_cupy_function.py")


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
    at = datetime.now(UTC)
    print(f"{device.description}; commit {_commit()}", flush=True)
    tests = subprocess.run([sys.executable, "-m", "pytest", "-q", *TESTS], cwd=ROOT, capture_output=True, text=True)
    print(tests.stdout[-4000:], flush=True)
    claims = _claims(quick=asked.quick)
    results = {
        "at": at.isoformat(timespec="seconds"),
        "commit": _commit(),
        "device": device.description,
        "tests": (tests.stdout.strip().splitlines() or [tests.stderr.strip()])[-1],
        "claims": claims,
    }
    out = asked.out or RESULTS / f"{at:%Y-%m-%d}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")
    print(f"written to {out}")
    return 1 if tests.returncode or any(row["holds"] is False for row in claims) else 0


def _claims(*, quick: bool) -> list[dict[str, Any]]:
    ended = subprocess.run(
        [sys.executable, "-m", "tools.claims.gpu", "--json", *(["--quick"] if quick else [])],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    rows: list[dict[str, Any]] = json.loads(ended.stdout)
    for row in rows:
        print(" | ".join(str(row[key]) for key in ("claim", "bound", "measured", "holds")), flush=True)
    return rows


def _commit() -> str:
    found = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
