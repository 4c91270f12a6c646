"""Each of `streamflow.memory.words` called from a module that can be compiled: `test_words` does so."""

from __future__ import annotations

from streamflow.memory.words import add, copy, load, put4, put5, put7, settle, store


def do_load(words: memoryview, at: int) -> int:
    return load(words, at)


def do_store(words: memoryview, at: int, value: int) -> None:
    store(words, at, value)


def do_add(words: memoryview, at: int, amount: int) -> None:
    add(words, at, amount)


def do_copy(words: memoryview, to: int, start: int, count: int) -> None:
    copy(words, to, start, count)


def do_put4(words: memoryview, at: int, a: int, b: int, c: int, d: int) -> None:
    put4(words, at, a, b, c, d)


def do_put5(words: memoryview, at: int, a: int, b: int, c: int, d: int, e: int) -> None:
    put5(words, at, a, b, c, d, e)


def do_put7(words: memoryview, at: int, a: int, b: int, c: int, d: int, e: int, f: int, g: int) -> None:
    put7(words, at, a, b, c, d, e, f, g)


def do_settle() -> None:
    settle()
