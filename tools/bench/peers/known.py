"""The peers and the cases: which there are, which ways each has, and what each may leave in shared memory.

A peer's first way is its own documented one without copies where it has one; the cases bear that way's name plainly,
and those of a further way end in it: `hop-4096` and `hop-4096-copied`. A chain is that of the claim `mix`, and bears
the name of each of its signals: `mix-small` and `mix-frames`. It is here for those that send from any process in a few
lines; zenoh, cyclonedds, dora and ray have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tools.bench.peers.chain import Chain
from tools.bench.peers.hop import Case
from tools.bench.speed.cases import CASES

LOANED, COPIED, FORWARDED = "loaned", "copied", "forwarded"
RAW_LOANED_SIZE_MIN = 64 << 10  # pyzmq's own threshold: above it `copy=False` is the faster way
MIX = "mix"
SMALL_HZ = 1000.0
FRAME_HZ = 30.0
SECONDS = 2.0  # of one case in one round
ROUND_COUNT = 5
SMALL_SIZES = (64, 4096)  # bytes
FRAME_SIZES = (600_000, 1080 * 1920 * 3)
THROUGHPUT_SIZE = 4096


@dataclass(frozen=True, slots=True)
class Peer:
    """`ways`: the first is its own, as of `chain_ways`, in which it passes on frames; none: it has no chain.

    `leavings`: names, as patterns, that it may leave in shared memory when killed.
    """

    name: str
    ways: Sequence[str]
    leavings: Sequence[str] = ()
    start_s: float = 20.0  # what it may take to start and end beyond the case itself
    chain_ways: Sequence[str] = ()


RAW = Peer("raw", (COPIED, LOANED), chain_ways=(LOANED,))
PEERS = {
    peer.name: peer
    for peer in (
        Peer("iceoryx2", (LOANED, COPIED), ("sfp-*",), chain_ways=(LOANED, FORWARDED)),
        Peer("ezmsg", (COPIED,), ("psm_*",), chain_ways=(COPIED,)),
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


def mix(way: str, *, seconds: float) -> Chain:
    """Four processes and both signals, as in the claim: its paces are fixed."""
    case = CASES[MIX]
    return Chain(MIX, str(case.programme(seconds)), case.lines, seconds, way)


def case_name(peer: Peer, case: Case | Chain, line: str = "") -> str:
    """The case's name in the results, or that of a line of it."""
    ways = peer.chain_ways if isinstance(case, Chain) else peer.ways
    name = f"{case.name}-{line}" if line else case.name
    return name if case.way == ways[0] else f"{name}-{case.way}"
