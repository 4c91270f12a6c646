"""What each of the other policies puts into a row."""

from __future__ import annotations

import pytest

from streamflow.core.joins.contract import Decider, InputState, Join, OnMissing
from streamflow.joins import Blend, Interpolate, Latest, Nearest, Settled, Window
from tests.core.joins.schedules import Arrival, Datum, Outcome, run

PAIR = ("camera", "imu")


def sent(name: str, *times: int, delay: int = 0) -> list[Arrival]:
    return [Arrival(time + delay, Datum(name, time)) for time in times]


def joined(join: Join, *arrivals: list[Arrival], ends: bool = True) -> Outcome:
    return run(join, PAIR, sorted((one for each in arrivals for one in each), key=lambda one: one.at_ns), ends=ends)


# ------------------------------------------------------------------------------------------ nearest


def test_nearest_takes_what_lies_closest_to_the_trigger_and_passes_over_the_rest() -> None:
    outcome = joined(Nearest(trigger="camera"), sent("camera", 10, 43), sent("imu", 1, 4, 8, 13, 30, 40, 45, 60))
    assert outcome.singles == [(10, 8), (43, 45)]
    assert outcome.reasons == {"imu": {"passed_over": 6}}


def test_nearest_prefers_the_older_of_two_that_are_equally_near() -> None:
    assert joined(Nearest(trigger="camera"), sent("camera", 10), sent("imu", 7, 13)).singles == [(10, 7)]


def test_nearest_waits_no_longer_than_until_nothing_nearer_can_come() -> None:
    outcome = joined(Nearest(trigger="camera"), sent("camera", 10), sent("imu", 8, 11, 14), ends=False)
    assert [at_ns for at_ns, _ in outcome.rows] == [11]


def test_a_datum_that_is_nearest_again_is_held() -> None:
    outcome = joined(Nearest(trigger="camera"), sent("camera", 10, 12), sent("imu", 11, 40))
    assert outcome.singles == [(10, 11), (12, 11)]
    assert [row.parts["imu"].state for _, row in outcome.rows] == [InputState.USED, InputState.HELD]


def test_a_trigger_without_anything_near_enough_is_left_out_as_unmatched() -> None:
    outcome = joined(Nearest(trigger="camera", max_skew=3), sent("camera", 10, 20), sent("imu", 5, 19, 30))
    assert outcome.singles == [(20, 19)]
    assert outcome.reasons["camera"] == {"unmatched": 1}


# ------------------------------------------------------------------------------------------- latest


def test_latest_takes_what_has_arrived_however_old_it_is() -> None:
    outcome = joined(Latest(trigger="camera"), sent("camera", 10, 20, 30), sent("imu", 4, 9, 22, delay=2))
    assert outcome.singles == [(10, 4), (20, 9), (30, 22)]
    assert [row.parts["imu"].age_ns for _, row in outcome.rows] == [6, 11, 8]


def test_latest_by_the_clock_repeats_what_is_old_until_it_is_too_old() -> None:
    join = Latest(every=10, max_age=25, on_missing=OnMissing.PARTIAL)
    outcome = joined(join, sent("camera", 5), sent("imu", 3, 12, 23, 31, 44, 58))
    assert [row.time_ns for _, row in outcome.rows] == [10, 20, 30, 40, 50]
    assert outcome.singles == [(5, 3), (5, 12), (5, 23), (-1, 31), (-1, 44)]
    stale = outcome.rows[3][1].parts["camera"]
    assert (stale.state, stale.items, stale.age_ns) == (InputState.STALE, (), 35), "how old it is, and not what"


def test_ticks_that_were_slept_through_are_not_made_up_for() -> None:
    decider: Decider[Datum] = Latest(every=10).decider(("camera",))
    decider.offer("camera", Datum("camera", 0), 0)
    rows = [decider.ready(now_ns) for now_ns in (9, 57, 57, 60)]
    assert [None if row is None else row.time_ns for row in rows] == [None, 50, None, 60]


def test_a_trigger_before_the_first_datum_of_another_input_waits_as_long_as_it_may() -> None:
    join = Latest(trigger="camera", max_wait=5)
    outcome = joined(join, sent("camera", 10, 20), sent("imu", 13))
    assert outcome.singles == [(10, 13), (20, 13)]
    late = joined(join, sent("camera", 10, 20), sent("imu", 17))
    assert late.singles == [(20, 17)]
    assert late.reasons == {"camera": {"timed_out": 1}}


# -------------------------------------------------------------------------------------- interpolate


def weights(outcome: Outcome) -> list[tuple[tuple[int, ...], float]]:
    parts = [row.parts["imu"] for _, row in outcome.rows]
    return [(tuple(item.event_time_ns for item in part.items), part.weight) for part in parts]


