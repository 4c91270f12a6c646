"""An MCAP file that streamflow has recorded: what it says of itself, and its data in the order in which they were kept.

The door to the library's reading half. A file that was ended in order is read by its index, so that who wants one
output need not look at the others; one that was cut, as by a kill, is read from its beginning up to the last whole
chunk. Nothing else is taken for a recording, and each refusal is one sentence.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from nodes.mcap_files.datum import decode
from nodes.mcap_files.schemas import View
from nodes.mcap_files.writer import LOSSES, LOSSES_TOPIC, RECORDING
from streamflow import InputError, Message, MissingExtraError, WireError
from streamflow.core.ports import PortType, parse_tensor
from streamflow.errors import DamagedFileError

EXPECTED: Final = "an MCAP file that streamflow record has written"
FORMAT: Final = "1"
OF_CHANNEL: Final = {"stage", "port", "tensors"}  # among the metadata of each of our channels
_RECORD_HEAD_SIZE: Final = 9  # what it is, and how long


@dataclass(frozen=True, slots=True)
class RecordedOutput:
    """An output of the recorded pipeline: `name` is `stage.port`."""

    name: str
    stage: str
    port: str
    node: str
    is_source: bool
    view: View
    type: PortType
    channel: int
    capacity: int
    """Data that could wait for the recorder: so far apart may be what was sent at once."""
    count: int = 0
    """Data of it in the file."""


@dataclass(slots=True)
class McapRecording:
    """A recording. `is_whole`: it was ended in order. `losses`: the newest `streamflow.Losses` in the file."""

    path: Path
    about: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, RecordedOutput] = field(default_factory=dict)
    losses: dict[str, Any] = field(default_factory=dict)
    is_whole: bool = True
    chunks: list[tuple[int, frozenset[int]]] | None = None
    """Where each chunk begins, and the channels that it has messages of; None without an index."""

    @property
    def pipeline(self) -> str:
        return self.about.get("pipeline", "")

    @property
    def settings(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.about.get("settings", "{}"))
        return found

    @property
    def count(self) -> int:
        """Data in the file."""
        return sum(output.count for output in self.outputs.values())

    def notes(self) -> list[str]:
        """What whoever replays it should know."""
        notes = []
        if not self.is_whole:
            notes.append(f"{self.path}: it was cut; the {self.count:,} data up to the last whole chunk are there")
        if missing := self.losses.get("not_kept", 0):
            parts = [
                f"{one['output']} {one['not_kept']:,} of {one['offered']:,} ({_each(one['reasons'])})"
                for one in self.losses.get("outputs", ())
                if one["not_kept"]
            ]
            failure = f"; {self.losses['failure']}" if self.losses.get("failure") else ""
            notes.append(f"{self.path}: {missing:,} data could not be kept: {', '.join(parts)}{failure}")
        for output in self.losses.get("outputs", ()):
            if rejected := output.get("rejected"):
                whose = output["output"].partition(".")[0]
                notes.append(
                    f"{self.path}: {rejected:,} data of {whose} found no room on an edge, perhaps the recorder's"
                )
        return notes

    def messages(self, names: Collection[str]) -> Iterator[tuple[str, Message]]:
        """(output, datum) in the order of the file. Raises DamagedFileError where the file is damaged."""
        wanted = {output.channel: output for name, output in self.outputs.items() if name in names}
        with self.path.open("rb") as stream:
            found = _linear(stream) if self.chunks is None else _indexed(stream, self.path, self.chunks, wanted.keys())
            for record in found:
                output = wanted.get(record.channel_id)
                if output is not None:
                    try:
                        yield output.name, decode(record.data, output.view)
                    except WireError as error:
                        raise DamagedFileError(f"{self.path}, {output.name}", error.found, EXPECTED) from None

    def begin_ns(self) -> int:
        """The event time of the first datum in the file; 0 where there is none."""
        return next((message.event_time_ns for _, message in self.messages(self.outputs)), 0)


def open_recording(path: str | Path) -> McapRecording:
    """What the file says of itself. Raises InputError where it is no recording; MissingExtraError."""
    from nodes.ingest.recording import readable_file  # whose package has a source that reads by this module

    library = _library()
    file = readable_file(path, EXPECTED)
    if not file.is_file():
        raise InputError(str(file), "is no regular file", EXPECTED, "a pipe can be written and not replayed")
    recording = McapRecording(file)
    with file.open("rb") as stream:
        try:
            reader = library.SeekingReader(stream, validate_crcs=True)
        except library.FAULTS:
            raise InputError(str(file), "is no MCAP file", EXPECTED) from None
        try:
            summary = reader.get_summary()
            metadata = [] if summary is None else list(reader.iter_metadata())
        except library.FAULTS:
            summary, recording.is_whole = None, False
        if summary is not None and summary.statistics is not None:
            counts = summary.statistics.channel_message_counts
            channels = dict(summary.channels)
            chunks = sorted(summary.chunk_indexes, key=lambda chunk: chunk.chunk_start_offset)
            recording.chunks = [(one.chunk_start_offset, frozenset(one.message_index_offsets)) for one in chunks]
            for each in metadata:
                _hear_metadata(recording, each)
        else:
            channels, counts = _scan(stream, recording, library)
    if not recording.about:
        found = "was not written by streamflow" if recording.is_whole else "is cut before anything was recorded"
        if any(channel.metadata.keys() >= OF_CHANNEL for channel in channels.values()):
            hint = "whoever copies a recording must copy its metadata records too"
            raise InputError(str(file), f"lacks its metadata record `{RECORDING}`, as in a copy", EXPECTED, hint)
        raise InputError(str(file), found, EXPECTED)
    if recording.about.get("format") != FORMAT:
        raise InputError(str(file), f"has format {recording.about.get('format')}", f"{FORMAT}, of this streamflow")
    for number, channel in channels.items():
        if channel.topic != LOSSES_TOPIC:
            output = _output(file, number, channel.metadata, counts.get(number, 0))
            recording.outputs[output.name] = output
    return recording


def _scan(stream: IO[bytes], recording: McapRecording, library: Any) -> tuple[dict[int, Any], Counter[int]]:
    """All that can be read of a file without an index, from its beginning."""
    channels: dict[int, Any] = {}
    counts: Counter[int] = Counter()
    newest = b""
    for record in _records(stream, library):
        if isinstance(record, library.Channel):
            channels[record.id] = record
        elif isinstance(record, library.Message):
            counts[record.channel_id] += 1
            if record.channel_id in channels and channels[record.channel_id].topic == LOSSES_TOPIC:
                newest = record.data
        elif isinstance(record, library.Metadata):
            _hear_metadata(recording, record)
    if newest and not recording.losses:
        recording.losses = _losses(recording.path, newest)
    return channels, counts


def _hear_metadata(recording: McapRecording, metadata: Any) -> None:
    if metadata.name == RECORDING:
        recording.about = dict(metadata.metadata)
    elif metadata.name == LOSSES:
        recording.losses = _losses(recording.path, metadata.metadata.get("losses", ""))


def _losses(file: Path, text: str | bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(str(file), f"says of its losses what cannot be understood ({error})", EXPECTED) from None
    return found if isinstance(found, dict) else {}


def _output(file: Path, channel: int, about: dict[str, str], count: int) -> RecordedOutput:
    try:
        tensors = {name: parse_tensor(text) for name, text in json.loads(about["tensors"]).items()}
        rate_hz = float(about["rate_hz"]) if about["rate_hz"] else None
        return RecordedOutput(
            f"{about['stage']}.{about['port']}",
            about["stage"],
            about["port"],
            about["node"],
            about["is_source"] == "true",
            View[about["view"].upper()],
            PortType(tensors, rate_hz),
            channel,
            int(about["capacity"]),
            count,
        )
    except (KeyError, ValueError, AttributeError) as error:
        raise InputError(str(file), f"says of a channel what cannot be understood ({error})", EXPECTED) from None


def _indexed(
    stream: IO[bytes], path: Path, chunks: list[tuple[int, frozenset[int]]], wanted: Collection[int]
) -> Iterator[Any]:
    """Messages of the chunks that have any of those channels, one chunk at a time.

    *Not taken*: the library's own `iter_messages`, which in the file's order holds all of them at once.
    """
    library = _library()
    for begin, has in chunks:
        if has.isdisjoint(wanted):
            continue
        try:
            stream.seek(begin + _RECORD_HEAD_SIZE)
            records = library.breakup_chunk(library.Chunk.read(library.ReadDataStream(stream)), validate_crc=True)
        except library.FAULTS as error:
            is_short = isinstance(error, library.EndOfFile | struct.error)
            words = "a chunk ends too early" if is_short else str(error) or type(error).__name__
            raise DamagedFileError(str(path), f"is damaged ({words})", EXPECTED) from None
        yield from (record for record in records if isinstance(record, library.Message))


def _linear(stream: IO[bytes]) -> Iterator[Any]:
    library = _library()
    return (record for record in _records(stream, library) if isinstance(record, library.Message))


def _records(stream: IO[bytes], library: Any) -> Iterator[Any]:
    """Whole records from the beginning; where it was cut they end."""
    stream.seek(0)
    try:
        yield from library.StreamReader(stream, validate_crcs=True).records
    except library.FAULTS:
        return


def topic_of(output: str) -> str:
    """`/stage/port`, as tools group topics."""
    return "/" + output.replace(".", "/", 1)


def _each(reasons: dict[str, int]) -> str:
    return ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in reasons.items())


class _Library:
    """Of mcap what is used here."""

    def __init__(self) -> None:
        import zstandard
        from mcap.data_stream import ReadDataStream
        from mcap.exceptions import EndOfFile, McapError
        from mcap.reader import SeekingReader
        from mcap.records import Channel, Chunk, Message, Metadata
        from mcap.stream_reader import StreamReader, breakup_chunk

        self.SeekingReader, self.StreamReader, self.ReadDataStream = SeekingReader, StreamReader, ReadDataStream
        self.Channel, self.Chunk, self.Message, self.Metadata = Channel, Chunk, Message, Metadata
        self.breakup_chunk, self.EndOfFile = breakup_chunk, EndOfFile
        # What a cut or damaged file makes it raise, that of the decompressors included (lz4 has RuntimeError).
        self.FAULTS = (
            McapError, ValueError, KeyError, OSError, EOFError, RuntimeError, struct.error, zlib.error,
            zstandard.ZstdError, AssertionError, MemoryError, OverflowError,
        )  # fmt: skip


def _library() -> Any:
    try:
        return _Library()
    except ImportError:
        raise MissingExtraError("MCAP", "mcap", "mcap") from None
