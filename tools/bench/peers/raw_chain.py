"""The yardstick of the chains: four processes over raw pyzmq, the same ones that the claim `mix` is measured beside.

Small messages are copied, frames are sent and received with `copy=False`, by pyzmq's own threshold.
"""

from __future__ import annotations

import sys
from pathlib import Path

import zmq

from tools.bench.peers.chain import HOP_COUNT, NAMES, Chain, report
from tools.bench.speed.programme import Noted, Programme
from tools.bench.speed.raw import run_raw


def main() -> None:
    chain, folder = Chain.parse(sys.argv[1]), Path(sys.argv[2])
    run_raw(folder, Programme.parse(chain.programme), HOP_COUNT)
    report(folder, zmq.__version__, chain, Noted.load(folder, NAMES[-1]).took_ns)


if __name__ == "__main__":
    main()
