"""Runs that go well: processes, groups, links, policies, pacing, and the end of the streams."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from tests.end_to_end.project import Project

LINE = """
def build(count: int = 200, group: str = "") -> Pipeline:
    p = Pipeline("line")
    source = p.add("source", Numbers(count), process=group or None)
    middle = p.add("middle", Pass(), process=group or None)
    sink = p.add("sink", Keep("kept.txt"))
    p.connect(source, middle)
    p.connect(middle, sink)
    return p
"""


@pytest.mark.parametrize(
    "options",
    [["--offline"], ["--offline", "--inline"], ["--offline", "--link", "tcp"], ["--offline", "--set", "group=front"]],
    ids=["processes", "inline", "tcp", "grouped"],
)
def test_every_way_to_run_gives_the_same_output(project: Project, options: list[str]) -> None:
    report = project.report(project.pipeline(LINE), *options)
    kept = project.kept("kept.txt")
    assert kept.numbers == list(range(200))
    assert kept.is_flushed
    assert kept.is_closed
    assert report["conserved"] is True
    assert [stage["processed"] for stage in report["stages"].values()] == [200, 200, 200]
    for edge in report["edges"].values():
        assert (edge["sent"], edge["delivered"], edge["dropped"], edge["in_flight"]) == (200, 200, {}, 0)


PLACES = """
class Where(Node):
    data = In("int64[]")
    pid = Out("int64[]")

    def process(self, message):
        return np.int64(os.getpid())


def build() -> Pipeline:
    p = Pipeline("places")
    source = p.add("source", Numbers(1), process="front")
    near, far = p.add("near", Where(), process="front"), p.add("far", Where())
    sinks = [p.add("near_sink", Keep("near.txt"), process="front"), p.add("far_sink", Keep("far.txt"))]
    for place, sink in zip((near, far), sinks):
        p.connect(source, place)
        p.connect(place, sink)
    return p
"""


def test_stages_of_one_process_share_it_and_others_have_their_own(project: Project) -> None:
    project.report(project.pipeline(PLACES), "--offline")
    near, far = project.kept("near.txt"), project.kept("far.txt")
    assert near.numbers == [near.pid]
    assert len({near.pid, far.pid, *far.numbers}) == 3


FAN_OUT = """
class Slow(Keep):
    def process(self, message):
        super().process(message)
        time.sleep(0.2)


class SlowButYielding(Keep):
    async def process(self, message):
        super().process(message)
        await trio.sleep(0.2)


def build(slow_node: str = "Slow") -> Pipeline:
    p = Pipeline("fan")
    source = p.add("source", Numbers(400))
    fast = p.add("fast", Keep("fast.txt"))
    p.connect(source, fast)
    for policy in (Overflow.DROP_OLDEST, Overflow.DROP_NEWEST, Overflow.LATEST):
        slow = p.add(policy.value, globals()[slow_node](f"{policy.value}.txt"))
        p.connect(source, slow, overflow=policy, capacity=4)
    return p
"""


@pytest.mark.parametrize(
    "options", [[], ["--inline", "--set", "slow_node=SlowButYielding"]], ids=["processes", "inline"]
)
def test_a_slow_receiver_drops_by_its_own_policy_and_a_fast_one_gets_everything(
    project: Project, options: list[str]
) -> None:
    report = project.report(project.pipeline(FAN_OUT), *options)
    assert report["conserved"] is True
    assert project.kept("fast.txt").numbers == list(range(400))
    assert report["edges"]["source.number->fast.data"]["dropped"] == {}
    for policy in ("drop_oldest", "drop_newest", "latest"):
        numbers = project.kept(f"{policy}.txt").numbers
        edge = report["edges"][f"source.number->{policy}.data"]
        assert edge["dropped"] == {policy: 400 - len(numbers)}
        assert edge["depth_peak"] <= 4
        assert all(a < b for a, b in pairwise(numbers))
    assert project.kept("latest.txt").numbers[-1] == 399
    assert project.kept("drop_oldest.txt").numbers[-4:] == [396, 397, 398, 399]
    assert project.kept("drop_newest.txt").numbers[:3] == [0, 1, 2]


FRESH = """
class Blocks(Node):
    data = In("int64[]")
    behind = Out("int64[]")

    def process(self, message):
        behind_ms = message.age_ns(time.monotonic_ns()) // 1_000_000
        time.sleep(0.1)
        return np.int64(behind_ms)


