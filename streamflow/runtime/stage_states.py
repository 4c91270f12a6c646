"""The recurrent states of one life of a stage: opened where its former life left them, or a former run, or made."""

from __future__ import annotations

from pathlib import Path

from streamflow.errors import StateError
from streamflow.memory.states import States
from streamflow.runtime.actor import Actor
from streamflow.runtime.definition import Definition
from streamflow.runtime.guard import blamed
from streamflow.runtime.rundir import states_path
from streamflow.runtime.state_folder import provenance, take_up
from streamflow.runtime.stream_states import NO_TAG, StreamStates, take_back


def lend_states(actor: Actor, definition: Definition, recordings: Path, kept: Path | None) -> list[str]:
    """Give an actor whose node has opened what that keeps of each stream; what was taken up for it, for people.

    `recordings`: the run's folder in memory. `kept`: the folder of snapshots, where there is one. Raises NodeError.
    """
    try:
        return _lend(actor, definition, recordings, kept)
    except StateError as error:
        raise blamed(actor.stage, error, "state_tensors") from error


def _lend(actor: Actor, definition: Definition, recordings: Path, kept: Path | None) -> list[str]:
    node, stage = actor.node, actor.stage
    tensors = tuple(node.state_tensors())
    if not tensors:
        return []
    rules = node.state_rules
    path = states_path(recordings, stage)
    told: list[str] = []
    if kept is not None and not path.exists():
        now = provenance(definition.graph.name, has_recorded_time=actor.offline)
        states, told = take_up(kept, stage, now, path, tensors, rules.stream_count_max)
    else:
        states = States(path, tensors, rules.stream_count_max)
    # Where a stage before cuts the signal anew, numbers do not follow.
    is_numbered = not any(definition.nodes[name].retimes for name in definition.graph.before(stage))
    sources = definition.graph.sources_of(stage) if is_numbered else set[str]()
    redoes = definition.graph.redoes(stage)
    if redoes and actor.keeping is not None and actor.keeping.again is not None:
        take_back(states, actor.keeping.again.tag)
    recorder = actor.logbook.recorder
    actor.states = StreamStates(
        stage,
        states,
        rules,
        actor.now_ns,
        is_numbered=is_numbered,
        sources=sources,
        tag=(lambda: recorder.service_tag) if redoes else (lambda: NO_TAG),
    )
    return told
