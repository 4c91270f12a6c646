"""Looks on at outputs of a pipeline and keeps what they send in an MCAP file, and counts in it what it could not keep.

It is a stage of its own, behind mailboxes that drop and never block (offline they block, and nothing is lost). How much
was sent to it and what became of that it reads from the flight recorders of the senders and of its own stage, as
anybody may; that is written with every chunk, once a second, and at the end. A disk that is full does not fail it: it
says so once, keeps counting, and the pipeline goes on.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import threading
from collections.abc import Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from nodes.mcap_files.datum import Encoder
from nodes.mcap_files.reader import FORMAT, topic_of
from nodes.mcap_files.schemas import View
from nodes.mcap_files.writer import McapWriter, preload, require_libraries
from nodes.postprocess.output_file import OutputFile
from streamflow import In, Message, Node
from streamflow.core.ports import PortType
from streamflow.errors import RecorderError
from streamflow.recorder.reader import Recording
from streamflow.runtime.clock import Instants, instants
from streamflow.runtime.rundir import recording_path

LOGGER: Final = "mcap"
FLUSH_PERIOD_S: Final = 1.0  # what a killed recorder takes with it, at most


@dataclass(frozen=True, slots=True)
class Observed:
    """An output that is recorded: it comes to `input`, over `edge`."""

    stage: str
    port: str
    input: str
    edge: str
    node: str
    is_source: bool
    view: View
    type: PortType
    capacity: int
    encoding: str = ""

    @property
    def name(self) -> str:
        return f"{self.stage}.{self.port}"

    def about(self) -> dict[str, str]:
        """For the channel's metadata."""
        tensors = {name: str(tensor) for name, tensor in self.type.tensors.items()}
        rate_hz = "" if self.type.rate_hz is None else repr(self.type.rate_hz)
        return {
            "stage": self.stage,
            "port": self.port,
            "node": self.node,
            "is_source": json.dumps(self.is_source),
            "capacity": str(self.capacity),
            "edge": self.edge,
            "view": self.view.word,
            "tensors": json.dumps(tensors),
            "rate_hz": rate_hz,
        }


