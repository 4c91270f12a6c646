"""How failures are met, in OTP's words: who is restarted with whom, how often, and when to give up."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from streamflow.core.timebase import ms, s


class RestartStrategy(Enum):
    """Who is restarted when one stage of the group fails."""

    ONE_FOR_ONE = "one_for_one"
    """The stage alone."""
    REST_FOR_ONE = "rest_for_one"
    """The stage and everything downstream of it, in the graph, within the group."""
    ONE_FOR_ALL = "one_for_all"
    """The whole group."""


class Restart(Enum):
    """Whether a stage is started again."""

    PERMANENT = "permanent"
    """Always: a source that ends by itself is started again too, and its stream goes on. What has inputs ends with
    them, and is then done."""
    TRANSIENT = "transient"
    """When it failed; not when its stream has ended."""
    TEMPORARY = "temporary"
    """Never: its streams end where it failed, and the rest goes on without it."""


@dataclass(frozen=True, slots=True)
class GroupDef:
    """Stages that share a strategy and a limit: more than `intensity` restarts in any `period_ns` ends the run.

    The first restart is at once; each further one within the period waits twice as long as the last, from
    `backoff_ns` up to `backoff_ns_max`, with jitter, so that what failed together does not come back together.
    """

    name: str
    stages: tuple[str, ...]
    strategy: RestartStrategy = RestartStrategy.ONE_FOR_ONE
    intensity: int = 5
    period_ns: int = 10 * s
    backoff_ns: int = 50 * ms
    backoff_ns_max: int = 2 * s
