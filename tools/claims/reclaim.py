"""The claim of crash-safe memory: what a killed process had of the pool is free within 100 ms, and no frame changes.

Kills fall at random moments, and right after a loan, when the slot may be on its way to nobody. What living readers
look at is theirs; how long they did is told beside.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from tools.bench.reclaim import STAGES, Endured, reclaims, text
from tools.claims.framework import Claim, HostShare, Options, Row, main

FREE_MS_MAX = 100.0
KILLS, KILLS_QUICK = 20, 6
LINKS = ("ipc", "direct")
ROLES = {"source": "owner", "relay": "reader that lends on", "sink": "reader"}
WAITING, WAITING_KILLS = ("--restart-limit", "100/20"), 10  # within a period each restart waits longer than the last
BUSY_MS, BUSY_KILLS = 150.0, 6


def memory_of_the_dead(options: Options) -> Iterator[Row]:
    """Each stage killed many times, over either link; a lender whose restart waits; a sender that is at work itself."""
    kills, endured = KILLS_QUICK if options.is_quick else KILLS, []
    for link in LINKS:
        for stage in STAGES:
            share, found = HostShare(), reclaims(stage, kills, link=link)
            endured.append(found)
            yield _row(f"{ROLES[stage]} killed, {link}", found, share)
            if stage != STAGES[-1]:
                read_ms = max(one.read_ms for one in found.reclaims)
                yield Row(f"{ROLES[stage]} killed, {link}, with living readers", "", f"{read_ms:.0f} ms longest", None)
    share, found = HostShare(), reclaims("relay", WAITING_KILLS, restart_limit=WAITING)
    endured.append(found)
    yield _row("reader that lends on killed, its restart waits", found, share)
    found = reclaims("sink", BUSY_KILLS, settings={"relay_ms": BUSY_MS, "relay_kept": 0})
    endured.append(found)
    yield Row(f"reader killed, its sender at work for {BUSY_MS:.0f} ms each time", "", text(found.reclaims), None)
    yield from _whole(endured)


def _row(what: str, found: Endured, share: HostShare) -> Row:
    longest_ms = max(one.free_ms for one in found.reclaims)
    return Row(what, f"≤ {FREE_MS_MAX:.0f} ms", f"{text(found.reclaims)}; {share}", longest_ms <= FREE_MS_MAX)


def _whole(endured: Sequence[Endured]) -> Iterator[Row]:
    changed = [line for one in endured for line in one.changed]
    looks = sum(one.looks for one in endured)
    measured = f"{len(changed)} of {looks:,} looks" + "".join(f"; {line}" for line in changed[:1])
    yield Row("a frame that is read and is not what was sent", "0", measured, not changed and looks > 0)
    broken = [sentence for one in endured for sentence in one.broken]
    kills = sum(len(one.reclaims) for one in endured)
    yield Row("conserved", "true", "; ".join(broken) or f"over {kills} kills", not broken)


CLAIMS = (Claim("reclaim", memory_of_the_dead),)

if __name__ == "__main__":
    sys.exit(main("reclaim", CLAIMS))
