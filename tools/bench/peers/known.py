"""The peers and the cases: which there are, which ways each has, and what each may leave in shared memory.

A peer's first way is its own documented one without copies where it has one; the cases bear that way's name plainly,
and those of a further way end in it: `hop-4096` and `hop-4096-copied`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tools.bench.peers.hop import Case

LOANED, COPIED = "loaned", "copied"
SMALL_HZ = 1000.0
FRAME_HZ = 30.0
SECONDS = 2.0  # of one case in one round
ROUND_COUNT = 5
SMALL_SIZES = (64, 4096)  # bytes
FRAME_SIZES = (600_000, 1080 * 1920 * 3)
THROUGHPUT_SIZE = 4096


@dataclass(frozen=True, slots=True)
class Peer:
    """`ways`: the first is its own; `leavings`: names, as patterns, that it may leave in shared memory when killed."""

    name: str
    ways: Sequence[str]
    leavings: Sequence[str] = ()
    start_s: float = 20.0  # what it may take to start and end beyond the case itself


RAW = Peer("raw", (COPIED, LOANED))
PEERS = {
    peer.name: peer
    for peer in (
        Peer("iceoryx2", (LOANED, COPIED), ("sfp-*",)),
        Peer("ezmsg", (COPIED,), ("psm_*",)),
        Peer("zenoh", (LOANED, COPIED), ("*.zenoh",)),
        Peer("cyclonedds", (COPIED,)),
        Peer("dora", (LOANED, COPIED), ("*.zenoh", "shmem_*"), start_s=40.0),
        Peer("ray", (COPIED,), ("plasma*",), start_s=60.0),
    )
}


def cases(way: str, *, seconds: float, small_hz: float = SMALL_HZ, frame_hz: float = FRAME_HZ) -> list[Case]:
    """Every hop and the throughput, one way, `seconds` each."""
    hops = [(size, small_hz) for size in SMALL_SIZES] + [(size, frame_hz) for size in FRAME_SIZES]
    paced = [Case(f"hop-{size}", size, rate_hz, seconds, way) for size, rate_hz in hops]
    return [*paced, Case(f"throughput-{THROUGHPUT_SIZE}", THROUGHPUT_SIZE, 0.0, seconds, way)]


def case_name(peer: Peer, case: Case) -> str:
    """The case's name in the results."""
    return case.name if case.way == peer.ways[0] else f"{case.name}-{case.way}"