def build() -> Pipeline:
    p = Pipeline("fresh")
    source = p.add("source", Numbers(1000))
    blocks, sink = p.add("blocks", Blocks()), p.add("sink", Keep("kept.txt"))
    p.connect(source, blocks, overflow=Overflow.LATEST, capacity=8)
    p.connect(blocks, sink)
    return p
"""


def test_what_is_served_after_user_code_blocked_the_loop_is_the_newest_under_latest(project: Project) -> None:
    project.report(project.pipeline(FRESH))
    behind_ms = project.kept("kept.txt").numbers
    assert len(behind_ms) < 50
    # What was on the wire when the block began would be 100 ms old each time, were it served.
    assert sorted(behind_ms)[len(behind_ms) // 2] < 50


LIVE = """
class Live(Numbers):
    live = True


class Slow(Keep):
    def process(self, message):
        super().process(message)
        time.sleep(0.05)


def build() -> Pipeline:
    p = Pipeline("live")
    source, sink = p.add("source", Live(300)), p.add("sink", Slow("kept.txt"))
    p.connect(source, sink, capacity=2)
    return p
"""


def test_a_live_source_rejects_and_counts_what_does_not_fit_and_never_waits(project: Project) -> None:
    report = project.report(project.pipeline(LIVE))
    numbers = project.kept("kept.txt").numbers
    path = report["paths"]["source->sink"]
    assert path["produced"] == 300
    assert path["rejected"] == 300 - len(numbers) > 0
    assert report["conserved"] is True
    assert report["duration_s"] < 5


FORMS = """
class Forms(Node):
    data = In("int64[]")
    even, odd = Out("int64[]"), Out("int64[]")

    async def process(self, message):
        await trio.sleep(0)
        number = int(message.array)
        return {"odd" if number % 2 else "even": message.array}

    def flush(self):
        yield Output(np.int64(-2), port="even")
        yield Output(np.int64(-1), port="odd")


class Twice(Node):
    data = In("int64[]")
    both = Out("int64[]")

    def process(self, message):
        for _ in range(2):
            yield message.array


def build() -> Pipeline:
    p = Pipeline("forms")
    source, forms, twice = p.add("source", Numbers(6)), p.add("forms", Forms()), p.add("twice", Twice())
    even, odd = p.add("even", Keep("even.txt"), process="sinks"), p.add("odd", Keep("odd.txt"), process="sinks")
    p.connect(source, forms)
    p.connect(forms.even, twice)
    p.connect(twice, even)
    p.connect(forms.odd, odd)
    return p
"""


@pytest.mark.parametrize("options", [["--offline"], ["--offline", "--inline"]], ids=["processes", "inline"])
def test_async_nodes_generators_ports_by_name_and_flushed_results_all_arrive(
    project: Project, options: list[str]
) -> None:
    project.report(project.pipeline(FORMS), *options)
    assert project.kept("even.txt").numbers == [0, 0, 2, 2, 4, 4, -2, -2]
    assert project.kept("odd.txt").numbers == [1, 3, 5, -1]


JOIN = """
class Thin(Node):
    data = In("int64[]")
    third = Out("int64[]")

    def process(self, message):
        time.sleep(0.01)
        return message.array


class Difference(Node):
    left, right = In("int64[]"), In("int64[]")
    difference = Out("int64[]")

    def process(self, *, left, right):
        return left.array - right.array


def build() -> Pipeline:
    p = Pipeline("join")
    source, thin = p.add("source", Numbers(300)), p.add("thin", Thin())
    join, sink = p.add("join", Difference()), p.add("sink", Keep("kept.txt"), process="join")
    p.connect(source, thin, overflow=Overflow.DROP_OLDEST, capacity=2)
    p.connect(thin, join.left)
    p.connect(source, join.right, capacity=400)
    p.connect(join, sink)
    return p
"""


def test_branches_of_one_source_meet_again_by_event_time_although_one_dropped_some(project: Project) -> None:
    report = project.report(project.pipeline(JOIN))
    differences = project.kept("kept.txt").numbers
    assert set(differences) == {0}
    dropped = report["edges"]["source.number->thin.data"]["dropped"]["drop_oldest"]
    assert len(differences) == 300 - dropped
    assert report["stages"]["join"]["left_out"]["right"] == {"unmatched": dropped}
    assert report["conserved"] is True


ABSORBING = """
class EveryFortieth(Pass):
    def process(self, message):
        return message.array if message.seq % 40 == 39 else None


