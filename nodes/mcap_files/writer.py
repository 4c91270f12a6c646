"""An MCAP file in the making: whole after every chunk, whatever becomes of its writer or of the disk.

The door to the library's writing half; the reading one is `reader`. Chunks end after a megabyte and after a second, so
a killed writer takes at most that with it. Where the disk refuses a chunk the file is cut back to the last whole one,
and ends there in order, with what was lost: that is smaller than the chunk that found no room.

A file is of one writer, which holds a lock on it for as long as it writes. One that is there is never emptied: a new
one takes its place, and whoever reads the old one goes on reading that.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from nodes.mcap_files.schemas import LOSSES_SCHEMA, View, schema_of
from streamflow import InputError, MissingExtraError

CHUNK_SIZE: Final = 1 << 20  # bytes; a larger datum is a chunk of its own
RECORDING: Final = "streamflow"
"""The metadata that say what was recorded, at the beginning."""
LOSSES: Final = "streamflow.losses"
"""Those that say at the end what the file lacks."""
LOSSES_TOPIC: Final = "/streamflow/losses"
COMPRESSIONS: Final = ("none", "lz4", "zstd")
_RECORD_HEAD: Final = struct.Struct("<BQ")  # what it is, and how many bytes follow
_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file has reached the size limit of this process or file system",
    errno.EPIPE: "its reader has closed it",
}


class McapWriter:
    """A file that is being written. Once `failure` is said nothing is added any more, and nothing raises.

    `kept`: messages by channel, those of the chunk that is not full yet included.
    """

    def __init__(self, path: str | os.PathLike[str], compression: str, about: Mapping[str, str]) -> None:
        """Raises InputError where the file cannot be made; MissingExtraError."""
        library = _library()
        self.path = Path(path)
        self.failure = ""
        self.kept: Counter[int] = Counter()
        self._pending: Counter[int] = Counter()  # of them those that are not in the file yet
        self._sink = _Sink(self.path)
        kinds = library.CompressionType
        self._writer = library.Writer(
            self._sink, chunk_size=CHUNK_SIZE, compression=getattr(kinds, compression.upper()), enable_data_crcs=False
        )
        self._schemas: dict[str, int] = {}
        try:
            self._writer.start(profile="", library=f"streamflow, {library.LIBRARY_IDENTIFIER}")
            self._writer.add_metadata(RECORDING, dict(about))
        except OSError as error:
            self._sink.close()
            raise InputError(str(self.path), _reason(error), "a file that can be written") from None
        self._losses = self._channel(LOSSES_TOPIC, "streamflow.Losses", "json", {})
        self._settled = self._sink.position

    @property
    def size(self) -> int:
        """Bytes of whole chunks."""
        return self._sink.position

    def add_channel(self, topic: str, view: View, about: Mapping[str, str]) -> int:
        return self._channel(topic, view.value, "protobuf", about, schema_of(view))

    def _channel(self, topic: str, name: str, encoding: str, about: Mapping[str, str], schema: bytes = b"") -> int:
        if name not in self._schemas:
            content = schema or json.dumps(LOSSES_SCHEMA).encode()
            self._schemas[name] = self._writer.register_schema(name, "protobuf" if schema else "jsonschema", content)
        found: int = self._writer.register_channel(topic, encoding, self._schemas[name], dict(about))
        return found

    def add(self, channel: int, data: bytes, log_ns: int, publish_ns: int, sequence: int) -> None:
        """Keep a message; instants by the wall clock."""
        if self.failure:
            return
        self.kept[channel] += 1
        self._pending[channel] += 1
        with self._settling():
            self._writer.add_message(channel, log_ns, data, publish_ns, sequence & 0xFFFFFFFF)

    def flush(self, losses: Mapping[str, Any], wall_ns: int) -> None:
        """End the chunk, with what is lost so far in it."""
        if not self.failure:
            with self._settling():
                self._writer.add_message(self._losses, wall_ns, json.dumps(losses).encode(), wall_ns)
                self._writer.flush()

    def finish(self) -> None:
        """No more messages: end the last chunk. Afterwards `kept` is what the file has."""
        if not self.failure:
            with self._settling():
                self._writer.flush()

    def close(self, losses: Mapping[str, str]) -> None:
        """End the file in order, with what it lacks; where a chunk could not be kept without an index."""
        with self._settling():
            if self.failure:
                self._sink.write(_ending(losses))
            else:
                self._writer.add_metadata(LOSSES, dict(losses))
                self._writer.finish()
        self._sink.close()

    @contextmanager
    def _settling(self) -> Iterator[None]:
        """Whoever makes the file grow has ended the chunk: what was pending is kept, or, where that failed, is not."""
        error: OSError | None = None
        try:
            yield
        except OSError as caught:
            error = caught
        if self._sink.position != self._settled:
            self._settled = self._sink.position
            self._pending.clear()
        if error is not None and not self.failure:
            self.failure = _reason(error)
            self.kept -= self._pending


def mend(path: Path, losses: Mapping[str, str]) -> None:
    """End a file in order whose writer was killed: after its last whole record, with what it lacks. Raises OSError."""
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # no other run has begun to write it
        end, size = len(_magic()), path.stat().st_size
        while True:
            file.seek(end)
            head = file.read(_RECORD_HEAD.size)
            if len(head) < _RECORD_HEAD.size or end + len(head) + _RECORD_HEAD.unpack(head)[1] > size:
                break
            end += len(head) + _RECORD_HEAD.unpack(head)[1]
        file.truncate(end)
        file.seek(end)
        file.write(_ending(losses))


def _magic() -> bytes:
    magic: bytes = _library().MCAP0_MAGIC
    return magic


def _ending(losses: Mapping[str, str]) -> bytes:
    """The end of a file that has no index: readers go through it from its beginning."""
    from mcap.data_stream import RecordBuilder
    from mcap.records import DataEnd, Footer, Metadata

    builder = RecordBuilder()
    Metadata(name=LOSSES, metadata=dict(losses)).write(builder)
    DataEnd(data_section_crc=0).write(builder)
    Footer(summary_start=0, summary_offset_start=0, summary_crc=0).write(builder)
    end: Any = builder.end  # which says nothing of its types
    return bytes(end()) + _magic()


class _Sink:
    """The file as the library writes to it: each write is whole, or leaves no trace."""

    def __init__(self, path: Path) -> None:
        try:
            self._fd = _made(Path(os.path.realpath(path)))
        except OSError as error:
            raise _refused(path, error) from None
        self._is_regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
        self.position = 0

    def write(self, data: bytes | memoryview) -> int:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            if self._is_regular:
                os.ftruncate(self._fd, self.position)
                os.lseek(self._fd, self.position, os.SEEK_SET)
            raise
        self.position += len(data)
        return len(data)

    def tell(self) -> int:
        return self.position

    def flush(self) -> None:
        """Everything is with the operating system already."""

    def close(self) -> None:
        os.close(self._fd)


def _made(path: Path) -> int:
    """A descriptor of a new file, locked; of a pipe or a device as it is."""
    how = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
    if path.is_file():
        _take_away(path)
    elif path.exists():
        return os.open(path, how)
    fd = os.open(path, how | os.O_EXCL, 0o666)
    try:
        _lock(fd)
    except OSError:
        os.close(fd)
        raise
    return fd


def _take_away(path: Path) -> None:
    former = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _lock(former)
        if not os.path.samestat(os.fstat(former), path.stat()):
            raise BlockingIOError(errno.EWOULDBLOCK, "")  # another run has just made its own
        path.unlink()
    finally:
        os.close(former)


def _lock(fd: int) -> None:
    """Raises BlockingIOError where another has it. A file system that has no locks is written without."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        pass


