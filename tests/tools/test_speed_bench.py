"""`streamflow bench` and the claims of speed in short: figures are there and add up; how fast is for the claims."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from streamflow.cli.main import main as streamflow
from streamflow.errors import UsageError
from tools.bench.command import command
from tools.bench.speed import peers_file, plot, table
from tools.bench.speed.cases import CASES, IPC, MEMCPY, RAW, Way, chosen
from tools.bench.speed.programme import WARM_COUNT, Meter, Noted, Origin, Phase, Programme
from tools.bench.speed.runner import Figures, Outcome, measure
from tools.claims import speed
from tools.claims.framework import AbsentError

SECONDS = 0.05


# ---------------------------------------------------------------------------------------------- programmes


@pytest.mark.parametrize("is_together", [False, True])
def test_a_programme_is_read_as_it_was_written(is_together: bool) -> None:
    phases = Phase(64, 1000.0, 30), Phase(4096, 12.5, 25, Origin.IN_PLACE)
    programme = Programme(phases, is_together)
    read = Programme.parse(str(programme))
    assert read == programme
    assert read.sendings == programme.sendings


def test_phases_in_turn_do_not_overlap_and_the_first_messages_of_each_do_not_count() -> None:
    programme = Programme((Phase(64, 1000.0, WARM_COUNT + 5), Phase(8, 500.0, WARM_COUNT + 2)))
    due_ns = [sending.due_ns for sending in programme.sendings]
    assert due_ns == sorted(due_ns)
    assert due_ns[WARM_COUNT + 5] == (WARM_COUNT + 5) * 1_000_000
    assert [len(numbers) for numbers in programme.counted] == [5, 2]
    assert programme.spans() == [(WARM_COUNT, WARM_COUNT + 4), (2 * WARM_COUNT + 5, 2 * WARM_COUNT + 6)]


def test_phases_together_are_sent_by_the_instants_at_which_they_are_due() -> None:
    programme = Programme((Phase(64, 1000.0, 90), Phase(8, 333.0, 30)), is_together=True)
    due_ns = [sending.due_ns for sending in programme.sendings]
    assert due_ns == sorted(due_ns)
    assert [sending.phase for sending in programme.sendings].count(1) == 30
    assert programme.spans() == [(WARM_COUNT, 119)]


def test_every_case_names_each_of_its_phases_and_can_be_as_short_as_one_likes() -> None:
    for case in CASES.values():
        programme = case.programme(SECONDS)
        assert len(programme.phases) == len(case.lines) == len(set(case.lines))
        assert all(len(numbers) > 0 for numbers in programme.counted)
        assert Programme.parse(str(programme)) == programme


def test_a_meter_saves_what_it_noted(tmp_path: Path) -> None:
    programme = Programme((Phase(8, 0.0, WARM_COUNT + 3),))
    meter = Meter(programme)
    for number in range(WARM_COUNT + 3):
        meter.note(number, 7 * number)
        meter.late(number)
    meter.save(tmp_path, "sink0")
    noted = Noted.load(tmp_path, "sink0")
    assert noted.took_ns.tolist() == [7 * number for number in range(WARM_COUNT + 3)]
    assert noted.late_ns.tolist() == list(range(WARM_COUNT + 3))
    assert noted.wall_us[0] > 0
    assert noted.cpu_us[0] >= 0


# -------------------------------------------------------------------------------------------- real runs


def _whole(outcome: Outcome) -> None:
    assert outcome.broken_sums == []
    for repeats in outcome.repeats.values():
        for figures in (one for phases in repeats for one in phases):
            assert 0 < figures.p50 <= figures.p99 <= figures.p999
            assert figures.rate_hz > 0


def test_a_hop_has_figures_and_ratios_for_every_way_that_is_there() -> None:
    case = replace(CASES["hop"], ways=(RAW, IPC))
    outcome = measure(case, seconds=SECONDS, repeat_count=2)
    _whole(outcome)
    assert set(outcome.repeats) == {RAW.name, IPC.name}
    for line in case.lines:
        assert outcome.ratio(IPC.name, line, "p50", RAW.name) > 0
        assert outcome.value(IPC.name, line, "source_cpu_us") > 0
    shown = "\n".join(table.text(outcome, {}))
    assert "4 KiB, 10 kHz, raw pyzmq" in shown


def test_frames_and_samples_go_through_four_stages_and_all_arrive() -> None:
    case = replace(CASES["mix"], ways=(RAW, IPC))
    outcome = measure(case, seconds=SECONDS, repeat_count=1)
    _whole(outcome)
    assert outcome.value(IPC.name, "small", "relay_cpu_us") > 0
    assert outcome.each(RAW.name, "frames")[0].count == case.programme(SECONDS).phases[1].count - WARM_COUNT


def test_copies_and_wakes_are_measured_by_themselves() -> None:
    _whole(measure(replace(CASES["frame"], ways=(MEMCPY,)), seconds=SECONDS, repeat_count=1))
    outcome = measure(CASES["wake"], seconds=SECONDS, repeat_count=1)
    _whole(outcome)
    assert {"pipe", "eventfd", "unix socket"} <= set(outcome.repeats)


def test_the_latency_of_several_sinks_is_that_of_the_last() -> None:
    case = replace(CASES["fanout"], ways=(Way("ipc to 4", sink_count=4),))
    outcome = measure(case, seconds=SECONDS, repeat_count=1)
    _whole(outcome)
    assert len(outcome.repeats["ipc to 4"]) == 1


# ------------------------------------------------------------------------------------------- the command


def test_json_has_every_figure_and_the_plot_every_row(tmp_path: Path) -> None:
    picture = tmp_path / "wake.svg"
    arguments = ["wake", "--seconds", str(SECONDS), "--repeats", "1", "--json", "--plot", str(picture)]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    ((case,), _) = (found := json.loads(result.stdout))["cases"], found["environment"]
    assert case["conserved"] is True
    assert all(figure["p50"] > 0 for figure in case["figures"])
    root = ElementTree.parse(picture).getroot()
    bars = [one for one in root.iter() if one.tag.endswith("rect")]
    assert len(bars) == 1 + len(case["figures"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["hopp"], "case 'hopp': not known, expected of hop, frame"),
        (["wake", "--plot", "wake.png"], "--plot: 'wake.png', expected a name that ends in .svg"),
        (["wake", "--peers", "pyproject.toml"], "--peers pyproject.toml: no figures of peers"),
    ],
)
def test_a_wrong_argument_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    with pytest.raises(SystemExit) as ended:
        streamflow(["bench", *arguments])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence in line


def test_no_case_means_all() -> None:
    assert [case.name for case in chosen([])] == list(CASES)
    assert [case.name for case in chosen(["wake", "hop"])] == ["hop", "wake"]


# ---------------------------------------------------------------------------------------------- outcomes


def _figures(p50: float) -> Figures:
    return Figures(p50, 2 * p50, 3 * p50, 1000.0, 1.0, 1.0, 0.0, 1.0, 100)


def _outcome(**ways: list[float]) -> Outcome:
    """A made-up one of `throughput`, which has one line."""
    names = {"raw": RAW.name, "ipc": IPC.name}
    repeats = {names[way]: [[_figures(p50)] for p50 in values] for way, values in ways.items()}
    return Outcome(CASES["throughput"], repeats, {"direct": "no direct link"})


def test_a_ratio_is_the_median_of_those_within_each_repeat() -> None:
    outcome = _outcome(raw=[100.0, 10.0, 1.0], ipc=[110.0, 30.0, 2.0])
    assert outcome.ratio(IPC.name, "4 KiB", "p50", RAW.name) == pytest.approx(2.0)
    assert outcome.value(IPC.name, "4 KiB", "p50") == 30.0


def test_what_was_not_there_says_why() -> None:
    outcome = _outcome(raw=[1.0], ipc=[1.0])
    with pytest.raises(AbsentError, match="no direct link"):
        outcome.value("direct", "4 KiB", "p50")
    assert "direct: not measured, no direct link" in "\n".join(table.text(outcome, {}))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((), ""),
        (("--link", "ipc"), ""),
        (("--link", "telepathic"), "no telepathic link"),
        (("--telepathy", "1"), "no --telepathy"),
    ],
)
def test_a_way_that_streamflow_run_has_not_is_absent(options: tuple[str, ...], reason: str) -> None:
    assert Way("made up", options).absent() == reason


def _peers_file(folder: Path, **p50: float) -> Path:
    """As tools.bench.peers writes it."""
    path = folder / "peers.json"
    cases = {name: {"throughput-4096": {"p50": 7.0, "per_s": 9.0, "ratio_to_raw": {"p50": value, "per_s": 0.1}}}
             for name, value in p50.items()}  # fmt: skip
    results = {name: {"version": "1", "cases": own} for name, own in cases.items()} | {"gone": {"absent": "no pip"}}
    path.write_text(json.dumps(results))
    return path


def test_peers_are_read_and_shown_beside(tmp_path: Path) -> None:
    peers = peers_file.read_peers(_peers_file(tmp_path, raw=1.0, pigeon=5.0))
    outcome = _outcome(raw=[1.0], ipc=[1.0])
    assert "4 KiB, pigeon" in "\n".join(table.text(outcome, peers))
    plain = table.plain(outcome, peers)
    assert {figure["way"] for figure in plain["figures"]} == {RAW.name, IPC.name, "pigeon"}
    assert "pigeon" in plot.as_svg([plain], "made up")


@pytest.mark.parametrize("text", ["[1]", "no JSON", '{"pigeon": {"cases": {"hop-64": {"p50": 1.0}}}}'])
def test_a_file_that_holds_no_peers_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="no figures of peers"):
        peers_file.read_peers(path)


# ------------------------------------------------------------------------------------------------- claims


def test_every_claim_has_a_name_of_its_own() -> None:
    names = [claim.name for claim in speed.CLAIMS]
    assert len(set(names)) == len(names)


def test_a_row_is_judged_by_the_ratio_and_one_whose_way_is_absent_counts_as_neither() -> None:
    outcome = _outcome(raw=[100.0], ipc=[110.0])
    good, bad, absent = (
        speed.beside(outcome, way, "4 KiB", "p50", most)
        for way, most in ((IPC, 1.15), (IPC, 1.05), (Way("direct"), 1.15))
    )
    assert (good.holds, bad.holds, absent.holds) == (True, False, None)
    assert absent.measured == "not measured: no direct link"


def test_a_peer_is_beaten_by_a_lower_ratio_to_raw(tmp_path: Path) -> None:
    outcome = _outcome(raw=[10.0], ipc=[20.0])
    peers = peers_file.read_peers(_peers_file(tmp_path, slow=3.0, fast=1.5))
    rows = {row.bound: row.holds for row in speed.ahead(outcome, IPC, "4 KiB", peers)}
    assert rows == {"ahead of slow": True, "ahead of fast": False}


def test_without_peers_a_row_says_so_and_counts_as_neither() -> None:
    (row,) = speed.ahead(_outcome(raw=[10.0], ipc=[20.0]), IPC, "4 KiB", {})
    assert row.holds is None
    assert "STREAMFLOW_PEERS names no file" in row.measured


def test_what_is_lost_shows_as_a_row_that_falls_short() -> None:
    outcome = _outcome(raw=[1.0], ipc=[1.0])
    assert speed.sums(outcome).holds is True
    outcome.broken_sums.append("edge a -> b: 3 of 4 delivered")
    assert speed.sums(outcome).holds is False
