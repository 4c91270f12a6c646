"""WfdbFile and read_annotations: WFDB records in formats 16 and 212, whole or damaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.ingest import WfdbFile, read_annotations
from nodes.kernels import wfdb_format
from streamflow import InputError
from streamflow.testing.harness import drive

RATE_HZ = 360
COUNT = 101  # odd, so that 212's pairs do not come out even
Samples = Any  # int16[frames, signals]


def encoded_212(samples: list[int]) -> bytes:
    """Written from signal(5), one pair at a time: an oracle for the decoder."""
    data = bytearray()
    for index in range(0, len(samples), 2):
        pair = [value & 0xFFF for value in [*samples[index : index + 2], 0][:2]]
        data += bytes([pair[0] & 0xFF, pair[0] >> 8 | pair[1] >> 8 << 4, pair[1] & 0xFF])
    return bytes(data[: (3 * len(samples) + 1) // 2])


def signed_sum(values: Any) -> int:
    return int(np.sum(values, dtype=np.int64).astype(np.int16))


def signal_line(name: str, file: str, number: int, values: Any) -> str:
    return f"{file} {number} 200(10)/mV 11 10 {values[0]} {signed_sum(values)} 0 {name}\n"


def samples_of(channels: int, limit: int) -> Samples:
    return np.random.default_rng(5).integers(-limit, limit, (COUNT, channels)).astype(np.int16)


@pytest.fixture(params=[212, 16])
def record(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Samples]:
    """A record of two signals, and its samples."""
    samples = samples_of(2, 2047 if request.param == 212 else 32767)
    lines = [signal_line(name, "r.dat", request.param, samples[:, i]) for i, name in enumerate(["MLII", "lead V5"])]
    (tmp_path / "r.hea").write_text(f"# a comment\nr 2 {RATE_HZ} {COUNT}\n\n" + "".join(lines) + "# 69 M\n")
    flat = samples.reshape(-1)
    (tmp_path / "r.dat").write_bytes(encoded_212(flat.tolist()) if request.param == 212 else flat.tobytes())
    return tmp_path / "r", samples


def in_millivolt(samples: Samples) -> Any:
    return ((samples - 10.0) / 200).astype(np.float32).T


# ---------------------------------------------------------------------------------------------- the format


@given(samples=st.lists(st.integers(-2048, 2047), max_size=50), data=st.data())
def test_format_212_comes_back_whatever_part_is_read(samples: list[int], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(samples)))
    last = data.draw(st.integers(first, len(samples)))
    position, length = wfdb_format.byte_range(212, first, last)
    part = encoded_212(samples)[position : position + length]
    assert wfdb_format.decode(212, part, first, last).tolist() == samples[first:last]


@given(samples=st.lists(st.integers(-32768, 32767), max_size=20))
def test_the_checksum_is_the_low_16_bits_of_the_sum(samples: list[int]) -> None:
    assert wfdb_format.checksum(sum(samples)) == signed_sum(np.array(samples, np.int64))


def test_a_header_with_nothing_optional_has_the_defaults() -> None:
    header = wfdb_format.parse_header("r 1\nr.dat 16\n")
    signal = header.signals[0]
    assert (header.rate_hz, header.frame_count) == (250.0, None)
    assert (signal.gain, signal.baseline, signal.unit, signal.initial, signal.checksum) == (200.0, 0, "mV", None, None)


def test_a_gain_of_zero_is_the_default_and_the_baseline_is_the_zero_of_the_converter() -> None:
    signal = wfdb_format.parse_signal("r.dat 212+6 0/uV 12 1024 5 77 0 left arm")
    assert (signal.gain, signal.baseline, signal.unit, signal.offset, signal.name) == (200.0, 1024, "uV", 6, "left arm")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "no record line"),
        ("just words", "is no record line"),
        ("r/3 1 360 10\n", "several segments"),
        ("r 2 360 10\nr.dat 16\n", "1 signal lines where the record line says 2"),
        ("r 1 fast\nr.dat 16\n", "no sampling rate"),
        ("r 1 360 many\nr.dat 16\n", "no whole number"),
        ("r 1 360\nr.dat 310\n", "signal format 310 is not read, expected 16 or 212"),
        ("r 1 360\nr.dat 212x4\n", "several samples per frame"),
        ("r 1 360\nr.dat 16 loud\n", "is no gain"),
        ("r 1 360\nr.dat\n", "is no signal line"),
    ],
)
def test_a_header_that_cannot_be_read_says_why(text: str, found: str) -> None:
    with pytest.raises(ValueError, match=found):
        wfdb_format.parse_header(text)


@given(st.text(max_size=80) | st.from_regex(r"r [0-9] .{0,9}\nr.dat (16|212)[ -~\n]{0,40}", fullmatch=True))
def test_any_text_is_a_header_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        wfdb_format.parse_header(text)


@given(st.binary(max_size=80))
def test_any_bytes_are_annotations_or_a_value_error(data: bytes) -> None:
    with suppress(ValueError):
        wfdb_format.parse_annotations(data)


# ---------------------------------------------------------------------------------------------- annotations


def words(*pairs: tuple[int, int]) -> bytes:
    return b"".join((code << 10 | interval).to_bytes(2, "little") for code, interval in pairs)


def test_annotations_add_up_their_intervals(tmp_path: Path) -> None:
    note = words((28, 18), (63, 3)) + b"(N\0\0"
    skip = words((59, 0)) + (1).to_bytes(2, "little") + (2).to_bytes(2, "little")
    (tmp_path / "r.atr").write_bytes(note + words((1, 5), (61, 1), (62, 0), (60, 2)) + skip + words((5, 3), (0, 0)))
    marks = read_annotations(tmp_path / "r.atr")
    assert marks.sample.tolist() == [18, 23, 23 + 65538 + 3]
    assert marks.symbol == ("+", "N", "V")
    assert marks.beats.tolist() == [23, 65564]


@pytest.mark.parametrize("data", [words((1, 5)), words((58, 1), (0, 0)), b"\x01"])
def test_annotations_that_cannot_be_read_name_the_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "r.atr").write_bytes(data)
    with pytest.raises(InputError, match=r"r\.atr: cannot be read .*expected MIT annotations"):
        read_annotations(tmp_path / "r.atr")


def test_the_ecg_recording_has_its_2274_annotations(recordings: Callable[[str], Path]) -> None:
    marks = read_annotations(recordings("ecg_mitbih/100.atr"))
    assert Counter(marks.symbol) == {"N": 2239, "A": 33, "V": 1, "+": 1}
    assert len(marks.beats) == 2273


# --------------------------------------------------------------------------------------------------- the node


@pytest.mark.parametrize("chunk", [1, 7, 101, 200])
def test_chunk_boundaries_are_invisible(record: tuple[Path, Samples], chunk: int) -> None:
    path, samples = record
    sent = np.concatenate(drive(WfdbFile(path, chunk=chunk)).arrays, axis=1)
    assert np.array_equal(sent[:, :COUNT], in_millivolt(samples))
    assert not sent[:, COUNT:].any()


def test_time_sample_and_padding_are_told(record: tuple[Path, Samples]) -> None:
    node = WfdbFile(record[0], chunk=100)
    sent = drive(node).messages
    assert str(node.samples.type) == "float32[2, 100]"
    assert node.samples.type.rate_hz == RATE_HZ
    assert dict(sent[0].attributes) == {"sample": 0, "time_s": 99 / 360}
    assert dict(sent[1].attributes) == {"sample": 100, "time_s": 100 / 360, "valid": 1}
    assert sent[1].event_time_ns == 277_777_778


@pytest.mark.parametrize("channels", [["lead V5", "MLII"], [1, 0], ["lead V5", 0]])
def test_channels_are_picked_by_name_or_index(record: tuple[Path, Samples], channels: list[int | str]) -> None:
    path, samples = record
    sent = drive(WfdbFile(path, channels, chunk=COUNT)).arrays[0]
    assert np.array_equal(sent, in_millivolt(samples)[::-1])


def test_signals_in_files_of_their_own_are_joined(tmp_path: Path) -> None:
    samples = samples_of(2, 2047)
    lines = [signal_line("A", "a.dat", 212, samples[:, 0]), signal_line("B", "b.dat", 16, samples[:, 1])]
    (tmp_path / "r.hea").write_text(f"r 2 {RATE_HZ}\n" + "".join(lines))
    (tmp_path / "a.dat").write_bytes(encoded_212(samples[:, 0].tolist()))
    (tmp_path / "b.dat").write_bytes(samples[:, 1].tobytes())
    sent = drive(WfdbFile(tmp_path / "r", chunk=COUNT)).arrays
    assert np.array_equal(sent[0], in_millivolt(samples))


def test_missing_samples_are_nan(tmp_path: Path) -> None:
    (tmp_path / "r.hea").write_text("r 1 360 3\nr.dat 16\n")
    (tmp_path / "r.dat").write_bytes(np.array([200, -32768, 400], np.int16).tobytes())
    sent = drive(WfdbFile(tmp_path / "r", chunk=3)).arrays[0]
    assert np.array_equal(sent, [[1, np.nan, 2]], equal_nan=True)


def refused(path: Path, **options: Any) -> str:
    """The sentence with which inspecting refuses the record."""
    with pytest.raises(InputError) as caught:
        WfdbFile(path, **options).inspect()
    return str(caught.value)


def test_a_missing_header_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "r").startswith(f"{tmp_path}/r.hea: No such file")


def test_a_missing_signal_file_is_named_with_its_header(record: tuple[Path, Samples]) -> None:
    (record[0].parent / "r.dat").unlink()
    assert f"r.dat: No such file or directory, expected the signals that {record[0]}.hea names" in refused(record[0])


def test_a_record_is_given_without_a_suffix(record: tuple[Path, Samples]) -> None:
    assert "has a suffix, expected the path of the record without one" in refused(record[0].with_suffix(".dat"))


def test_signals_that_were_cut_off_are_refused(record: tuple[Path, Samples]) -> None:
    data = record[0].with_suffix(".dat")
    data.write_bytes(data.read_bytes()[:-10])
    assert "it was cut off" in refused(record[0])


def test_signals_that_belong_to_another_header_are_refused(record: tuple[Path, Samples]) -> None:
    data = record[0].with_suffix(".dat")
    data.write_bytes(data.read_bytes()[::-1])
    assert "header and data do not belong together" in refused(record[0])


def test_damage_is_seen_at_the_end_by_the_checksum(record: tuple[Path, Samples]) -> None:
    data = record[0].with_suffix(".dat")
    content = bytearray(data.read_bytes())
    content[60] ^= 0x10
    data.write_bytes(content)
    with pytest.raises(InputError, match=r"r\.dat: signal .* has checksum .*; its data is damaged"):
        drive(WfdbFile(record[0]))


def test_a_format_that_is_not_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.hea").write_text("r 1 360 3\nr.dat 80\n")
    assert "signal format 80 is not read, expected 16 or 212" in refused(tmp_path / "r")


def test_two_formats_in_one_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "r.hea").write_text("r 2 360 3\nr.dat 16\nr.dat 212\n")
    assert "two formats or offsets" in refused(tmp_path / "r")


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"channels": ["V1"]}, "has no channel V1, expected one of: 0 MLII, 1 lead V5"),
        ({"channels": 2}, "has no channel 2"),
        ({"chunk": 0}, "chunk: is 0"),
        ({"rate_hz": 250}, "has 360 Hz, expected 250 Hz"),
    ],
)
def test_settings_that_do_not_suit_the_record_are_refused(
    record: tuple[Path, Samples], options: dict[str, Any], found: str
) -> None:
    assert found in refused(record[0], **options)


def test_the_ecg_recording_plays_in_millivolt_with_its_checksums(recordings: Callable[[str], Path]) -> None:
    sent = drive(WfdbFile(recordings("ecg_mitbih/100"), chunk=3600)).messages
    assert sent[0].array[:, 0] == pytest.approx([(995 - 1024) / 200, (1011 - 1024) / 200])
    assert sent[-1].attributes["sample"] + sent[-1].attributes["valid"] == 650_000
