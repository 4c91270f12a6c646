"""What a dead process had of the pool: how it is seen from outside, what a row says of it, and one real run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from streamflow.core.message import Message
from streamflow.memory.segment import Segment
from streamflow.runtime.node import Context
from tools.bench import reclaim
from tools.bench.reclaim import Endured, Reclaim, Tables, reclaims, text
from tools.bench.reclaim_pipeline import CHANGED, LENGTH, Sink
from tools.claims import reclaim as claims
from tools.claims.framework import Claim, Options

INTO_RELAY, INTO_SINK = 0, 1


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[Segment]:
    with closing(Segment.create(tmp_path / "source.0.pool", 3, 4096, 2)) as made:
        yield made


def test_a_slot_is_lent_on_an_edge_until_it_is_given_back_there(segment: Segment, tmp_path: Path) -> None:
    segment.renew(1)
    segment.lend(1, INTO_RELAY)
    segment.lend(1, INTO_SINK)
    with closing(Tables(tmp_path)) as tables:
        assert tables.lent([INTO_RELAY, INTO_SINK]) == {(0, 1, INTO_RELAY): 1, (0, 1, INTO_SINK): 1}
        segment.give_back(1, INTO_SINK)
        assert tables.lent([INTO_RELAY, INTO_SINK]) == {(0, 1, INTO_RELAY): 1}
        assert not tables.is_lent((0, 1, INTO_SINK), 1)


def test_a_slot_that_is_used_again_was_free(segment: Segment, tmp_path: Path) -> None:
    segment.lend(2, INTO_RELAY)
    with closing(Tables(tmp_path)) as tables:
        assert tables.is_lent((0, 2, INTO_RELAY), 0)
        segment.renew(2)
        assert not tables.is_lent((0, 2, INTO_RELAY), 0)


def test_loans_of_an_edge_are_counted_over_all_slots_and_new_segments_are_found(
    segment: Segment, tmp_path: Path
) -> None:
    with closing(Tables(tmp_path)) as tables, closing(Segment.create(tmp_path / "source.1.pool", 1, 4096, 2)) as more:
        for slot in (0, 0, 2):
            segment.lend(slot, INTO_SINK)
        assert tables.loan_count(INTO_SINK) == 3
        more.lend(0, INTO_SINK)
        tables.refresh()
        assert tables.loan_count(INTO_SINK) == 4
        assert tables.loan_count(INTO_RELAY) == 0


def test_a_process_had_what_was_lent_into_it_and_out_of_it_and_the_owner_all(tmp_path: Path) -> None:
    with closing(Tables(tmp_path)) as tables:
        assert tables.columns_of("source") == ([], INTO_RELAY, [INTO_SINK])
        assert tables.columns_of("relay") == ([INTO_RELAY], INTO_SINK, [])
        assert tables.columns_of("sink") == ([INTO_SINK], None, [])


def test_kills_at_which_nothing_was_lent_are_no_times() -> None:
    assert text([Reclaim("sink", 0, 0.0, 0.0, 40.0)]) == "nothing was lent at 1 kills"
    found = [
        Reclaim("sink", 2, 9.0, 9.0, 40.0),
        Reclaim("sink", 0, 0.0, 0.0, 40.0),
        Reclaim("sink", 1, 13.0, 13.0, 40.0),
    ]
    assert text(found).endswith("13 longest of 2 kills with 3 slots (1 had none)")


@pytest.mark.parametrize(("free_ms", "line", "expected"), [(99.0, "", True), (101.0, "", False), (9.0, "x", False)])
def test_one_slot_that_is_late_or_one_frame_that_changes_falls_short(
    free_ms: float, line: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made_up(stage: str, count: int, **_: object) -> Endured:
        found = [Reclaim(stage, 1, 9.0, 20.0, 40.0)] * (count - 1) + [Reclaim(stage, 1, free_ms, free_ms, 40.0)]
        return Endured(found, looks=10, changed=[line] if line else [])

    monkeypatch.setattr(claims, "reclaims", made_up)
    rows = list(Claim("reclaim", claims.memory_of_the_dead).rows(Options(is_quick=True)))
    assert all(row.holds in (True, None) for row in rows) is expected
    assert any(row.holds is None for row in rows)


@pytest.mark.parametrize("link", ["ipc", "direct"])
def test_what_a_killed_relay_had_comes_back_and_no_frame_changes(link: str) -> None:
    endured = reclaims("relay", 2, link=link)
    assert [one.stage for one in endured.reclaims] == ["relay", "relay"]
    assert all(one.slot_count and one.free_ms > 0 for one in endured.reclaims)  # it keeps two frames
    assert endured.looks > 0
    assert endured.changed == []
    assert endured.broken == []


def test_a_frame_that_has_changed_is_noticed_whenever_its_reader_looks(tmp_path: Path) -> None:
    frame, sink = np.full(LENGTH, 7), Sink(str(tmp_path), work_ms=0.0, kept_count=0)
    sink.context = cast(Context, SimpleNamespace(stage="sink"))
    sink.process(Message({"array": frame}, "source", 0, 7))
    assert not (tmp_path / CHANGED).exists()
    frame[LENGTH // 2] = 1
    sink.process(Message({"array": frame}, "source", 0, 7))
    lines = (tmp_path / CHANGED).read_text().splitlines()
    assert lines == [f"sink: 7..7 where 7 {when}" for when in ("came", "was worked on", "was kept")]


def test_the_stages_that_are_killed_are_those_of_the_pipeline() -> None:
    assert set(reclaim.KEEPING) == set(reclaim.STAGES) == set(claims.ROLES)
