"""What a reading of the machine means: well, lacking or missing, and a remedy where it is not well."""

from __future__ import annotations

import pytest

from streamflow.core import fitness
from streamflow.core.fitness import UNLIMITED, State

MIB, GIB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("finding", "found", "state"),
    [
        (fitness.hot_path(""), "compiled", State.OK),
        (fitness.hot_path("nothing was compiled"), "interpreted: nothing was compiled", State.LACKING),
        (fitness.cores(4, 8, None), "4 of 8 usable", State.OK),
        (fitness.cores(1, 8, None), "1 of 8 usable", State.LACKING),
        (fitness.cores(8, 8, 1.5), "8 of 8 usable, time for 1.5", State.LACKING),
        (fitness.clock(1.0, "tsc"), "CLOCK_MONOTONIC, 1 ns, tsc", State.OK),
        (fitness.clock(4e6, ""), "CLOCK_MONOTONIC, 4e+06 ns", State.LACKING),
        (fitness.timer(60.4), "timerfd, wakes 60 µs late (median)", State.OK),
        (fitness.timer(2500), "timerfd, wakes 2500 µs late (median)", State.LACKING),
        (fitness.timer(None), "no timerfd", State.MISSING),
        (fitness.process_handles(True, True), "pidfd, /bin/sh", State.OK),
        (fitness.process_handles(False, False), "no pidfd_open and no /bin/sh", State.MISSING),
        (fitness.realtime_priority(0, False, "none"), "RLIMIT_RTPRIO 0, supervisor: none", State.LACKING),
        (fitness.realtime_priority(0, False, "nice -10"), "RLIMIT_RTPRIO 0, supervisor: nice -10", State.LACKING),
        (fitness.realtime_priority(80, False, "SCHED_FIFO 1"), "RLIMIT_RTPRIO 80, supervisor: SCHED_FIFO 1", State.OK),
        (
            fitness.realtime_priority(UNLIMITED, False, "SCHED_RR 3, as it was started"),
            "RLIMIT_RTPRIO unlimited, supervisor: SCHED_RR 3, as it was started",
            State.OK,
        ),
        (fitness.realtime_priority(0, True, "none"), "any (CAP_SYS_NICE), supervisor: none", State.LACKING),
        (fitness.realtime_priority(0, True, "SCHED_FIFO 1"), "any (CAP_SYS_NICE), supervisor: SCHED_FIFO 1", State.OK),
        (fitness.locked_memory(8 * MIB, False), "RLIMIT_MEMLOCK 8 MiB", State.LACKING),
        (fitness.locked_memory(64 * MIB, False), "RLIMIT_MEMLOCK 64 MiB", State.OK),
        (fitness.locked_memory(UNLIMITED, False), "RLIMIT_MEMLOCK unlimited", State.OK),
        (fitness.locked_memory(0, True), "any (CAP_IPC_LOCK)", State.OK),
        (
            fitness.locked_memory(64 * MIB, False, "RLIMIT_MEMLOCK is finite"),
            "RLIMIT_MEMLOCK 64 MiB, RLIMIT_MEMLOCK is finite",
            State.LACKING,
        ),
        (fitness.stage_priority(99, 0.95), "SCHED_FIFO up to 99, 95% of the time", State.OK),
        (fitness.stage_priority(80, None), "SCHED_FIFO up to 80", State.OK),
        (fitness.stage_priority(80, -1e-6), "SCHED_FIFO up to 80, without a bound", State.LACKING),
        (fitness.stage_priority(0, 0.95), "none", State.LACKING),
        (fitness.affinity("0-3,6"), "cpus 0-3,6", State.OK),
        (fitness.affinity(""), "refused", State.LACKING),
        (fitness.compute_threads(["OpenBLAS 2", "OpenMP 4"]), "OpenBLAS 2, OpenMP 4", State.OK),
        (fitness.compute_threads([]), "not known", State.LACKING),
        (
            fitness.interpreter(50.0, can_freeze=True),
            "collection in slack, switch interval, timer slack 50 µs",
            State.OK,
        ),
        (
            fitness.interpreter(None, can_freeze=False),
            "no collection in slack, switch interval, timer slack fixed",
            State.LACKING,
        ),
        (fitness.shared_memory(64 * MIB), "/dev/shm, 64 MiB free", State.LACKING),
        (fitness.shared_memory(GIB), "/dev/shm, 1 GiB free", State.OK),
        (fitness.shared_memory(None), "/dev/shm cannot be written", State.LACKING),
        (fitness.temporary_folder("/tmp", GIB, 80), "/tmp, 1 GiB free", State.OK),
        (fitness.temporary_folder("/tmp", 1000 * 1024, 80), "/tmp, 1000 KiB free", State.MISSING),
        (fitness.temporary_folder("/tmp", None, 80), "/tmp cannot be written", State.MISSING),
        (fitness.temporary_folder("/long", GIB, 108), "/long, sockets of 108 bytes", State.MISSING),
        (fitness.pressure(["cpu", "io"]), "cpu, io", State.OK),
        (fitness.pressure([]), "not kept", State.LACKING),
        (fitness.zeromq("4.3.5", "27", has_ipc=True), "4.3.5 (pyzmq 27)", State.OK),
        (fitness.zeromq("4.3.5", "27", has_ipc=False), "4.3.5 (pyzmq 27), no ipc", State.MISSING),
        (fitness.curve(True), "yes", State.OK),
        (fitness.curve(False), "no", State.LACKING),
        (fitness.gpu(["A", "B"]), "A; B", State.OK),
        (fitness.gpu([]), "none", State.LACKING),
        (fitness.cupy("13.0", True), "13.0", State.OK),
        (fitness.cupy(None, True), "not installed", State.LACKING),
        (fitness.extra("x", {"a": "1", "b": "2"}, "get x"), "a 1, b 2", State.OK),
        (fitness.extra("x", {"a": "1", "b": None}, "get x"), "a 1, b not installed", State.LACKING),
        (fitness.runs(2, [], 0), "2 going, 0 killed that can be read, 0 not cleared up behind", State.OK),
        (
            fitness.runs(0, ["/tmp/s/a", "/tmp/s/b"], 1),
            "0 going, 2 killed that can be read (rm -r /tmp/s/a …), 1 not cleared up behind",
            State.LACKING,
        ),
    ],
)
def test_a_reading_has_a_state_and_a_remedy_unless_all_is_well(finding, found, state):
    assert (finding.found, finding.state) == (found, state)
    assert bool(finding.remedy) == (state is not State.OK)


def test_an_extra_that_is_missing_is_brought_by_its_command():
    assert fitness.extra("audio", {"soundfile": None}, "pip install it").remedy == "pip install it"


def test_cupy_is_not_recommended_where_there_is_no_gpu():
    assert "pip install" in fitness.cupy(None, True).remedy
    assert "pip install" not in fitness.cupy(None, False).remedy