def test_interpolate_lies_between_the_two_data_around_the_instant() -> None:
    outcome = joined(Interpolate(trigger="camera"), sent("camera", 10, 25, 30), sent("imu", 0, 20, 30))
    assert weights(outcome) == [((0, 20), 0.5), ((20, 30), 0.5), ((30,), 0.0)]
    assert [at_ns for at_ns, _ in outcome.rows] == [20, 30, 30]


def test_on_a_grid_every_input_is_interpolated() -> None:
    outcome = joined(Interpolate(every=10), sent("camera", 5, 15, 25), sent("imu", 8, 28))
    assert [row.time_ns for _, row in outcome.rows] == [10, 20]
    assert weights(outcome) == [((8, 28), 0.1), ((8, 28), 0.6)]
    assert [row.parts["imu"].state for _, row in outcome.rows] == [InputState.USED, InputState.HELD]


def test_a_held_kind_takes_the_older_of_the_two() -> None:
    join = Interpolate(trigger="camera", blend={"imu": Blend.HOLD})
    assert weights(joined(join, sent("camera", 19), sent("imu", 0, 20))) == [((0,), 0.0)]


def test_after_its_wait_the_last_two_are_carried_on_but_not_too_far() -> None:
    join = Interpolate(trigger="camera", max_wait=5, max_extrapolate=10)
    outcome = joined(join, sent("camera", 25, 35), sent("imu", 10, 20, 90))
    assert weights(outcome) == [((10, 20), 1.5)]
    assert [at_ns for at_ns, _ in outcome.rows] == [30]
    assert outcome.reasons["camera"] == {"timed_out": 1}


def test_there_is_no_value_across_a_gap_that_is_too_long() -> None:
    outcome = joined(Interpolate(trigger="camera", max_skew=15), sent("camera", 10, 35), sent("imu", 0, 20, 60))
    assert weights(outcome) == [((0, 20), 0.5)]
    assert outcome.reasons["camera"] == {"unmatched": 1}


# ------------------------------------------------------------------------------------------- window


def test_a_window_has_all_data_of_its_span_the_end_included_and_the_start_not() -> None:
    outcome = joined(Window(trigger="camera", span=10), sent("camera", 20, 40), sent("imu", 10, 11, 15, 20, 21, 35, 41))
    assert [row["imu"] for row in outcome.times] == [(11, 15, 20), (35,)]
    assert outcome.reasons == {"imu": {"passed_over": 3}}


def test_windows_side_by_side_have_each_datum_once_and_what_is_over_at_the_end_in_a_last_one() -> None:
    join = Window(span=10, on_missing=OnMissing.PARTIAL)
    outcome = joined(join, sent("camera", 1, 11, 12), sent("imu", *range(1, 34, 4)))
    assert [row.time_ns for _, row in outcome.rows] == [10, 20, 30, 40]
    assert [row["imu"] for row in outcome.times] == [(1, 5, 9), (13, 17), (21, 25, 29), (33,)]
    assert [row["camera"] for row in outcome.times] == [(1,), (11, 12), (), ()]
    assert outcome.left_out == []


def test_of_a_window_the_newest_goes_on_and_the_others_end_there() -> None:
    outcome = joined(Window(trigger="camera", span=10), sent("camera", 20), sent("imu", 12, 15, 20, 21))
    ((_, row),) = outcome.rows
    assert list(row.fresh.items()) == [("camera", Datum("camera", 20)), ("imu", Datum("imu", 20))]
    assert [item.event_time_ns for _, item in row.consumed] == [15, 12]


def test_overlapping_windows_have_a_datum_several_times_and_it_is_fresh_in_the_first() -> None:
    outcome = joined(Window(span=20, every=10), sent("camera", 15, 25, 31), sent("imu", 15, 26, 31), ends=False)
    assert [row["camera"] for row in outcome.times] == [(15,), (15, 25)]
    assert [list(row.fresh.values()) for _, row in outcome.rows] == [
        [Datum("camera", 15), Datum("imu", 15)],
        [Datum("camera", 25), Datum("imu", 26)],
    ]


# ------------------------------------------------------------------------------------------ settled


def test_settled_makes_a_row_of_each_event_time_and_holds_what_is_older() -> None:
    outcome = joined(Settled(on_missing=OnMissing.PARTIAL), sent("camera", 10, 30), sent("imu", 5, 10, 20, 40))
    assert outcome.singles == [(-1, 5), (10, 10), (10, 20), (30, 20), (30, 40)]
    assert outcome.rows[2][1].parts["camera"].state is InputState.HELD


