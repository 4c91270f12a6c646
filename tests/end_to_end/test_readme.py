"""What the README says can be typed is typed: every line of its blocks that are marked ```sh run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamflow.testing import drive
from tests.end_to_end.project import Project

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"^```sh run\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
            for line in block.splitlines() if line.strip()]  # fmt: skip

# What the README calls them, and what they are among the recordings.
FILES = {
    "speech.wav": "silero_vad/test.wav",
    "silero_vad.onnx": "silero_vad/silero_vad.onnx",
    "100.dat": "ecg_mitbih/100.dat",
    "100.hea": "ecg_mitbih/100.hea",
}


def test_the_readme_has_commands_and_all_are_streamflow_s() -> None:
    assert COMMANDS
    assert all(command.startswith("streamflow ") for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_works(project: Project, recordings: Callable[[str], Path], command: str) -> None:
    (project.folder / "pipelines").symlink_to(ROOT / "pipelines")
    for name, recording in FILES.items():
        if f"={Path(name).stem}" in command:
            (project.folder / name).symlink_to(recordings(recording))
    ended = project.start(*shlex.split(command, comments=True)[1:]).wait()
    assert ended.code == 0, ended.stderr
    assert ended.sentences == []


def test_the_nodes_in_the_readme_run() -> None:
    (shown,) = (
        text for text in re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE) if "(Node)" in text
    )
    named: dict[str, Any] = {}
    exec(shown, named)
    noise = drive(named["Noise"](), limit=3).messages
    assert [message.event_time_ns for message in noise] == [0, 32_000_000, 64_000_000]
    (rms,) = drive(named["Rms"](), [np.ones((2, 512), np.float32)]).arrays
    assert rms.tolist() == [1, 1]


def test_the_pipeline_in_the_readme_is_the_shipped_one() -> None:
    (shown, *_) = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert shown == (ROOT / "pipelines" / "minimal.py").read_text()
