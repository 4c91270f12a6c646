"""What a process was given when it asked: read back from the kernel, in a process of its own each time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from typing import Any, NamedTuple

import pytest

from streamflow.core.graph import EdgeDef, Graph, Resolved, StageDef
from streamflow.core.message import Message
from streamflow.core.overflow import Overflow
from streamflow.core.paths import Paths
from streamflow.core.timebase import s
from streamflow.recorder import layout
from streamflow.recorder.writer import Recorder
from streamflow.runtime.accounts.logbook import Logbook
from streamflow.runtime.accounts.tables import shape_of
from streamflow.runtime.clock import TrioClock
from streamflow.runtime.process.hygiene import SOON_NS, has_slack
from streamflow.runtime.process.priority import FIFO_PRIORITY, obtainable
from streamflow.runtime.stage.ends import Inlet
from streamflow.transport.link import Bell
from streamflow.transport.local_link import LocalLink, LocalReceiver
from streamflow.wire.session import EdgeTerms

HEAD = """
import ctypes, gc, json, os, resource, sys, threading
import numpy as np
from pathlib import Path
from streamflow import In, Node, Pipeline, RealTime, ms, us
from streamflow.runtime.process import blas
from streamflow.runtime.process.hygiene import Hygiene

class Work(Node):
    data = In("int64[]")
    def process(self, message): ...

def hygiene_of(*asked, **options):
    p = Pipeline("probe")
    for index, settings in enumerate(asked):
        p.add(f"stage{index}", Work(), process="all", realtime=settings)
    return Hygiene(p.definition().graph, [f"stage{index}" for index in range(len(asked))], **options)

def take(*asked, **options):
    hygiene = hygiene_of(*asked, **options)
    hygiene.prepare()
    told = [hygiene.ready(f"stage{index}") for index in range(len(asked))]
    assert not any(told[:-1])
    return {effect.knob: effect.told() for effect in told[-1]}

def without_rights():
    for limit in (resource.RLIMIT_RTPRIO, resource.RLIMIT_MEMLOCK):
        resource.setrlimit(limit, (0, 0))
    if os.geteuid() == 0:
        os.setresuid(65534, 65534, 65534)

def status(field):
    return next(line.split(":")[1].strip() for line in Path("/proc/self/status").read_text().splitlines()
                if line.startswith(field + ":"))

def tell(**found):
    print(json.dumps(found))
