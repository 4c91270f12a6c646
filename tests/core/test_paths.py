"""The paths of a graph: their bits, their routes, and every fault of a declared deadline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamflow.core.deadline import OnMiss, PathDef, RateDef
from streamflow.core.firm import Escalation, Firm
from streamflow.core.graph import EdgeDef, Graph, PortDef, StageDef
from streamflow.core.paths import PATH_LIMIT, Paths, faults, on_route
from streamflow.core.ports import PortType, parse_tensor
from streamflow.core.timebase import ms

IN = PortDef(PortType({"samples": parse_tensor("float32[n]")}))


def graph_of(text: str) -> Graph:
    """`a>b` is an edge from a to b; a stage into which none leads is a source."""
    ends = [pair.split(">") for pair in text.split()]
    names = dict.fromkeys(name for pair in ends for name in pair)
    stages = []
    for name in names:
        inputs = {f"from_{a}": IN for a, b in ends if b == name}
        stages.append(StageDef(name, "Node", name, inputs, {}, is_source=not inputs))
    return Graph("g", tuple(stages), tuple(EdgeDef(a, f"to_{b}", b, f"from_{a}") for a, b in ends))


DIAMOND = graph_of("camera>left camera>right left>join right>join join>out camera>log microphone>join")
DEADLINE = PathDef("see", "camera", "join", 25 * ms)


def told(paths: Sequence[PathDef] = (), rates: Sequence[RateDef] = (), graph: Graph = DIAMOND) -> list[str]:
    return [str(fault) for fault in faults(graph, paths, rates)]


def test_declared_paths_come_first_and_every_other_way_to_a_sink_after_them() -> None:
    paths = Paths(DIAMOND, [DEADLINE])
    assert [(path.name, path.within_ns) for path in paths.definitions] == [
        ("see", 25 * ms),
        ("camera->out", None),
        ("camera->log", None),
        ("microphone->out", None),
    ]
    assert (len(paths), paths.declared_count, paths.left_out) == (4, 1, ())
    assert [(spec.bit, spec.stream, spec.within_ns) for spec in paths.specs] == [
        (1, 0, 25 * ms),
        (2, 0, None),
        (4, 0, None),
        (8, 6, None),
    ]
    assert DIAMOND.stages[6].name == "microphone"


def test_a_declared_path_to_a_sink_takes_the_place_of_the_implicit_one() -> None:
    names = [path.name for path in Paths(DIAMOND, [PathDef("all", "camera", "out", None)]).definitions]
    assert names == ["all", "camera->log", "microphone->out"]


def test_an_observer_is_on_no_path_and_changes_none() -> None:
    watched = graph_of("camera>left camera>right left>join right>join join>out camera>log microphone>join out>watch")
    stages = tuple(replace(stage, is_observer=stage.name == "watch") for stage in watched.stages)
    watched = replace(watched, stages=stages)
    paths, without = Paths(watched, [DEADLINE]), Paths(DIAMOND, [DEADLINE])
    assert watched.sinks() == DIAMOND.sinks()
    assert [path.name for path in paths.definitions] == [path.name for path in without.definitions]
    assert paths.masks_by_edge(watched.edges[-1].name) == 0
    assert paths.through("watch", "camera") == 0
    assert paths.ending_at("out", "camera") == without.ending_at("out", "camera")


def test_a_route_is_every_stage_and_edge_on_any_way_senders_first() -> None:
    paths = Paths(DIAMOND, [DEADLINE])
    assert set(paths.route(0)) == {"camera", "left", "right", "join"}
    assert (paths.route(0)[0], paths.route(0)[-1]) == ("camera", "join")
    assert paths.route(paths.index("microphone->out")) == ("microphone", "join", "out")
    assert set(paths.edges(0)) == {edge.name for edge in DIAMOND.edges[:4]}


def test_masks_tell_which_paths_an_edge_a_stage_and_a_sink_are_on() -> None:
    paths = Paths(DIAMOND, [DEADLINE])
    see, out, log, heard = (spec.bit for spec in paths.specs)
    masks = [paths.masks_by_edge(edge.name) for edge in DIAMOND.edges]
    assert masks == [see | out, see | out, see | out, see | out, out | heard, log, heard]
    assert paths.masks_by_edge("nowhere") == 0
    assert paths.through("join", "camera") == see | out
    assert paths.through("join", "microphone") == heard
    assert paths.through("camera", "microphone") == 0
    assert paths.ending_at("join", "camera") == see
    assert paths.ending_at("out", "microphone") == heard
    assert paths.within_ns(0) == 25 * ms


def test_the_tightest_paths_of_a_stage_are_those_with_the_earliest_deadline() -> None:
    wide = replace(DEADLINE, name="wide", sink="out", within_ns=90 * ms)
    paths = Paths(DIAMOND, [wide, DEADLINE, replace(DEADLINE, name="twin")])
    assert paths.tightest("join", "camera") == 0b110
    assert paths.tightest("out", "camera") == 0b001
    assert paths.tightest("log", "camera") == 0


def test_implicit_paths_beyond_the_limit_are_left_out_and_named() -> None:
    wide = graph_of(" ".join(f"s>t{number}" for number in range(70)))
    paths = Paths(wide, [PathDef("first", "s", "t69", ms)])
    assert len(paths) == PATH_LIMIT
    assert paths.definitions[0].name == "first"
    assert paths.left_out == tuple(f"s->t{number}" for number in range(62, 69))


def test_an_unknown_path_has_no_index() -> None:
    with pytest.raises(KeyError, match="nothing"):
        Paths(DIAMOND, []).index("nothing")


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda ends: ends[0] < ends[1]), min_size=1))
def test_a_route_is_the_union_of_all_ways(pairs: list[tuple[int, int]]) -> None:
    graph = graph_of(" ".join(f"n{a}>n{b}" for a, b in dict.fromkeys(pairs)))

    def ways(stage: str, sink: str) -> list[tuple[str, ...]]:
        if stage == sink:
            return [(sink,)]
        return [(stage, *way) for edge in graph.edges_from(stage) for way in ways(edge.target, sink)]

    paths = Paths(graph, [])
    for spec, definition in zip(paths.specs, paths.definitions, strict=True):
        all_ways = ways(definition.source, definition.sink)
        assert set(paths.route(spec.index)) == {stage for way in all_ways for stage in way}
        steps = {step for way in all_ways for step in pairwise(way)}
        assert {(e.source, e.target) for e in graph.edges if paths.masks_by_edge(e.name) & spec.bit} == steps
        position = {stage: index for index, stage in enumerate(paths.route(spec.index))}
        assert all(position[a] < position[b] for a, b in steps)
    assert {(d.source, d.sink) for d in paths.definitions} == {
        (source.name, sink) for source in graph.stages if source.is_source
        for sink in graph.sinks() if ways(source.name, sink)
    }  # fmt: skip


def test_a_sound_deadline_has_no_faults() -> None:
    firm = replace(DEADLINE, name="firm", firm=Firm(1, 1), escalation=(Escalation.STOP,))
    held = replace(DEADLINE, name="held", on_miss=OnMiss.HOLD, max_age_ns=1)
    assert told([DEADLINE, firm, held], [RateDef("silence", "join", "from_left", ms)]) == []


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        (replace(DEADLINE, source="camrea"),
         "deadline see: no stage camrea, expected one of camera, microphone; did you mean camera?"),
        (replace(DEADLINE, sink="joint"),
         "deadline see: no stage joint, expected one of camera, left, right, join, out, log, microphone; "
         "did you mean join?"),
        (replace(DEADLINE, source="left"),
         "deadline see: left is no source, expected one of camera, microphone; a deadline runs from a source"),
        (replace(DEADLINE, source="microphone", sink="log"),
         "deadline see: no way from microphone to log, expected one of join, out"),
        (replace(DEADLINE, sink="camera"),
         "deadline see: no way from camera to camera, expected one of left, right, join, out, log"),
        (replace(DEADLINE, within_ns=0), "deadline see: within 0 ns, expected at least 10,000; as in within=25 * ms"),
        (replace(DEADLINE, max_age_ns=-1),
         "deadline see: max_age -1 ns, expected more than 0; as in max_age=100 * ms"),
        (replace(DEADLINE, on_miss=OnMiss.HOLD),
         "deadline see: on_miss HOLD without max_age, expected how old a repeated result may be; max_age=..."),
        (replace(DEADLINE, escalation=(Escalation.DEGRADE, Escalation.STOP)),
         "deadline see: escalation degrade, stop without firm, expected a contract to be broken; firm=(m, k)"),
        (replace(DEADLINE, firm=Firm(3, 2)),
         "deadline see: firm (3, 2), expected (m, k) with 1 <= m <= k <= 4,096"),
        (replace(DEADLINE, firm=Firm(0, 2)),
         "deadline see: firm (0, 2), expected (m, k) with 1 <= m <= k <= 4,096"),
        (replace(DEADLINE, firm=Firm(5, 4097)),
         "deadline see: firm (5, 4097), expected (m, k) with 1 <= m <= k <= 4,096"),
        (replace(DEADLINE, within_ns=None, firm=Firm(1, 2)),
         "deadline see: firm without within, expected when a datum is on time; within=..."),
        (replace(DEADLINE, name="a->b"),
         "deadline a->b: 'a->b' as a name, expected at least one letter and no '->'; "
         "source->sink names what has no deadline"),
    ],
)  # fmt: skip
def test_a_fault_of_a_deadline_is_one_sentence(path: PathDef, sentence: str) -> None:
    assert told([path]) == [sentence]


@pytest.mark.parametrize(
    ("rate", "sentence"),
    [
        (RateDef("silence", "jion", "from_left", ms),
         "deadline silence: no stage jion, expected one of left, right, join, out, log; did you mean join?"),
        (RateDef("silence", "join", "from_lef", ms),
         "deadline silence: join has no input from_lef, expected one of from_left, from_right, from_microphone; "
         "did you mean from_left?"),
        (RateDef("silence", "camera", "frames", ms),
         "deadline silence: camera is a source, expected an input; give a stage that it sends to"),
        (RateDef("silence", "join", "from_left", 0),
         "deadline silence: within 0 ns, expected at least 10,000; as in within=200 * ms"),
    ],
)  # fmt: skip
def test_a_fault_of_a_rate_deadline_is_one_sentence(rate: RateDef, sentence: str) -> None:
    assert told([], [rate]) == [sentence]


def test_deadlines_of_one_name_are_a_fault_and_two_for_one_pair_are_none() -> None:
    assert told([DEADLINE, replace(DEADLINE, name="again")]) == []
    assert told([DEADLINE, DEADLINE], [RateDef("see", "join", "from_left", ms)]) == [
        "deadline see: 3 deadlines of this name, expected one; name them apart"
    ]


def test_more_deadlines_than_a_mask_has_bits_are_a_fault() -> None:
    many = [replace(DEADLINE, name=f"d{number}") for number in range(PATH_LIMIT + 1)]
    assert told(many[:-1]) == []
    assert told(many) == [f"deadline d{PATH_LIMIT}: one of {PATH_LIMIT + 1}, expected at most {PATH_LIMIT}"]


def test_nothing_is_said_of_the_ports_of_a_stage_that_could_not_be_inspected() -> None:
    stages = tuple(replace(stage, is_known=False, is_source=False) for stage in DIAMOND.stages)
    unknown = replace(DIAMOND, stages=stages)
    assert told([DEADLINE], [RateDef("silence", "join", "anything", ms)], unknown) == []


def test_the_route_is_every_edge_on_a_way_to_the_sink() -> None:
    def route(sink: str) -> list[str]:
        return [f"{edge.source}>{edge.target}" for edge in on_route(DIAMOND.edges, "camera", sink)]

    assert route("join") == ["camera>left", "camera>right", "left>join", "right>join"]
    assert route("log") == ["camera>log"]
    assert route("camera") == route("microphone") == []
