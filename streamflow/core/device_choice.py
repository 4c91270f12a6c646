"""Which of its devices each stage got, and what is told of that: once for each process, since its stages share devices.

A stage alone does not say whether others of its process follow, so a sentence waits until all of them have opened.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """Stages of a process are on another device than the first they asked for, or than before."""

    stages: tuple[str, ...]
    device: str
    sentence: str


class DeviceChoices:
    """`processes`: by name, those of their stages that ask for devices."""

    def __init__(self, processes: Mapping[str, Collection[str]]) -> None:
        self.devices: dict[str, str] = {}  # by stage
        self._processes = processes
        self._opened: dict[str, dict[str, tuple[str, str]]] = {process: {} for process in processes}

    def opened(self, process: str, stage: str, device: str, passed_over: Mapping[str, str]) -> list[Change]:
        """In this life; `passed_over`: why not on those that the stage would have had before. What has changed since
        the process's former life, once all have opened."""
        opened = self._opened[process]
        opened[stage] = device, _why(passed_over)
        if len(opened) < len(self._processes[process]):
            return []
        changed: dict[tuple[str, str], list[str]] = {}
        for one in self._processes[process]:  # in one order, whichever opened first
            new, why = opened[one]
            before = self.devices.get(one)
            if before != new and (why or before is not None):
                changed.setdefault((new, why), []).append(one)
            self.devices[one] = new
        opened.clear()
        return [Change(tuple(stages), new, _sentence(stages, new, why)) for (new, why), stages in changed.items()]

    def went_down(self, process: str) -> None:
        """A life that ended while its stages opened says nothing of the next."""
        self._opened.get(process, {}).clear()


def _why(passed_over: Mapping[str, str]) -> str:
    """As in ` instead of cuda:0 (no such device)`; errors begin with the device."""
    reasons = [f"{name} ({sentence.removeprefix(f'{name}: ')})" for name, sentence in passed_over.items()]
    return f" instead of {', '.join(reasons)}" if reasons else ""


def _sentence(stages: Collection[str], device: str, why: str) -> str:
    one = len(stages) == 1
    who = f"stage{'' if one else 's'} {', '.join(stages)}"
    return f"{who}: work{'s' if one else ''} on {device}{why or ' again'}"
