"""WavFile: the samples of the file, chunk by chunk, and one sentence for each file that cannot be played."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.ingest import WavFile
from streamflow import InputError
from streamflow.testing.harness import drive

RATE_HZ = 8000


def pcm(count: int, channels: int = 1) -> Any:
    """int16[count, channels], full scale included."""
    values = np.random.default_rng(3).integers(-32768, 32768, (count, channels)).astype(np.int16)
    values[:2] = [[-32768], [32767]]
    return values


@pytest.fixture
def mono(tmp_path: Path) -> Path:
    path = tmp_path / "mono.wav"
    soundfile.write(path, pcm(1000)[:, 0], RATE_HZ)
    return path


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_samples_are_the_files_integers_over_full_scale(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"sound.{suffix}"
    soundfile.write(path, pcm(1000)[:, 0], RATE_HZ, subtype="PCM_16")
    sent = drive(WavFile(path, chunk=250)).arrays
    assert {array.dtype.name for array in sent} == {"float32"}
    assert np.array_equal(np.concatenate(sent), pcm(1000)[:, 0] / np.float32(32768))


@settings(max_examples=20, deadline=None)
@given(count=st.integers(2, 60), chunk=st.integers(1, 70))
def test_chunk_boundaries_are_invisible(tmp_path_factory: pytest.TempPathFactory, count: int, chunk: int) -> None:
    path = tmp_path_factory.mktemp("law") / "sound.wav"
    soundfile.write(path, pcm(count)[:, 0], RATE_HZ)
    sent = drive(WavFile(path, chunk=chunk)).arrays
    assert all(array.shape == (chunk,) for array in sent)
    whole = np.concatenate(sent)
    assert np.array_equal(whole[:count], pcm(count)[:, 0] / np.float32(32768))
    assert not whole[count:].any()


def test_a_padded_last_chunk_says_how_much_of_it_is_real(mono: Path) -> None:
    sent = drive(WavFile(mono, chunk=512)).messages
    assert [message.attributes["sample"] for message in sent] == [0, 512]
    assert "valid" not in sent[0].attributes
    assert sent[1].attributes["valid"] == 488


def test_time_is_that_of_the_newest_real_sample(mono: Path) -> None:
    sent = drive(WavFile(mono, chunk=512)).messages
    assert [message.attributes["time_s"] for message in sent] == [511 / RATE_HZ, 999 / RATE_HZ]
    assert [message.event_time_ns for message in sent] == [511 * 125_000, 999 * 125_000]


def test_no_more_than_the_duration_is_played_and_the_last_chunk_padded(mono: Path) -> None:
    whole = drive(WavFile(mono, chunk=100)).messages
    with_rate = WavFile(mono, chunk=100)
    with_rate.inspect()
    rate_hz = with_rate.samples.type.rate_hz
    assert rate_hz is not None
    sent = drive(WavFile(mono, chunk=100, duration_s=150 / rate_hz)).messages
    assert [message.attributes.get("valid") for message in sent] == [None, 50]
    assert np.array_equal(sent[0].array, whole[0].array)
    assert np.array_equal(sent[1].array[:50], whole[1].array[:50])
    assert not sent[1].array[50:].any()


def test_several_channels_are_rows_and_one_can_be_picked(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    soundfile.write(path, pcm(100, 2), RATE_HZ)
    both = drive(WavFile(path, chunk=50)).arrays
    right = drive(WavFile(path, chunk=50, channel=1)).arrays
    assert both[0].shape == (2, 50)
    assert np.array_equal(np.concatenate(both, axis=1), pcm(100, 2).T / np.float32(32768))
    assert np.array_equal(np.concatenate(right), pcm(100, 2)[:, 1] / np.float32(32768))


def test_the_port_has_the_files_rate_and_shape_once_inspected(mono: Path) -> None:
    node = WavFile(mono, chunk=512)
    node.inspect()
    assert str(node.samples.type) == "float32[512]"
    assert node.samples.type.rate_hz == RATE_HZ


def refused(path: Path, **options: Any) -> str:
    """The sentence with which inspecting refuses the file."""
    with pytest.raises(InputError) as caught:
        WavFile(path, **options).inspect()
    return str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "no.wav") == f"{tmp_path}/no.wav: No such file or directory, expected a WAV or FLAC file"


def test_a_folder_is_no_recording(tmp_path: Path) -> None:
    assert "is a folder" in refused(tmp_path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    assert "is empty" in refused(tmp_path / "empty.wav")


@pytest.mark.parametrize("size", [5, 20, 40])
def test_a_header_that_was_cut_off_is_refused(mono: Path, size: int) -> None:
    mono.write_bytes(mono.read_bytes()[:size])
    assert "it was cut off" in refused(mono)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("not a sound at all, only words " * 20)
    assert "expected a WAV or FLAC file" in refused(tmp_path / "text.wav")


def test_sound_in_another_format_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "sound.aiff", pcm(100)[:, 0], RATE_HZ)
    assert "AIFF" in refused(tmp_path / "sound.aiff")


def test_a_wav_file_that_was_cut_off_says_how_much_is_missing(mono: Path) -> None:
    mono.write_bytes(mono.read_bytes()[:-500])
    assert "has 1500 bytes of sound, expected the 2000 its header declares; it was cut off" in refused(mono)


def test_a_flac_file_that_was_cut_off_fails_where_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "sound.flac"
    soundfile.write(path, pcm(50_000)[:, 0], RATE_HZ)
    path.write_bytes(path.read_bytes()[:60_000])
    with pytest.raises(InputError, match=r"sound\.flac"):
        drive(WavFile(path))


def test_a_wav_file_of_undeclared_length_plays_to_its_end(mono: Path) -> None:
    data = bytearray(mono.read_bytes())
    position = data.index(b"data") + 4
    data[position : position + 4] = struct.pack("<I", 0xFFFFFFFF)
    mono.write_bytes(data)
    assert len(drive(WavFile(mono, chunk=500)).arrays) == 2


def test_a_recording_without_samples_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.int16), RATE_HZ)
    assert "has no samples" in refused(tmp_path / "none.wav")


def test_another_sampling_rate_than_asked_for_is_refused(mono: Path) -> None:
    sentence = f"{mono}: has 8000 Hz, expected 16000 Hz; put a Resample stage behind it, or leave rate_hz out"
    assert refused(mono, rate_hz=16000) == sentence


def test_a_chunk_of_nothing_is_refused(mono: Path) -> None:
    assert refused(mono, chunk=0) == "WavFile chunk: is 0, expected a number above 0"


@pytest.mark.parametrize("channel", [-1, 1])
def test_a_channel_that_is_not_there_is_refused(mono: Path, channel: int) -> None:
    assert f"has 1 channel, expected channel {channel}" in refused(mono, channel=channel)


def test_the_speech_recording_is_1875_whole_chunks(recordings: Callable[[str], Path]) -> None:
    sent = drive(WavFile(recordings("silero_vad/test.wav"), chunk=512, rate_hz=16000)).messages
    assert len(sent) == 1875
    assert sent[-1].attributes["sample"] == 1874 * 512
