"""Marks of the host: a place in a queue that its thread comes to; of one that is shared, other processes see it too."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable
from typing import Final

from streamflow.device.contract import WorkError
from streamflow.memory.words import load, store

LOOK_S: Final = 50e-6  # nobody tells another process that a place was passed
LIFE_LOOK_S: Final = 5e-3  # how long a dead process's places are waited for
WORD_COUNT: Final = 3
RECORDED: Final = 0  # how often it was recorded; written by the loop of its process
PASSED: Final = 1  # the last place that was passed, and the last that had failed; written by its queue's thread
FAILED: Final = 2


class Place:
    """Passed when the queue has come to it."""

    __slots__ = ("failure", "passed")

    def __init__(self) -> None:
        self.passed = threading.Event()
        self.failure: BaseException | None = None

    def pass_it(self, failure: BaseException | None) -> None:
        self.failure = failure
        self.passed.set()

    def wait(self) -> None:
        self.passed.wait()
        if self.failure is not None:
            raise self.failure


class HostMark:
    """Of each place that it was recorded at, the last is what a queue waits for."""

    def __init__(self) -> None:
        self._place: Place | None = None

    def placed(self) -> Place:
        """Recorded once more."""
        self._place = Place()
        return self._place

    def waiting(self) -> Callable[[], None] | None:
        """What returns when the place that it has now is passed; None where it has none."""
        return None if self._place is None else self._place.wait


class _SharedPlace(Place):
    __slots__ = ("_number", "_words")

    def __init__(self, words: memoryview, number: int) -> None:
        super().__init__()
        self._words = words
        self._number = number

    def pass_it(self, failure: BaseException | None) -> None:
        if failure is not None:
            store(self._words, FAILED, self._number)
        store(self._words, PASSED, self._number)
        super().pass_it(failure)


class SharedMark(HostMark):
    """Recorded in this process, in words that others see."""

    def __init__(self, words: memoryview) -> None:
        super().__init__()
        self._words = words

    def placed(self) -> Place:
        number = load(self._words, RECORDED) + 1
        store(self._words, RECORDED, number)
        self._place = _SharedPlace(self._words, number)
        return self._place


class ImportedMark(HostMark):
    """Recorded in another process. `life`: a pidfd of that; who waits for a place that it died before fails."""

    def __init__(self, words: memoryview, life: int) -> None:
        super().__init__()
        self._words = words
        self._life = life

    def placed(self) -> Place:
        raise WorkError("mark", "it is of another process, which alone records it")

    def waiting(self) -> Callable[[], None] | None:
        number = load(self._words, RECORDED)
        return (lambda: self._wait(number)) if number else None

    def _wait(self, number: int) -> None:
        look_s = time.monotonic() + LIFE_LOOK_S
        while load(self._words, PASSED) < number:
            time.sleep(LOOK_S)
            if time.monotonic() > look_s:
                if _has_ended(self._life) and load(self._words, PASSED) < number:
                    raise WorkError("mark", "the process that was to come to it has died")
                look_s = time.monotonic() + LIFE_LOOK_S
        if load(self._words, FAILED) == number:
            raise WorkError("mark", "the work before it has failed, in another process")


def _has_ended(life: int) -> bool:
    poll = select.poll()  # each thread its own: one cannot be used by two at once
    poll.register(life, select.POLLIN)
    return bool(poll.poll(0))
