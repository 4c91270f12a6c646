"""WFDB records (PhysioNet): header text, signal bytes in formats 16 and 212, and MIT annotations into arrays.

Source: the WFDB Applications Guide, header(5), signal(5) and annot(5). Pure functions of text and bytes; each
raises ValueError with one sentence for what is no such thing. Not read: several samples of a signal per
frame, skew, records of several segments, and signal formats other than the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DEFAULT_RATE_HZ = 250.0
DEFAULT_GAIN = 200.0  # ADC units per physical unit, where the header has none or 0

# The value that stands for "no sample here" in each format.
MISSING = {16: -(1 << 15), 212: -(1 << 11)}

# Annotation codes and the symbols they are known by (ecgcodes.h).
SYMBOLS = dict(
    zip(
        [*range(1, 15), 16, *range(18, 42)],
        [*"NLRaVFJASEj/Q~", "|", *'sT*D"=pB^t+u?![]en@xf()r'],
        strict=True,
    )
)
BEAT_SYMBOLS = frozenset("NLRBAaJSVrFejnE/fQ?")

_SKIP, _NUM, _SUB, _CHN, _AUX = 59, 60, 61, 62, 63

_FORMAT = re.compile(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?")
_GAIN = re.compile(r"([-+\d.eE]+)(?:\((-?\d+)\))?(?:/(\S+))?")


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal of a record: where its samples are, and physical value = (sample − baseline) / gain."""

    file: str
    format: int
    offset: int
    gain: float
    baseline: int
    unit: str
    initial: int | None  # the first sample, and the low 16 bits of the sum of all; None: not said
    checksum: int | None
    name: str


@dataclass(frozen=True, slots=True)
class Header:
    """A record: sampling rate, number of frames (one sample of every signal each; None: not said), signals."""

    rate_hz: float
    frame_count: int | None
    signals: tuple[Signal, ...]


def parse_header(text: str) -> Header:
    """The record that the text of a .hea file describes."""
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise ValueError("no record line")
    record = lines[0].split()
    if len(record) < 2 or not record[1].isdecimal():
        raise ValueError(f"'{lines[0]}' is no record line: name, number of signals, rate, number of samples")
    if "/" in record[0]:
        raise ValueError(f"record {record[0]} has several segments, which is not read")
    signal_count = int(record[1])
    rate_hz = _rate_hz(record[2]) if len(record) > 2 else DEFAULT_RATE_HZ
    frame_count = _whole(record[3], "number of samples") if len(record) > 3 else 0
    if len(lines) - 1 < signal_count or signal_count == 0:
        raise ValueError(f"{len(lines) - 1} signal lines where the record line says {signal_count}")
    signals = tuple(parse_signal(line) for line in lines[1 : signal_count + 1])
    return Header(rate_hz, frame_count or None, signals)


def parse_signal(line: str) -> Signal:
    """One signal line: file, format, gain(baseline)/unit, resolution, zero, initial value, checksum, block, name."""
    parts = line.split(maxsplit=8)
    match = _FORMAT.fullmatch(parts[1]) if len(parts) > 1 else None
    if match is None:
        raise ValueError(f"'{line}' is no signal line: file, format, gain, ...")
    number, per_frame, skew, offset = (int(part) if part else 0 for part in match.groups())
    if number not in MISSING:
        raise ValueError(f"signal format {number} is not read, expected 16 or 212")
    if per_frame > 1 or skew:
        raise ValueError(f"format {parts[1]}: several samples per frame and skew are not read")
    gain, baseline, unit = _gain(parts[2]) if len(parts) > 2 else (DEFAULT_GAIN, None, "mV")
    numbers = [_whole(part, "field") for part in parts[3:7]]
    zero = numbers[1] if len(numbers) > 1 else 0
    initial = numbers[2] if len(numbers) > 2 else None
    total = numbers[3] if len(numbers) > 3 else None
    if initial == total == 0:  # written by programs that do not know them
        initial = total = None
    return Signal(
        file=parts[0],
        format=number,
        offset=offset,
        gain=gain,
        baseline=zero if baseline is None else baseline,
        unit=unit,
        initial=initial,
        checksum=total,
        name=parts[8] if len(parts) > 8 else "",
    )


def _rate_hz(text: str) -> float:
    """The rate of `rate[/counter rate[(base)]]`."""
    try:
        rate_hz = float(text.split("/")[0])
    except ValueError:
        rate_hz = 0.0
    if not 0 < rate_hz < float("inf"):
        raise ValueError(f"'{text}' is no sampling rate in Hz")
    return rate_hz


