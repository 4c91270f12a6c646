"""A load that steps up and down again, on a recurrent network of which there is a smaller one.

Data come at a share of what the full network can do, then at several times that, then at the share again, and so on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from nodes.postprocess import JsonLines
from streamflow import In, Message, Node, Out, Overflow, Pipeline, StateTensor, VariantStates, ms, s

STAGE = "infer"
FRAMES, FEATURES = 8, 64  # of a datum
FULL_WIDTH, SMALL_WIDTH = 768, 96
LAYERS = 3


class Gru(Node):
    """Layers of gated recurrent units, with weights that are drawn, not learnt: only what it takes matters here."""

    features = In(f"float32[{FRAMES}, {FEATURES}]")
    score = Out("float32[]")

    def __init__(self, width: int) -> None:
        self.width = width

    def open(self) -> None:
        chance = np.random.default_rng(7)

        def drawn(size: int) -> Any:
            return (chance.standard_normal((size, 3 * self.width)) / size**0.5).astype(np.float32)

        self.weights = [(drawn(size), drawn(self.width)) for size in (FEATURES, *[self.width] * (LAYERS - 1))]

    def state_tensors(self) -> Sequence[StateTensor]:
        return [StateTensor(f"h{nth}", "float32", (self.width,)) for nth in range(LAYERS)]

    def step(self, frames: Any, state: Sequence[Any]) -> tuple[Any, list[Any]]:
        """Over the frames of one datum: the score of the last, and what is carried."""
        following = list(state)
        for x in frames:
            for nth, (of_input, of_state) in enumerate(self.weights):
                h = following[nth]
                (rx, zx, nx), (rh, zh, nh) = np.split(x @ of_input, 3), np.split(h @ of_state, 3)
                r, z = 1 / (1 + np.exp(-rx - rh)), 1 / (1 + np.exp(-zx - zh))
                following[nth] = x = (1 - z) * np.tanh(nx + r * nh) + z * h
        return following[-1].mean(), following

    def process(self, message: Message) -> Any:
        stepping = self.begin_steps([message])
        score, following = self.step(message.array, [array[0] for array in stepping.arrays])
        stepping.commit([one[None] for one in following])
        return stepping.results([np.float32(score)])[0]


class Full(Gru):
    def __init__(self) -> None:
        super().__init__(FULL_WIDTH)


class Small(Gru):
    def __init__(self) -> None:
        super().__init__(SMALL_WIDTH)


class LoadSteps(Node):
    """At `low_hz`, then `high_hz`, each for `length_s`, `steps` times, and `low_hz` at last."""

    features = Out(f"float32[{FRAMES}, {FEATURES}]")

    def __init__(self, low_hz: float, high_hz: float, length_s: float, steps: int) -> None:
        self.rates = [*[low_hz, high_hz] * steps, low_hz]
        self.length_s = length_s

    async def run(self) -> None:
        for nth, rate_hz in enumerate(self.rates):
            for each in range(round(rate_hz * self.length_s)):
                due_ns = await self.pace(round((nth * self.length_s + each / rate_hz) * s))
                features = np.full((FRAMES, FEATURES), np.sin(each / 10), np.float32)
                await self.emit(features, event_time_ns=due_ns, part=nth, at_s=nth * self.length_s + each / rate_hz)


def step_ns(node: Gru, count: int = 40) -> int:
    """What a step of it takes on this machine, by itself: the median."""
    node.open()
    frames, state = np.zeros((FRAMES, FEATURES), np.float32), [np.zeros(node.width, np.float32)] * LAYERS
    took = []
    for _ in range(count):
        began_ns = time.perf_counter_ns()
        _, state = node.step(frames, state)
        took.append(time.perf_counter_ns() - began_ns)
    return sorted(took)[count // 2]


def build(
    out: str,
    low_hz: float = 50.0,
    high_hz: float = 200.0,
    length_s: float = 4.0,
    steps: int = 2,
    within_ms: float = 100.0,
    back_after_ms: float = 1500.0,
    states: str = "own",
) -> Pipeline:
    p = Pipeline("variants")
    source = p.add("source", LoadSteps(low_hz, high_hz, length_s, steps))
    own = VariantStates(states)
    infer = p.add(STAGE, variants=[Full(), Small()], back_after=round(back_after_ms * ms), states=own)
    log = p.add("log", JsonLines(out, attributes=["variant", "part", "at_s", "gap"]))
    p.connect(source, infer, overflow=Overflow.DROP_OLDEST, capacity=32)
    p.connect(infer, log, capacity=32)
    p.deadline("whole", source, log, within=round(within_ms * ms), firm=(18, 20))
    return p
