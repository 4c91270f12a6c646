"""What `ps` and `top` show of a process that is a copy of another: a command line and a name of its own."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

_PR_SET_NAME = 15
_PR_SET_MM = 35
_PR_SET_MM_MAP = 14  # the one part of PR_SET_MM that needs no privilege; kernels without CHECKPOINT_RESTORE lack it
_ADDRESSES = (  # of `struct prctl_mm_map`, and the field of /proc/PID/stat that has it, from 0 after the name
    ("start_code", 23), ("end_code", 24), ("start_data", 42), ("end_data", 43), ("start_brk", 44), ("brk", None),
    ("start_stack", 25), ("arg_start", 45), ("arg_end", 46), ("env_start", 47), ("env_end", 48), ("auxv", None),
)  # fmt: skip


class _MemoryMap(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint64) for name, _ in _ADDRESSES),
        ("auxv_size", ctypes.c_uint32),
        ("exe_fd", ctypes.c_uint32),
    )


_shown: list[ctypes.Array[ctypes.c_char]] = []  # the kernel reads it for as long as the process lives


def show_as(name: str, command: Sequence[str]) -> None:
    """Have `ps` show this; of a command line that the kernel does not let us place, what fits where the old one is."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    text = b"\0".join(part.encode() for part in command) + b"\0"
    begin, end = int(fields[45]), int(fields[46])
    if not 0 < begin < end:
        return  # they are not shown to us
    if len(text) > end - begin and _place(libc, fields, text):
        return
    ctypes.memmove(begin, text[: end - begin - 1].ljust(end - begin, b"\0"), end - begin)


def _place(libc: ctypes.CDLL, fields: Sequence[str], text: bytes) -> bool:
    """Tell the kernel that the command line is elsewhere; whether it agreed."""
    buffer = ctypes.create_string_buffer(text, len(text))
    libc.sbrk.restype = ctypes.c_void_p
    found = {name: int(fields[place]) for name, place in _ADDRESSES if place is not None}
    begin = ctypes.addressof(buffer)
    found |= {"brk": libc.sbrk(0), "arg_start": begin, "arg_end": begin + len(text)}
    memory_map = _MemoryMap(**found, auxv_size=0, exe_fd=0xFFFF_FFFF)  # neither is to change
    if libc.prctl(_PR_SET_MM, _PR_SET_MM_MAP, ctypes.byref(memory_map), ctypes.sizeof(memory_map), 0) != 0:
        return False
    _shown[:] = [buffer]
    return True
