"""A recorder by itself: what it writes, what a cut or a full disk leaves of that, and what others read of it."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader

from nodes.mcap_files.reader import open_recording
from nodes.mcap_files.schemas import View
from nodes.mcap_files.writer import McapWriter, mend, require_free
from nodes.postprocess.mcap_recorder import McapRecorder, Observed
from streamflow import InputError, Message
from streamflow.core.ports import PortType, parse_tensor
from streamflow.testing import drive

MEGABYTE = 1 << 20


def observed(stage: str, tensor: str, view: View = View.TENSOR, rate_hz: float | None = None) -> Observed:
    port_type = PortType({"array": parse_tensor(tensor)}, rate_hz)
    return Observed(stage, "out", stage, f"{stage}.out->recorder.{stage}", "Node", True, view, port_type, 8)


MIC = observed("mic", "float32[512]", View.AUDIO, 16_000.0)
CAM = observed("cam", "uint8[4, 6, 3]", View.IMAGE, 30.0)
ABOUT = {"pipeline": "cabin", "reference": "pipelines/cabin.py", "settings": '{"seconds": "3"}', "streamflow": "1"}


def recorder(path: Path, *outputs: Observed, compression: str = "none") -> McapRecorder:
    return McapRecorder(path, outputs or [MIC, CAM], ABOUT, compression)


def data(stage: str, count: int, size: int = 512) -> list[Message]:
    random = np.random.default_rng(len(stage))
    return [
        Message({"array": random.normal(size=size).astype(np.float32)}, stage, seq, seq * 32_000_000, {"sample": seq})
        for seq in range(count)
    ]


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
def test_a_recording_says_what_it_is_and_gives_its_data_back(tmp_path: Path, compression: str) -> None:
    sound = data("mic", 20)
    frames = [Message({"array": np.full((4, 6, 3), seq, np.uint8)}, "cam", seq, seq * 33_000_000) for seq in range(5)]
    drive(recorder(tmp_path / "a.mcap", compression=compression), {"mic": sound, "cam": frames}, stage="recorder")
    found = open_recording(tmp_path / "a.mcap")
    assert (found.pipeline, found.settings, found.is_whole) == ("cabin", {"seconds": "3"}, True)
    assert {name: output.count for name, output in found.outputs.items()} == {"mic.out": 20, "cam.out": 5}
    mic = found.outputs["mic.out"]
    assert (mic.type, mic.view, mic.node, mic.is_source) == (MIC.type, View.AUDIO, "Node", True)
    assert (found.losses["offered"], found.losses["kept"], found.losses["not_kept"]) == (25, 25, 0)
    assert found.notes() == []
    for name, sent in (("mic.out", sound), ("cam.out", frames)):
        again = [message for _, message in found.messages([name])]
        assert [message.replace(tensors={}) for message in again] == [message.replace(tensors={}) for message in sent]
        assert all(a.array.tobytes() == b.array.tobytes() for a, b in zip(again, sent, strict=True))
    assert len(list(found.messages(found.outputs))) == 25


def test_any_tool_reads_it_by_its_index(tmp_path: Path) -> None:
    drive(recorder(tmp_path / "a.mcap"), {"mic": data("mic", 3), "cam": []}, stage="recorder")
    with (tmp_path / "a.mcap").open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        summary = reader.get_summary()
        assert summary is not None
        assert summary.statistics is not None
        assert {channel.topic for channel in summary.channels.values()} == {
            "/mic/out",
            "/cam/out",
            "/streamflow/losses",
        }
        (offset,) = {int(one.metadata["wall_offset_ns"]) for one in reader.iter_metadata() if one.name == "streamflow"}
        instants = [(message.log_time, message.publish_time) for _, _, message in reader.iter_messages()]
    assert instants == [(offset + seq * 32_000_000,) * 2 for seq in range(3)]


def test_what_a_killed_recorder_leaves_is_read_up_to_the_last_whole_chunk(tmp_path: Path) -> None:
    drive(recorder(tmp_path / "a.mcap", MIC), data("mic", 1500), stage="recorder")
    whole = (tmp_path / "a.mcap").read_bytes()
    counts = []
    for size in range(300, len(whole) - 1, len(whole) // 40):
        (tmp_path / "b.mcap").write_bytes(whole[:size])
        if b"begun_monotonic_ns" not in whole[: size - 200]:  # nothing is known of it yet
            with pytest.raises(InputError, match="is cut before anything was recorded"):
                open_recording(tmp_path / "b.mcap")
            continue
        found = open_recording(tmp_path / "b.mcap")
        seqs = [message.seq for _, message in found.messages(found.outputs)]
        assert not found.is_whole
        assert seqs == list(range(found.count))
        if found.outputs:
            assert f"it was cut; the {found.count:,} data" in found.notes()[0]
        counts.append(found.count)
    assert counts == sorted(counts)
    assert len(set(counts)) > 3


def test_a_cut_file_is_ended_with_what_it_lacks(tmp_path: Path) -> None:
    drive(recorder(tmp_path / "a.mcap", MIC), data("mic", 1500), stage="recorder")
    whole = (tmp_path / "a.mcap").read_bytes()
    cut = tmp_path / "b.mcap"
    cut.write_bytes(whole[: len(whole) // 2])
    kept = open_recording(cut).count
    losses = {"not_kept": 1500 - kept, "outputs": [], "failure": "it was killed"}
    mend(cut, {"losses": json.dumps(losses)})
    found = open_recording(cut)
    assert (found.is_whole, found.count, found.losses) == (True, kept, losses)
    assert [message.seq for _, message in found.messages(found.outputs)] == list(range(kept))
    with cut.open("rb") as file:
        assert sum(channel.topic == "/mic/out" for _, channel, _ in make_reader(file).iter_messages()) == kept


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """As on a full disk: a write beyond it fails."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