"""


def in_a_process(body: str) -> dict[str, Any]:
    """What `tell` of the body was given."""
    code = HEAD + textwrap.dedent(body)
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 0, told.stderr
    found: dict[str, Any] = json.loads(told.stdout)
    return found


def test_nothing_asked_for_is_nothing_done() -> None:
    found = in_a_process(
        """
        before = status("Cpus_allowed"), sys.getswitchinterval(), dict(os.environ), os.sched_getscheduler(0)
        hygiene = hygiene_of(None)
        hygiene.prepare()
        effects = hygiene.ready("stage0")
        after = status("Cpus_allowed"), sys.getswitchinterval(), dict(os.environ), os.sched_getscheduler(0)
        tell(effects=effects, same=before == after, frozen=gc.get_freeze_count(), collector=hygiene.collector([]),
             enabled=gc.isenabled())
        """
    )
    assert found == {"effects": [], "same": True, "frozen": 0, "collector": None, "enabled": True}


def test_all_threads_of_a_process_run_where_they_were_bound_to_and_so_do_later_ones() -> None:
    cpu = max(os.sched_getaffinity(0))
    found = in_a_process(
        f"""
        gate = threading.Event()
        early = threading.Thread(target=gate.wait)
        early.start()
        effects = take(RealTime(cpus={{{cpu}}}))
        late = threading.Thread(target=gate.wait)
        late.start()
        bound = [sorted(os.sched_getaffinity(int(name))) for name in os.listdir("/proc/self/task")]
        gate.set()
        tell(effect=effects["cpus"], bound=bound)
        """
    )
    assert found["effect"]["got"] == f"{cpu}"
    assert found["effect"]["took_effect"]
    assert len(found["bound"]) >= 3
    assert {tuple(cpus) for cpus in found["bound"]} == {(cpu,)}


@pytest.mark.skipif(obtainable() != f"SCHED_FIFO {FIFO_PRIORITY}", reason="this user may not have real-time priority")
@pytest.mark.parametrize(("policy", "number"), [("fifo", os.SCHED_FIFO), ("rr", os.SCHED_RR)])
def test_threads_that_are_there_get_the_priority_and_programs_that_are_started_do_not(policy: str, number: int) -> None:
    found = in_a_process(
        f"""
        import subprocess
        gate = threading.Event()
        early = threading.Thread(target=gate.wait)
        early.start()
        effects = take(RealTime(priority=7, policy={policy!r}))
        tasks = [int(name) for name in os.listdir("/proc/self/task")]
        have = [(os.sched_getscheduler(task), os.sched_getparam(task).sched_priority) for task in tasks]
        child = subprocess.check_output([sys.executable, "-c", "import os; print(os.sched_getscheduler(0))"])
        gate.set()
        tell(effect=effects["priority"], have=have, child=int(child))
        """
    )
    assert found["effect"]["took_effect"]
    assert found["effect"]["got"].startswith(f"SCHED_{policy.upper()} 7 in ")
    assert {tuple(pair) for pair in found["have"]} == {(number | os.SCHED_RESET_ON_FORK, 7)}
    assert len(found["have"]) >= 2
    assert found["child"] == os.SCHED_OTHER


def test_a_priority_and_a_lock_that_this_user_may_not_have_are_told_with_their_limits_and_change_nothing() -> None:
    found = in_a_process(
        """
        without_rights()
        effects = take(RealTime(priority=20, lock_memory=True))
        tell(effects=effects, policy=os.sched_getscheduler(0), locked=status("VmLck"))
        """
    )
    priority, locked = found["effects"]["priority"], found["effects"]["locked memory"]
    assert not priority["took_effect"]
    assert priority["sentence"] == (
        "priority SCHED_FIFO 20 is not in effect, it has SCHED_OTHER: operation not permitted (EPERM), RLIMIT_RTPRIO "
        "is 0; streamflow doctor has the remedy"
    )
    assert not locked["took_effect"]
    assert "RLIMIT_MEMLOCK is 0 KiB" in locked["why_not"]
    assert (found["policy"], found["locked"]) == (os.SCHED_OTHER, "0 kB")


def test_locked_memory_is_what_was_touched_and_grows_with_it() -> None:
    found = in_a_process(
        """
        before = int(status("VmRSS").split()[0])
        effects = take(RealTime(lock_memory=True))
        locked, after = status("VmLck"), int(status("VmRSS").split()[0])
        more = np.ones(1 << 22)
        tell(effect=effects["locked memory"], locked=locked, grown_kib=after - before)
        """
    )
    if not found["effect"]["took_effect"]:
        pytest.skip("this user may not lock memory")
    assert found["effect"]["got"] == f"{found['locked']} as touched"
    assert int(found["locked"].split()[0]) > 10_000
    assert found["grown_kib"] < 10_000, "what is mapped and was never touched takes no memory"


def test_a_loaded_blas_computes_in_as_many_threads_as_the_stage_has_cpus() -> None:
    found = in_a_process(
        """
        def counts():
            return [library.thread_count() for library in blas.loaded()]
        for library in blas.loaded():
            library.set_thread_count(2)
        before = counts()
        effects = take(RealTime(cpus={min(os.sched_getaffinity(0))}))
        tell(effect=effects["threads"], before=before, after=counts(), omp=os.environ["OMP_NUM_THREADS"],
             wait=os.environ["OMP_WAIT_POLICY"])
        """
    )
    assert found["before"] == [2], "NumPy has brought its OpenBLAS, and it can be told"
    assert found["after"] == [1]
    assert found["effect"]["got"] == "1 in OpenBLAS"
    assert (found["omp"], found["wait"]) == ("1", "PASSIVE")


def test_threads_that_were_set_by_hand_are_fewer_only_if_the_stage_says_how_many() -> None:
    found = in_a_process(
        """
        os.environ["OMP_NUM_THREADS"] = "1"
        for library in blas.loaded():
            library.set_thread_count(1)
        by_cpus = take(RealTime(cpus=os.sched_getaffinity(0)))["threads"]["got"], os.environ["OMP_NUM_THREADS"]
        by_number = take(RealTime(threads=2))["threads"]["got"], os.environ["OMP_NUM_THREADS"]
        tell(by_cpus=by_cpus, by_number=by_number)
        """
    )
    assert found == {"by_cpus": ["1 in OpenBLAS", "1"], "by_number": ["2 in OpenBLAS", "2"]}


def test_threads_of_a_loaded_blas_leave_the_processor_while_they_wait_and_compute_as_before() -> None:
    found = in_a_process(
        """
        matrix = np.arange(250_000.0).reshape(500, 500) % 7
        before = matrix @ matrix
        spun = [library.spins for library in blas.loaded()]
        effects = take(RealTime(threads=2))
        same = bool((matrix @ matrix == before).all())
        tell(effect=effects["threads"], spun=spun, spins=[library.spins for library in blas.loaded()], same=same)
        """
    )
    assert found["spun"] == [True]
    assert found["spins"] == [False]
    assert found["effect"]["got"] == "2 in OpenBLAS"
    assert found["same"]


def test_openmp_that_is_loaded_later_is_told_when_the_stage_is_ready() -> None:
    found = in_a_process(
        """
        hygiene = hygiene_of(RealTime(threads=3))
        hygiene.prepare()
        try:
            del os.environ["OMP_NUM_THREADS"]  # it is not the environment that tells it here
            ctypes.CDLL("libgomp.so.1")
        except OSError:
            tell(got="")
            sys.exit()
        effects = {effect.knob: effect.got for effect in hygiene.ready("stage0")}
        tell(got=effects["threads"], count=ctypes.CDLL("libgomp.so.1").omp_get_max_threads())
        """
    )
    if not found["got"]:
        pytest.skip("there is no libgomp here")
    assert "3 in OpenMP" in found["got"]
    assert found["count"] == 3


def test_intervals_are_set_and_read_back() -> None:
    found = in_a_process(
        """
        effects = take(RealTime(switch_interval=500 * us, timer_slack=3 * us))
        own_slack = int(Path("/proc/self/timerslack_ns").read_text())
        tell(effects=effects, interval=sys.getswitchinterval(), slack=own_slack)
        """
    )
    assert found["interval"] == pytest.approx(0.0005)
    assert found["slack"] == 3000
    assert found["effects"]["switch interval"]["got"] == "500 us"
    assert found["effects"]["timer slack"]["got"] == "3 us"


# ------------------------------------------------------------------------------------ garbage


class Ends(NamedTuple):
    """What of an actor is looked at."""

    inlets: dict[str, Inlet]
    logbook: Logbook


async def test_a_stage_has_slack_while_nothing_waits_for_it_and_it_is_not_about_to_wake() -> None:
    edge = EdgeDef("a", "", "b", "")
    graph = Graph("p", tuple(StageDef(name, "Node", name, {}, {}, is_source=name == "a") for name in "ab"), (edge,))
    resolved, paths = Resolved(graph, ("a", "b"), {}, {}), Paths(graph, ())
    link = LocalLink(EdgeTerms(edge.name, "schema", Overflow.BLOCK, 8), Bell())
    ends = []
    for name in "ab":
        recorder = Recorder.in_memory(shape_of(name, resolved, paths))
        inlets = {"data": Inlet(edge.name, LocalReceiver(link), 0)} if name == "b" else {}
        ends.append(Ends(inlets, Logbook(name, resolved, paths, recorder, TrioClock())))
    source = ends[0].logbook.recorder
    assert has_slack(ends, s)
    link.offer(Message({}, "a", 0, 0))
    assert not has_slack(ends, s)
    link.take()
    source.set(layout.DUE_NS, s + SOON_NS - 1)
    assert not has_slack(ends, s)
    source.set(layout.DUE_NS, s + SOON_NS)
    assert has_slack(ends, s)


def test_what_is_there_when_the_last_stage_is_ready_is_looked_at_no_more() -> None:
    found = in_a_process(
        """
        effects = take(RealTime(), None)
        tell(effect=effects["collection"], frozen=gc.get_freeze_count(), enabled=gc.isenabled())
        """
    )
    assert found["enabled"]
    assert found["frozen"] > 1000
    told = re.fullmatch(r"automatic, ([\d,]+) objects frozen", found["effect"]["got"])
    assert told is not None
    assert int(told[1].replace(",", "")) >= found["frozen"], "some of them have gone since"


def test_in_slack_garbage_is_collected_at_a_beat_and_never_by_itself() -> None:
    found = in_a_process(
        """
        hygiene = hygiene_of(RealTime(collects="in_slack"))
        collect = hygiene.collector([])
        hygiene.prepare()
        collect(0)  # it is not open yet
        hygiene.ready("stage0")
        ran = []
        gc.callbacks.append(lambda phase, info: ran.append(info["generation"]) if phase == "start" else None)
        for _ in range(5000):
            cycle = []
            cycle.append(cycle)
        by_itself = len(ran)
        held = len(gc.get_objects(generation=0))
        collect(1)
        tell(enabled=gc.isenabled(), by_itself=by_itself, ran=ran, freed=held - len(gc.get_objects(generation=0)))
        """
    )
    assert not found["enabled"]
    assert (found["by_itself"], found["ran"]) == (0, [0])
    assert found["freed"] >= 4990


# ----------------------------------------------------------------------------- not its own process


def test_stages_in_the_supervisors_process_are_told_once_that_it_stays_as_it_is() -> None:
    found = in_a_process(
        """
        effects = take(RealTime(priority=20), RealTime(lock_memory=True), is_own=False)
        tell(effects=effects, policy=os.sched_getscheduler(0), frozen=gc.get_freeze_count())
        """
    )
    assert [effect["sentence"] for effect in found["effects"].values()] == [
        "real time priority SCHED_FIFO 20, locked memory all, collection always is not in effect, it has none of it: "
        "its stages run in the supervisor's process, which stays as it is"
    ]
    assert (found["policy"], found["frozen"]) == (os.SCHED_OTHER, 0)
