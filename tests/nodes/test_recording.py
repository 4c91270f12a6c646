"""What every recording has in common: light imports, named extras, files that are there, a padded end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile

from nodes.ingest import Hdf5File, VideoFile, WavFile
from nodes.ingest.recording import instant_ns, padded, readable_file, require_rate
from streamflow import InputError, MissingExtraError

OPTIONAL = ("soundfile", "sounddevice", "av", "h5py", "psutil", "onnxruntime")


def test_importing_the_sources_imports_no_optional_library() -> None:
    code = f"import sys, nodes.ingest; print([name for name in {OPTIONAL} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("library", "extra", "node"),
    [("soundfile", "audio", WavFile), ("av", "video", VideoFile), ("h5py", "hdf5", Hdf5File)],
)
def test_a_source_whose_library_is_missing_says_what_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, extra: str, node: Any
) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros(8, np.int16), 8000)
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["x"] = [1.0]
    source = Hdf5File(tmp_path / "x.hdf5", "x", rate_hz=1) if node is Hdf5File else node(tmp_path / "x.wav")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=rf"^{node.__name__}: {library} .*streamflow\[{extra}\]"):
        source.inspect()


def test_instants_do_not_drift_from_the_rate() -> None:
    assert instant_ns(2000, 2000 / 7) == 7_000_000_000
    assert instant_ns(285_714 * 3600, 285.714) == 3600 * 1000 * 1_000_000_000


@pytest.mark.parametrize("axis", [0, 1])
def test_padding_adds_zeros_behind(axis: int) -> None:
    part = np.ones((2, 2), np.float32)
    result = padded(part, 3, axis)
    assert result.dtype == np.float32
    assert result.sum(axis=1 - axis).tolist() == [2, 2, 0]
    assert padded(part, 2, axis) is part


def test_a_rate_may_be_written_with_as_many_digits_as_it_has() -> None:
    require_rate("x", 285.7142857142857, 2000 / 7)
    with pytest.raises(InputError, match=r"has 285.714 Hz, expected 285 Hz"):
        require_rate("x", 285.714, 285)


def test_a_path_through_a_file_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="Not a directory"):
        readable_file(tmp_path / "file" / "x.wav", "sound")
