"""Owns a shared ring, as told line by line: `python -m tests.device.ring_owner DEVICE FOLDER LIFE`.

`write N` and `slowly N`: lend a slot that all of N is written to, at once or in a while; `fail`: one whose work fails;
each is answered with what a reader is told. `lent`: how many are; `opened`: whether the reader has said that it has it
open; `forget`: the reader is dead; `withdraw`: what is lent is not to be relied on any more; `end`: close all.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from streamflow.device.opening import device_of
from streamflow.device.shared_ring import SharedRing

SHAPE, SLOT_COUNT = (8, 1024), 3  # too large for the first frame of a message
SLOW_S = 0.3


def main() -> None:
    name, folder, life = sys.argv[1:]
    device = device_of(name)
    device.open()
    queue = device.queue()
    ring = SharedRing(device, Path(folder), "ring", int(life), SHAPE, "float32", SLOT_COUNT)
    print(ring.hello().hex(), flush=True)

    def fails(array: Any) -> None:
        raise ValueError("as planned")

    for line in sys.stdin:
        word, _, number = line.strip().partition(" ")
        if word in ("write", "slowly", "fail"):
            slot = ring.take()
            if slot is None:
                print("none", flush=True)
                continue
            if word == "slowly":
                queue.launch(lambda: time.sleep(SLOW_S))
            queue.launch(fails if word == "fail" else lambda array, number=number: array.fill(int(number)), slot.array)
            print(*ring.lend(slot, queue), flush=True)
        elif word == "forget":
            ring.forget()
        elif word == "withdraw":
            ring.withdraw()
        elif word == "opened":
            print(int(ring.is_opened), flush=True)
        elif word == "lent":
            print(ring.lent_count, flush=True)
        else:
            break
    queue.close()
    ring.close()
    device.close()


if __name__ == "__main__":
    main()
