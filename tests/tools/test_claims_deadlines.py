"""The claims of deadlines in short: whether what is measured adds up; how fast it was is for the claims themselves."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import pytest

from tools.bench import watched
from tools.campaigns import faulty, misses, overload
from tools.campaigns.faulty import Injection, Kind
from tools.campaigns.misses import Judged, Miss, expected
from tools.claims import deadlines


def test_every_claim_has_a_name_of_its_own() -> None:
    names = [claim.name for claim in deadlines.CLAIMS]
    assert len(set(names)) == len(names)


# ------------------------------------------------------------------------------------------- misses


def test_a_plan_is_the_same_for_the_same_seed_and_has_as_many_of_each_kind() -> None:
    assert faulty.plan(3, 5) == faulty.plan(3, 5) != faulty.plan(3, 6)
    assert Counter(one.kind for one in faulty.plan(3, 5)) == dict.fromkeys(Kind, 3)


def test_injections_are_far_enough_apart_for_the_queues_to_empty() -> None:
    planned = faulty.plan(4, 1)
    for one, following in pairwise(planned):
        assert (following.tick - one.tick) * faulty.PERIOD_MS >= faulty.QUIET_MS[one.kind]


def test_only_what_the_injection_says_is_named_right() -> None:
    sink = Injection(0, Kind.SLOW, faulty.SINK, 100, 0.0)
    assert expected(sink) == {("sink", faulty.SINK)}
    stage = Injection(0, Kind.HUNG, "model", 100, 0.0)
    assert expected(stage) == {("service", "model")}
    judged = Judged(stage, 0, None)
    assert not judged.is_right(_miss(1, "restart", "model"))
    assert judged.is_right_behind(_miss(1, "restart", "model")), "what waits behind a hung stage is held up by both"
    assert not judged.is_right_behind(_miss(1, "restart", "track"))


def _miss(seq: int, culprit: str, stage: str, event_time_ns: int = 0) -> Miss:
    seen_ns = event_time_ns + 31_000_000
    return Miss(seq, event_time_ns, event_time_ns + 30_000_000, seen_ns, seen_ns, culprit, stage, "", "")


def _folder(path: Path, injections: list[Injection], truth: list[tuple[int, int, int]], found: list[Miss]) -> Path:
    faulty.save(path / "plan.json", injections)
    lines = [json.dumps({"number": number, "seq": seq, "at_ns": at_ns}) for number, seq, at_ns in truth]
    (path / "truth.jsonl").write_text("\n".join(lines))
    (path / "done.json").write_text("{}")
    (path / "report.json").write_text(json.dumps({"conserved": True}))
    recordings = path / "kept" / "recordings"
    recordings.mkdir(parents=True)
    events = [json.dumps({"event": "miss", **asdict(miss)}) for miss in found]
    (recordings / "events.jsonl").write_text("\n".join(['{"event": "started"}', *events]))
    return path


def test_each_miss_is_judged_once_as_its_injection_as_behind_it_or_as_nobodys(tmp_path: Path) -> None:
    slow = Injection(0, Kind.SLOW, "model", 100, 0.0)
    late = Injection(1, Kind.LATE, faulty.SOURCE, 200, 0.0)
    found = [
        _miss(3, "transport", "track"),
        _miss(10, "service", "model", 10**9),
        _miss(11, "service", "model", 10**9 + 20_000_000),
        _miss(12, "transport", "log", 10**9 + 40_000_000),
        _miss(40, "stall", "mic", 4 * 10**9),
    ]
    outcome = misses.judge(_folder(tmp_path, [slow, late], [(0, 10, 10**9), (1, 40, 4 * 10**9)], found))
    assert [(one.injection, one.miss) for one in outcome.judged] == [(slow, found[1]), (late, found[4])]
    assert outcome.right_count(Kind.SLOW) == 1
    assert outcome.right_count() == 1
    assert outcome.behind() == (2, 1)
    assert outcome.others == [found[0]]
    assert len(outcome.detection_ms()) == len(found)
    assert min(outcome.detection_ms()) == -9.0, "a datum that came when it had expired counts from when it came"


def test_an_injection_of_each_kind_is_survived_and_most_are_named_right() -> None:
    outcome = misses.run(1)
    assert len(outcome.judged) == len(Kind)
    assert outcome.report["conserved"] is True
    assert len(outcome.missed()) >= 5
    assert outcome.right_count() >= 4


# ----------------------------------------------------------------------------------- overload, cost


def test_under_overload_more_is_in_time_with_shed_than_without_enforcement() -> None:
    shed, free = (overload.measure(4.0, is_enforced=is_enforced) for is_enforced in (True, False))
    assert shed.conserved is True
    assert free.conserved is True
    assert shed.in_time_count > free.in_time_count
    assert 0 < shed.user_share < shed.useful_share <= shed.busy_share <= 1


def test_a_supervisor_is_watched_while_it_watches() -> None:
    one = watched.watching(1.0, rate_hz=100.0)
    assert one.share > 0
    assert one.rate_hz > 0


@pytest.mark.parametrize(("ratios", "middle"), [((1.0, 3.0, 2.0), 2.0), ((4.0,), 4.0)])
def test_the_ratio_of_pairs_is_their_median(ratios: tuple[float, ...], middle: float) -> None:
    assert watched.median_ratio([watched.Pair(100.0 * ratio, 100.0) for ratio in ratios]) == middle
