"""What PERMANENT, TRANSIENT and TEMPORARY come to in whole runs: where a stage fails, and where it ends by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from streamflow import In, Message, Node, Out, Overflow, Pipeline, Restart, ms, s
from streamflow.testing import Faults, Simulation, Ticks, simulate


class Brief(Node):
    """A sensor that gives up after five numbers, as one does whose cable was pulled out."""

    number = Out("int64[]")

    def __init__(self, gap_ms: int = 10, *, live: bool = True) -> None:
        self._gap_s = gap_ms / 1000
        self.live = live

    async def run(self) -> None:
        for number in range(5):
            await trio.sleep(self._gap_s)
            await self.emit(np.int64(number))


class Pass(Node):
    number = In("int64[]")
    out = Out("int64[]")

    def process(self, message: Message) -> Any:
        return message.array


class Noting(Node):
    """A sink that notes in a file that it was flushed, and closed."""

    number = In("int64[]")

    def __init__(self, notes: Path | None = None) -> None:
        self._notes = notes

    def process(self, message: Message) -> None:
        return None

    def flush(self) -> None:
        self._note("flushed")

    def close(self) -> None:
        self._note("closed")

    def _note(self, word: str) -> None:
        if self._notes is not None:
            with self._notes.open("a") as file:
                file.write(f"{word}\n")


def line(
    source: Node,
    restart: Restart,
    *,
    intensity: int = 5,
    notes: Path | None = None,
    sink_restart: Restart = Restart.TRANSIENT,
    overflow: Overflow = Overflow.BLOCK,
    process: str | None = None,
) -> Pipeline:
    """source -> middle -> sink; with `process` the first two share one."""
    p = Pipeline("line")
    first = p.add("source", source, restart=restart, process=process)
    second = p.add("middle", Pass(), process=process)
    last = p.add("sink", Noting(notes), restart=sink_restart)
    p.connect(first, second, overflow=overflow)
    p.connect(second, last)
    p.deadline("whole", first, last, within=1 * s)
    p.supervise(restart_intensity=intensity, restart_period=10 * s)
    return p


def restarted(simulation: Simulation) -> list[str]:
    return [process for event in simulation.events_of("restarting") for process in event["processes"]]


def seqs(simulation: Simulation) -> list[int]:
    return [message.seq for message in simulation.results("sink")]


# ------------------------------------------------------------------------------- the normal end of a source


def test_a_permanent_source_that_ends_is_started_again_and_its_stream_goes_on(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    simulation = simulate(line(Brief(), Restart.PERMANENT, intensity=50, notes=notes), duration_s=0.6)
    assert len(restarted(simulation)) == simulation.stages["source"]["restarts"] >= 3
    assert set(restarted(simulation)) == {"source"}
    assert len(seqs(simulation)) > 15
    assert seqs(simulation) == list(range(len(seqs(simulation))))
    # The run ends in order, once: whoever was downstream saw one stream.
    assert (simulation.failure, simulation.report["ending"]) == (None, "done")
    assert simulation.report["conserved"] is True
    assert simulation.paths["whole"]["lost"] == 0
    assert notes.read_text().split() == ["flushed", "closed"]


@pytest.mark.parametrize("restart", [Restart.TRANSIENT, Restart.TEMPORARY])
def test_the_stream_of_any_other_source_ends_where_it_ends(restart: Restart, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    simulation = simulate(line(Brief(), restart, notes=notes))
    assert restarted(simulation) == []
    assert seqs(simulation) == list(range(5))
    assert (simulation.failure, simulation.report["ending"]) == (None, "done")
    assert notes.read_text().split() == ["flushed", "closed"]


def test_a_permanent_source_that_ends_again_and_again_is_given_up_in_order(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    simulation = simulate(line(Brief(), Restart.PERMANENT, intensity=3, notes=notes))
    assert restarted(simulation) == ["source"] * 3
    assert simulation.failure is not None
    assert simulation.failure.startswith("stage source: its stream has ended, and it is declared permanent; ")
    assert "more than the 3 restarts in 10 s that are allowed" in simulation.failure
    assert [event["process"] for event in simulation.events_of("stopped")] == ["sink", "middle"]
    assert notes.read_text().split() == ["closed"]
    assert seqs(simulation) == list(range(4 * 5))


@pytest.mark.parametrize("duration_s", [0.12, 0.125, 0.13, 0.14, 0.2])
def test_a_source_that_is_down_when_the_run_is_to_end_is_not_waited_for(duration_s: float) -> None:
    """The second restart waits for a backoff of at least 25 ms, and a start takes 20."""
    simulation = simulate(line(Brief(), Restart.PERMANENT), duration_s=duration_s, limit_s=5)
    assert (simulation.failure, simulation.report["ending"]) == (None, "done")
    assert simulation.report["conserved"] is True
    assert seqs(simulation) == list(range(len(seqs(simulation))))


@pytest.mark.parametrize("overflow", [Overflow.BLOCK, Overflow.DROP_OLDEST])
def test_what_a_source_holds_for_a_slow_receiver_is_sent_before_it_ends(overflow: Overflow) -> None:
    source = Brief(gap_ms=0, live=False)
    pipeline = line(source, Restart.PERMANENT, intensity=50, overflow=overflow)
    simulation = simulate(pipeline, service={"middle": 20 * ms}, duration_s=1)
    assert len(restarted(simulation)) >= 5
    edge = simulation.edges["source.number->middle.number"]
    assert (edge["lost"], sum(edge["dropped"].values())) == (0, 0)
    assert simulation.report["conserved"] is True
    assert seqs(simulation) == list(range(simulation.stages["source"]["emitted"]))


def test_a_source_takes_the_stages_of_its_process_along() -> None:
    simulation = simulate(line(Brief(), Restart.PERMANENT, intensity=50, process="both"), duration_s=0.6)
    assert simulation.stages["middle"]["restarts"] == simulation.stages["source"]["restarts"] >= 3
    assert (simulation.failure, simulation.report["ending"]) == (None, "done")
    assert simulation.report["conserved"] is True


@pytest.mark.parametrize(("restarts", "offline"), [(False, False), (True, True)])
def test_where_nothing_is_restarted_its_stream_ends_like_any_other(restarts: bool, offline: bool) -> None:
    simulation = simulate(line(Brief(), Restart.PERMANENT), restarts=restarts, offline=offline)
    assert seqs(simulation) == list(range(5))
    assert (simulation.failure, restarted(simulation)) == (None, [])


def test_a_permanent_stage_with_inputs_is_done_when_they_have_ended() -> None:
    simulation = simulate(line(Ticks(100, 10), Restart.TRANSIENT, sink_restart=Restart.PERMANENT))
    assert seqs(simulation) == list(range(10))
    assert (simulation.failure, simulation.report["ending"], restarted(simulation)) == (None, "done", [])


# ---------------------------------------------------------------------------------------- a failure


@pytest.mark.parametrize(
    ("restart", "count", "produced"),
    [(Restart.PERMANENT, 1, 30), (Restart.TRANSIENT, 1, 30), (Restart.TEMPORARY, 0, 10)],
)
def test_only_a_temporary_stage_stays_ended_where_it_failed(restart: Restart, count: int, produced: int) -> None:
    """A recording: its next life passes over what the former one has sent."""
    faults = Faults().crash("source", seq=10)
    # A permanent one that has played to its end would be played again, so that here the run is stopped before.
    simulation = simulate(line(Ticks(100, 30, live=False), restart), faults=faults, duration_s=0.295)
    assert len(restarted(simulation)) == count
    assert seqs(simulation) == list(range(produced))
    assert (simulation.failure, simulation.report["ending"]) == (None, "done")
    assert simulation.report["conserved"] is True
