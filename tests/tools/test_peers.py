"""The benchmark of the peers: what runs without any of them, and a real hop over raw pyzmq. Nothing is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from tools.bench.peers import chain, environments, guard, hop
from tools.bench.peers.__main__ import FAILURES_LIMIT, main, measure_case, run
from tools.bench.peers.known import PEERS, RAW, Peer, case_name, cases, mix
from tools.bench.peers.results import Outcome, ResultError, parse, parse_chain, table
from tools.bench.speed.cases import CASES
from tools.bench.speed.programme import Phase, Programme
from tools.claims.framework import ROOT

Measured = Callable[[Peer, Path, hop.Case | chain.Chain], dict[str, Outcome]]

OPTIONS = {"seconds": 0.1}
FAST = PEERS["iceoryx2"]
SLOW = PEERS["ezmsg"]


def _printed(latencies_us: list[float], *, sent_count: int, cpu_us: float = 0.0, span_s: float = 1.0) -> str:
    count = len(latencies_us)
    received = {"count": count, "latencies_ns": [round(us * 1e3) for us in latencies_us]}
    received |= {"span_ns": round(span_s * 1e9), "cpu_ns": round(cpu_us * 1e3 * count)}
    sent = {"count": sent_count, "cpu_ns": round(cpu_us * 1e3 * sent_count)}
    return json.dumps({"version": "1.2", "sent": sent, "received": received})


def _installed(name: str, folder: Path) -> Path:
    return folder / name


def _measured(latency_us: Callable[[Peer], float]) -> Measured:
    def measure(peer: Peer, python: Path, case: hop.Case | chain.Chain) -> dict[str, Outcome]:
        if isinstance(case, chain.Chain):
            return {line: _outcome(latency_us(peer)) for line in case.lines}
        if not case.rate_hz:
            return {"": Outcome("1.2", {"per_s": 1e6 / latency_us(peer), "cpu_us": 1.0}, 0)}
        return {"": _outcome(latency_us(peer))}

    return measure


def _outcome(latency_us: float) -> Outcome:
    return Outcome("1.2", {**dict.fromkeys(("p50", "p99", "p999"), latency_us), "cpu_us": 1.0}, 0)


def test_a_result_is_the_quantiles_of_what_arrived_and_the_processor_time_of_both_ends() -> None:
    outcome = parse(_printed([10.0, 20.0, 30.0], sent_count=3, cpu_us=4.0))
    assert outcome.version == "1.2"
    assert outcome.figures["p50"] == 20.0
    assert outcome.figures["p99"] == pytest.approx(29.8)
    assert outcome.figures["cpu_us"] == pytest.approx(8.0)
    assert outcome.lost_count == 0


def test_only_the_last_line_of_a_script_is_its_result() -> None:
    assert parse("a warning\n" + _printed([5.0], sent_count=1) + "\n").figures["p50"] == 5.0


def test_what_was_sent_and_did_not_arrive_is_lost() -> None:
    assert parse(_printed([10.0, 20.0], sent_count=5)).lost_count == 3


def test_a_flat_out_case_gives_messages_per_second() -> None:
    text = json.dumps(
        {
            "version": "1",
            "sent": {"count": 11, "cpu_ns": 0},
            "received": {"count": 11, "latencies_ns": [], "span_ns": 500_000_000, "cpu_ns": 0},
        }
    )
    assert parse(text).figures["per_s"] == pytest.approx(20.0)


@pytest.mark.parametrize("output", ["", "Traceback\n", "{}", "[1]", '{"version": 1, "sent": 2, "received": 3}'])
def test_what_is_no_result_is_said_in_one_sentence(output: str) -> None:
    with pytest.raises(ResultError, match="no result in the last line"):
        parse(output)


def test_a_case_of_which_nothing_arrived_has_no_figures() -> None:
    with pytest.raises(ResultError, match="of 7 messages none arrived"):
        parse(_printed([], sent_count=7))


def test_an_unknown_peer_is_one_sentence_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "nosuch"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("peer nosuch is not known; expected one of iceoryx2, ezmsg, zenoh")
    assert said.count("\n") == 1


def test_every_peer_has_a_script_and_pinned_requirements() -> None:
    folder = environments.REQUIREMENTS.parent
    for name in PEERS:
        assert (folder / f"{name}.py").exists()
        lines = (environments.REQUIREMENTS / f"{name}.txt").read_text().splitlines()
        assert lines
        assert all("==" in line for line in lines)


def test_a_peer_that_cannot_be_installed_is_absent_and_the_others_go_on(tmp_path: Path) -> None:
    def install(name: str, folder: Path) -> Path:
        if name == FAST.name:
            raise environments.AbsentError("iceoryx2 could not be installed: no such version")
        return folder / name

    results = run([FAST, SLOW], tmp_path, OPTIONS, round_count=1, install=install, measure=_measured(lambda peer: 10.0))
    assert results[FAST.name] == {"absent": "iceoryx2 could not be installed: no such version"}
    signals = {"mix-small", "mix-frames"}
    assert set(results[SLOW.name]["cases"]) == {case.name for case in cases("copied", seconds=1)} | signals
    assert "absent: iceoryx2 could not be installed: no such version" in table(results)


def test_a_peer_that_never_runs_is_absent_with_the_reason_and_is_given_up(tmp_path: Path) -> None:
    tries: list[str] = []

    def measure(peer: Peer, python: Path, case: hop.Case | chain.Chain) -> dict[str, Outcome]:
        if peer is FAST:
            tries.append(case.name)
            raise ResultError("exit code 1: no such symbol")
        return _measured(lambda peer: 10.0)(peer, python, case)

    results = run([FAST, SLOW], tmp_path, OPTIONS, round_count=3, install=_installed, measure=measure)
    assert results[FAST.name] == {"absent": "exit code 1: no such symbol"}
    assert FAILURES_LIMIT <= len(tries) <= FAILURES_LIMIT + len(FAST.ways)
    assert "mix" not in tries
    assert results[SLOW.name]["cases"]["hop-64"]["rounds"] == 3


def test_a_case_that_fails_is_named_and_the_other_cases_stay(tmp_path: Path) -> None:
    def measure(peer: Peer, python: Path, case: hop.Case | chain.Chain) -> dict[str, Outcome]:
        if peer is SLOW and case.name == "hop-64":
            raise ResultError("it ran past its limit of 24 s")
        return _measured(lambda peer: 10.0)(peer, python, case)

    results = run([SLOW], tmp_path, OPTIONS, round_count=2, install=_installed, measure=measure)
    assert results[SLOW.name]["failed"] == {"hop-64": "it ran past its limit of 24 s"}
    assert "hop-4096" in results[SLOW.name]["cases"]
    assert "hop-64: not measured, it ran past its limit of 24 s" in table(results)


def test_ratios_are_to_raw_in_the_same_round_and_their_median(tmp_path: Path) -> None:
    raw_us = iter([10.0, 100.0, 20.0])
    own_us = iter([20.0, 100.0, 80.0])  # 2, 1 and 4 times the yardstick of its round

    def latency_us(peer: Peer) -> float:
        return next(raw_us if peer is RAW else own_us)

    def measure(peer: Peer, python: Path, case: hop.Case | chain.Chain) -> dict[str, Outcome]:
        if case.name == "hop-64" and case.way == "copied":
            return _measured(latency_us)(peer, python, case)
        return _measured(lambda peer: 10.0)(peer, python, case)

    results = run([SLOW], tmp_path, OPTIONS, round_count=3, install=_installed, measure=measure)
    figures = results[SLOW.name]["cases"]["hop-64"]
    assert figures["ratio_to_raw"]["p50"] == 2.0
    assert figures["p50"] == 80.0
    assert results["raw"]["cases"]["hop-64"]["p50"] == 20.0


def test_a_peers_own_way_has_the_plain_name_and_a_further_one_ends_in_the_way() -> None:
    loaned, copied = (cases(way, seconds=1)[1] for way in FAST.ways)
    assert [case_name(FAST, loaned), case_name(FAST, copied)] == ["hop-4096", "hop-4096-copied"]


def test_a_chain_gives_figures_for_each_signal_and_ratios_to_the_raw_chain_of_the_same_round(tmp_path: Path) -> None:
    def measure(peer: Peer, python: Path, case: hop.Case | chain.Chain) -> dict[str, Outcome]:
        factor = {"loaned": 1.0, "forwarded": 0.25}[case.way] * (1.0 if peer is RAW else 0.5)
        return {"small": _outcome(100.0 * factor), "frames": _outcome(1000.0 * factor)}

    results = run([FAST], tmp_path, OPTIONS, round_count=2, is_mix_only=True, install=_installed, measure=measure)
    assert set(results["raw"]["cases"]) == {"mix-small", "mix-frames"}
    ratios = {name: figures["ratio_to_raw"]["p50"] for name, figures in results[FAST.name]["cases"].items()}
    assert ratios == {
        "mix-small": 0.5, "mix-frames": 0.5, "mix-small-forwarded": 0.125, "mix-frames-forwarded": 0.125
    }  # fmt: skip
    assert results[FAST.name]["cases"]["mix-frames"]["p50"] == 500.0
    assert results[FAST.name]["cases"]["mix-frames"]["rounds"] == 2


def test_a_chain_that_fails_is_named_and_the_hops_stay(tmp_path: Path) -> None:
    def measure(peer: Peer, python: Path, case: hop.Case | chain.Chain) -> dict[str, Outcome]:
        if peer is SLOW and isinstance(case, chain.Chain):
            raise ResultError("exit code 1: relay1 has failed")
        return _measured(lambda peer: 10.0)(peer, python, case)

    results = run([SLOW], tmp_path, OPTIONS, round_count=2, install=_installed, measure=measure)
    assert results[SLOW.name]["failed"] == {"mix": "exit code 1: relay1 has failed"}
    assert "hop-64" in results[SLOW.name]["cases"]
    assert "mix-small" in results["raw"]["cases"]


def test_the_chain_of_the_peers_is_the_one_of_the_claim() -> None:
    case = CASES["mix"]
    assert case.hop_count == chain.HOP_COUNT
    asked = mix("loaned", seconds=1.0)
    assert Programme.parse(asked.programme) == case.programme(1.0)
    assert asked.lines == case.lines
    assert chain.Chain.parse(json.dumps(asdict(asked))) == asked


def test_every_peer_with_a_chain_has_a_script_of_it() -> None:
    folder = environments.REQUIREMENTS.parent
    with_chain = [peer for peer in (RAW, *PEERS.values()) if peer.chain_ways]
    assert {"raw", "iceoryx2", "ezmsg"} <= {peer.name for peer in with_chain}
    for peer in with_chain:
        assert (folder / f"{peer.name}_chain.py").exists()


def test_a_result_of_a_chain_is_the_quantiles_of_each_signal() -> None:
    lines = {"small": {"latencies_ns": [1000, 2000, 3000]}, "frames": {"latencies_ns": [9000]}}
    found = parse_chain("a warning\n" + json.dumps({"version": "1.2", "cpu_us": 7.0, "lines": lines}))
    assert {line: outcome.figures["p50"] for line, outcome in found.items()} == {"small": 2.0, "frames": 9.0}
    assert found["frames"].figures["cpu_us"] == 7.0


@pytest.mark.parametrize("output", ["", "Traceback\n", "{}", "[1]", '{"version": 1, "cpu_us": 2, "lines": 3}'])
def test_what_is_no_result_of_a_chain_is_said_in_one_sentence(output: str) -> None:
    with pytest.raises(ResultError, match="no result in the last line"):
        parse_chain(output)


def _sink(tmp_path: Path) -> chain.Stage:
    programme = Programme((Phase(64, 1000.0, 30), Phase(128, 1000.0, 30)), is_together=True)
    asked = chain.Chain("mix", str(programme), ("small", "frames"), 1.0, "loaned")
    return chain.Stage(asked, tmp_path, chain.HOP_COUNT)


def _filled(length: int, number: int) -> chain.Block:
    block = np.zeros(length, np.int64)
    chain.fill(block, number)
    return block


def test_the_sink_of_a_chain_counts_what_was_sent_and_no_greeting(tmp_path: Path) -> None:
    sink = _sink(tmp_path)
    assert not sink.passed(_filled(8, chain.HELLO))
    for number, sending in enumerate(sink.programme.sendings):
        assert not sink.is_over
        assert sink.passed(_filled(sink.lengths[sending.phase], number))
    assert sink.is_over


def test_the_sink_of_a_chain_refuses_what_is_torn_or_of_another_size_or_comes_twice(tmp_path: Path) -> None:
    sink = _sink(tmp_path)
    torn = _filled(8, 0)
    torn[-1] = 5
    for block in (torn, _filled(16, 0), _filled(8, 1000)):
        with pytest.raises(ValueError, match="which nobody has sent"):
            sink.passed(block)
    assert sink.passed(_filled(8, 0))
    with pytest.raises(ValueError, match="message 0 has come twice"):
        sink.passed(_filled(8, 0))


def test_a_real_chain_over_raw_pyzmq_gives_both_signals_and_leaves_nothing() -> None:
    before = guard.shared_names()
    found = measure_case(RAW, Path(sys.executable), mix("loaned", seconds=0.1))
    assert set(found) == {"small", "frames"}
    for outcome in found.values():
        assert 0 < outcome.figures["p50"] <= outcome.figures["p99"]
        assert outcome.figures["cpu_us"] > 0
    assert not {name for name in guard.shared_names() - before if name.startswith("sfp-")}


def test_the_stamp_is_read_back_and_the_first_messages_are_discarded() -> None:
    case = hop.Case("hop-64", 64, 100.0, 1.0, "copied")
    receipts, block = hop.Receipts(case), hop.blank(64)
    for number in [hop.HELLO, *range(hop.DISCARDED_COUNT + 3)]:
        hop.stamp(block, number)
        assert receipts.note(block)
    hop.stamp(block, hop.END)
    assert not receipts.note(block)
    received = receipts.received()
    assert received.count == len(received.latencies_ns) == 3
    assert min(received.latencies_ns) >= 0


def test_a_torn_message_is_an_error_and_no_latency() -> None:
    receipts, block = hop.Receipts(hop.Case("hop-64", 64, 100.0, 1.0, "copied")), hop.blank(64)
    hop.stamp(block, 30)
    block[-1] ^= 1
    with pytest.raises(ValueError, match="message 30 of 64 bytes ends in"):
        receipts.note(np.array(block))


def test_a_paced_sending_gives_each_number_once_and_discards_none_of_those_asked_for() -> None:
    sending = hop.Sending(hop.Case("hop-64", 64, 1000.0, 0.01, "copied"))
    assert list(sending.numbers()) == list(range(hop.DISCARDED_COUNT + 10))
    assert sending.sent.count == 10


@pytest.mark.parametrize("way", RAW.ways)
def test_a_real_hop_over_raw_pyzmq_loses_nothing_and_leaves_nothing(way: str) -> None:
    case = hop.Case("hop-4096", 4096, 1000.0, 0.1, way)
    outcome = measure_case(RAW, Path(sys.executable), case)[""]
    assert outcome.lost_count == 0
    assert 0 < outcome.figures["p50"] <= outcome.figures["p99"] <= outcome.figures["p999"]
    assert outcome.figures["cpu_us"] > 0


def test_a_script_that_fails_is_told_with_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"exit code 1: .*No module named 'tools.bench.peers.nosuch'|nosuch"):
        measure_case(Peer("nosuch", ("copied",)), Path(sys.executable), cases("copied", **OPTIONS)[0])


def test_the_guard_ends_what_has_detached_itself(tmp_path: Path) -> None:
    sleeper = (
        "import subprocess, sys; p = subprocess.Popen(['sleep', '60'], start_new_session=True, stdout=2); print(p.pid)"
    )
    ended = guard.guarded([sys.executable, "-c", sleeper], cwd=ROOT, env=os.environ, timeout_s=20)
    assert ended.code == 0
    assert not Path(f"/proc/{int(ended.output)}").exists()


def test_the_guard_ends_a_command_that_runs_past_its_limit() -> None:
    ended = guard.guarded(["sleep", "60"], cwd=ROOT, env=os.environ, timeout_s=0.2)
    assert ended.code == guard.TIMED_OUT


def test_a_guard_that_is_told_to_stop_ends_its_command_first() -> None:
    command = [sys.executable, "-m", "tools.bench.peers.guard", "60", sys.executable, "-c"]
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    with subprocess.Popen([*command, code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        identity = int(process.stdout.readline())
        process.terminate()
        process.wait()
    assert not Path(f"/proc/{identity}").exists()


def test_the_sweep_removes_what_is_new_bears_the_name_and_is_unused(tmp_path: Path) -> None:
    before = guard.shared_names()
    prefix = f"sfp-test-{os.getpid()}-{time.monotonic_ns()}"
    left, held, other = (guard.SHARED_MEMORY / f"{prefix}{end}" for end in ("_left", "_held", ".other"))
    try:
        for path in (left, held, other):
            path.write_bytes(b"x")
        with held.open("rb"):
            assert guard.sweep([f"{prefix}_*"], before) == [left.name]
        assert held.exists()
        assert other.exists()
    finally:
        for path in (left, held, other):
            path.unlink(missing_ok=True)


def test_an_installer_that_fails_gives_one_sentence_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requirements = tmp_path / "requirements"
    requirements.mkdir()
    (requirements / "made_up.txt").write_text(f"--no-index\n{tmp_path}/absent-1.0-py3-none-any.whl\n")
    monkeypatch.setattr(environments, "REQUIREMENTS", requirements)
    with pytest.raises(environments.AbsentError, match=r"^made_up could not be installed: .*absent-1\.0"):
        environments.python_of("made_up", tmp_path / "peers")
    assert not (tmp_path / "peers" / "made_up" / "ready").exists()


def test_an_environment_that_is_ready_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = tmp_path / "requirements"
    requirements.mkdir()
    (requirements / "made_up.txt").write_text("")
    monkeypatch.setattr(environments, "REQUIREMENTS", requirements)
    folder = tmp_path / "peers"
    first = environments.python_of("made_up", folder)
    made_ns = (folder / "made_up" / "ready").stat().st_mtime_ns
    assert environments.python_of("made_up", folder) == first
    assert (folder / "made_up" / "ready").stat().st_mtime_ns == made_ns