def require_free(path: str | os.PathLike[str]) -> None:
    """To be asked before anything starts, and by nobody who writes it: raises InputError where another run does."""
    file = Path(os.path.realpath(path))
    if not file.is_file():
        return
    try:
        if not os.access(file.parent, os.W_OK):
            raise PermissionError(errno.EACCES, "its folder may not be written, and so it cannot be replaced")
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _lock(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise _refused(path, error) from None


def _refused(path: str | os.PathLike[str], error: OSError) -> InputError:
    if isinstance(error, BlockingIOError | FileExistsError):
        return InputError(os.fspath(path), "is being written by another run", "a file of this run's own")
    return InputError(os.fspath(path), _reason(error), "a file that can be written")


def _reason(error: OSError) -> str:
    return _REASONS.get(error.errno or 0, error.strerror or str(error))


def require_libraries() -> None:
    """Raise MissingExtraError where one is not installed; imports none."""
    for module, library in (("mcap", "mcap"), ("foxglove_schemas_protobuf", "foxglove-schemas-protobuf")):
        if find_spec(module) is None:
            raise MissingExtraError("MCAP", library, "mcap")


def preload() -> None:
    """Import what writing needs, where it is there."""
    with suppress(MissingExtraError):
        _library()


def _library() -> Any:
    try:
        import mcap.writer
    except ImportError:
        raise MissingExtraError("MCAP", "mcap", "mcap") from None
    return mcap.writer
