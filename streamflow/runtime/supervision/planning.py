"""What each part of the pipeline takes, kept current from the recorders: tails for the stages, budgets for blame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isqrt

from streamflow.core.budget import UNKNOWN, Budgets, Estimate, RecentQuantile, budgets, known, tails
from streamflow.core.cost import RESERVE_SHARE, Caution
from streamflow.core.graph import Resolved
from streamflow.core.paths import Paths
from streamflow.recorder.reader import Recording


class Planning:
    """`profile`: what was measured before, by the name of a stage or an edge; it counts until enough is seen live."""

    def __init__(
        self,
        resolved: Resolved,
        paths: Paths,
        recordings: Mapping[str, Recording],
        profile: Mapping[str, Estimate],
    ) -> None:
        self._resolved = resolved
        self._paths = paths
        self._recordings = recordings
        self._profile = profile
        self._live: dict[tuple[str, str], RecentQuantile] = {}
        self._budgets: dict[int, Budgets] = {}
        self.caution = [Caution() for _ in paths.definitions]
        self._service: dict[str, Estimate] = dict.fromkeys(resolved.order, UNKNOWN)
        self._transport: dict[str, Estimate] = {}

    def observe(self, now_ns: int) -> None:
        """Take in what the recorders say now."""
        for stage, recording in self._recordings.items():
            if not self._resolved.graph.stage(stage).is_source:
                self._service[stage] = self._estimate(stage, recording, "service", stage, now_ns)
            for edge, _ in recording.shape.in_edges:
                self._transport[edge] = self._estimate(edge, recording, f"transport:{edge}", edge, now_ns)
        self._budgets.clear()

    def _estimate(self, key: str, recording: Recording, histogram: str, name: str, now_ns: int) -> Estimate:
        live = self._live.setdefault((recording.stage, histogram), RecentQuantile())
        live.observe(recording.histogram(histogram), now_ns)
        return known(self._profile.get(name), live.estimate())

    def service(self, stage: str) -> Estimate:
        return self._service[stage]

    def usual_tails_ns(self) -> dict[str, dict[int, int]]:
        """For each stage and path the sum of the medians on the longest way from the stage to the path's sink.

        Of transports as they are where nothing waits: how long it does is for the stage to judge that it waits for.
        """
        by_stage: dict[str, dict[int, int]] = {}
        for (stage, path), usual_ns in self._along(lambda estimate: estimate.unhindered_ns).items():
            by_stage.setdefault(stage, {})[path] = usual_ns
        return by_stage

    def tails_ns(self) -> dict[str, dict[int, int]]:
        """For each stage and path what is to be counted with after it.

        The parts' medians add up, and what they exceed them by adds up by squares: that all are slow at once is
        rarer than that one is. How much of that excess counts is learned from what came too late (`Caution`).
        """
        squares = self._along(lambda estimate: (estimate.p99_ns - estimate.p50_ns) ** 2)
        by_stage = self.usual_tails_ns()
        for (stage, path), square in squares.items():
            within_ns = self._paths.definitions[path].within_ns or 0
            excess_ns = min(int(isqrt(square) * self.caution[path].value), within_ns // RESERVE_SHARE)
            by_stage[stage][path] += excess_ns
        return by_stage

    def _along(self, measure: Callable[[Estimate], int]) -> dict[tuple[str, int], int]:
        """The sum of a measure of the parts on the longest way from each stage to each path's sink."""
        return tails(
            self._resolved.order,
            self._resolved.graph.forward.edges,
            self._paths.definitions[: self._paths.declared_count],
            {stage: measure(estimate) for stage, estimate in self._service.items()},
            {edge: measure(estimate) for edge, estimate in self._transport.items()},
        )

    def profile_ns(self, stage: str) -> int:
        estimate = self._profile.get(stage)
        return estimate.p50_ns if estimate is not None else 0

    def budgets(self, path: int) -> Budgets:
        """How the path's time is shared out among its parts."""
        if path not in self._budgets:
            self._budgets[path] = budgets(
                self._resolved.order,
                self._resolved.graph.forward.edges,
                self._paths.definitions[path],
                self._service,
                self._transport,
            )
        return self._budgets[path]
