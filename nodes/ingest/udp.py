"""Arrays that another program sends as UDP datagrams: a microcontroller, a simulator, a script."""

from __future__ import annotations

import errno
import ipaddress
import math
import socket
import time

import numpy as np
import trio

from streamflow import InputError, Node, Out
from streamflow.core.ports import DTYPE_NAMES

DATAGRAM_SIZE_LIMIT = 65507  # what fits into one UDP datagram over IPv4 (65,535 less the IP and UDP headers)
MTU_HINT = "send fewer values per datagram"


class UdpDatagrams(Node):
    """Each datagram is one array: its raw bytes in C order, of the given dtype (`>f4` for big-endian) and shape.

    `arrays` carries them in native byte order. A datagram of any other size is none: it is counted, and told on
    port `malformed` with its size and the count so far. Event time is when it was read here, which on an idle
    machine is some 0.1 ms after it arrived. Attributes: `sample`, the number of the array from 0.

    UDP has no sender to trust: by default only this machine is listened to, and `allow_remote=True` says that
    anyone who reaches the port may feed the pipeline.
    """

    live = True

    malformed = Out(size_bytes="int64[]", count="int64[]")

    def __init__(
        self,
        port: int,
        host: str = "127.0.0.1",
        dtype: str = "float32",
        shape: tuple[int, ...] = (1,),
        allow_remote: bool = False,
    ) -> None:
        if not 1 <= port <= 65535:
            raise InputError("UdpDatagrams port", f"{port}", "1 to 65535")
        if not allow_remote and not _is_loopback(host):
            raise InputError(
                "UdpDatagrams host",
                f"{host} is not this machine's loopback",
                "127.0.0.1 or ::1",
                "allow_remote=True lets anyone who reaches the port send",
            )
        self.port = port
        self.host = host
        self.dtype = _plain_dtype(dtype)
        self.shape = tuple(shape)
        self.array_size = self.dtype.itemsize * math.prod(self.shape)
        if not 0 < self.array_size <= DATAGRAM_SIZE_LIMIT:
            raise InputError(
                "UdpDatagrams shape",
                f"{self.dtype.name}{list(self.shape)} is {self.array_size} bytes",
                f"1 to {DATAGRAM_SIZE_LIMIT} in a datagram",
                MTU_HINT if self.array_size > 0 else "",
            )
        self.arrays = Out(f"{self.dtype.name}[{', '.join(map(str, self.shape))}]")
        self._socket: trio.socket.SocketType | None = None

    async def open(self) -> None:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._socket = trio.socket.socket(family, socket.SOCK_DGRAM)
        try:
            await self._socket.bind((self.host, self.port))
        except OSError as error:
            raise InputError(f"UdpDatagrams {self.host}:{self.port}", *_why_not(error)) from None

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    async def run(self) -> None:
        assert self._socket is not None
        sample = malformed = 0
        while True:
            data = await self._socket.recv(DATAGRAM_SIZE_LIMIT + 1)
            now_ns = time.monotonic_ns()
            if len(data) == self.array_size:
                array = np.frombuffer(data, self.dtype).reshape(self.shape)
                native = array.astype(self.dtype.newbyteorder("="), copy=False)
                await self.emit(native, port="arrays", event_time_ns=now_ns, sample=sample)
                sample += 1
            else:
                malformed += 1
                told = {"size_bytes": np.int64(len(data)), "count": np.int64(malformed)}
                await self.emit(told, port="malformed", event_time_ns=now_ns)


def _is_loopback(host: str) -> bool:
    """Names other than localhost are not looked up: what they mean may change after the check."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _plain_dtype(name: str) -> np.dtype[np.generic]:
    try:
        dtype = np.dtype(name)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.name not in DTYPE_NAMES:
        raise InputError("UdpDatagrams dtype", f"'{name}'", "a NumPy number such as float32 or >i2")
    return dtype


def _why_not(error: OSError) -> tuple[str, str, str]:
    """Found, expected and hint for an address that cannot be listened on."""
    if error.errno == errno.EADDRINUSE:
        return "the port is already taken", "a free one", "`ss -lunp` shows by whom"
    if error.errno == errno.EACCES:
        return "the port is not allowed for this user", "one above 1023", ""
    return error.strerror or str(error), "an address of this machine", ""