class McapRecorder(Node):
    """Writes what comes from each of `outputs` to a channel of its own, `/stage/port`.

    `about`: what the file is to say of the run, beside its clocks. Instants of messages are by the wall clock: logged
    when they came here, published when they were sent; `timestamp` is the event time. Offline all three are the event
    time, counted from when the file was begun. The wall clock is looked at once: a clock that is set meanwhile changes
    no distance between two data.

    Raises InputError where the file cannot be made; later it raises nothing.
    """

    observes = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        outputs: Sequence[Observed],
        about: Mapping[str, str],
        compression: str = "none",
    ) -> None:
        self._path = Path(path)
        self._outputs = tuple(outputs)
        self._about = dict(about)
        self._compression = compression
        self._given = [0] * len(self._outputs)
        self._recordings: dict[str, Recording] = {}
        self._lock = threading.Lock()  # between the stage and the task that flushes
        self._is_over = threading.Event()
        self._flushing: threading.Thread | None = None
        self._writer: McapWriter | None = None
        self._told_failure = False
        self._has_news = False
        for index, output in enumerate(self._outputs):
            setattr(self, output.input, In())
            setattr(self, f"process_{output.input}", partial(self._keep, index))

    def inspect(self) -> None:
        require_libraries()
        OutputFile(self._path).check()

    def preload(self) -> None:
        preload()

    def open(self) -> None:
        begun = instants()
        self._wall_offset_ns = begun.wall_ns - (0 if self.context.offline else begun.monotonic_ns)
        about = {**self._about, **_clocks(begun, self._wall_offset_ns, is_offline=self.context.offline)}
        self._writer = McapWriter(self._path, self._compression, about)
        self._channels = [self._writer.add_channel(topic_of(one.name), one.view, one.about()) for one in self._outputs]
        self._encoders = [
            Encoder(one.view, one.name, one.type.rate_hz, self._wall_of, one.encoding) for one in self._outputs
        ]
        flush = partial(copy_context().run, self._flush_regularly)  # so that what it logs is this stage's
        self._flushing = threading.Thread(target=flush, name="mcap", daemon=True)
        self._flushing.start()

    def close(self) -> None:
        self._is_over.set()
        if self._flushing is not None:
            self._flushing.join()
        writer = self._writer
        if writer is None:
            return
        with self._lock:
            writer.finish()
            losses = self._losses(writer, has_ended=True)
            writer.close({"losses": json.dumps(losses)})
        self._tell_failure(writer)
        for recording in self._recordings.values():
            recording.close()

    def _keep(self, index: int, message: Message) -> None:
        data = self._encoders[index].encode(message)
        writer = self._writer
        assert writer is not None
        if self.context.offline:
            log_ns = publish_ns = self._wall_of(message.event_time_ns)
        else:
            publish_ns = self._wall_of(message.sent_ns or message.event_time_ns)
            log_ns = max(self._wall_of(message.enqueued_ns), publish_ns)
        with self._lock:
            self._given[index] += 1
            writer.add(self._channels[index], data, log_ns, publish_ns, message.seq)
            self._has_news = True
        if writer.failure:
            self._tell_failure(writer)

    def _wall_of(self, instant_ns: int) -> int:
        return max(instant_ns + self._wall_offset_ns, 0)

    # ----------------------------------------------------------------------- what could not be kept

    def _flush_regularly(self) -> None:
        """In a thread of its own, since a stage to which nothing comes sleeps."""
        writer = self._writer
        assert writer is not None
        while not self._is_over.wait(FLUSH_PERIOD_S):
            with self._lock:
                if self._has_news:
                    self._has_news = False
                    writer.flush(self._losses(writer, has_ended=False), instants().wall_ns)
            self._tell_failure(writer)

    def _tell_failure(self, writer: McapWriter) -> None:
        if writer.failure and not self._told_failure:
            self._told_failure = True
            kept = sum(writer.kept.values())
            sentence = f"{self._path}: {writer.failure}; {kept:,} data are kept and no more, the pipeline goes on"
            logging.getLogger(LOGGER).error(sentence)

    def _losses(self, writer: McapWriter, *, has_ended: bool) -> dict[str, Any]:
        """As `streamflow.Losses` has it. `has_ended`: what is still under way will not come any more."""
        outputs = [
            self._losses_of(one, writer.kept[channel], given, has_ended=has_ended)
            for one, channel, given in zip(self._outputs, self._channels, self._given, strict=True)
        ]
        totals = {what: sum(one[what] for one in outputs) for what in ("offered", "kept", "not_kept")}
        told = {"monotonic_ns": instants().monotonic_ns, **totals, "outputs": outputs}
        return told | ({"failure": writer.failure} if writer.failure else {})

    def _losses_of(self, output: Observed, kept: int, given: int, *, has_ended: bool) -> dict[str, Any]:
        sent = self._recording(output.stage)
        own = self._recording(self.context.stage)
        out = None if sent is None else next((one for one in sent.outputs() if one.name == output.edge), None)
        into = None if own is None else next((one for one in own.inputs() if one.name == output.edge), None)
        reasons: dict[str, int] = {}
        for counts in (out, into):
            for reason, count in ({} if counts is None else counts.dropped).items():
                reasons[reason] = reasons.get(reason, 0) + count
        if out is not None and out.lost:
            reasons["lost"] = out.lost
        if given > kept:
            reasons["not_written"] = given - kept
        offered = given if out is None else max(out.offered, given)
        under_way = max(offered - kept - sum(reasons.values()), 0)
        if under_way and has_ended:
            reasons["lost"] = reasons.get("lost", 0) + under_way
        not_kept = sum(reasons.values())
        told = {"output": output.name, "offered": offered, "kept": kept, "not_kept": not_kept, "reasons": reasons}
        # Of a live source whose edges block, as offline: which of them had no room it does not say.
        rejected = 0 if sent is None else sent.counter("rejected")
        return told | ({"rejected": rejected} if rejected else {})

    def _recording(self, stage: str) -> Recording | None:
        folder = self.context.recordings
        if folder is not None and stage not in self._recordings:
            try:
                self._recordings[stage] = Recording.open(recording_path(folder, stage))
            except RecorderError:
                return None
        return self._recordings.get(stage)


def _clocks(begun: Instants, wall_offset_ns: int, *, is_offline: bool) -> dict[str, str]:
    return {
        "format": FORMAT,
        "boot": begun.boot,
        "begun_monotonic_ns": str(begun.monotonic_ns),
        "begun_wall_ns": str(begun.wall_ns),
        "wall_offset_ns": str(wall_offset_ns),
        "event_time": "of the recording, from 0" if is_offline else "CLOCK_MONOTONIC of that boot",
        "offline": json.dumps(is_offline),
        "python": platform.python_version(),
    }
