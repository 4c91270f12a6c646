"""The conversation between supervisor and workers: telegrams, which are msgpack mappings, over sockets of any kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgpack

from streamflow.errors import WireError
from streamflow.transport.sockets import SocketContext
from streamflow.wire.packets import PROTOCOL_VERSION
from streamflow.wire.values import Frame

Telegram = Mapping[str, Any]
LAST_WORDS_MS = 300  # how long a process that leaves waits for its last telegrams to be sent
TELEGRAM_SIZE_LIMIT = 16 * 1024 * 1024  # bytes; counts of a stage are some kilobytes


class Channel(Protocol):
    """The worker's end of the conversation with the supervisor."""

    def tell(self, telegram: Telegram) -> None: ...
    async def hear(self) -> Telegram: ...


def _read(frame: Frame) -> dict[str, Any]:
    if len(frame) > TELEGRAM_SIZE_LIMIT:
        raise WireError("telegram", f"{len(frame):,} bytes", f"at most {TELEGRAM_SIZE_LIMIT:,}")
    try:
        telegram = msgpack.unpackb(frame, strict_map_key=False)
    except (ValueError, RecursionError) as error:
        raise WireError("telegram", f"bytes that are none ({type(error).__name__})") from None
    if not isinstance(telegram, dict) or not isinstance(telegram.get("is"), str):
        raise WireError("telegram", "a value that is none", "a mapping that says what it is")
    return telegram


class ControlClient:
    """A worker's end, in a process of its own."""

    def __init__(self, context: SocketContext, endpoint: str, hello: Telegram) -> None:
        self._socket = context.dealer()
        self._socket.connect(endpoint)
        self.tell({**hello, "is": "hello", "version": PROTOCOL_VERSION})

    def tell(self, telegram: Telegram) -> None:
        self._socket.send([msgpack.packb(telegram)])

    async def hear(self) -> Telegram:
        while True:
            frames = self._socket.receive()
            if frames is not None:
                return _read(frames[0])
            await self._socket.wait_arrival()

    def close(self) -> None:
        """The last counts are told on the way out, so they are given the time to leave."""
        self._socket.close(linger_ms=LAST_WORDS_MS)


class ControlServer:
    """The supervisor's end: (process, telegram) from those that have said hello; strangers are not heard."""

    def __init__(self, context: SocketContext, endpoint: str, run_key: str) -> None:
        self._socket = context.router()
        self._socket.bind(endpoint)
        self._run_key = run_key
        self._peers: dict[Frame, str] = {}

    async def hear(self) -> tuple[str, Telegram]:
        while True:
            heard = self.hear_nowait()
            if heard is not None:
                return heard
            await self._socket.wait_arrival()

    def hear_nowait(self) -> tuple[str, Telegram] | None:
        """What has come already, or None."""
        while (frames := self._socket.receive()) is not None:
            peer = frames[0]
            try:
                telegram = _read(frames[1])
            except (WireError, IndexError):
                continue
            if telegram["is"] == "hello":
                reason = self._objection(telegram)
                if reason:
                    self._socket.send([peer, msgpack.packb({"is": "refused", "reason": reason})])
                    continue
                self._peers[peer] = telegram["process"]
            if peer in self._peers:
                return self._peers[peer], telegram
        return None

    def _objection(self, hello: Telegram) -> str:
        if hello.get("version") != PROTOCOL_VERSION:
            return f"protocol version {hello.get('version')}, expected {PROTOCOL_VERSION}"
        if hello.get("run_key") != self._run_key:
            return "another pipeline, or the same with other settings"
        if hello.get("process") in self._peers.values():
            return f"process {hello.get('process')} is in the run already"
        return ""

    def tell(self, process: str, telegram: Telegram) -> bool:
        """False where nobody of that name is in the run."""
        peer = next((peer for peer, name in self._peers.items() if name == process), None)
        if peer is not None:
            self._socket.send([peer, msgpack.packb(telegram)])
        return peer is not None

    def tell_all(self, telegram: Telegram) -> None:
        packed = msgpack.packb(telegram)
        for peer in self._peers:
            self._socket.send([peer, packed])

    def forget(self, process: str) -> None:
        """It has ended; its next life may say hello."""
        self._peers = {peer: name for peer, name in self._peers.items() if name != process}

    def close(self) -> None:
        self._socket.close()
