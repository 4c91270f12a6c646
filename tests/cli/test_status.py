"""`streamflow status` shows how a run is, on one screen or for scripts."""

from __future__ import annotations

import json

import pytest

from streamflow.core.metrics import CATALOGUE
from streamflow.core.timebase import s
from streamflow.runtime.supervision.rounds import PUBLISH_NS, PUBLISH_NS_FIRST
from tests.left_behind import LeftBehind


@pytest.fixture
def run(folder) -> LeftBehind:
    return LeftBehind(folder / "run")


def row(ended, name: str) -> str:
    return " ".join(next(line for line in ended.out.splitlines() if line.startswith(f"{name} ")).split())


def test_the_head_says_which_run_and_whether_it_lives(streamflow, run):
    run.state()
    assert streamflow("status", "run").out.splitlines()[0] == "speech  run  killed, was running, 2.0 s"


def test_a_path_has_its_rate_its_share_its_latency_and_who_was_to_blame(streamflow, run):
    run.state()
    expected = "speech 31.0 75.00% 61.25 50 2 15 service vad: 12, stall log: 3"
    assert expected in " ".join(streamflow("status", "run").out.split())


def test_a_stage_has_what_it_did_and_does(streamflow, run):
    run.state()
    assert row(streamflow("status", "run"), "vad") == "vad killed - 1,060 12.50 62.5% 3 1 7.0 ms"


def test_a_stage_that_asked_for_a_device_has_the_one_that_it_got(streamflow, run):
    content = run.state()
    content["stages"] = {"mic": content["stages"]["vad"] | {"device": None}}
    run.state(stages=content["stages"])
    assert "device" not in streamflow("status", "run").out
    content["stages"]["vad"] = content["stages"]["mic"] | {"device": "host"}
    run.state(stages=content["stages"])
    ended = streamflow("status", "run")
    assert [row(ended, name).split()[:5] for name in ("mic", "vad")] == [
        ["mic", "killed", "-", "-", "1,060"],
        ["vad", "killed", "-", "host", "1,060"],
    ]


def test_culprits_that_have_no_room_are_counted_and_what_was_not_kept_stands_apart(streamflow, run):
    content = run.state()
    culprits = {f"service {name}": 20 - i for i, name in enumerate("abcdefghijk")}
    content["paths"]["speech"] |= {"culprits": culprits, "shed": 4, "lost": 1}
    content["paths"]["speech"]["firm"] = {"m": 9, "k": 10, "state": "held", "level": 0, "breaches": 0}
    run.state(paths=content["paths"])
    ended = streamflow("status", "run")
    assert ended.out.splitlines()[2].endswith("missed  not kept        contract      missed by")
    told = "15 shed 4, lost 1 9 of 10 held service a: 20, service b: 19, service c: 18, … 8 more"
    assert " ".join(ended.out.splitlines()[3].split()).endswith(told)


def test_what_a_stage_took_can_be_summed_up(streamflow, run):
    content = run.state()
    left_out = {"x": {"late": 2, "too_old": 1}, "y": {"late": 4}}
    content["stages"]["vad"] |= {"shed": 9, "left_out": left_out}
    run.state(stages=content["stages"])
    ended = streamflow("status", "run")
    assert "data  shed  left out" in ended.out
    assert row(ended, "vad") == "vad killed - 1,060 9 7 12.50 62.5% 3 1 7.0 ms"


def test_an_edge_has_what_it_dropped(streamflow, run):
    run.state()
    assert row(streamflow("status", "run"), "mic.signal->vad.x") == "mic.signal->vad.x 62 58 drop_oldest:2 0 2 4"


def test_broken_sums_broken_contracts_and_silence_stand_out(streamflow, run):
    content = run.state()
    content["paths"]["speech"]["firm"] = {"m": 9, "k": 10, "state": "broken", "level": 1, "breaches": 2}
    run.state(
        conserved=["edge a: 3 sent, 2 told"],
        paths=content["paths"],
        rates={"alive": {"within_ms": 100.0, "longest_ms": 312.0, "is_silent": True}},
    )
    text = streamflow("status", "run").out
    assert "NOT CONSERVED: edge a: 3 sent, 2 told" in text
    assert "9 of 10 BROKEN (level 1), 2 times so far" in text
    assert "alive: SILENT, longest gap 312.00 ms" in text


def test_a_state_that_lacks_everything_is_a_screen_all_the_same(streamflow, run):
    run.folder.state.write_text('{"paths": {"p": {}}, "stages": {"s": {}}, "edges": {"e": {}}}')
    ended = streamflow("status", "run")
    assert ended.code == 0
    assert {line.split()[0] for line in ended.out.splitlines() if line} >= {"p", "s", "e"}


def test_json_is_the_state_as_it_is_with_its_age(streamflow, run):
    content = run.state()
    found = json.loads(streamflow("status", "run", "--json").out)
    assert found.pop("is_live") is False
    assert found.pop("age_s") >= 0
    content["stages"]["vad"] |= {"state": "killed", "pid": 0}  # it has died with its supervisor
    assert found == content


def test_a_run_that_has_told_nothing_yet_is_one_sentence(streamflow, run):
    ended = streamflow("status", "run")
    assert (ended.code, ended.out) == (1, "")
    assert ended.sentences == ["streamflow: run run: it has told no state"]


def test_how_often_a_run_tells_its_state_is_said_alike_everywhere(streamflow):
    assert (s, s // 2) == (PUBLISH_NS, PUBLISH_NS_FIRST)
    said = "once a second, at first twice"
    assert said in " ".join(streamflow("status", "--help").out.split())
    (metric,) = (one for one in CATALOGUE if one.name == "streamflow_state_timestamp_seconds")
    assert said in metric.help
