"""Whether each stage gets on: `core.liveness` with what the recorders show, and the process table for suspects.

Most stages have got on since the last look, which a few words of their recorders tell; only of the others everything
is gathered that can be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from streamflow.core.graph import Resolved
from streamflow.core.liveness import (
    STOPPED_LIMIT_NS,
    Condition,
    Hung,
    Liveness,
    Sign,
    StagePhase,
    could_begin,
    default_hang_limit_ns,
    progress_of,
)
from streamflow.core.paths import Paths
from streamflow.recorder import layout
from streamflow.recorder.reader import Recording

STOPPED = "Tt"  # states in /proc/PID/stat: by a signal, by a debugger
_PHASES = {
    layout.RUNNING: StagePhase.RUNNING,
    layout.DRAINING: StagePhase.RUNNING,
    layout.CLOSED: StagePhase.ENDED,
}


@dataclass(slots=True)
class _Stage:
    """What does not change about a stage, and its decider; `inputs`: sender, place among its edges, and edge."""

    name: str
    process: str
    limit_ns: int
    inputs: list[tuple[str, int, str]]
    decider: Liveness = field(init=False)

    def __post_init__(self) -> None:
        self.begin_life()

    def begin_life(self) -> None:
        self.decider = Liveness(self.limit_ns)


class Vitals:
    """Of all stages of a run. `state_of(process)` is the letter of its state in the process table."""

    def __init__(
        self,
        resolved: Resolved,
        paths: Paths,
        recordings: Mapping[str, Recording],
        process_of: Mapping[str, str],
        state_of: Callable[[str], str],
        lost_on_edge: Mapping[str, int],
        returned: Mapping[str, int],
    ) -> None:
        """`lost_on_edge`: how many data went with dead senders on their way; `returned`: taken in vain."""
        self._recordings = recordings
        self._state_of = state_of
        self._lost_on_edge = lost_on_edge
        self._returned = returned
        places = {  # of each edge among those that leave its sender
            edge.name: place
            for stage in resolved.graph.stages
            for place, edge in enumerate(resolved.graph.edges_from(stage.name))
        }
        self._stages = {
            stage.name: _Stage(
                stage.name,
                process_of[stage.name],
                stage.hang_limit_ns or _default_limit_ns(stage.name, paths),
                [(edge.source, places[edge.name], edge.name) for edge in resolved.graph.edges_into(stage.name)],
            )
            for stage in resolved.graph.stages
        }

    def forget(self, stage: str) -> None:
        """It has no process, or another: what was seen of the last life says nothing of the next."""
        self._stages[stage].begin_life()

    def look(self, now_ns: int) -> dict[str, Hung]:
        """The stages that hang; to be asked every 25 ms."""
        found: dict[str, Hung] = {}
        serving: dict[str, list[str]] = {}  # by process, those that have its loop
        for name, recording in self._recordings.items():
            if recording.words[layout.SERVING] and not recording.blocked_on:
                serving.setdefault(self._stages[name].process, []).append(name)
        for name, recording in self._recordings.items():
            stage = self._stages[name]
            others = serving.get(stage.process, ())
            is_taken = len(others) > (name in others)
            if not self._gets_on(now_ns, stage, recording, is_taken):
                condition = self._observe(now_ns, stage, recording, is_taken)
                if isinstance(condition, Hung):
                    found[name] = condition
                    continue
            if self._is_stopped(now_ns, stage, recording):
                found[name] = Hung(recording.word(layout.BEAT_NS), "its process is stopped")
        return found

    def _gets_on(self, now_ns: int, stage: _Stage, recording: Recording, is_taken: bool) -> bool:
        words = recording.words
        _, taken = recording.arrivals()
        serving, due_ns, given_ns = words[layout.SERVING], words[layout.DUE_NS], recording.given_ns
        phase = _PHASES.get(words[layout.PHASE], StagePhase.STARTING)
        is_due = (
            phase is StagePhase.RUNNING
            and not recording.blocked_on
            and (
                serving + given_ns > 0
                or could_begin(now_ns, self._waiting(stage, taken), due_ns, is_loop_taken=is_taken)
            )
        )
        progress = progress_of(words[layout.HEAD], taken, serving, due_ns, given_ns, phase)
        return stage.decider.gets_on(now_ns, progress, words[layout.BEAT_NS], is_due=is_due)

    def _observe(self, now_ns: int, stage: _Stage, recording: Recording, is_taken: bool) -> Condition | Hung:
        condition = stage.decider.observe(now_ns, self._sign(stage, recording, is_taken, is_stopped=False))
        if condition is Condition.SUSPECT and self._state_of(stage.process) in STOPPED:
            condition = stage.decider.observe(now_ns, self._sign(stage, recording, is_taken, is_stopped=True))
        return condition

    def _is_stopped(self, now_ns: int, stage: _Stage, recording: Recording) -> bool:
        """Whether it was stopped by a signal, with or without work due: nothing will come of waiting for it."""
        words = recording.words
        if words[layout.PHASE] not in (layout.RUNNING, layout.DRAINING):
            return False
        beat_ns = words[layout.BEAT_NS]
        is_silent = bool(beat_ns) and now_ns - beat_ns > STOPPED_LIMIT_NS
        return is_silent and self._state_of(stage.process) == STOPPED[0]

    def _sign(self, stage: _Stage, recording: Recording, is_loop_taken: bool, *, is_stopped: bool) -> Sign:
        received, taken = recording.arrivals()
        service = recording.in_service()
        return Sign(
            records=recording.head,
            in_service_since_ns=None if service is None else service.started_ns,
            in_service_serial=recording.word(layout.SERVING),
            waiting=self._waiting(stage, taken),
            received=received,
            taken=taken,
            beat_ns=recording.word(layout.BEAT_NS),
            due_ns=recording.word(layout.DUE_NS),
            given_ns=recording.given_ns,
            is_blocked=bool(recording.blocked_on),
            is_loop_taken=is_loop_taken,
            is_stopped=is_stopped,
            phase=_PHASES.get(recording.word(layout.PHASE), StagePhase.STARTING),
        )

    def _waiting(self, stage: _Stage, taken: int) -> int:
        """What the stage could take: offered to it, and not taken, dropped or lost."""
        waiting = -taken
        for source, place, edge in stage.inputs:
            sender = self._recordings.get(source)
            if sender is not None:
                waiting += sender.passed_on(place)
            waiting += self._returned.get(edge, 0) - self._lost_on_edge.get(edge, 0)
        return max(waiting, 0)


def _default_limit_ns(stage: str, paths: Paths) -> int:
    within = [
        path.within_ns
        for index, path in enumerate(paths.definitions)
        if path.within_ns is not None and stage in paths.route(index)
    ]
    return default_hang_limit_ns(min(within, default=None))
