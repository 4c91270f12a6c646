"""A thread takes the priority that it may have, starts others with its own, and gives it back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from streamflow.runtime.process.priority import FIFO_PRIORITY, NONE, Priority, obtainable

needs_real_time = pytest.mark.skipif(
    obtainable() != f"SCHED_FIFO {FIFO_PRIORITY}", reason="this user may not have real-time priority"
)
UNPRIVILEGED = """
import os
from streamflow.runtime.process.priority import Priority
os.setresuid(65534, 65534, 65534)
priority = Priority()
print(priority.raise_it(), os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0))
priority.restore()
"""


def in_a_thread(work: Callable[[], None]) -> None:
    """Scheduling is a thread's own, so that of these tests stays as it is."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def of_this_thread() -> tuple[int, int]:
    return os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, os.getpriority(os.PRIO_PROCESS, 0)


def of_a_child() -> tuple[int, int]:
    code = "import os; print(os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0))"
    policy, nice = subprocess.check_output([sys.executable, "-c", code]).split()
    return int(policy), int(nice)


@needs_real_time
def test_it_is_raised_to_real_time_and_given_back() -> None:
    def work() -> None:
        before, priority = of_this_thread(), Priority()
        assert priority.raise_it() == "SCHED_FIFO 1"
        assert of_this_thread()[0] == os.SCHED_FIFO
        assert os.sched_getparam(0).sched_priority == FIFO_PRIORITY
        priority.restore()
        assert of_this_thread() == before
        priority.restore()
        assert of_this_thread() == before

    in_a_thread(work)


@needs_real_time
def test_who_is_started_meanwhile_is_as_if_it_had_not_been_raised() -> None:
    def work() -> None:
        os.setpriority(os.PRIO_PROCESS, 0, 7)
        priority = Priority()
        priority.raise_it()
        with priority.lowered():
            assert of_a_child() == (os.SCHED_OTHER, 7)
        assert of_this_thread()[0] == os.SCHED_FIFO
        assert of_a_child()[0] == os.SCHED_OTHER, "the kernel resets whoever is forked in spite of it"

    in_a_thread(work)


def test_who_is_started_before_it_is_raised_does_not_raise_it() -> None:
    def work() -> None:
        before, priority = of_this_thread(), Priority()
        with priority.lowered():
            assert of_this_thread() == before
        assert of_this_thread() == before

    in_a_thread(work)


@needs_real_time
def test_a_real_time_priority_that_somebody_gave_is_left_as_it_is() -> None:
    def work() -> None:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(3))
        priority = Priority()
        assert priority.raise_it() == "SCHED_RR 3, as it was started"
        priority.restore()
        assert (of_this_thread()[0], os.sched_getparam(0).sched_priority) == (os.SCHED_RR, 3)

    in_a_thread(work)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user without rights")
def test_a_user_without_rights_gets_none_and_changes_nothing() -> None:
    told = subprocess.check_output([sys.executable, "-c", UNPRIVILEGED], text=True)
    assert told.split() == [NONE, str(os.SCHED_OTHER), str(os.getpriority(os.PRIO_PROCESS, 0))]
