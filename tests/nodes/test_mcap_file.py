"""What was recorded, sent again by a source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from nodes.ingest import McapFile
from nodes.ingest.mcap_file import SLACK, _sent_at_once
from nodes.mcap_files.datum import Encoder
from nodes.mcap_files.reader import FORMAT, open_recording, topic_of
from nodes.mcap_files.schemas import View
from nodes.mcap_files.writer import McapWriter
from nodes.postprocess.mcap_recorder import Observed
from streamflow import Flag, InputError, Message
from streamflow.core.message import Origin
from streamflow.core.ports import PortType, parse_tensor
from streamflow.testing import drive


def observed(stage: str, port: str, *, is_source: bool = True, capacity: int = 2) -> Observed:
    port_type = PortType({"array": parse_tensor("float32[n]")}, 100.0)
    label = f"{stage}_{port}"
    return Observed(
        stage, port, label, f"{stage}.{port}->r.{label}", "Node", is_source, View.TENSOR, port_type, capacity
    )


def datum(seq: int, stream: str = "mic", event_time_ns: int | None = None, **changes: object) -> Message:
    at_ns = 10 * seq if event_time_ns is None else event_time_ns
    return Message({"array": np.full(2, seq, np.float32)}, stream, seq, at_ns, {"n": seq}).replace(**changes)


def names(sent: Sequence[tuple[str, Message]]) -> list[tuple[str, int]]:
    return [(port, message.seq) for port, message in sent]


def recorded(path: Path, *outputs: tuple[Observed, list[Message]]) -> Path:
    """One output after the other."""
    writer = McapWriter(path, "none", {"format": FORMAT})
    for one, sent in outputs:
        channel = writer.add_channel(topic_of(one.name), one.view, one.about())
        encoder = Encoder(one.view, one.name, None, lambda instant_ns: instant_ns)
        for message in sent:
            writer.add(channel, encoder.encode(message), 0, 0, message.seq)
    writer.close({"losses": "{}"})
    return path


def test_a_source_sends_what_was_recorded_with_the_names_and_times_of_then(tmp_path: Path) -> None:
    sent = [datum(seq) for seq in range(5)]
    path = recorded(tmp_path / "a.mcap", (observed("mic", "out"), sent))
    node = McapFile(path, "mic")
    found = drive(node, stage="mic")["out"]
    assert [message.replace(tensors={}) for message in found] == [message.replace(tensors={}) for message in sent]
    assert [message.array.tobytes() for message in found] == [message.array.tobytes() for message in sent]
    assert node.outputs()["out"].type == PortType({"array": parse_tensor("float32[n]")}, 100.0)


def test_data_that_were_not_kept_leave_a_gap_in_the_numbers(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a.mcap", (observed("mic", "out"), [datum(0), datum(3), datum(4)]))
    found = drive(McapFile(path, "mic"), stage="mic")["out"]
    assert [(message.stream, message.seq) for message in found] == [("mic", 0), ("mic", 3), ("mic", 4)]
    assert [message.all_origins()[0].seq for message in found] == [0, 1, 2]


def test_what_was_sent_at_once_is_sent_at_once_however_it_lies_in_the_file(tmp_path: Path) -> None:
    left, right = observed("mic", "left"), observed("mic", "right")
    path = recorded(tmp_path / "a.mcap", (left, [datum(n) for n in range(6)]), (right, [datum(n) for n in (0, 2, 4)]))
    found = drive(McapFile(path, "mic"), stage="mic")
    assert [message.seq for message in found["left"]] == [0, 1, 2, 3, 4, 5]
    assert [message.seq for message in found["right"]] == [0, 2, 4]
    assert all(message.origins == () for port in ("left", "right") for message in found[port])


def test_ports_of_one_source_are_put_together_with_bounded_memory(tmp_path: Path) -> None:
    left, right = observed("mic", "left"), observed("mic", "right")
    path = recorded(tmp_path / "a.mcap", (left, [datum(0)]), (right, [datum(0)]))
    outputs = {one.port: one for one in open_recording(path).outputs.values()}
    read = []

    def sent():
        for seq in range(1000):
            read.append(seq)
            yield "left", datum(seq)
        yield "right", datum(500)

    groups = _sent_at_once(sent(), outputs)
    assert [port for port, _ in next(groups)] == ["left"]
    assert len(read) == 2 * (2 + SLACK) + 1
    rest = list(groups)
    assert len(rest) == 1000  # what came later than anybody could wait for is sent by itself
    assert [named for named in map(names, rest) if named[0][0] == "right"] == [[("right", 500)]]


def test_results_of_a_stage_keep_their_streams_and_are_its_own_to_the_accounts(tmp_path: Path) -> None:
    joined = datum(
        7, "camera", flags=int(Flag.PARTIAL | Flag.MISSED), origins=(Origin("camera", 7, 70), Origin("imu", 30, 68))
    )
    path = recorded(tmp_path / "a.mcap", (observed("fuse", "out", is_source=False), [joined, datum(2, "other", 20)]))
    first, second = drive(McapFile(path, "fuse"), stage="fuse")["out"]
    assert (first.stream, first.seq, first.event_time_ns, first.attributes) == ("camera", 7, 70, {"n": 7})
    assert first.flags == Flag.PARTIAL
    assert first.all_origins() == (Origin("fuse", 0, 70),)
    assert (second.stream, second.seq, second.all_origins()) == ("other", 2, (Origin("fuse", 1, 20),))


def test_an_output_that_was_not_recorded_is_refused_with_those_that_were(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a.mcap", (observed("mic", "out"), [datum(0)]))
    with pytest.raises(InputError, match=r"has nothing of a stage cam, expected one of those it has: mic"):
        McapFile(path, "cam").inspect()
    with pytest.raises(InputError, match=r"has no mic.in, expected one of what it has: mic.out"):
        McapFile(path, "mic", ["in"]).inspect()
