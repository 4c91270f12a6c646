"""What every link and every device is tested with, whichever way data travel and wherever they are worked on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from streamflow import Overflow
from streamflow.device.contract import Device
from streamflow.transport.link import Bell
from streamflow.transport.local_link import LocalLink, LocalReceiver, LocalSender
from streamflow.transport.zmq_socket import ZmqContext
from tests.conformance.devices import MADE
from tests.conformance.edges import DIRECT, TERMS, Connect, Edge, Sockets
from tests.marks import on_gpu


@pytest.fixture(params=["host", "slow host", "virtual host", pytest.param("cuda", marks=on_gpu)])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    made = MADE[request.param]()
    made.open()
    yield made
    made.close()


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[Sockets]:
    rings = tmp_path / "rings"
    rings.mkdir()
    with ZmqContext() as context, ExitStack() as closing:
        yield Sockets(context, rings, closing)
    assert not list(rings.iterdir()), "a name that nobody needs any more"


@pytest.fixture
def endpoints(tmp_path: Path) -> dict[str, str]:
    ipc = f"ipc://{tmp_path}/e"
    return {"ipc": ipc, "tcp": "tcp://127.0.0.1:*", "memory": "memory://*", "direct": ipc + DIRECT}


@pytest.fixture(params=["local", "ipc", "tcp", "memory", "direct"])
def connect(request: pytest.FixtureRequest, sockets: Sockets, endpoints: dict[str, str]) -> Connect:
    """Makes an edge; the only place that knows which implementation it is."""
    made = 0

    def make(overflow: Overflow = Overflow.BLOCK, capacity: int = 8) -> Edge:
        nonlocal made
        made += 1
        terms, bell = replace(TERMS, overflow=overflow, capacity=capacity), Bell()
        if request.param == "local":
            link = LocalLink(terms, bell)
            return Edge(LocalSender(link), LocalReceiver(link), bell)
        endpoint = endpoints[request.param]
        if endpoint.startswith("ipc"):
            endpoint = endpoint.replace("/e", f"/e{made}")
        receiver = sockets.receiver(endpoint, terms, bell)
        return Edge(sockets.sender(receiver.endpoint, terms), receiver, bell)

    return make
