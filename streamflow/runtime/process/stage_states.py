"""The recurrent states of one life of a stage: opened where its former life left them, or a former run, or made."""

from __future__ import annotations

from pathlib import Path

from streamflow.core.variants import VariantStates
from streamflow.errors import StateError
from streamflow.memory.state_layout import require_same
from streamflow.memory.states import States
from streamflow.recorder import layout
from streamflow.runtime.guard import blamed
from streamflow.runtime.loading.definition import Definition
from streamflow.runtime.node import Node
from streamflow.runtime.rundir import states_path
from streamflow.runtime.stage.actor import Actor
from streamflow.runtime.stage.variants import VariantsNode
from streamflow.runtime.state_folder import provenance, take_up
from streamflow.runtime.stream_states import NO_TAG, StreamStates, take_back


def lend_states(actor: Actor, definition: Definition, recordings: Path, kept: Path | None) -> list[str]:
    """Give an actor whose node has opened what that keeps of each stream; what was taken up for it, for people.

    `recordings`: the run's folder in memory. `kept`: the folder of snapshots, where there is one. Raises NodeError.
    """
    node, told = actor.node, list[str]()
    try:
        if not isinstance(node, VariantsNode):
            actor.states = _opened(actor, definition, actor.stage, node, recordings, kept, told)
        elif node.states is VariantStates.SHARED:
            _require_alike(actor.stage, node)
            states = _opened(actor, definition, actor.stage, node.best, recordings, kept, told)
            if states is not None:
                node.lend_states(states, "")
        else:
            names = definition.graph.stage(actor.stage).state_names
            for (variant, each), name in zip(node.variants.items(), names, strict=True):
                states = _opened(actor, definition, name, each, recordings, kept, told)
                if states is not None:
                    node.lend_states(states, variant)
            if node.states is VariantStates.RESET:
                for states in actor.all_states:
                    states.start_anew_behind([other for other in actor.all_states if other is not states])
    except StateError as error:
        raise blamed(actor.stage, error, "state_tensors") from error
    return told


def _require_alike(stage: str, node: VariantsNode) -> None:
    expected = tuple(node.best.state_tensors())
    for name, each in node.variants.items():
        hint = "shared states are stepped by all; else states=VariantStates.OWN or RESET"
        require_same(f"stage {stage}, states of variant {name}", tuple(each.state_tensors()), expected, hint)


def _opened(
    actor: Actor, definition: Definition, name: str, node: Node, recordings: Path, kept: Path | None, told: list[str]
) -> StreamStates | None:
    """What `node` keeps, by `name`; None where that is nothing."""
    stage = actor.stage
    tensors = tuple(node.state_tensors())
    if not tensors:
        return None
    rules = node.state_rules
    path = states_path(recordings, name)
    if kept is not None and not path.exists():
        now = provenance(definition.graph.name, has_recorded_time=actor.offline)
        states, sentences = take_up(kept, name, now, path, tensors, rules.stream_count_max)
        told += sentences
    else:
        states = States(path, tensors, rules.stream_count_max)
    # Where a stage before cuts the signal anew, numbers do not follow.
    is_numbered = not any(definition.nodes[each].retimes for each in definition.graph.before(stage))
    sources = definition.graph.sources_of(stage) if is_numbered else set[str]()
    redoes = definition.graph.redoes(stage)
    recorder = actor.logbook.recorder
    if redoes:  # in each life: the one that found it undone may have died before it came to this
        take_back(states, (recorder.get(layout.UNDONE_TURN), recorder.get(layout.UNDONE_STARTED_NS)))
    opened = StreamStates(
        stage,
        states,
        rules,
        actor.now_ns,
        is_numbered=is_numbered,
        sources=sources,
        tag=(lambda: recorder.service_tag) if redoes else (lambda: NO_TAG),
    )
    actor.all_states.append(opened)
    return opened
