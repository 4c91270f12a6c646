"""How a restarted source goes on: a recording plays again from its beginning, a live sensor cannot.

A source that paces itself by recorded time is taken for a recording. Its next life emits what the former one did,
so the first data are passed over, without waiting, until the number that comes next: nothing is sent twice, and
what fell due meanwhile is sent late, and judged by its deadline. Any other source goes on with the next number.
One that was killed after it had numbered a datum, and before it had admitted it, goes on with that one.
"""

from __future__ import annotations

from streamflow.core.verdict import Kind
from streamflow.recorder import layout
from streamflow.recorder.reader import Recording
from streamflow.recorder.writer import Recorder


class Replay:
    """Numbers the data of a source over all its lives."""

    def __init__(self, recorder: Recorder, *, is_live: bool) -> None:
        self._recorder = recorder
        self._resume_seq = _next_seq(recorder)
        self._is_recording = False
        self._is_live = is_live
        self._seq = 0
        self._has_begun = False
        self.again_seq = -1
        """Of what is emitted for the second time; -1: of nothing."""

    def paced(self) -> None:
        """The source asks when recorded time is due."""
        if not self._has_begun:
            self._is_recording = not self._is_live
            self._recorder.set(layout.REPLAYS, int(self._is_recording))

    def redo(self) -> None:
        """Of what the former life emitted last nothing has left, for it was not all handed over: emit it again."""
        self._resume_seq -= 1
        self.again_seq = self._resume_seq

    @property
    def is_replaying(self) -> bool:
        """Whether what comes next was emitted by a former life."""
        return self._is_recording and self._seq < self._resume_seq

    @property
    def coming_seq(self) -> int:
        """The number of the datum that is emitted next."""
        return self._seq if self._has_begun or self._is_recording else self._resume_seq

    def next_seq(self) -> int | None:
        """The number of the datum that is emitted now; None where a former life has emitted it."""
        if not self._has_begun:
            self._has_begun = True
            if not self._is_recording:
                self._seq = self._resume_seq
        seq = self._seq
        self._seq += 1
        if seq < self._resume_seq:
            return None
        self._recorder.set(layout.NEXT_SEQ, seq + 1)
        return seq


def _next_seq(recorder: Recorder) -> int:
    """The number of the first datum of which the former life left no account."""
    seq = recorder.get(layout.NEXT_SEQ)
    if not seq:
        return 0
    recording = Recording.over(recorder.buffer)
    try:
        was_admitted = any(
            record.kind == Kind.ADMITTED for record in recording.find(recorder.shape.stage_index, seq - 1)
        )
    finally:
        recording.close()
    return seq if was_admitted else seq - 1
