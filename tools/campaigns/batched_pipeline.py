"""Many microphones and one model: each chunk of sound goes through a recurrent network, in batches over the streams."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt

from streamflow import Batch, In, Message, Node, OnMiss, Out, Output, Pipeline, Timing, ms

SOURCE, STAGE = "microphones", "vad"
RATE_HZ = 16_000
STEP_SIZE, CONTEXT_SIZE = 512, 64
STEPS = 4  # of the network, one after the other, for each chunk: 128 ms of sound
CHUNK = STEP_SIZE * STEPS
PERIOD_NS = CHUNK * 1_000_000_000 // RATE_HZ
WITHIN_MS = 50
SIZE_MAX = 32
DELAY_MS = 5  # for so long the first of a batch waits under `timeout`
RULES = {
    "ours": Batch(SIZE_MAX, buckets=(1, 2, 4, 8, 16, SIZE_MAX)),  # of 32 sizes, each by itself, few are known so soon
    "one by one": Batch(1),
    "timeout": Batch(SIZE_MAX, timing=Timing.LAZY, patience=DELAY_MS * ms),
}

Array = npt.NDArray[np.float32]


class Microphones(Node):
    """Chunks of noise of many streams, each at its own phase; `paced`: as they are recorded, or as fast as can be."""

    chunk = Out(f"float32[{CHUNK}]")

    def __init__(self, stream_count: int, *, paced: bool) -> None:
        chance = Random(1)
        phases = sorted((chance.randrange(PERIOD_NS), index) for index in range(stream_count))
        self._phases = [(phase_ns, f"mic{index}") for phase_ns, index in phases]
        self._is_paced = paced
        self.live = paced

    async def run(self) -> None:
        sound = np.random.default_rng(1).normal(0, 0.1, (16, CHUNK)).astype(np.float32)
        round_number = number = 0
        while True:
            for phase_ns, stream in self._phases:
                due_ns = None
                if self._is_paced:
                    due_ns = await self.pace(round_number * PERIOD_NS + phase_ns)
                output = Output(sound[number % len(sound)], stream=stream, seq=round_number)
                await self.emit(output, event_time_ns=due_ns)
                number += 1
            round_number += 1


class Vad(Node):
    """The probability of speech in each step; what the network carries is kept by stream."""

    chunk = In(f"float32[{CHUNK}]")

    def __init__(self, model: str) -> None:
        self._model = model
        self._states: dict[str, tuple[Array, Array]] = {}

    def open(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(self._model, options, providers=["CPUExecutionProvider"])
        self._rate = np.array(RATE_HZ)
        for size in (1, SIZE_MAX):
            self._step(np.zeros((size, CONTEXT_SIZE + STEP_SIZE), np.float32), np.zeros((2, size, 128), np.float32))

    def _step(self, sound: Array, state: Array) -> tuple[Array, Array]:
        found: tuple[Array, Array] = self._session.run(None, {"input": sound, "state": state, "sr": self._rate})
        return found

    def process_batch(self, messages: Sequence[Message]) -> Sequence[Any]:
        fresh = np.zeros((2, 128), np.float32), np.zeros(CONTEXT_SIZE, np.float32)
        known = [self._states.get(message.stream, fresh) for message in messages]
        state = np.stack([each for each, _ in known], axis=1)
        sound = np.concatenate(
            (np.stack([each for _, each in known]), np.stack([message.array for message in messages])), axis=1
        )
        for first in range(0, CHUNK, STEP_SIZE):
            _, state = self._step(sound[:, first : first + CONTEXT_SIZE + STEP_SIZE], state)
        for index, message in enumerate(messages):
            self._states[message.stream] = state[:, index].copy(), sound[index, -CONTEXT_SIZE:].copy()
        return [None] * len(messages)

    def process(self, message: Message) -> None:
        self.process_batch([message])


def build(model: str, stream_count: int, rule: str = "ours", paced: bool = True) -> Pipeline:
    """`rule`: one of `RULES`. Not `paced`, nothing is due, and the model has as much to do as it can."""
    p = Pipeline("batched")
    microphones = p.add(SOURCE, Microphones(stream_count, paced=paced))
    vad = p.add(STAGE, Vad(model), batch=RULES[rule])
    p.connect(microphones, vad, capacity=256)
    if paced:
        p.deadline("chunk", microphones, vad, within=WITHIN_MS * ms, on_miss=OnMiss.SHED)
    return p