def test_settled_at_a_trigger_has_the_newest_up_to_then_whatever_came_already() -> None:
    outcome = joined(Settled(trigger="camera"), sent("camera", 10, 30, delay=15), sent("imu", 5, 9, 12, 29, 33))
    assert outcome.singles == [(10, 9), (30, 29)]


def test_what_comes_after_its_row_was_made_is_late() -> None:
    join = Settled(trigger="camera", max_wait=10, on_missing=OnMissing.PARTIAL)
    outcome = joined(join, sent("camera", 10, 40), sent("imu", 8, delay=20), sent("imu", 35, 50))
    assert outcome.singles == [(10, -1), (40, 35)]
    assert outcome.reasons["imu"]["late"] == 1


# --------------------------------------------------------------------------------- clocks and order


def test_data_out_of_order_within_the_bound_are_put_in_order() -> None:
    mixed = [Arrival(at_ns, Datum("imu", time)) for at_ns, time in ((10, 10), (20, 20), (21, 12), (30, 30), (31, 22))]
    join = Settled(trigger="camera", disorder={"imu": 10})
    outcome = joined(join, sent("camera", 13, 23), mixed)
    assert outcome.singles == [(13, 12), (23, 22)]
    assert outcome.reasons == {"imu": {"passed_over": 3}}


def test_a_datum_that_waits_for_its_order_waits_no_longer_than_a_row() -> None:
    join = Settled(trigger="camera", disorder=1000, max_wait=5)
    outcome = joined(join, sent("camera", 12), sent("imu", 10), ends=False)
    assert [(at_ns, row.time_ns) for at_ns, row in outcome.rows] == [(17, 12)]


def test_two_data_of_one_event_time_are_one_and_a_duplicate() -> None:
    twins = [Arrival(10, Datum("imu", 10, 1)), Arrival(11, Datum("imu", 10, 2))]
    outcome = joined(Nearest(trigger="camera"), sent("camera", 10), twins)
    assert outcome.rows[0][1].parts["imu"].items == (Datum("imu", 10, 1),)
    assert outcome.reasons == {"imu": {"duplicate": 1}}


@pytest.mark.parametrize("step", [-500, 500])
def test_a_clock_step_costs_the_data_of_its_length_and_the_join_recovers_by_itself(step: int) -> None:
    s = 1_000_000_000
    ms = s // 1000

    def stamps(at_ns: int, is_stepped: bool) -> int:
        return at_ns + (step * ms if is_stepped and 2 * s <= at_ns < 4 * s else 0)

    camera = [Arrival(at, Datum("camera", stamps(at, False))) for at in range(0, 8 * s, 33 * ms)]
    imu = [Arrival(at, Datum("imu", stamps(at, True))) for at in range(0, 8 * s, 10 * ms)]
    join = Nearest(trigger="camera", max_skew=10 * ms, max_wait=50 * ms)
    outcome = joined(join, camera, imu)
    arrived = {one.datum: one.at_ns for one in camera}
    assert all(at_ns <= arrived[row.fresh["camera"]] + 50 * ms for at_ns, row in outcome.rows)
    lost = [arrival for arrival in camera if arrival.datum not in [row.fresh["camera"] for _, row in outcome.rows]]
    assert all(2 * s - 20 * ms <= one.at_ns <= 4.6 * s for one in lost), "before and behind the step all have a row"
    assert sum(sum(reasons.values()) for reasons in outcome.reasons.values()) + sum(
        len(row.fresh) for _, row in outcome.rows
    ) == len(camera) + len(imu)


def test_a_wrong_stamp_far_ahead_costs_two_seconds_and_not_all_that_follows() -> None:
    s = 1_000_000_000
    imu = [Arrival(at, Datum("imu", at)) for at in range(0, 8 * s, s // 10)]
    imu[20] = Arrival(imu[20].at_ns, Datum("imu", 3600 * s))
    camera = [Arrival(at, Datum("camera", at)) for at in range(0, 8 * s, s // 10)]
    outcome = joined(Nearest(trigger="camera", max_skew=s // 20, max_wait=s // 20), camera, imu)
    lost = {one.datum for one in camera} - {row.fresh["camera"] for _, row in outcome.rows}
    assert {one.event_time_ns for one in lost} == set(range(2 * s, 41 * s // 10 + 1, s // 10))


def test_a_leap_of_the_clock_costs_no_step_for_each_period_of_a_grid() -> None:
    hour = 3_600_000_000_000
    outcome = joined(
        Window(span=1000, on_missing=OnMissing.PARTIAL), sent("camera", 1, hour), sent("imu", 1, hour), ends=False
    )
    assert [row.time_ns for _, row in outcome.rows] == [1000, hour]
