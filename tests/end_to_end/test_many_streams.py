"""Many streams through one recurrent model in batches: each gives what it gives alone."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.end_to_end.project import Project

PIPELINE = Path(__file__).parents[2] / "pipelines" / "many_streams.py"
STREAMS, CHUNKS = 5, 60


@pytest.mark.parametrize("batch", [1, 4])
def test_each_stream_of_a_batch_gives_what_it_gives_alone(
    project: Project, recordings: Callable[[str], Path], batch: int
) -> None:
    wav, model = recordings("silero_vad/test.wav"), recordings("silero_vad/silero_vad.onnx")
    expected = np.load(recordings("silero_vad/expected_probs.npy"))[:CHUNKS]
    given = {"wav": wav, "model": model, "streams": STREAMS, "batch": batch, "duration_s": CHUNKS * 0.032}
    settings = [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
    report = project.report(PIPELINE, *settings, "--set", "out=voices.jsonl", "--offline")
    assert report["conserved"] is True
    found: dict[int, list[float]] = {voice: [] for voice in range(STREAMS)}
    for line in (project.folder / "voices.jsonl").read_text().splitlines():
        datum = json.loads(line)
        assert datum["sample"] == 512 * len(found[datum["voice"]]), "in order, none twice, none missing"
        found[datum["voice"]] += datum["array"]
    for probabilities in found.values():
        np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    sizes = report["stages"]["vad"]["batch"]
    assert max(map(int, sizes)) <= batch
    if batch > 1:
        assert max(map(int, sizes)) > 1


def wav_file(path: Path) -> Path:
    """A second and a half of noise that swells and fades."""
    sound = np.random.default_rng(4).standard_normal(24_000) * np.abs(np.sin(np.arange(24_000) / 3000)) * 8000
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(sound.astype(np.int16).tobytes())
    return path


@pytest.mark.parametrize("batch", [1, 4])
def test_on_a_device_each_stream_gives_the_same(project: Project, batch: int) -> None:
    model = Path(__file__).parents[1] / "models" / "loudness.onnx"
    given = {"wav": wav_file(project.folder / "noise.wav"), "model": model, "streams": STREAMS, "batch": batch}
    settings = [word for name, value in given.items() for word in ("--set", f"{name}={value}")]
    found = {}
    for device in ("", "host", "cuda:7, host"):
        out = f"voices-{len(found)}.jsonl"
        report = project.report(PIPELINE, *settings, "--set", f"out={out}", "--set", f"device={device}", "--offline")
        assert report["conserved"] is True
        assert report["stages"]["vad"]["device"] == ("host" if device else None)
        assert report["stages"]["vad"]["lost"] == 0
        found[device] = sorted((project.folder / out).read_text().splitlines())
    assert len(found[""]) == STREAMS * 47
    assert len(set(found[""])) > 47, "each line says whose it is"
    assert found["host"] == found["cuda:7, host"] == found[""]
