"""Shared memory that a pipeline is known to need before its first datum."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streamflow import In, Node, Out, Pipeline
from streamflow.core.graph import Resolved
from streamflow.errors import UsageError
from streamflow.memory.pool import class_of
from streamflow.runtime.process.memory_plan import MB, SPARE_SLOTS, Reservation, require_room, reservations

FRAME = 480 * 640 * 3


class Camera(Node):
    frame = Out("uint8[480, 640, 3]")
    small = Out("float32[10, 10]")
    ragged = Out("float32[height, 1000]")

    async def run(self) -> None:
        """Never called."""


class Take(Node):
    frame = In("any[...]")
    same = Out("uint8[480, 640, 3]")

    def process(self, message: Any) -> Any:
        return message.array


def planned(process_of_a: str | None = None) -> Resolved:
    p = Pipeline("plan")
    camera = Camera()
    source = p.add("camera", camera)
    p.connect(source.frame, p.add("a", Take(), process=process_of_a), capacity=4)
    p.connect(source.frame, p.add("b", Take()), capacity=6)
    p.connect(source.small, p.add("c", Take()), capacity=60)
    p.connect(source.ragged, p.add("d", Take()), capacity=60)
    return p.definition().resolved()


def room(megabytes: int) -> Any:
    return SimpleNamespace(f_bavail=megabytes * MB // 4096, f_frsize=4096)


def test_outputs_of_a_known_size_have_slots_for_what_their_widest_edge_holds() -> None:
    assert list(reservations(planned())) == [Reservation("camera", FRAME, 6 + SPARE_SLOTS)]


def test_edges_within_a_process_need_none() -> None:
    p = Pipeline("plan")
    camera = Camera()
    source = p.add("camera", camera, process="one")
    p.connect(source.frame, p.add("a", Take(), process="one"))
    assert list(reservations(p.definition().resolved())) == []


def test_too_little_shared_memory_is_told_before_the_start_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need = 9 * class_of(FRAME)
    monkeypatch.setattr(os, "statvfs", lambda path: room(need // MB + 1))
    require_room(planned(), tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda path: room(5))
    with pytest.raises(UsageError, match=r"5 MB free, expected 9 MB \(camera 9 MB\); give it more .*--pool-mb 0"):
        require_room(planned(), tmp_path)
    require_room(planned(), tmp_path, limit_mb=4)
    require_room(planned(), tmp_path / "nowhere")
