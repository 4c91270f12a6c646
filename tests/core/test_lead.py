"""Being woken early: as early as wakes are late, and within an allowance."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.lead import ALLOWANCE_NS_MAX, AWAKE_SHARE, LEAD_NS_MAX, UP_NS, Lead
from streamflow.core.timebase import ms, s, us

START_NS = 1_000 * s


@dataclass
class Sleeper:
    """Who sleeps by a lead, on a machine that tells how late each wake is."""

    lead: Lead
    now_ns: int = START_NS
    awake_ns: int = 0
    lead_ns: int = 0
    """Of the last sleep."""

    def sleep(self, duration_ns: int, late_ns: int) -> int:
        """How late it ended."""
        instant_ns = self.now_ns + duration_ns
        wake_ns = self.lead.wake_ns(self.now_ns, instant_ns)
        self.lead_ns = instant_ns - wake_ns
        woken_ns = wake_ns + late_ns
        awake_ns = max(0, instant_ns - woken_ns)
        self.lead.woken(late_ns, awake_ns)
        self.awake_ns += awake_ns
        self.now_ns = max(instant_ns, woken_ns)
        return self.now_ns - instant_ns


def sleeper(lead_us: int | None = None) -> Sleeper:
    return Sleeper(Lead(None if lead_us is None else lead_us * us))


def test_the_first_sleep_has_no_lead_and_the_second_has_what_the_first_was_late() -> None:
    found = sleeper()
    assert found.sleep(5 * ms, 120 * us) == 120 * us
    assert found.sleep(5 * ms, 120 * us) == 0
    assert found.lead_ns == 120 * us


def test_wakes_that_are_equally_late_end_in_time_and_next_to_nothing_is_waited_awake() -> None:
    found = sleeper()
    late_ns = [found.sleep(5 * ms, 120 * us) for _ in range(1_000)]
    assert max(late_ns[1:]) <= UP_NS
    assert found.awake_ns < (found.now_ns - START_NS) // 500


def test_one_wake_that_was_very_late_changes_little() -> None:
    found = sleeper(100)
    found.sleep(5 * ms, 50 * ms)
    assert found.lead.lead_ns == 100 * us + UP_NS


def test_the_lead_settles_where_a_quarter_of_the_wakes_are_later() -> None:
    found = sleeper(0)
    leads_ns = []
    for number in range(2_000):
        found.sleep(50 * ms, (80 + 37 * number % 80) * us)  # 80 to 159 us, evenly: the quartile is 140
        leads_ns.append(found.lead_ns)
    assert 130 * us <= sum(leads_ns[1_000:]) / 1_000 <= 150 * us


def test_who_sleeps_shortly_is_woken_in_the_second_half() -> None:
    found = sleeper(300)
    found.sleep(100 * us, 0)
    assert found.lead_ns == 50 * us


def test_an_allowance_that_is_used_up_comes_back_as_time_passes() -> None:
    found = sleeper(400)
    found.lead.allowance_ns = 0
    found.lead.allowed_ns = START_NS
    found.sleep(1 * ms, 0)
    assert found.lead_ns == 0
    found.sleep(1 * ms, 0)
    assert found.lead_ns == 1 * ms // AWAKE_SHARE
    found.now_ns += s
    found.sleep(1 * ms, 400 * us)
    assert found.lead_ns > 300 * us


@dataclass(frozen=True)
class Phase:
    """So many equal sleeps, after a pause in which nothing slept."""

    count: int
    pause_ns: int
    duration_ns: int
    late_ns: int


PHASES = st.lists(
    st.builds(
        Phase,
        count=st.integers(1, 60),
        pause_ns=st.sampled_from([0, 10 * s]),
        duration_ns=st.integers(1, 3 * ms),
        late_ns=st.sampled_from([0, 50 * us, 350 * us, 2 * ms]),
    ),
    max_size=8,
)


@given(PHASES)
def test_what_is_waited_awake_in_any_span_is_bounded_by_a_share_of_it(phases: list[Phase]) -> None:
    found = sleeper(400)
    excess_ns = 0.0  # the most that was waited awake beyond that share in a span that ends now
    for phase in phases:
        found.now_ns += phase.pause_ns
        excess_ns = max(0.0, excess_ns - phase.pause_ns / AWAKE_SHARE)
        for _ in range(phase.count):
            began_ns, awake_ns = found.now_ns, found.awake_ns
            found.sleep(phase.duration_ns, phase.late_ns)
            excess_ns += found.awake_ns - awake_ns
            assert excess_ns <= ALLOWANCE_NS_MAX + 1
            excess_ns = max(0.0, excess_ns - (found.now_ns - began_ns) / AWAKE_SHARE)


@given(st.none() | st.integers(0, 400), PHASES)
def test_a_wake_is_never_after_its_instant_nor_too_early(lead_us: int | None, phases: list[Phase]) -> None:
    found = sleeper(lead_us)
    for phase in phases:
        for _ in range(phase.count):
            found.sleep(phase.duration_ns, phase.late_ns)
            assert 0 <= found.lead_ns <= min(LEAD_NS_MAX, phase.duration_ns // 2)


@given(st.integers(0, LEAD_NS_MAX), st.lists(st.integers(0, 3 * ms), min_size=1, max_size=100))
def test_with_a_lead_nobody_is_later_than_without(lead_ns: int, wakes_ns: list[int]) -> None:
    found = Sleeper(Lead(lead_ns))
    for late_ns in wakes_ns:
        assert found.sleep(5 * ms, late_ns) <= late_ns
