"""What the recorder of a stage has room for: its edges, and the tables of data that are on none."""

from __future__ import annotations

from typing import Final

from streamflow.core.credit import window_of
from streamflow.core.graph import Resolved
from streamflow.core.paths import Paths
from streamflow.core.turns import FLIGHT_LIMIT
from streamflow.recorder.layout import IN_HAND
from streamflow.recorder.shape import Shape

FORMER: Final = "(former)"  # the table of what waits in the mailboxes, and whose sender's life is over
GIVING_UP: Final = "(drop)"  # the table of the datum that is dropped from a mailbox here, or was taken and is given up
HELD_BACK: Final = "(held)"  # the table of what a join or a batch holds back: taken from an edge, and not yet handled


def shape_of(stage: str, resolved: Resolved, paths: Paths) -> Shape:
    """What the recorder of `stage` has room for: the same for all lives of the stage."""
    graph = resolved.graph
    definition = graph.stage(stage)
    names = tuple(each.name for each in graph.stages)
    outputs = [
        # Accepted before it is known whether another must go, so one more than may wait; and all that may be out.
        (edge.name, edge.capacity + window_of(edge.overflow, edge.capacity) + 1)
        for edge in graph.edges_from(stage)
    ]
    if definition.is_joined:
        outputs.append((HELD_BACK, len(definition.inputs) * definition.join.held_limit))
    elif definition.batch is not None:
        in_flight_max = FLIGHT_LIMIT * definition.batch.size_max if definition.devices else 0
        outputs.append((HELD_BACK, definition.batch.queue_limit + in_flight_max))
    if not definition.is_source:
        outputs.append((FORMER, sum(window_of(edge.overflow, edge.capacity) for edge in graph.edges_into(stage)) + 1))
        outputs.append((GIVING_UP, 1))
        outputs.append((IN_HAND, 1))
    return Shape(
        stage,
        names.index(stage),
        tuple((edge.name, window_of(edge.overflow, edge.capacity)) for edge in graph.edges_into(stage)),
        tuple(outputs),
        names,
        tuple(path.name for path in paths.definitions),
        tuple(index for index, path in enumerate(paths.definitions) if path.sink == stage),
        batch_size_max=0 if definition.batch is None else definition.batch.size_max,
        has_ages=definition.is_joined and not definition.join.is_plain,
    )
