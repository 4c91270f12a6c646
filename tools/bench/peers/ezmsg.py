"""A hop over ezmsg: its publisher and subscriber in two processes, the array in its shared memory, read in place.

The way is its own and only one: the array is pickled with its buffer out of band, which is one copy into shared
memory, and `recv_zero_copy` lends the reader an array over that memory. The buffers are made large enough at once,
as a running program's are: what ezmsg does on the first message that does not fit is no part of a hop.
"""

from __future__ import annotations

import asyncio
import logging
from importlib.metadata import version
from pathlib import Path

from ezmsg.core.graphcontext import GraphContext
from ezmsg.core.graphserver import GraphService
from ezmsg.core.netprotocol import create_socket

from tools.bench.peers import hop

TOPIC = "hop"
OVERHEAD_SIZE = 4096  # bytes; of the pickle and the buffer lengths beside the data
BUFFER_COUNT = 32  # ezmsg's own choice
MET = "met"  # the file that says that the two ends have found each other
HELLO_S = 0.05
PORT_START = 10000  # where the search for a free port begins, as ezmsg's own does


def send(case: hop.Case, folder: Path) -> None:
    asyncio.run(_send(case, folder))


async def _send(case: hop.Case, folder: Path) -> None:
    host, port = (folder / "graph").read_text().split()
    block = hop.blank(case.size)
    async with GraphContext((host, int(port))) as context:
        size = case.size + OVERHEAD_SIZE
        publisher = await context.publisher(TOPIC, buf_size=size, num_buffers=BUFFER_COUNT)
        while not (folder / MET).exists():
            hop.stamp(block, hop.HELLO)
            await publisher.broadcast(block)
            await asyncio.sleep(HELLO_S)
        sending = hop.Sending(case)
        async for number in sending.numbers_async():
            hop.stamp(block, number)
            await publisher.broadcast(block)
        hop.stamp(block, hop.END)
        await publisher.broadcast(block)
        hop.keep(folder, sending.sent)
        await asyncio.to_thread(hop.wait_for_receiver)


def receive(case: hop.Case, folder: Path) -> None:
    logging.getLogger("ezmsg").setLevel(logging.ERROR)
    with create_socket(start_port=PORT_START) as free:
        host, port = free.getsockname()
    server = GraphService((host, port)).create_server()
    (folder / "graph").write_text(f"{host} {port}")
    try:
        asyncio.run(_receive(case, folder, (host, port)))
    finally:
        server.stop()


async def _receive(case: hop.Case, folder: Path, address: tuple[str, int]) -> None:
    receipts = hop.Receipts(case)
    async with GraphContext(address) as context:
        subscriber = await context.subscriber(TOPIC)
        hop.say_ready()
        async with subscriber.recv_zero_copy():
            (folder / MET).touch()
        while not receipts.is_over:
            async with subscriber.recv_zero_copy() as block:
                receipts.note(block)
            del block  # it reads from shared memory that ezmsg cannot give back while an array holds it
        hop.keep(folder, receipts.received())


if __name__ == "__main__":
    hop.main("ezmsg", version("ezmsg"), send, receive)
