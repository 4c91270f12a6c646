"""Whether the process that owns what others read on a device still has its memory, as only its kernel can say."""

from __future__ import annotations

import os
from typing import Final

from streamflow.device.contract import DeviceError

MEMORY: Final = "/proc/{}/statm"  # pages; all of them 0 as soon as the process has let go of them
READ_SIZE: Final = 32
NO_PAGES: Final = b"0 "


class OwnerLife:
    """Of one process, by a descriptor, so that no other of its number is meant.

    A process that is killed gives up its memory first, then its files, and with these what it had of a GPU; that it has
    died its kernel tells after all that. So what was read is to be trusted if afterwards it still has memory; not, as a
    pidfd would say, if it is not dead yet.
    """

    def __init__(self, pid: int) -> None:
        """Raises DeviceError where it is gone."""
        try:
            self._descriptor = os.open(MEMORY.format(pid), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise DeviceError(f"process {pid}", f"is gone ({error.strerror})", "the owner of what is shared") from None

    @property
    def goes_on(self) -> bool:
        try:
            return not os.pread(self._descriptor, READ_SIZE, 0).startswith(NO_PAGES)
        except OSError:
            return False  # it has been reaped

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
