"""When garbage is collected that nobody collects automatically: in slack, and when it must."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.slack import (
    COUNT_LIMIT,
    FULL,
    FULL_NS,
    FULL_PATIENCE,
    FULL_SHARE,
    MIDDLE,
    MIDDLE_TURNS,
    YOUNG,
    YOUNG_COUNT,
    YOUNG_NS_MAX,
    Collecting,
)
from streamflow.core.timebase import ms, s

BEAT_NS = 20 * ms


def slack() -> bool:
    return True


def no_slack() -> bool:
    return False


def never_asked() -> bool:
    raise AssertionError("asked although nothing is to be collected")


def test_while_next_to_nothing_is_new_nothing_is_collected_and_nothing_asked() -> None:
    rule = Collecting(0)
    assert rule.due(BEAT_NS, YOUNG_COUNT - 1, never_asked) is None
    assert rule.due(3600 * s, YOUNG_COUNT - 1, never_asked) is None


def test_in_slack_the_young_are_collected_and_now_and_then_what_has_outlived_some() -> None:
    rule = Collecting(0)
    found = []
    for beat in range(MIDDLE_TURNS):
        at_ns = (beat + 1) * BEAT_NS
        generation = rule.due(at_ns, YOUNG_COUNT, slack)
        assert generation is not None
        rule.collected(generation, at_ns, at_ns)
        found.append(generation)
    assert found == [YOUNG] * (MIDDLE_TURNS - 1) + [MIDDLE]


def test_without_slack_it_waits_but_not_for_ever() -> None:
    rule = Collecting(0)
    assert rule.due(s, YOUNG_COUNT, no_slack) is None
    assert rule.due(s + YOUNG_NS_MAX - 1, YOUNG_COUNT, no_slack) is None
    assert rule.due(s + YOUNG_NS_MAX, YOUNG_COUNT, no_slack) == MIDDLE


def test_without_slack_so_much_that_memory_matters_is_collected_at_once() -> None:
    assert Collecting(0).due(BEAT_NS, COUNT_LIMIT, no_slack) == MIDDLE


def test_in_slack_everything_is_collected_every_few_seconds_once_something_outlived_its_youth() -> None:
    rule = Collecting(0)
    rule.collected(YOUNG, 0, 0)
    assert rule.due(FULL_NS - 1, 0, slack) is None
    assert rule.due(FULL_NS, 0, slack) == FULL
    rule.collected(FULL, FULL_NS, FULL_NS)
    assert rule.due(3 * FULL_NS, 0, never_asked) is None, "nothing is new since"


def test_a_full_collection_takes_a_thousandth_of_the_time_at_most() -> None:
    rule = Collecting(0)
    rule.collected(FULL, 0, 100 * ms)
    rule.collected(YOUNG, s, s)
    again_ns = 100 * ms + FULL_SHARE * 100 * ms
    assert rule.due(again_ns - 1, 0, slack) is None
    assert rule.due(again_ns, 0, slack) == FULL


def test_without_slack_everything_is_collected_in_the_end() -> None:
    rule = Collecting(0)
    rule.collected(MIDDLE, 0, 0)
    assert rule.due(FULL_PATIENCE * FULL_NS - 1, 0, no_slack) is None
    assert rule.due(FULL_PATIENCE * FULL_NS, 0, no_slack) == FULL


@given(st.lists(st.tuples(st.integers(0, 5_000), st.booleans(), st.integers(0, 30 * ms)), min_size=1, max_size=400))
def test_garbage_is_bounded_whatever_the_load(beats: list[tuple[int, bool, int]]) -> None:
    """New objects of each beat, whether there is slack, and how long a collection takes then."""
    rule, now_ns, count, waiting_ns = Collecting(0), 0, 0, 0
    for new_count, has_slack, took_ns in beats:
        now_ns += BEAT_NS
        count += new_count
        waiting_ns = waiting_ns + BEAT_NS if count >= YOUNG_COUNT else 0
        generation = rule.due(now_ns, count, lambda has_slack=has_slack: has_slack)  # type: ignore[misc]
        if generation is not None:
            now_ns += took_ns
            rule.collected(generation, now_ns - took_ns, now_ns)
            count = waiting_ns = 0
        assert count < COUNT_LIMIT
        assert waiting_ns <= YOUNG_NS_MAX + BEAT_NS
        assert not (has_slack and count >= YOUNG_COUNT), "in slack it is collected"
