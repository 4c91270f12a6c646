"""What `ps` shows of a process that has renamed itself, in a process of its own."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from pathlib import Path
from streamflow.runtime.process.process_title import show_as

for length in map(int, sys.argv[1:]):
    show_as("a_stage", ["python", "-m", "x" * length, "end"])
print(Path("/proc/self/comm").read_text().strip())
print(Path("/proc/self/cmdline").read_bytes().rstrip(b"\\0").split(b"\\0"))
print(len(Path("/proc/self/environ").read_bytes()) > 0)
"""


def shown(*lengths: int) -> list[str]:
    command = [sys.executable, "-c", PROGRAM, *map(str, lengths)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.parametrize("lengths", [(10,), (5_000,), (5_000, 6_000)], ids=["short", "long", "twice"])
def test_a_command_line_of_any_length_is_shown_whole(lengths: tuple[int, ...]) -> None:
    if "CONFIG_CHECKPOINT_RESTORE=y" not in _kernel_settings() and lengths != (10,):
        pytest.skip("this kernel may not let a process place its command line")
    expected = str([b"python", b"-m", b"x" * lengths[-1], b"end"])
    assert shown(*lengths) == ["a_stage", expected, "True"]


def _kernel_settings() -> str:
    path = Path("/proc/config.gz")
    return gzip.decompress(path.read_bytes()).decode() if path.exists() else ""
