"""Nodes of any ports, pipelines of them, and the sentences that tell what is wrong with one."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from streamflow import In, InputError, Message, Node, Out, Pipeline, PipelineError
from streamflow.core.graph import Resolved


class Source(Node):
    """Sends whatever type it is told to."""

    def __init__(self, sends: str = "float32[time]", rate_hz: float | None = None, port: str = "samples") -> None:
        setattr(self, port, Out(sends, rate_hz=rate_hz))

    async def run(self) -> None: ...


class Sink(Node):
    """Takes whatever type it is told to."""

    def __init__(self, takes: str = "float32[time]", rate_hz: float | None = None) -> None:
        self.samples = In(takes, rate_hz=rate_hz)

    def process(self, message: Message) -> None: ...


class Through(Node):
    """One in, one out, of the types it is told."""

    def __init__(self, takes: str = "float32[time]", sends: str = "float32[time]", keeps_rate: bool = False) -> None:
        self.samples = In(takes)
        self.result = Out(sends, rate_hz="samples" if keeps_rate else None)

    def process(self, message: Message) -> Any: ...


class Pair(Node):
    left = In("float32[n]")
    right = In("float32[n]")
    both = Out("float32[2, n]")

    def process(self, *, left: Message, right: Message) -> Any: ...


class Unreadable(Node):
    """Its file is missing, so that its ports stay unknown."""

    def inspect(self) -> None:
        raise InputError("model.onnx", "no such file")

    def process(self, message: Message) -> None: ...


def faults(p: Pipeline) -> list[str]:
    with pytest.raises(PipelineError) as caught:
        p.check()
    assert caught.value.exit_code == 2
    assert str(caught.value).splitlines() == [str(fault) for fault in caught.value.faults]
    return str(caught.value).splitlines()


def fault(p: Pipeline) -> str:
    (sentence,) = faults(p)
    return sentence


def resolved(p: Pipeline) -> Resolved:
    return p.definition().resolved()


def chain(*nodes: Node) -> Pipeline:
    """Stages a, b, c, ... each joined to the next by their only ports."""
    p = Pipeline("test")
    stages = [p.add(name, node) for name, node in zip("abcdefgh", nodes, strict=False)]
    for sender, receiver in pairwise(stages):
        p.connect(sender, receiver)
    return p