class Both(Node):
    often, seldom = In("int64[]"), In("int64[]")
    number = Out("int64[]")

    def process(self, *, often, seldom):
        return seldom.array


def build() -> Pipeline:
    p = Pipeline("diamond")
    source, window = p.add("source", Numbers(400)), p.add("window", EveryFortieth())
    both, sink = p.add("both", Both()), p.add("sink", Keep("kept.txt"))
    p.connect(source, window)
    p.connect(source, both.often)
    p.connect(window, both.seldom)
    p.connect(both, sink)
    return p
"""


@pytest.mark.parametrize("options", [["--offline"], ["--offline", "--inline"]], ids=["processes", "inline"])
def test_a_branch_that_absorbs_most_data_does_not_hold_up_the_join_it_leads_to(
    project: Project, options: list[str]
) -> None:
    report = project.report(project.pipeline(ABSORBING), *options)
    assert project.kept("kept.txt").numbers == list(range(39, 400, 40))
    assert report["stages"]["both"]["left_out"] == {"often": {"unmatched": 390}}
    assert report["conserved"] is True


def test_the_table_shows_what_found_no_partner(project: Project) -> None:
    ended = project.run(project.pipeline(ABSORBING), "--offline", "--inline")
    assert "both: left out: often unmatched 390" in ended.stderr


RECORDED = """
class Recorded(Node):
    number = Out("int64[]")

    async def run(self):
        for number, recorded_s in enumerate((0.0, 0.1, 0.15, 1.0, 1.6, 3.0)):
            due_ns = await self.pace(round(recorded_s * 1e9))
            await self.emit(np.int64(number), event_time_ns=due_ns)


class Arrivals(Keep):
    def process(self, message):
        self.write(f"got {time.monotonic_ns() // 1_000_000}")


def build() -> Pipeline:
    p = Pipeline("recorded")
    source, sink = p.add("source", Recorded()), p.add("sink", Arrivals("kept.txt"))
    p.connect(source, sink)
    return p
"""


def test_a_recording_is_paced_by_its_own_irregular_time_stamps_and_the_speed(project: Project) -> None:
    report = project.report(project.pipeline(RECORDED), "--speed", 2)
    arrived_ms = project.kept("kept.txt").numbers
    since_first_ms = [arrival - arrived_ms[0] for arrival in arrived_ms]
    assert since_first_ms == pytest.approx([0, 50, 75, 500, 800, 1500], abs=200)
    assert report["duration_s"] >= 1.4


def test_a_duration_drains_an_endless_source_and_ends_well(project: Project) -> None:
    reference = project.pipeline(LINE.replace("Numbers(count)", "Numbers()"))
    report = project.report(reference, "--duration", 0.5)
    kept = project.kept("kept.txt")
    assert kept.numbers == list(range(report["stages"]["source"]["processed"]))
    assert kept.is_flushed
    assert kept.is_closed
    assert report["conserved"] is True


def test_the_table_at_the_end_goes_to_stderr_and_results_to_stdout(project: Project) -> None:
    body = """
    from nodes.postprocess import JsonLines

    def build() -> Pipeline:
        p = Pipeline("screen")
        p.connect(p.add("source", Numbers(3)), p.add("log", JsonLines("-")))
        return p
    """
    ended = project.run(project.pipeline(body), "--offline", "--inline")
    assert ended.code == 0
    assert [json.loads(line)["array"] for line in ended.stdout.splitlines()] == [0, 1, 2]
    assert "every datum accounted for" in ended.stderr


def test_what_a_node_prints_comes_out_where_the_run_was_started(project: Project) -> None:
    body = """
    class Says(Keep):
        def process(self, message):
            print("heard", int(message.array))
            print("warned", int(message.array), file=sys.stderr)

    def build() -> Pipeline:
        p = Pipeline("prints")
        p.connect(p.add("source", Numbers(2)), p.add("says", Says("kept.txt")))
        return p
    """
    ended = project.run(project.pipeline(body), "--offline", "--quiet")
    assert (ended.code, ended.stdout, ended.stderr) == (0, "heard 0\nheard 1\n", "warned 0\nwarned 1\n")
