"""A page in a real browser without a window, Chromium: its picture, what it made of the page, its complaints."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
LIMIT_S = 60.0
COMPLAINT = re.compile(r"CONSOLE|Uncaught|net::ERR|Refused to")


@dataclass(frozen=True, slots=True)
class Shown:
    """The document as the browser holds it, and the lines in which it complained."""

    document: str
    complaints: list[str]


def browser() -> str | None:
    """Its program; None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def shown(page: Path) -> Shown:
    """Load it, with no network."""
    done = _run("--dump-dom", page=page)
    return Shown(done.stdout, [line for line in done.stderr.splitlines() if COMPLAINT.search(line)])


def picture(page: Path, out: Path, width: int, height: int, *, is_dark: bool = False) -> None:
    """A PNG of the top of the page."""
    dark = ["--blink-settings=preferredColorScheme=0"] if is_dark else []
    _run(f"--screenshot={out}", f"--window-size={width},{height}", "--hide-scrollbars", *dark, page=page)


def _run(*words: str, page: Path) -> subprocess.CompletedProcess[str]:
    program = browser()
    assert program is not None
    alone = ["--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        told = [f"--user-data-dir={profile}", "--enable-logging=stderr", "--v=0"]
        command = [program, *alone, *told, *words, page.resolve().as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=True)
