"""Processes that own a ring on a device, as tests tell them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from streamflow.device.contract import Device
from streamflow.device.shared_ring import Lent
from tools.claims.framework import ROOT


class Owner:
    """A process that owns a ring."""

    def __init__(self, device: Device, folder: Path, life: int = 0) -> None:
        command = [sys.executable, "-m", "tests.device.ring_owner", device.name, str(folder), str(life)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        self.hello = bytes.fromhex(self._heard())

    def tell(self, *words: object) -> None:
        assert self.process.stdin is not None
        print(*words, file=self.process.stdin, flush=True)

    def _heard(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def lend(self, *words: object) -> Lent:
        self.tell(*words)
        return Lent(*map(int, self._heard().split()))

    def asked(self, word: str) -> str:
        self.tell(word)
        return self._heard()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def end(self) -> None:
        self.process.communicate("end\n")
        assert self.process.returncode == 0
