"""Every datum of every path is counted once, whatever becomes of its pieces and whenever that is heard."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.core.ledger import ANOMALY_LIMIT, Ledger
from streamflow.core.outcome import Finished, Missed, Outcome
from streamflow.core.paths import PathSpec
from streamflow.core.verdict import Kind

SOURCE = 7  # the index of the stage that the data of the hand-written cases come from
A, B = 0b01, 0b10


def ledger(*withins: int | None, open_limit: int = 100, grace_ns: int = 0) -> Ledger:
    paths = [PathSpec(index, f"p{index}", SOURCE, within_ns) for index, within_ns in enumerate(withins)]
    return Ledger(paths, open_limit=open_limit, grace_ns=grace_ns)


def end(of: Ledger, kind: Kind, seq: int, done_ns: int, mask: int = A, sink_mask: int = A | B) -> None:
    """The event time of every datum here is 1000 times its number."""
    of.ended(kind, mask, SOURCE, seq, 1000 * seq, done_ns, 0, sink_mask)


def verdicts(of: Ledger, path: int = 0) -> dict[str, int]:
    """Counts that are not 0."""
    assert of.broken_sums() == []
    return {name: count for name, count in of.counts(path).items() if count}


def then(of: Ledger, path: int = 0) -> dict[str, int]:
    found = of.summary(path)["missed_then"]
    assert isinstance(found, dict)
    return {name: count for name, count in found.items() if count}


def test_a_datum_that_arrives_in_time_is_met() -> None:
    account = ledger(100)
    account.admitted(A, SOURCE, 1, 1000)
    assert account.swept(1010) == []
    assert verdicts(account) == {"produced": 1, "in_flight": 1}
    end(account, Kind.RUN, 1, 1100)
    assert account.swept(1200) == [Finished(0, SOURCE, 1, 1000, 1100, 1100, Outcome.MET, "arrived")]
    assert verdicts(account) == {"produced": 1, "met": 1}
    assert account.latency(0).count == 1
    assert account.latency(0).sum == 100


def test_an_arrival_after_the_deadline_is_missed_and_told_once() -> None:
    account = ledger(100)
    account.admitted(A, SOURCE, 1, 1000)
    end(account, Kind.RUN, 1, 1101)
    missed, finished = account.swept(1200)
    assert missed == Missed(0, SOURCE, 1, 1000, 1100, 1200)
    assert finished == Finished(0, SOURCE, 1, 1000, 1100, 1101, Outcome.MISSED, "arrived")
    assert verdicts(account) == {"produced": 1, "missed": 1}
    assert then(account) == {"arrived": 1}


def test_a_datum_that_expired_is_missed_whatever_becomes_of_it() -> None:
    for kind, became in [(Kind.RUN, "arrived"), (Kind.SHED, "shed"), (Kind.DROPPED, "dropped"), (Kind.LOST, "lost"),
                         (Kind.REJECTED, "rejected")]:  # fmt: skip
        account = ledger(100)
        account.admitted(A, SOURCE, 1, 1000)
        assert account.swept(1100) == [], "at its deadline it is not missed yet"
        assert account.swept(1101) == [Missed(0, SOURCE, 1, 1000, 1100, 1101)]
        assert account.swept(1102) == []
        assert then(account) == {"open": 1}
        end(account, kind, 1, 1099)
        assert account.swept(1103) == [Finished(0, SOURCE, 1, 1000, 1100, 1099, Outcome.MISSED, became)]
        assert verdicts(account) == {"produced": 1, "missed": 1}
        assert then(account) == {became: 1}


def test_a_deadline_passes_only_after_the_grace_that_a_record_needs_to_be_seen() -> None:
    account = ledger(100, grace_ns=5)
    account.admitted(A, SOURCE, 1, 1000)
    assert account.swept(1105) == []
    assert account.next_expiry_ns() == 1106
    assert account.swept(1106) == [Missed(0, SOURCE, 1, 1000, 1100, 1106)]


def test_a_path_without_a_deadline_never_expires() -> None:
    account = ledger(None)
    account.admitted(A, SOURCE, 1, 1000)
    assert account.swept(1 << 60) == []
    assert account.next_expiry_ns() is None
    account.ended(Kind.RUN, A, SOURCE, 1, 1000, 1 << 60, A, A)
    (finished,) = account.swept(1 << 60)
    assert isinstance(finished, Finished)
    assert (finished.outcome, finished.deadline_ns) == (Outcome.MET, 0)


def test_an_end_may_be_read_before_the_admission_of_the_same_sweep() -> None:
    account = ledger(100)
    end(account, Kind.RUN, 1, 1050)
    account.admitted(A, SOURCE, 1, 1000)
    assert [type(event) for event in account.swept(1060)] == [Finished]
    assert account.anomalies == []


def test_an_end_may_be_read_sweeps_before_its_admission_when_the_reader_lags() -> None:
    account = ledger(100)
    account.admitted(A, SOURCE, 0, 0)
    end(account, Kind.RUN, 2, 2050)
    account.split(A, SOURCE, 1)
    assert account.swept(50) == []
    account.admitted(A, SOURCE, 1, 1000)
    account.admitted(A, SOURCE, 2, 2000)
    assert [event.seq for event in account.swept(100)] == [2]
    assert verdicts(account) == {"produced": 3, "met": 1, "in_flight": 2}
    end(account, Kind.RUN, 0, 50)
    end(account, Kind.RUN, 1, 1050)
    assert [event.seq for event in account.swept(100)] == [0], "another piece of 1 is under way"
    end(account, Kind.RUN, 1, 1060)
    assert [event.seq for event in account.swept(100)] == [1]
    assert account.anomalies == []
    assert account.is_exact


def test_a_datum_is_done_when_the_last_of_its_pieces_is() -> None:
    for first_ns, second_ns in [(1020, 1090), (1090, 1020)]:
        account = ledger(100)
        account.admitted(A, SOURCE, 1, 1000)
        account.split(A, SOURCE, 1)
        end(account, Kind.RUN, 1, first_ns)
        assert account.swept(1095) == []
        end(account, Kind.RUN, 1, second_ns)
        (finished,) = account.swept(1100)
        assert isinstance(finished, Finished)
        assert finished.done_ns == 1090
        assert account.latency(0).sum == 90


@pytest.mark.parametrize(
    ("better", "worse", "outcome"),
    [
        (Kind.RUN, Kind.SHED, Outcome.SHED),
        (Kind.SHED, Kind.REJECTED, Outcome.REJECTED),
        (Kind.REJECTED, Kind.DROPPED, Outcome.DROPPED),
        (Kind.DROPPED, Kind.LOST, Outcome.LOST),
    ],
)
def test_pieces_that_ended_differently_make_the_worst_of_it(better: Kind, worse: Kind, outcome: Outcome) -> None:
    for kinds in [(better, worse), (worse, better)]:
        account = ledger(100)
        account.admitted(A, SOURCE, 1, 1000)
        account.split(A, SOURCE, 1)
        for kind in kinds:
            end(account, kind, 1, 1200)
        assert [event.outcome for event in account.swept(1200) if isinstance(event, Finished)] == [outcome]
        assert verdicts(account) == {"produced": 1, outcome.value: 1}


def test_one_piece_that_arrived_makes_it_met_and_one_that_was_late_missed() -> None:
    for done_ns, counted in [(1090, "met"), (1190, "missed")]:
        account = ledger(100)
        account.admitted(A, SOURCE, 1, 1000)
        account.split(A, SOURCE, 1)
        end(account, Kind.RUN, 1, done_ns)
        end(account, Kind.RUN, 1, 1050, sink_mask=0)
        account.swept(1200)
        assert verdicts(account) == {"produced": 1, counted: 1}


def test_what_ends_before_the_sink_is_absorbed_in_time_or_missed_by_the_recorders_word() -> None:
    account = ledger(100, 500)
    for seq, missed_mask in [(1, 0), (2, A)]:
        account.admitted(A | B, SOURCE, seq, 1000 * seq)
        account.ended(Kind.RUN, A | B, SOURCE, seq, 1000 * seq, 1000 * seq + 50, missed_mask, 0)
    account.swept(2060)
    assert verdicts(account) == {"produced": 2, "absorbed": 1, "missed": 1}
    assert then(account) == {"absorbed": 1}
    assert verdicts(account, 1) == {"produced": 2, "absorbed": 2}, "the flag speaks of the tightest path alone"
    assert account.latency(0).count == 0


def test_variants_arrive_like_what_was_run_and_are_counted_by_kind() -> None:
    account = ledger(100)
    for seq, kind in enumerate([Kind.DEGRADED, Kind.HELD, Kind.CALLED, Kind.CALLED, Kind.RUN]):
        account.admitted(A, SOURCE, seq, 1000 * seq)
        end(account, kind, seq, 1000 * seq)
    account.swept(5000)
    assert verdicts(account) == {"produced": 5, "met": 5}
    assert account.summary(0)["variants"] == {"degraded": 1, "held": 1, "called": 2}


def test_a_second_admission_is_an_anomaly_and_not_counted() -> None:
    account = ledger(100)
    account.admitted(A, SOURCE, 1, 1000)
    account.admitted(A, SOURCE, 1, 1000)
    end(account, Kind.RUN, 1, 1010)
    account.swept(1020)
    account.admitted(A, SOURCE, 1, 1000)
    assert verdicts(account) == {"produced": 1, "met": 1}
    assert account.anomalies == ["path p0: datum 1 was admitted twice, or after a later one"] * 2


def test_more_ends_than_pieces_are_an_anomaly_and_the_datum_is_counted_once() -> None:
    account = ledger(100)
    account.admitted(A, SOURCE, 1, 1000)
    end(account, Kind.RUN, 1, 1010)
    end(account, Kind.RUN, 1, 1010)
    account.swept(1020)
    end(account, Kind.SHED, 1, 1030)
    account.swept(1040)
    assert verdicts(account) == {"produced": 1, "met": 1}
    assert account.anomalies == [
        "path p0: datum 1 ended 1 times more than it began",
        "path p0: datum 1 ended when it was done already, or was never admitted",
    ]


def test_an_end_whose_admission_never_comes_is_an_anomaly_once_a_later_one_was_read() -> None:
    account = ledger(100)
    end(account, Kind.RUN, 1, 1010)
    account.swept(1020)
    assert account.anomalies == []
    account.admitted(A, SOURCE, 2, 2000)
    end(account, Kind.RUN, 3, 3000)
    account.swept(2000)
    assert account.anomalies == ["path p0: datum 1 ended or was split, and its admission was never seen"]
    account.closed()
    assert account.anomaly_count == 2
    assert verdicts(account) == {"produced": 1, "in_flight": 1}


def test_records_that_name_unknown_paths_or_kinds_are_anomalies() -> None:
    account = ledger(100)
    account.admitted(0b101, SOURCE, 1, 1000)
    account.admitted(A, SOURCE + 1, 1, 1000)
    account.ended(Kind.STALL, A, SOURCE, 1, 0, 0, 0, 0)
    account.ended(99, A, SOURCE, 1, 0, 0, 0, 0)
    assert account.anomaly_count == 4
    assert verdicts(account) == {"produced": 1, "in_flight": 1}


def test_anomalies_are_all_counted_and_the_first_ones_kept() -> None:
    account = ledger(100)
    for _ in range(2 * ANOMALY_LIMIT):
        account.admitted(A, SOURCE + 1, 1, 1000)
    assert (account.anomaly_count, len(account.anomalies)) == (2 * ANOMALY_LIMIT, ANOMALY_LIMIT)


def test_a_reader_that_lost_records_makes_the_account_inexact() -> None:
    account = ledger(100)
    assert account.is_exact
    account.forgotten(3)
    assert not account.is_exact
    assert account.forgotten_count == 3


def test_beyond_the_limit_the_oldest_are_let_go_and_stay_in_flight() -> None:
    account = ledger(None, open_limit=10)
    for seq in range(100):
        account.admitted(A, SOURCE, seq, 1000 * seq)
    for seq in range(100):
        end(account, Kind.RUN, seq, 1000 * seq)
    followed = [event.seq for event in account.swept(0)]
    assert 1 <= len(followed) <= 10
    assert followed == list(range(100 - len(followed), 100))
    assert verdicts(account) == {"produced": 100, "met": len(followed), "in_flight": 100 - len(followed)}
    assert account.anomalies == []
    assert not account.is_exact


def test_a_missed_datum_that_is_let_go_stays_missed() -> None:
    account = ledger(100, open_limit=10)
    for seq in range(20):
        account.admitted(A, SOURCE, seq, 1000 * seq)
        account.swept(1000 * seq + 200)
    assert verdicts(account) == {"produced": 20, "missed": 20}
    assert then(account) == {"open": 20}


def test_next_expiry_is_the_first_instant_at_which_a_sweep_finds_a_miss() -> None:
    account = ledger(100, 50)
    account.admitted(A | B, SOURCE, 1, 1000)
    account.admitted(A, SOURCE, 2, 2000)
    account.swept(1000)
    assert account.next_expiry_ns() == 1051
    assert [event.path for event in account.swept(1051)] == [1]
    end(account, Kind.RUN, 1, 1060)
    account.swept(1060)
    assert account.next_expiry_ns() == 2101


def test_the_summary_tells_who_was_blamed_most_and_how_long_it_took() -> None:
    account = ledger(1_000_000)
    account.admitted(A, SOURCE, 0, 0)
    end(account, Kind.RUN, 0, 2_000_000)
    account.swept(3_000_000)
    for culprit in ["infer: service", "camera: source", "infer: service"]:
        account.blamed(0, culprit)
    summary = account.summary(0)
    assert summary["culprits"] == {"infer: service": 2, "camera: source": 1}
    assert (summary["name"], summary["within_ms"]) == ("p0", 1)
    latency_ms = summary["latency_ms"]
    assert isinstance(latency_ms, dict)
    assert latency_ms["max"] == 2


EVENTS = st.tuples(
    st.sampled_from(["admitted", "split", "ended", "lost", "swept"]),
    st.integers(0, 7),
    st.integers(0, 4),
    st.sampled_from([*Kind]),
    st.integers(0, 300),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENTS, max_size=60), st.integers(1, 4))
def test_no_order_of_events_however_wrong_breaks_the_sum_or_raises(
    plan: list[tuple[str, int, int, Kind, int]], open_limit: int
) -> None:
    account = ledger(100, None, open_limit=open_limit)
    missed: Counter[tuple[int, int]] = Counter()
    for what, mask, seq, kind, at_ns in plan:
        if what == "admitted":
            account.admitted(mask, SOURCE, seq, at_ns)
        elif what == "split":
            account.split(mask, SOURCE, seq)
        elif what == "ended":
            account.ended(kind, mask, SOURCE, seq, at_ns, at_ns, mask, mask)
        elif what == "lost":
            account.lost(mask, SOURCE, seq)
        else:
            missed.update((event.path, event.seq) for event in account.swept(at_ns) if isinstance(event, Missed))
        assert account.broken_sums() == []
    account.closed()
    assert account.broken_sums() == []
    assert all(count == 1 for count in missed.values())
    assert sum(missed.values()) == account.counts(0)["missed"] + account.counts(1)["missed"]
