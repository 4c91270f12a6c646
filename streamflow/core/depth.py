"""How many data waited from moment to moment, from when each of them came and went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


def depths(waits: Iterable[tuple[int, int]], since_ns: int, until_ns: int) -> list[tuple[int, int]]:
    """Each change between `since_ns` and `until_ns` as (instant, depth from then on), the depth at `since_ns` first.

    `waits`: when each came, and when it went; it is there from the one until before the other.
    """
    changes: Counter[int] = Counter()
    for came_ns, went_ns in waits:
        if came_ns < went_ns:
            changes[max(came_ns, since_ns)] += 1
            changes[max(went_ns, since_ns)] -= 1
    found = [(since_ns, depth := changes.pop(since_ns, 0))]
    for at_ns in sorted(changes):
        if at_ns > until_ns:
            break
        if changes[at_ns]:
            depth += changes[at_ns]
            found.append((at_ns, depth))
    return found
