"""Each peer's own environment: made once from its pinned requirements, in a folder that git ignores.

Made again only when the requirements have changed. A peer that cannot be installed is absent, with the reason in one
sentence, and the whole of what pip said stays beside the environment.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent / "requirements"
INSTALL_LIMIT_S = 900.0  # Ray and dora are some 100 MB each
REASON_SIZE = 240  # characters of pip's own sentence that are told


class AbsentError(Exception):
    """The peer cannot be measured here; its text is the reason, one sentence."""


def python_of(name: str, folder: Path) -> Path:
    """The interpreter of the peer's environment below the folder, which is made if it is not there yet."""
    requirements = REQUIREMENTS / f"{name}.txt"
    if not requirements.exists():
        raise AbsentError(f"{name} has no requirements: expected {requirements.name} in {REQUIREMENTS.name}/")
    place = folder / name
    ready, mark = place / "ready", hashlib.sha256(requirements.read_bytes()).hexdigest()
    python = place / "bin" / "python"
    if ready.exists() and ready.read_text() == mark and python.exists():
        return python
    shutil.rmtree(place, ignore_errors=True)
    print(f"making {place}", file=sys.stderr)
    log = place.with_suffix(".log")
    _run([sys.executable, "-m", "venv", "--without-pip", str(place)], log, name)  # a pip of its own would take 4 s
    pip = [sys.executable, "-m", "pip", f"--python={python}", "--disable-pip-version-check"]
    _run([*pip, "install", "--requirement", str(requirements)], log, name)
    ready.write_text(mark)
    return python


def _run(command: list[str], log: Path, name: str) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as out:
        try:
            code = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, timeout=INSTALL_LIMIT_S
            ).returncode
        except subprocess.TimeoutExpired:
            raise AbsentError(f"{name} was not installed within {INSTALL_LIMIT_S:.0f} s") from None
        except OSError as error:
            raise AbsentError(f"{name} could not be installed: {error}") from error
    if code:
        raise AbsentError(f"{name} could not be installed: {_reason(log.read_text(errors='replace'))}")


def _reason(text: str) -> str:
    """pip's last line that is an error, or its last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    last = (errors or lines or ["the installer said nothing"])[-1]
    return last.removeprefix("ERROR:").strip()[:REASON_SIZE]