def _gain(text: str) -> tuple[float, int | None, str]:
    match = _GAIN.fullmatch(text)
    try:
        gain = float(match[1]) if match else float("nan")
    except ValueError:
        gain = float("nan")
    if match is None or not np.isfinite(gain):
        raise ValueError(f"'{text}' is no gain: ADC units per physical unit, (baseline), /unit")
    return gain or DEFAULT_GAIN, int(match[2]) if match[2] else None, match[3] or "mV"


def _whole(text: str, what: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{what} '{text}' is no whole number") from None


# ------------------------------------------------------------------------------------------------ signal bytes


def byte_range(number: int, first: int, last: int) -> tuple[int, int]:
    """(position, length) in bytes of samples `first` to `last` (exclusive) of a signal file in format `number`.

    In format 212 two samples share three bytes, so the range may begin with a sample before `first`.
    """
    if number == 16:
        return 2 * first, 2 * (last - first)
    start = first // 2 * 3
    return start, (3 * last + 1) // 2 - start


def decode(number: int, data: bytes, first: int, last: int) -> npt.NDArray[np.int16]:
    """Samples `first` to `last` (exclusive), int16[last − first], from the bytes of their `byte_range`."""
    if number == 16:
        return np.frombuffer(data, "<i2").astype(np.int16, copy=False)
    skipped = first % 2
    return decode_212(data, last - first + skipped)[skipped:]


def decode_212(data: bytes, count: int) -> npt.NDArray[np.int16]:
    """int16[count] from pairs of 12-bit two's complement numbers in three bytes.

    Byte 0 has the low 8 bits of the first, byte 2 those of the second; byte 1 has the high 4 bits of the first
    in its low half and those of the second in its high half. An odd last sample takes two bytes.
    """
    pairs = np.zeros(((count + 1) // 2, 3), np.uint8)
    raw = np.frombuffer(data, np.uint8)
    if len(raw) < (3 * count + 1) // 2:
        raise ValueError(f"{len(raw)} bytes where {count} samples of format 212 take {(3 * count + 1) // 2}")
    pairs.reshape(-1)[: len(raw)] = raw[: pairs.size]
    low, middle, high = pairs.astype(np.int16).T
    samples = np.stack([low | (middle & 0x0F) << 8, high | (middle >> 4) << 8], axis=1).reshape(-1)[:count]
    return np.where(samples > 2047, samples - 4096, samples).astype(np.int16)


def physical(samples: npt.NDArray[np.int16], signals: Sequence[Signal]) -> npt.NDArray[np.float32]:
    """int16[frames, signals] → float32[signals, frames] in each signal's unit; NaN where a sample is missing."""
    rows = zip(samples.T, signals, strict=True)
    return np.stack(
        [np.where(row == MISSING[s.format], np.nan, (row - float(s.baseline)) / s.gain) for row, s in rows]
    ).astype(np.float32)


def checksum(total: int) -> int:
    """The header's checksum for a sum of all samples: its low 16 bits, signed."""
    return (total + (1 << 15)) % (1 << 16) - (1 << 15)


# ------------------------------------------------------------------------------------------------- annotations


@dataclass(frozen=True, slots=True)
class Annotations:
    """Marks of a record in order of time: `sample` int64[n] in sample intervals, and the symbol of each."""

    sample: npt.NDArray[np.int64]
    symbol: tuple[str, ...]

    @property
    def beats(self) -> npt.NDArray[np.int64]:
        """The samples of those that mark a heartbeat, of whatever kind."""
        return self.sample[[symbol in BEAT_SYMBOLS for symbol in self.symbol]]


def parse_annotations(data: bytes) -> Annotations:
    """The annotations of an MIT-format file (.atr, .qrs, ...)."""
    marks = list(_marks(data))
    return Annotations(np.array([sample for sample, _ in marks], np.int64), tuple(symbol for _, symbol in marks))


def _marks(data: bytes) -> Iterator[tuple[int, str]]:
    """Words of 16 bits, low byte first: a code in the high 6 bits, in the low 10 the interval to the mark before."""
    position = sample = 0
    while position + 2 <= len(data):
        word = int.from_bytes(data[position : position + 2], "little")
        code, interval = word >> 10, word & 0x3FF
        position += 2
        if word == 0:
            return
        if code == _SKIP:  # a long interval follows: the high word first, each with its low byte first
            high = int.from_bytes(data[position : position + 2], "little", signed=True)
            sample += (high << 16) + int.from_bytes(data[position + 2 : position + 4], "little")
            position += 4
        elif code == _AUX:
            position += interval + interval % 2
        elif code not in (_NUM, _SUB, _CHN):
            if code not in SYMBOLS:
                raise ValueError(f"annotation code {code} at byte {position - 2} is not known")
            sample += interval
            yield sample, SYMBOLS[code]
    raise ValueError(f"no end mark in {len(data)} bytes")
