"""A process that passes bytes on between local sockets, and can be told to hold an edge's for a while.

To a link it is what a congested network would be: nothing is lost, and nothing comes. Told over a socket of its own,
one line of JSON each, answered with one: `listen` (a name, where, and on to where), `hold` (a name, milliseconds).
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BLOCK_SIZE = 1 << 16


class Edge:
    """What goes on for one edge. While it is held, bytes wait, in both directions."""

    def __init__(self) -> None:
        self._held_until_s = 0.0

    def hold(self, duration_s: float) -> None:
        self._held_until_s = time.monotonic() + duration_s

    def serve(self, listening: socket.socket, target: str) -> None:
        while True:
            near, _ = listening.accept()
            far = socket.socket(socket.AF_UNIX)
            far.connect(target)
            for source, sink in ((near, far), (far, near)):
                _in_thread(self._pump, source, sink)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while block := source.recv(BLOCK_SIZE):
                while (left_s := self._held_until_s - time.monotonic()) > 0:
                    time.sleep(left_s)
                sink.sendall(block)
        except OSError:
            pass  # one end has died: so does the connection
        for end in (source, sink):
            end.close()


class Relay:
    """All edges of a run, by name; a new life of a receiver listens elsewhere, under the same name."""

    def __init__(self) -> None:
        self._edges: dict[str, Edge] = {}

    def obey(self, order: Mapping[str, Any]) -> dict[str, Any]:
        if "listen" in order:
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(order["listen"])
            listening.listen()
            edge = self._edges.setdefault(order["name"], Edge())
            _in_thread(edge.serve, listening, order["target"])
        else:
            self._edges[order["name"]].hold(order["ms"] / 1e3)
        return {"at_ns": time.monotonic_ns()}

    def serve(self, path: Path) -> None:
        """Until the process is ended."""
        with socket.socket(socket.AF_UNIX) as control:
            control.bind(str(path))
            control.listen()
            print("ready", flush=True)
            while True:
                client, _ = control.accept()
                _in_thread(self._follow, client)

    def _follow(self, client: socket.socket) -> None:
        with client, client.makefile("rw") as lines:
            for line in lines:
                lines.write(json.dumps(self.obey(json.loads(line))) + "\n")
                lines.flush()


class RelayClient:
    """Whoever gives the orders."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rw")

    def listen(self, name: str, *, near: str, far: str) -> None:
        self._ask({"listen": near, "name": name, "target": far})

    def hold(self, name: str, duration_ms: float) -> int:
        """When it began."""
        return self._ask({"name": name, "ms": duration_ms})

    def _ask(self, order: Mapping[str, object]) -> int:
        self._lines.write(json.dumps(order) + "\n")
        self._lines.flush()
        at_ns: int = json.loads(self._lines.readline())["at_ns"]
        return at_ns

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


def _in_thread(function: Any, *arguments: object) -> None:
    threading.Thread(target=function, args=arguments, daemon=True).start()


if __name__ == "__main__":
    Relay().serve(Path(sys.argv[1]))
