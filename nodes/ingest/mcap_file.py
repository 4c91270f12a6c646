"""What a stage sent in a run that `streamflow record` has kept, sent again: the same data, names and times."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Final

from nodes.mcap_files.reader import McapRecording, RecordedOutput, open_recording
from streamflow import Flag, InputError, Message, Node, Out, Output, ms
from streamflow.core.message import Origin
from streamflow.core.ports import PortType

SLACK: Final = 16  # data beyond what could wait for the recorder: those on their way
PROMISED_NS: Final = 20 * ms  # a promise costs as much as a datum: it is worth that where data are far apart
_JUDGED: Final = int(Flag.MISSED)  # of the recorded run, and judged anew in this one

Sent = tuple[str, Message]
"""A datum, and the port from which it was sent."""


class McapFile(Node):
    """Sends what `stage` of the recorded pipeline sent, from ports of the same names and types.

    `ports`: only from these; by default from all that were recorded. Each datum comes when it was sent, as fast as the
    run plays (`--speed`), with its event time as far before that as then; offline its event time is the recorded one to
    the nanosecond. Data keep their names (stream and number), attributes and flags. Those of a source are this stage's
    own, so that what was sent at once from several ports is sent at once; those of another stage have this one as their
    origin, to the accounts, and deadlines run from the event times they had. No join waits for what is known to come
    much later.

    Raises InputError: the file is no recording of that stage, or is damaged where it is read.
    """

    def __init__(self, path: str | os.PathLike[str], stage: str, ports: Sequence[str] | None = None) -> None:
        self.path = Path(path)
        self.stage = stage
        self.chosen = None if ports is None else tuple(ports)
        self._recording: McapRecording | None = None
        self._outputs: dict[str, RecordedOutput] = {}

    def inspect(self) -> None:
        """Look what the file has of the stage, and take over its ports."""
        recording = open_recording(self.path)
        of_stage = {one.port: one for one in recording.outputs.values() if one.stage == self.stage}
        for port in self.chosen or ():
            if port not in of_stage:
                stored = ", ".join(recording.outputs) or "nothing"
                raise InputError(str(self.path), f"has no {self.stage}.{port}", f"one of what it has: {stored}")
        if not of_stage:
            stored = ", ".join(dict.fromkeys(one.stage for one in recording.outputs.values())) or "none"
            raise InputError(str(self.path), f"has nothing of a stage {self.stage}", f"one of those it has: {stored}")
        self._outputs = {port: one for port, one in of_stage.items() if self.chosen is None or port in self.chosen}
        self._recording = recording
        for port, output in self._outputs.items():
            setattr(self, port, _out(output.type))

    async def run(self) -> None:
        assert self._recording is not None
        recording, ports = self._recording, {one.name: port for port, one in self._outputs.items()}
        begin_ns = 0 if self.context.offline else recording.begin_ns()
        sent = ((ports[name], message) for name, message in recording.messages(ports))
        is_source = any(one.is_source for one in self._outputs.values())
        data = _sent_at_once(sent, self._outputs) if is_source else ([one] for one in sent)
        newest_ns = 0
        for number, (datum, following) in enumerate(pairwise(chain(data, [None]))):
            assert datum is not None
            made_ns = _made_ns(datum, is_source=is_source)
            await self._emit(number, datum, made_ns, begin_ns, is_source=is_source)
            newest_ns = max(newest_ns, made_ns)
            if following is not None and not self.context.offline and made_ns == newest_ns:
                await self._promise(made_ns - begin_ns, _made_ns(following, is_source=is_source) - begin_ns)

    async def _promise(self, recorded_ns: int, next_ns: int) -> None:
        """Nothing comes for a while, so no join waits for it; whatever the speed makes of it: as long ago is due."""
        if next_ns - recorded_ns >= PROMISED_NS:
            now_ns, before_ns = [await self.pace(instant_ns) for instant_ns in (recorded_ns, 2 * recorded_ns - next_ns)]
            self.advance(2 * now_ns - before_ns - 2)  # either end is rounded

    async def _emit(self, number: int, datum: Sequence[Sent], made_ns: int, begin_ns: int, *, is_source: bool) -> None:
        """What was sent at once, and was made at the recorded instant `made_ns`."""
        first = datum[0][1]
        event_time_ns = await self._instant(made_ns, begin_ns)
        outputs = []
        for port, message in datum:
            own_ns = None
            if message.event_time_ns != made_ns:
                own_ns = await self._instant(message.event_time_ns, begin_ns)
            is_own = is_source and message.stream == self.stage
            seq = None if is_own and message.seq == number else message.seq
            stream = None if is_own else message.stream
            flags = message.flags & ~_JUDGED
            outputs.append(Output(dict(message.tensors), port, own_ns, seq, stream, message.attributes, flags))
        if not self.context.offline and first.sent_ns > made_ns:
            await self.pace(first.sent_ns - begin_ns)
        await self.emit(outputs[0] if len(outputs) == 1 else outputs, event_time_ns=event_time_ns)

    async def _instant(self, recorded_ns: int, begin_ns: int) -> int:
        """The event time that stands for a recorded one in this run."""
        return recorded_ns if self.context.offline else await self.pace(recorded_ns - begin_ns)


def _out(port_type: PortType) -> Out:
    port = Out("any[...]")
    port.type = port_type
    return port


def _made_ns(datum: Sequence[Sent], *, is_source: bool) -> int:
    """The event time with which it was made: a source may have given it another one, or another name."""
    first = datum[0][1]
    return _made(first).event_time_ns if is_source else first.event_time_ns


def _made(message: Message) -> Origin:
    """The datum of the source that this was, before the source itself gave it another name or time."""
    return message.all_origins()[0]


def _sent_at_once(sent: Iterable[Sent], outputs: Mapping[str, RecordedOutput]) -> Iterator[list[Sent]]:
    """The data of a source by their numbers: each port's are in order, and those of two may be apart in the file.

    A number is complete when every port has come to a later one; or when more wait than could have waited for the
    recorder, as behind a port that rarely sends. What comes after all is sent by itself.
    """
    limit = sum(output.capacity + SLACK for output in outputs.values())
    newest = {port: -1 for port, output in outputs.items() if output.count}
    waiting: dict[int, list[Sent]] = {}
    numbers: list[int] = []
    count = 0
    for port, message in sent:
        number = _made(message).seq
        newest[port] = max(newest.get(port, -1), number)
        if number not in waiting:
            waiting[number] = []
            heapq.heappush(numbers, number)
        waiting[number].append((port, message))
        count += 1
        while numbers and (numbers[0] < min(newest.values()) or count > limit):
            complete = waiting.pop(heapq.heappop(numbers))
            count -= len(complete)
            yield complete
    while numbers:
        yield waiting.pop(heapq.heappop(numbers))
