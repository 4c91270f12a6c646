"""A chain over ezmsg: a topic for each signal of each edge, and in each stage a task for each signal, as units have.

A block is pickled with its buffer out of band into the sender's shared memory, which is one copy, and lent to the
reader; a relay publishes the array that it was lent, so each hop costs that copy again. It has no other way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from ezmsg.core.graphcontext import GraphContext
from ezmsg.core.graphserver import GraphService
from ezmsg.core.netprotocol import create_socket

from tools.bench.peers import chain
from tools.bench.peers.ezmsg import BUFFER_COUNT, HELLO_S, OVERHEAD_SIZE, PORT_START

BLOCK_COUNT = 4  # written in turn, as by the raw chain
SIGNALS = ("small", "frames")
ADDRESS = "graph"
MET = "met-{}"  # the file that says that a signal gets through to the sink
POLL_S = 0.02


def work(stage: chain.Stage) -> None:
    logging.getLogger("ezmsg").setLevel(logging.ERROR)
    if not stage.is_sink:
        asyncio.run(_work(stage, _address(stage.folder)))
        return
    with create_socket(start_port=PORT_START) as free:
        host, port = free.getsockname()
    server = GraphService((host, port)).create_server()
    partial = stage.folder / f"{ADDRESS}.part"
    partial.write_text(f"{host} {port}")
    partial.rename(stage.folder / ADDRESS)
    try:
        asyncio.run(_work(stage, (host, port)))
    finally:
        server.stop()


def _address(folder: Path) -> tuple[str, int]:
    while not (folder / ADDRESS).exists():
        time.sleep(POLL_S)
    host, port = (folder / ADDRESS).read_text().split()
    return host, int(port)


async def _work(stage: chain.Stage, address: tuple[str, int]) -> None:
    async with GraphContext(address) as context:
        subscribers, publishers = [], []
        for signal, length in zip(SIGNALS, stage.lengths, strict=True):
            if not stage.is_source:
                subscribers.append(await context.subscriber(f"{signal}-{stage.number - 1}"))
            if not stage.is_sink:
                topic, size = f"{signal}-{stage.number}", length * 8 + OVERHEAD_SIZE
                publishers.append(await context.publisher(topic, buf_size=size, num_buffers=BUFFER_COUNT))
        chain.say_ready()
        if stage.is_source:
            await _send(stage, publishers)
        else:
            await _pass_on(stage, subscribers, publishers)
        stage.keep()
        if not stage.is_sink:
            await asyncio.to_thread(chain.wait_for_end)


async def _send(stage: chain.Stage, publishers: Sequence[Any]) -> None:
    await asyncio.to_thread(chain.wait_for_start)
    blocks = [cycle([np.zeros(length, np.int64) for _ in range(BLOCK_COUNT)]) for length in stage.lengths]
    while not all((stage.folder / MET.format(phase)).exists() for phase in range(len(SIGNALS))):
        for publisher, own in zip(publishers, blocks, strict=True):
            block = next(own)
            chain.fill(block, chain.HELLO)
            await publisher.broadcast(block)
        await asyncio.sleep(HELLO_S)
    async for number, phase in stage.sendings_async():
        block = next(blocks[phase])
        chain.fill(block, number)
        await publishers[phase].broadcast(block)
        stage.sent(number)


async def _pass_on(stage: chain.Stage, subscribers: Sequence[Any], publishers: Sequence[Any]) -> None:
    """A task for each signal, until all messages of both have passed."""

    async def one(phase: int) -> None:
        while True:
            async with subscribers[phase].recv_zero_copy() as block:
                is_counted = stage.passed(block)
                if publishers:
                    await publishers[phase].broadcast(block)
                elif not is_counted:
                    (stage.folder / MET.format(phase)).touch()
            del block  # it reads from shared memory that ezmsg cannot give back while an array holds it

    tasks = [asyncio.create_task(one(phase)) for phase in range(len(SIGNALS))]
    while not stage.is_over:
        await asyncio.sleep(POLL_S)
        for task in tasks:
            if task.done():
                task.result()  # what it raised
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    chain.main("ezmsg_chain", version("ezmsg"), work)
