"""All that is known of a running pipeline, gathered from its recorders: accounts, budgets, vitals, losses, state.

The supervisor asks this; this asks nobody.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from streamflow.core.accounting import EdgeCounts, StageCounts, broken_stage_sums, broken_sums
from streamflow.core.budget import Estimate
from streamflow.core.device_choice import DeviceChoices
from streamflow.core.firm import FirmEvent
from streamflow.core.paths import Paths
from streamflow.core.portrait import as_values
from streamflow.core.rollcall import Failure
from streamflow.core.timebase import ms, s, seconds
from streamflow.recorder import layout
from streamflow.recorder.reader import Recording
from streamflow.runtime.accounts.casualties import Casualties, Settled
from streamflow.runtime.clock import Clock
from streamflow.runtime.environment import environment
from streamflow.runtime.loading.loader import Loaded
from streamflow.runtime.rundir import RunFolder
from streamflow.runtime.supervision.courses import Courses
from streamflow.runtime.supervision.events import EventLog
from streamflow.runtime.supervision.inquest import Inquest
from streamflow.runtime.supervision.planning import Planning
from streamflow.runtime.supervision.state import edge_states, edge_sums, stage_states, stage_sums
from streamflow.runtime.supervision.vitals import Vitals
from streamflow.runtime.supervision.watch import SWEEP_NS, Watch

PLAN_NS = 2 * s
PLAN_NS_FIRST = 100 * ms  # in the first seconds nothing is known yet, and everything matters
FIRST_NS = 3 * s


class Observatory:
    """Of one run."""

    def __init__(
        self,
        loaded: Loaded,
        folder: RunFolder,
        clock: Clock,
        log: EventLog,
        process_of: Mapping[str, str],
        state_of: Callable[[str], str],
        contract_changed: Callable[[str, FirmEvent, str], None],
        profile: Mapping[str, Estimate],
        *,
        is_offline: bool = False,
    ) -> None:
        self._is_offline = is_offline
        self._resolved = resolved = loaded.resolved
        self._folder = folder
        self._clock = clock
        self._process_of = process_of
        self._recordings: dict[str, Recording] = {}
        self._edge_generations: Counter[str] = Counter()
        self._lost_on_edge: Counter[str] = Counter()
        self._lost_in_stage: Counter[str] = Counter()
        self._done_found: Counter[str] = Counter()
        self._dropped_found: Counter[str] = Counter()
        self._offered_found: Counter[str] = Counter()
        self._returned: Counter[str] = Counter()
        self._switches: Counter[str] = Counter()
        self._restarts: Counter[str] = Counter()
        self._effects: dict[str, Sequence[Mapping[str, Any]]] = {}
        asking: dict[str, list[str]] = {}
        for stage in resolved.graph.stages:
            if stage.devices:
                asking.setdefault(process_of[stage.name], []).append(stage.name)
        self._choices = DeviceChoices(asking)
        self._device_work: dict[str, Mapping[str, Any]] = {}
        self._ways: dict[str, str] = {}
        self._told_refused: set[str] = set()
        self._hung: dict[str, str] = {}
        self._left: set[str] = set()
        self._started_ns = 0
        self._log = log
        self._broken_before: set[str] = set()
        self._told_broken: set[str] = set()
        self.paths = Paths(resolved.graph, resolved.graph.deadlines)
        self.inquest = Inquest(resolved.graph, self.paths, self._recordings)
        self.planning = Planning(resolved, self.paths, self._recordings, profile)
        self.casualties = Casualties(resolved.graph, self.paths, self._recordings, self.edge_generation)
        self.watch = Watch(
            resolved,
            self.paths,
            self._recordings,
            self.planning,
            self.inquest,
            log,
            clock.now_ns,
            contract_changed,
        )
        self._courses = Courses(self.paths, self.watch.ledger, self.watch.contracts(), has_own_time=is_offline)
        self._vitals = Vitals(
            resolved, self.paths, self._recordings, process_of, state_of, self._lost_on_edge, self._returned
        )

    # ------------------------------------------------------------------------------------- lives

    def follow(self, stages: Sequence[str]) -> None:
        """These stages have their recorders."""
        for stage in stages:
            if stage not in self._recordings:
                self.watch.follow(stage, Recording.open(self._folder.recording(stage)))

    def started(self, at_ns: int) -> None:
        self._started_ns = at_ns
        self._courses.begin(at_ns)

    def edge_generation(self, edge: str) -> int:
        return self._edge_generations[edge]

    def next_generation(self, edge: str) -> int:
        self._edge_generations[edge] += 1
        return self._edge_generations[edge]

    def heard(self, telegram: Mapping[str, Any]) -> None:
        """Something that a process says of itself and on which nothing follows."""
        match telegram["is"]:
            case "realtime":
                self._has_taken_effect(telegram["stages"], telegram["effects"])
            case "device":
                stage = telegram["stage"]
                opened = telegram["device"], telegram["passed_over"]
                for change in self._choices.opened(self._process_of[stage], stage, *opened):
                    self._log.write("device", **asdict(change))
            case "device_work":
                self._device_work[telegram["stage"]] = telegram["report"]
            case "ways":
                self._ways |= telegram["edges"]
            case "states":
                self.tell_states(telegram["sentences"])
            case "logged":
                self._log.write("logged", **{key: value for key, value in telegram.items() if key != "is"})

    def _has_taken_effect(self, stages: Sequence[str], effects: Sequence[Mapping[str, Any]]) -> None:
        """What became of all that these stages ask of the machine; what did not is told once, not in every life."""
        self._effects |= dict.fromkeys(stages, effects)
        self._log.write("realtime", stages=list(stages), effects=list(effects))
        who = f"stage{'s' if len(stages) > 1 else ''} {', '.join(stages)}"
        for sentence in [f"{who}: {effect['sentence']}" for effect in effects if not effect["took_effect"]]:
            if sentence not in self._told_refused:
                self._told_refused.add(sentence)
                self._log.write("refused", stages=list(stages), sentence=sentence)

    def tell_states(self, sentences: Sequence[str]) -> None:
        """What became of the states that a former run has kept, or of those that this one keeps."""
        for sentence in sentences:
            self._log.write("states", sentence=sentence)

    def has_closed(self, stage: str) -> bool:
        """Whether the stage's streams have ended, and it has closed."""
        recording = self._recordings.get(stage)
        return recording is not None and recording.word(layout.PHASE) == layout.CLOSED

    def went_down(self, stages: Sequence[str], now_ns: int) -> None:
        for stage in stages:
            self.inquest.went_down(stage, now_ns)
            self._hung.pop(stage, None)
            self._vitals.forget(stage)
            self._choices.went_down(self._process_of[stage])

    def lost_device(self, stages: Sequence[str], device: str) -> None:
        """Their process is about to end for it."""
        for stage in stages:
            self.inquest.lost_device(stage, device, self._clock.now_ns())

    def left(self, stages: Sequence[str]) -> None:
        """They stay ended: nothing of theirs is under way any more."""
        self._left.update(stages)

    def came_back(self, stages: Sequence[str], now_ns: int) -> None:
        for stage in stages:
            self.inquest.came_back(stage, now_ns)
            self._restarts[stage] += 1
            self._vitals.forget(stage)

    def lose(self, settled: Settled) -> None:
        """What went with a dead process, on its edges or in its stages."""
        edges = {edge.name for edge in self._resolved.graph.edges}
        self._lost_on_edge.update(loss.place for loss in settled.losses if loss.place in edges)
        self._lost_in_stage.update(settled.lost)
        self._done_found.update(settled.done)
        self._lost_on_edge.update(settled.lost_on)
        self._dropped_found.update(settled.dropped)
        self._offered_found.update(settled.offered)
        self._returned.update(settled.returned)
        self.watch.lose(settled.losses)
        self.watch.merge(settled.merged)

    # ------------------------------------------------------------------------------ while it runs

    def sweep(self, now_ns: int) -> None:
        self.watch.sweep(now_ns)
        self.watch.look_at_rates(now_ns, self._started_ns)

    def sweep_now(self) -> int:
        """Sweep; when it began."""
        now_ns = self._clock.now_ns()
        self.sweep(now_ns)
        return now_ns

    def next_sweep_ns(self, swept_ns: int) -> int:
        """When to sweep again: at the next deadline that may pass, but not later than usual; at once where it must."""
        if self.watch.is_behind:
            return swept_ns
        usual_ns = swept_ns + self.watch.period_ns
        expiry_ns = self.watch.ledger.next_expiry_ns()
        if expiry_ns is None or expiry_ns >= usual_ns:
            return usual_ns
        return max(expiry_ns, swept_ns + SWEEP_NS // 2)

    def hung(self, now_ns: int) -> dict[str, str]:
        """Stages that make no progress although work is due, told once for each life, and why."""
        found = {}
        for stage, hung in self._vitals.look(now_ns).items():
            if stage not in self._hung and stage not in self.inquest.down_since:
                self._hung[stage] = found[stage] = hung.why
        return found

    def silent(self, limit_ns: int) -> set[str]:
        """Processes whose loops have not been seen alive for so long."""
        since_ns = self._clock.now_ns() - limit_ns
        alive = {
            self._process_of[stage]
            for stage, recording in self._recordings.items()
            if recording.word(layout.BEAT_NS) > since_ns
        }
        return set(self._process_of.values()) - alive

    def plan_period_ns(self, now_ns: int) -> int:
        return PLAN_NS if now_ns - self._started_ns > FIRST_NS else PLAN_NS_FIRST

    def budgets(self, now_ns: int) -> dict[str, Any]:
        """For each stage what it needs to decide by; empty where nothing has a deadline."""
        if not self._has_deadlines:
            return {}
        planning = self.planning
        planning.observe(now_ns)
        usual = planning.usual_tails_ns()
        return {
            stage: {
                "tails_ns": tails_ns,
                "usual_tails_ns": usual[stage],
                "profile_ns": planning.profile_ns(stage),
            }
            for stage, tails_ns in planning.tails_ns().items()
        }

    @property
    def _has_deadlines(self) -> bool:
        return any(path.within_ns is not None for path in self.paths.definitions)

    def path_indexes(self, names: set[str]) -> list[int]:
        return [index for index, path in enumerate(self.paths.definitions) if path.name in names]

    def broken_contracts(self) -> list[str]:
        """Deadlines that were not kept: by their firm contract, else by every single datum."""
        contracts = self.watch.contracts()
        return [
            path.name
            for index, path in enumerate(self.paths.definitions)
            if (contracts[index].breaches if index in contracts else index in self.watch.late_paths)
            and path.within_ns is not None
        ]

    # --------------------------------------------------------------------------------- what is told

    def publish(self, phase: str, generations: Mapping[str, int]) -> dict[str, Any]:
        """Write how things stand where tools find it, and return it."""
        self._courses.observe(self._clock.now_ns())
        state = self._state(phase, generations, ended=None)
        broken = state["conserved"] if state["conserved"] is not True else []
        for sentence in set(broken) & self._broken_before:  # seen twice: not two ends read at two instants
            if sentence not in self._told_broken:
                self._told_broken.add(sentence)
                self._log.write("broken_sum", sentence=sentence)
        self._broken_before = set(broken)
        self._tell_switches()
        _write(self._folder.state, state)
        if self.paths.definitions:
            index, course = self._courses.next_whole()
            _write(self._folder.course(index), course)
        return state

    def _tell_switches(self) -> None:
        """Stages that have gone over to another variant since this was last told."""
        for stage in self._resolved.graph.stages:
            recording = self._recordings.get(stage.name)
            if not stage.variants or recording is None:
                continue
            count = recording.word(layout.VARIANT_SWITCHES)
            if count != self._switches[stage.name]:
                self._switches[stage.name] = count
                variant = stage.variants[recording.word(layout.VARIANT)]
                self._log.write("variant", stage=stage.name, variant=variant, switches=count)

    def _state(self, phase: str, generations: Mapping[str, int], *, ended: bool | None) -> dict[str, Any]:
        """`ended`: None while it runs; when it is over, whether its streams have ended in order."""
        now_ns = self._clock.now_ns()
        elapsed_ns = max(now_ns - self._started_ns, 0) if self._started_ns else 0
        graph, recordings = self._resolved.graph, self._recordings
        counters = {name: recording.counters() for name, recording in recordings.items()}
        edges = edge_sums(
            graph, recordings, self._lost_on_edge, self._dropped_found, self._offered_found, self._returned
        )
        stages = stage_sums(graph, recordings, self._lost_in_stage, edges, self._done_found, counters)
        special = dict.fromkeys(self.inquest.down_since, "down") | dict.fromkeys(self._hung, "hung")
        special |= {stage: "ended" if self.has_closed(stage) else "failed" for stage in self._left}
        return {
            "pipeline": self._resolved.graph.name,
            "at_ns": now_ns,
            "at": self._log.wall_clock(),
            "started_ns": self._started_ns,
            "elapsed_s": seconds(elapsed_ns),
            "phase": phase,
            "offline": self._is_offline,
            "paths": self._courses.told(is_over=ended is not None),
            "edges": edge_states(edges, self._ways),
            "stages": stage_states(
                self._resolved,
                self._recordings,
                stages,
                self._done_found,
                elapsed_ns,
                self._process_of,
                generations,
                self._restarts,
                special,
                self._effects,
                self._choices.devices,
                self._device_work,
                now_ns,
            ),
            "rates": self.watch.rates(),
            "conserved": self._broken(edges, stages, ended=ended is True) or True,
        }

    def _broken(self, edges: Mapping[str, EdgeCounts], stages: Mapping[str, StageCounts], *, ended: bool) -> list[str]:
        broken = [line for name, counts in edges.items() for line in broken_sums(name, counts, ended=ended)]
        broken += [line for name, counts in stages.items() for line in broken_stage_sums(name, counts, ended=ended)]
        ledger = self.watch.ledger
        broken += ledger.broken_sums()
        if ended:
            broken += [f"ledger: {sentence}" for sentence in ledger.anomalies]
            for index, path in enumerate(self.paths.definitions):
                count = ledger.counts(index)["in_flight"]
                if count:
                    broken.append(f"path {path.name}: {count} in flight after the end")
        if ledger.forgotten_count:
            broken.append(f"accounts: {ledger.forgotten_count} records were overwritten before they were read")
        return broken

    def report(
        self, how: str, duration_ns: int, failure: Failure | None, generations: Mapping[str, int]
    ) -> dict[str, Any]:
        """The report of a run that has come to its end, which is also how it stands from then on.

        The sums are checked where its streams have ended in order.
        """
        self.watch.sweep(self._clock.now_ns())
        self.watch.sweep(self._clock.now_ns())  # what the first settled
        self.watch.conclude()
        self.watch.ledger.closed()
        ended = all(stage in self._left or self.has_closed(stage) for stage in self._resolved.order)
        if self._started_ns:
            self._courses.observe(self._clock.now_ns(), is_last=True)
        state = self._state(how, generations, ended=ended)
        if not ended and state["conserved"] is True:
            state["conserved"] = [f"not checked to the end, the run was {how}: what was under way is in flight"]
        report = {
            "pipeline": state["pipeline"],
            "duration_s": seconds(duration_ns),
            "ending": how,
            **{key: state[key] for key in ("paths", "edges", "stages", "rates", "conserved")},
        }
        if failure is not None:
            report["failure"] = failure.sentence
        report |= {
            "at": state["at"],
            "started_ns": state["started_ns"],
            "misses": self._log.latest.misses,
            "events": self._log.latest.events,
            "graph": as_values(self._resolved),
            "environment": environment(),
        }
        _write(self._folder.state, state | report)
        return report

    def close(self) -> None:
        for recording in self._recordings.values():
            recording.close()


def _write(path: Path, told: Mapping[str, Any]) -> None:
    """For others to find it whole."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(told))
    partial.replace(path)
