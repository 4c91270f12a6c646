"""The yardstick: one hop over pyzmq and nothing else, PUSH and PULL over ipc, blocking, a header and a buffer frame.

It runs between the peers, so that a ratio is of figures taken moments apart. Both ways that pyzmq has are measured:
copied is what `send` and `recv` do unasked, loaned is `copy=False` at both ends, which pays for large blocks only.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import zmq

from tools.bench.peers import hop

HEADER = b"uint8"
BLOCK_COUNT = 4  # in turn, for libzmq still reads from a block that it was lent


def send(case: hop.Case, folder: Path) -> None:
    blocks = [hop.blank(case.size) for _ in range(BLOCK_COUNT)]
    with zmq.Context() as context, context.socket(zmq.PUSH) as out:
        out.connect(f"ipc://{folder}/raw")
        sending = hop.Sending(case)
        for number in sending.numbers():
            block = blocks[number % BLOCK_COUNT]
            hop.stamp(block, number)
            out.send_multipart([HEADER, block.data], copy=not case.is_loaned)
        last = hop.blank(case.size)
        hop.stamp(last, hop.END)
        out.send_multipart([HEADER, last.data])
        hop.keep(folder, sending.sent)
        hop.wait_for_receiver()


def receive(case: hop.Case, folder: Path) -> None:
    receipts = hop.Receipts(case)
    with zmq.Context() as context, context.socket(zmq.PULL) as incoming:
        incoming.bind(f"ipc://{folder}/raw")
        hop.say_ready()
        is_going = True
        while is_going:
            if case.is_loaned:
                buffer = incoming.recv_multipart(copy=False)[1].buffer
            else:
                buffer = memoryview(incoming.recv_multipart()[1])
            is_going = receipts.note(np.frombuffer(buffer, np.uint8))
    hop.keep(folder, receipts.received())


if __name__ == "__main__":
    hop.main("raw", zmq.__version__, send, receive)
