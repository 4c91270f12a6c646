"""Words of shared memory: unsigned, eight aligned bytes each, seen by other processes whole and in the order of stores.

In what tools/compile.py makes, a call of one of these is the few instructions that `words.h` says; called from anywhere
else it is what stands here, which does the same and is 20 times as slow. Both raise IndexError, TypeError (no words, or
none to be written), ValueError or struct.error (a number that does not fit, a view that was released).

*Not taken*: indexing a memoryview everywhere. It makes an object of each number, twice where it is counted on; a datum
is some thirty loads and stores in each stage that it passes.
"""

from __future__ import annotations

import struct
import threading
from typing import Final

_SIZE: Final = 8
_FOUR: Final = struct.Struct("@4q")
_FIVE: Final = struct.Struct("@5q")
_SEVEN: Final = struct.Struct("@7q")
_turnstile: Final = threading.Lock()


def load(words: memoryview, at: int) -> int:
    """The word at `at`; what was stored before it, by whoever stored it, is seen from then on."""
    return words[at]


def store(words: memoryview, at: int, value: int) -> None:
    """After everything that was stored before."""
    words[at] = value


def add(words: memoryview, at: int, amount: int) -> None:
    """For the word's only writer: it is loaded, then stored."""
    words[at] += amount


def copy(words: memoryview, to: int, start: int, count: int) -> None:
    """`count` words from `start` on, in no order; the two places do not overlap."""
    words[to : to + count] = words[start : start + count]


def put4(words: memoryview, at: int, a: int, b: int, c: int, d: int) -> None:
    """Numbers one after another, in no order: signed, or as large as a word can hold."""
    start = _start(words, at, 4)
    try:
        _FOUR.pack_into(words, start, a, b, c, d)
    except struct.error:
        _FOUR.pack_into(words, start, *_signed(a, b, c, d))


def put5(words: memoryview, at: int, a: int, b: int, c: int, d: int, e: int) -> None:
    """As `put4`."""
    start = _start(words, at, 5)
    try:
        _FIVE.pack_into(words, start, a, b, c, d, e)
    except struct.error:
        _FIVE.pack_into(words, start, *_signed(a, b, c, d, e))


def put7(words: memoryview, at: int, a: int, b: int, c: int, d: int, e: int, f: int, g: int) -> None:
    """As `put4`."""
    start = _start(words, at, 7)
    try:
        _SEVEN.pack_into(words, start, a, b, c, d, e, f, g)
    except struct.error:
        _SEVEN.pack_into(words, start, *_signed(a, b, c, d, e, f, g))


def settle() -> None:
    """What was stored before can be seen by all before anything is loaded after."""
    # A lock's own instructions do it on x86; on others its release need not keep back what is loaded after it.
    _turnstile.acquire()
    _turnstile.release()


def _signed(*numbers: int) -> tuple[int, ...]:
    """Those that only fit unsigned as the signed ones of the same bits."""
    return tuple(number - (1 << 64) if 1 << 63 <= number < 1 << 64 else number for number in numbers)


def _start(words: memoryview, at: int, count: int) -> int:
    if not 0 <= at <= len(words) - count:
        raise IndexError(f"words {at} to {at + count - 1} of {len(words)}")
    return at * _SIZE
