"""Runs to begin a test with, as the supervisor sees them: one of two processes, and one of four that are restarted."""

from __future__ import annotations

from streamflow.core.graph import EdgeDef, Graph, StageDef
from streamflow.core.restart import Restarts, downstream_of, with_rest
from streamflow.core.rollcall import Arm, Leave, Limit, Phase, Revive, RollCall
from streamflow.core.supervision import GroupDef, Restart, RestartStrategy

LEAVE = [Leave(), Arm(Limit.EXIT)]

NAMES = ("mic", "cam", "vad", "text")
EDGES = (("mic", "vad"), ("vad", "text"), ("cam", "text"))
PROCESSES = {name: [name] for name in NAMES}
KILLED = "was killed by SIGKILL"


def starting() -> RollCall:
    """Two processes, three stages."""
    roll = RollCall({"p": ["source"], "q": ["work", "sink"]})
    assert roll.begun() == [Arm(Limit.STARTUP)]
    return roll


def bound() -> RollCall:
    roll = starting()
    for process in ("p", "q"):
        roll.bound(process, {})
    return roll


def running() -> RollCall:
    roll = bound()
    for stage in ("source", "work", "sink"):
        roll.ready(stage)
    assert roll.phase is Phase.RUNNING
    return roll


def leaving() -> RollCall:
    roll = running()
    for stage in ("source", "work", "sink"):
        roll.closed(stage)
    assert roll.phase is Phase.LEAVING
    return roll


def death_of(process: str) -> str:
    return f"stage {process}: its process {KILLED}"


def roll_call(
    *groups: GroupDef,
    policies: dict[str, Restart] | None = None,
    source_only: frozenset[str] = frozenset(),
    observers: frozenset[str] = frozenset(),
) -> RollCall:
    stages = tuple(StageDef(name, "Node", name, {}, {}) for name in NAMES)
    graph = Graph("speech", stages, tuple(EdgeDef(source, "", target, "") for source, target in EDGES))
    policy_of = dict.fromkeys(NAMES, Restart.TRANSIENT) | (policies or {})
    whole = with_rest(groups, GroupDef("speech", ()), NAMES)
    restarts = Restarts(whole, policy_of, PROCESSES, downstream_of(graph), lambda: 0.0)
    return RollCall(PROCESSES, NAMES, restarts, source_only, observers)


def at_work(
    strategy: RestartStrategy = RestartStrategy.ONE_FOR_ONE,
    intensity: int = 5,
    policies: dict[str, Restart] | None = None,
) -> RollCall:
    """All four are at work."""
    group = GroupDef("speech", NAMES, strategy, intensity)
    roll = roll_call(group, policies=policies, source_only=frozenset({"mic", "cam"}))
    for name in NAMES:
        roll.bound(name, endpoints_of(name))
        roll.ready(name)
    assert roll.phase is Phase.RUNNING
    return roll


def endpoints_of(process: str, life: int = 0) -> dict[str, str]:
    return {f"{source}->{target}": f"ipc://{target}{life}" for source, target in EDGES if target == process}


def revive(roll: RollCall, plan: Revive) -> None:
    assert roll.waits_to_revive(plan)
    assert roll.revived(plan.processes) == []