def test_a_full_disk_is_told_once_and_everything_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.mcap"
    with file_size_limit(3 * MEGABYTE):
        drive(recorder(path, MIC), data("mic", 2000), stage="recorder")
    assert path.stat().st_size <= 3 * MEGABYTE
    found = open_recording(path)
    losses, seqs = found.losses, [message.seq for _, message in found.messages(found.outputs)]
    assert 0 < found.count < 2000
    assert seqs == list(range(found.count))
    assert (losses["offered"], losses["kept"]) == (2000, found.count)
    assert losses["outputs"][0]["reasons"] == {"not_written": 2000 - found.count}
    assert found.is_whole
    sentence = f"{path}: the file has reached the size limit of this process or file system"
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert told == [("ERROR", f"{sentence}; {found.count:,} data are kept and no more, the pipeline goes on")]
    assert f"{2000 - found.count:,} data could not be kept" in found.notes()[0]


def test_what_has_come_is_in_the_file_a_second_later(tmp_path: Path) -> None:
    """Also where nothing comes after it: a cut recording has what was lost until then, too."""
    path, node = tmp_path / "a.mcap", recorder(tmp_path / "a.mcap", MIC)
    sizes = []

    class Waiting(McapRecorder):
        def flush(self) -> None:
            end = time.monotonic() + 10
            while not sizes and time.monotonic() < end:
                (tmp_path / "b.mcap").write_bytes(path.read_bytes())
                found = open_recording(tmp_path / "b.mcap")
                if found.count:
                    sizes.append((found.count, found.is_whole, found.losses["kept"]))
                time.sleep(0.02)

    node.__class__ = Waiting
    drive(node, data("mic", 3), stage="recorder")
    assert sizes == [(3, False, 3)]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"RIFF....WAVEfmt ", "is no MCAP file"),
        (b"\x89MCAP0", "is no MCAP file"),
        (b"\x89MCAP0\r\n", "is cut before anything was recorded"),
        (b"", "is empty"),
    ],
)
def test_what_is_no_recording_is_refused_in_a_sentence(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "a.mcap").write_bytes(content)
    with pytest.raises(InputError, match=found) as refused:
        open_recording(tmp_path / "a.mcap")
    assert str(refused.value).startswith(f"{tmp_path}/a.mcap: ")


def test_an_mcap_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    from mcap.writer import Writer

    with (tmp_path / "a.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start()
        channel = writer.register_channel("/x", "json", 0)
        writer.add_message(channel, 0, b"{}", 0)
        writer.finish()
    with pytest.raises(InputError, match="was not written by streamflow, expected an MCAP file that"):
        open_recording(tmp_path / "a.mcap")


def test_a_damaged_chunk_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    drive(recorder(path, MIC), data("mic", 100), stage="recorder")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    found = open_recording(path)
    with pytest.raises(InputError, match="is damaged"):
        list(found.messages(found.outputs))


def test_of_a_copy_without_its_metadata_it_is_said_what_is_missing(tmp_path: Path) -> None:
    """As the mcap package copies: schemas, channels and messages."""
    from mcap.writer import Writer

    drive(recorder(tmp_path / "a.mcap", MIC), data("mic", 20), stage="recorder")
    with (tmp_path / "a.mcap").open("rb") as file, (tmp_path / "b.mcap").open("wb") as copy:
        writer = Writer(copy)
        writer.start()
        numbers: dict[int, int] = {}
        for schema, channel, message in make_reader(file).iter_messages():
            assert schema is not None
            if channel.id not in numbers:
                own = writer.register_schema(schema.name, schema.encoding, schema.data)
                numbers[channel.id] = writer.register_channel(
                    channel.topic, channel.message_encoding, own, channel.metadata
                )
            writer.add_message(numbers[channel.id], message.log_time, message.data, message.publish_time)
        writer.finish()
    with pytest.raises(InputError, match="lacks its metadata record `streamflow`, as in a copy"):
        open_recording(tmp_path / "b.mcap")


@pytest.mark.parametrize("size", [9, 20])
def test_what_is_wrong_with_a_damaged_file_is_said(tmp_path: Path, size: int) -> None:
    """Also where the library has no words for it: a chunk that is not there any more, though the index was."""
    path = tmp_path / "a.mcap"
    drive(recorder(path, MIC), data("mic", 100), stage="recorder")
    found = open_recording(path)
    assert found.chunks is not None
    with path.open("r+b") as file:
        file.truncate(found.chunks[0][0] + size)
    with pytest.raises(InputError, match=r"is damaged \(a chunk ends too early\)"):
        list(found.messages(found.outputs))


def test_a_file_is_of_one_writer_and_whoever_reads_the_one_before_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    drive(recorder(path, MIC), data("mic", 1500), stage="recorder")
    former = open_recording(path)
    reading = former.messages(former.outputs)
    assert next(reading)[1].seq == 0
    require_free(path)
    writer = McapWriter(path, "none", {})
    for refused in (require_free, lambda path: McapWriter(path, "none", {})):
        with pytest.raises(InputError, match="is being written by another run"):
            refused(path)
    assert [message.seq for _, message in reading] == list(range(1, 1500))
    writer.close({})
    require_free(path)


def test_a_pipe_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is no regular file"):
        open_recording(tmp_path / "pipe")


def test_a_file_that_cannot_be_made_is_told_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its folder does not exist"):
        recorder(tmp_path / "none" / "a.mcap").inspect()
