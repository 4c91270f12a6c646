"""What the chains of the peers share: four processes, two signals together, the stamps in the blocks, and the result.

The rule it keeps: the standard library, NumPy and the programme of the claim `mix`, for it runs in each peer's own
environment. Every stage does what a stage of the raw chain does (`tools/bench/speed/raw.py`): the source fills a block
with its number before the hop begins, relays pass on what they can read as an array, the sink looks at both ends.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from tools.bench.peers.hop import IDLE_S, START_LEAD_S, TIMER_SLACK_NS
from tools.bench.speed.programme import Meter, Noted, Programme

Block = npt.NDArray[np.int64]

NAMES = ("source", "relay1", "relay2", "sink0")  # as the raw chain calls them
HOP_COUNT = len(NAMES) - 1
HELLO = -2  # the number of a block that only asks whether anyone hears; no stage counts it
_PR_SET_TIMERSLACK = 29
_NUMBER, _SENT_NS = 0, 1  # of a block's words
_AGES = "ages.npy"


@dataclass(frozen=True, slots=True)
class Chain:
    """`programme`: as text, its phases together; `lines`: what each phase is called; `way`: how frames travel."""

    name: str
    programme: str
    lines: tuple[str, ...]
    seconds: float
    way: str

    @staticmethod
    def parse(text: str) -> Chain:
        """From the JSON of its fields."""
        fields: dict[str, Any] = json.loads(text)
        return Chain(**{**fields, "lines": tuple(fields["lines"])})


class Stage:
    """One process of the chain: which messages it sends and when, and what it notes of those that pass."""

    def __init__(self, chain: Chain, folder: Path, number: int) -> None:
        self.folder = folder
        self.number = number
        self.way = chain.way
        self.programme = Programme.parse(chain.programme)
        self.lengths = [phase.size // 8 for phase in self.programme.phases]
        self._meter = Meter(self.programme)
        self._ages_ns = np.full(len(self.programme.sendings), -1, np.int64)
        self._count = 0
        self._last_ns = 0

    @property
    def is_source(self) -> bool:
        return self.number == 0

    @property
    def is_sink(self) -> bool:
        return self.number == HOP_COUNT

    def sendings(self) -> Iterator[tuple[int, int]]:
        """By the source: the number of each message and its phase, when it is due."""
        start_ns = self._start_ns()
        for number, sending in enumerate(self.programme.sendings):
            if (wait_ns := start_ns + sending.due_ns - time.monotonic_ns()) > 0:
                time.sleep(wait_ns / 1e9)
            yield number, sending.phase

    async def sendings_async(self) -> AsyncIterator[tuple[int, int]]:
        """The same in asyncio, whose loop goes on meanwhile."""
        start_ns = self._start_ns()
        for number, sending in enumerate(self.programme.sendings):
            if (wait_ns := start_ns + sending.due_ns - time.monotonic_ns()) > 0:
                await asyncio.sleep(wait_ns / 1e9)
            yield number, sending.phase

    def _start_ns(self) -> int:
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, TIMER_SLACK_NS, 0, 0, 0)
        return time.monotonic_ns() + round(START_LEAD_S * 1e9)

    def sent(self, number: int) -> None:
        self._meter.note(number, 0)
        self._count += 1

    def passed(self, block: Block) -> bool:
        """By a relay or the sink, as soon as the block can be read; whether it is one of the programme's.

        Raises ValueError for one that is damaged or comes twice.
        """
        number, sent_ns = int(block[_NUMBER]), int(block[_SENT_NS])
        now_ns = time.monotonic_ns()
        if number == HELLO:
            return False
        is_whole = 0 <= number < len(self._ages_ns) and block[-1] == number
        if not is_whole or len(block) != self.lengths[self.programme.sendings[number].phase]:
            raise ValueError(f"a block of {len(block)} words from {number} to {block[-1]}, which nobody has sent")
        if self._ages_ns[number] >= 0:
            raise ValueError(f"message {number} has come twice")
        self._ages_ns[number] = now_ns - sent_ns
        self._meter.note(number, 0)
        self._count += 1
        self._last_ns = now_ns
        return True

    @property
    def is_over(self) -> bool:
        """Whether all have passed. Ends the process where they have begun to come and then stay away."""
        expected = len(self.programme.sendings)
        if self._last_ns and self._count < expected and time.monotonic_ns() - self._last_ns > IDLE_S * 1e9:
            sys.exit(f"{NAMES[self.number]} has had {self._count} of {expected} messages and then none for {IDLE_S} s")
        return self._count == expected

    def keep(self) -> None:
        """Leave what was noted where `report` finds it."""
        if self.is_sink:
            np.save(self.folder / _AGES, self._ages_ns)
        self._meter.save(self.folder, NAMES[self.number])


def fill(block: Block, number: int) -> None:
    """The whole block, and then the time, so that the time is the last thing before the sending."""
    block.fill(number)
    block[_SENT_NS] = time.monotonic_ns()


def say_ready() -> None:
    """This stage can be sent to, and can send: the source is told to start when all have said so."""
    print("ready", flush=True)


def wait_for_start() -> None:
    """By the source."""
    sys.stdin.readline()


def wait_for_end() -> None:
    """Until the sink is done: what a stage holds in shared memory stays with it."""
    sys.stdin.read()


def report(folder: Path, version: str, chain: Chain, ages_ns: Block) -> None:
    """Print what the runner reads, one line of JSON: latencies by signal, and the processor time of a message.

    That is of all four processes together, and a message of either signal.
    """
    programme = Programme.parse(chain.programme)
    latencies = {line: ages_ns[counted] for line, counted in zip(chain.lines, programme.counted, strict=True)}
    cpu_us = sum(Noted.load(folder, name).cpu_us[0] for name in NAMES)
    lines = {line: {"latencies_ns": each.tolist()} for line, each in latencies.items()}
    print(json.dumps({"version": version, "cpu_us": cpu_us, "lines": lines}), flush=True)


def main(module: str, version: str, work: Callable[[Stage], None]) -> None:
    """The script of a peer: this process starts the four and prints what they found."""
    chain, folder = Chain.parse(sys.argv[1]), Path(sys.argv[2])
    if len(sys.argv) > 3:
        work(Stage(chain, folder, int(sys.argv[3])))
        return
    command = [sys.executable, "-m", f"tools.bench.peers.{module}", sys.argv[1], sys.argv[2]]
    with ExitStack() as stack:
        stages = [_start(stack, [*command, str(number)]) for number in range(len(NAMES))]
        for stage, name in zip(stages, NAMES, strict=True):
            if stage.stdout is None or stage.stdout.readline() != b"ready\n":
                _fail(f"{name} has not started")
        source = stages[0].stdin
        assert source is not None
        source.write(b"start\n")
        source.flush()
        _wait(stages)
    report(folder, version, chain, np.load(folder / _AGES))


def _start(stack: ExitStack, command: list[str]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def _wait(stages: list[subprocess.Popen[bytes]]) -> None:
    """Until the sink has ended, and then the others, which are told by the end of their input."""
    while stages[-1].poll() is None:
        for stage, name in zip(stages, NAMES, strict=True):
            if stage.poll():
                _fail(f"{name} has failed")
        time.sleep(0.05)
    for stage, name in zip(stages, NAMES, strict=True):
        stage.communicate()
        if stage.returncode:
            _fail(f"{name} has failed")


def _fail(sentence: str) -> NoReturn:
    sys.exit(sentence)
