"""Whether each stage gets on: `core.liveness` with what the recorders show, and the process table for suspects."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from streamflow.core.graph import Resolved
from streamflow.core.liveness import (
    STOPPED_LIMIT_NS,
    Condition,
    Hung,
    Liveness,
    Sign,
    StagePhase,
    default_hang_limit_ns,
)
from streamflow.core.paths import Paths
from streamflow.recorder import layout
from streamflow.recorder.reader import Recording

STOPPED = "Tt"  # states in /proc/PID/stat: by a signal, by a debugger


class Vitals:
    """Of all stages of a run. `state_of(process)` is the letter of its state in the process table."""

    def __init__(
        self,
        resolved: Resolved,
        paths: Paths,
        recordings: Mapping[str, Recording],
        process_of: Mapping[str, str],
        state_of: Callable[[str], str],
        lost_into: Callable[[str], int],
    ) -> None:
        """`lost_into`: how many data went with dead senders on their way to a stage."""
        self._lost_into = lost_into
        self._graph = resolved.graph
        self._recordings = recordings
        self._process_of = process_of
        self._state_of = state_of
        self._limits = {
            stage.name: stage.hang_limit_ns or self._default_limit_ns(stage.name, paths)
            for stage in resolved.graph.stages
        }
        self._deciders: dict[str, Liveness] = {}
        self._places = {  # of each edge among those that leave its sender
            edge.name: place
            for stage in resolved.graph.stages
            for place, edge in enumerate(resolved.graph.edges_from(stage.name))
        }
        self._inputs = {stage.name: resolved.graph.edges_into(stage.name) for stage in resolved.graph.stages}

    def _default_limit_ns(self, stage: str, paths: Paths) -> int:
        within = [
            path.within_ns
            for index, path in enumerate(paths.definitions)
            if path.within_ns is not None and stage in paths.route(index)
        ]
        return default_hang_limit_ns(min(within, default=None))

    def forget(self, stage: str) -> None:
        """It has no process, or another: what was seen of the last life says nothing of the next."""
        self._deciders.pop(stage, None)

    def look(self, now_ns: int) -> dict[str, Hung]:
        """The stages that hang; to be asked every 50 ms."""
        found: dict[str, Hung] = {}
        serving = {
            stage: recording.word(layout.SERVING) != 0 and not recording.is_blocked
            for stage, recording in self._recordings.items()
        }
        for stage, recording in self._recordings.items():
            others = (other for other, is_serving in serving.items() if is_serving and other != stage)
            is_taken = any(self._process_of[other] == self._process_of[stage] for other in others)
            sign = self._sign(stage, recording, is_taken, is_stopped=False)
            decider = self._deciders.setdefault(stage, Liveness(self._limits[stage]))
            condition = decider.observe(now_ns, sign)
            if condition is Condition.SUSPECT and self._state_of(self._process_of[stage]) in STOPPED:
                condition = decider.observe(now_ns, self._sign(stage, recording, is_taken, is_stopped=True))
            if isinstance(condition, Hung):
                found[stage] = condition
            elif self._is_stopped(now_ns, stage, recording):
                found[stage] = Hung(recording.word(layout.BEAT_NS), "its process is stopped")
        return found

    def _is_stopped(self, now_ns: int, stage: str, recording: Recording) -> bool:
        """Whether it was stopped by a signal, with or without work due: nothing will come of waiting for it."""
        if recording.word(layout.PHASE) not in (layout.RUNNING, layout.DRAINING):
            return False
        beat_ns = recording.word(layout.BEAT_NS)
        is_silent = bool(beat_ns) and now_ns - beat_ns > STOPPED_LIMIT_NS
        return is_silent and self._state_of(self._process_of[stage]) == STOPPED[0]

    def _sign(self, stage: str, recording: Recording, is_loop_taken: bool, *, is_stopped: bool) -> Sign:
        received, taken = recording.arrivals()
        service = recording.in_service()
        phase = recording.word(layout.PHASE)
        return Sign(
            records=recording.head,
            in_service_since_ns=None if service is None else service.started_ns,
            in_service_serial=recording.word(layout.SERVING),
            waiting=self._waiting(stage, taken),
            received=received,
            taken=taken,
            beat_ns=recording.word(layout.BEAT_NS),
            due_ns=recording.word(layout.DUE_NS),
            is_blocked=recording.is_blocked,
            is_loop_taken=is_loop_taken,
            is_stopped=is_stopped,
            phase=StagePhase.RUNNING
            if phase in (layout.RUNNING, layout.DRAINING)
            else StagePhase.ENDED
            if phase == layout.CLOSED
            else StagePhase.STARTING,
        )

    def _waiting(self, stage: str, taken: int) -> int:
        """What the stage could take: offered to it, and not taken, dropped or lost."""
        waiting = -taken
        for edge in self._inputs[stage]:
            sender = self._recordings.get(edge.source)
            if sender is not None:
                waiting += sender.passed_on(self._places[edge.name])
        return max(waiting - self._lost_into(stage), 0)
