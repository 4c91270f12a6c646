"""What a node logs on its way to the supervisor: it never waits, it is bounded, and what is left out is counted."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import pytest
import trio
import trio.lowlevel
import trio.testing

from streamflow.core.timebase import s
from streamflow.runtime.clock import Clock
from streamflow.runtime.process.control import Telegram
from streamflow.runtime.process.log_relay import SENTENCE_LIMIT, WAITING_MAX, LogRelay
from streamflow.runtime.process.stage_logging import logging_stage
from streamflow.runtime.supervision.events import EVENTS_KEPT, LOGGED_KEPT, Latest

LOGGER = logging.getLogger("own")


class Heard:
    """The supervisor's end, which says nothing."""

    def __init__(self) -> None:
        self.telegrams: list[Telegram] = []

    def tell(self, telegram: Telegram) -> None:
        self.telegrams.append(telegram)

    async def hear(self) -> Telegram:
        await trio.sleep_forever()
        raise AssertionError

    def sentences(self) -> list[str]:
        return [str(one.get("sentence", one["is"])) for one in self.telegrams]


class At:
    """A clock that shows what `now_ns` says."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self.now_ns = now_ns


def relay_to(heard: Heard, now_ns: Callable[[], int] = lambda: round(trio.current_time() * s)) -> LogRelay:
    return LogRelay(heard, ["vad"], cast(Clock, At(now_ns)))


async def test_what_is_logged_is_told_before_what_the_stage_tells_next() -> None:
    heard = Heard()
    with (relay := relay_to(heard)).listening():
        LOGGER.warning("about to %s", "close")
        LOGGER.info("not told")
        LOGGER.error("x" * 2 * SENTENCE_LIMIT)
        relay.tell({"is": "closed"})
    first, second, last = heard.telegrams
    assert first == {
        "is": "logged", "stage": "vad", "level": "warning", "logger": "own", "sentence": "about to close"
    }  # fmt: skip
    assert (second["level"], len(second["sentence"])) == ("error", SENTENCE_LIMIT + 2)
    assert last == {"is": "closed"}


async def test_threads_are_heard_and_other_stages_of_the_process_are_not() -> None:
    heard = Heard()
    with relay_to(heard, time.monotonic_ns).listening():
        thread = threading.Thread(target=LOGGER.warning, args=("from a thread",))
        thread.start()
        thread.join()
        logging_stage.set("log")
        LOGGER.warning("of a stage beside it")
        with trio.fail_after(10):
            while not heard.telegrams:
                await trio.lowlevel.checkpoint()
        assert heard.sentences() == ["from a thread"]


async def test_of_a_flood_some_are_told_and_the_others_counted_a_second_later(
    autojump_clock: trio.testing.MockClock,
) -> None:
    heard = Heard()
    async with trio.open_nursery() as nursery:
        with (relay := relay_to(heard)).listening():
            nursery.start_soon(relay.hear)
            for number in range(30):
                LOGGER.warning("line %d", number)
            LOGGER.error("not hidden by them")
            await trio.sleep(0.5)
            assert heard.sentences() == [*(f"line {n}" for n in range(20)), "not hidden by them"]
            await trio.sleep(1)
            assert heard.sentences()[21:] == ["… 10 more within a second are on standard error only"]
        nursery.cancel_scope.cancel()


async def test_while_the_loop_does_not_go_round_so_many_wait_and_the_others_are_counted() -> None:
    heard, seconds = Heard(), iter(range(10_000))
    with relay_to(heard, lambda: next(seconds) * s).listening():
        for number in range(WAITING_MAX + 50):
            LOGGER.warning("line %d", number)
        assert heard.sentences() == []
    assert len(heard.telegrams) == WAITING_MAX + 1
    assert heard.sentences()[-1] == "… 50 more within a second are on standard error only"


@pytest.mark.parametrize("kind", ["logged", "miss"])
def test_who_logs_or_misses_much_displaces_no_other_event(kind: str) -> None:
    latest = Latest()
    lines: list[dict[str, Any]] = [{"event": "restarting", "at_ns": 0}]
    lines += [{"event": kind, "at_ns": at_ns} for at_ns in range(1, EVENTS_KEPT + 50)]
    for line in lines:
        latest.take(line)
    assert latest.events[0]["event"] == "restarting"
    assert len(latest.events) == 1 + (LOGGED_KEPT if kind == "logged" else 0)
