"""A drawing shows every stage and every edge, in syntax that its readers take, and no line through a box."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamflow.core.drawing import as_dot, as_mermaid, as_text, policy_text, reading_order, summary_text
from streamflow.core.graph import EdgeDef, Graph, PortDef, Resolved, StageDef
from streamflow.core.layout import Box, arrange, ranks_of
from streamflow.core.overflow import Overflow
from streamflow.core.ports import PortType, parse_tensor
from streamflow.core.resolution import resolve
from streamflow.core.svg import as_svg

PORT = PortDef(PortType({"array": parse_tensor("float32[time]")}, 100.0), None)
RAIL = "[─│╭╰┴┼▶ ]*"
SVG = "{http://www.w3.org/2000/svg}"


def stage(name: str, inputs: str = "", outputs: str = "", *, node: str = "Thing", process: str = "") -> StageDef:
    ports = [dict.fromkeys(names.split(), PORT) for names in (inputs, outputs)]
    return StageDef(name, node, process or name, *ports, is_source=not inputs)


def resolved(name: str, stages: list[StageDef], edges: list[EdgeDef]) -> Resolved:
    found, faults = resolve(Graph(name, tuple(stages), tuple(edges)))
    assert found is not None, faults
    return found


@pytest.fixture
def joined() -> Resolved:
    """Two sources, one of them used twice, into a join of three; the first two stages share a process."""
    return resolved(
        "joined",
        [
            stage("mic", "", "samples", node="WavFile", process="audio"),
            stage("filter", "x", "y", process="audio"),
            stage("imu", "", "turn"),
            stage("join", "a b c", "out"),
            stage("log", "data"),
        ],
        [
            EdgeDef("mic", "samples", "filter", "x"),
            EdgeDef("mic", "samples", "join", "b", Overflow.DROP_OLDEST, 16),
            EdgeDef("filter", "y", "join", "a", Overflow.DROP_NEWEST, 4),
            EdgeDef("imu", "turn", "join", "c", Overflow.LATEST),
            EdgeDef("join", "out", "log", "data"),
        ],
    )


# -------------------------------------------------------------------------------------------- a terminal


def test_text_draws_a_chain_as_rails_from_line_to_line():
    chain = resolved(
        "chain",
        [stage("tone", "", "signal"), stage("peak", "x", "y"), stage("log", "data")],
        [EdgeDef("tone", "signal", "peak", "x"), EdgeDef("peak", "y", "log", "data", Overflow.LATEST)],
    )
    assert as_text(chain) == (
        "chain: 3 stages in 3 processes, 2 edges\n"
        "\n"
        "    tone     Thing       process tone  source\n"
        "╭── .signal  → peak.x    block 8       float32[time] at 100 Hz\n"
        "╰─▶ peak     Thing       process peak\n"
        "╭── .y       → log.data  latest        float32[time] at 100 Hz\n"
        "╰─▶ log      Thing       process log"
    )


def test_text_leads_rails_past_each_other_and_together(joined):
    rails = [re.match(RAIL, line)[0].rstrip() for line in as_text(joined).splitlines()[2:]]
    assert rails == [
        "",
        "╭──────",
        "│ ╭────",
        "╰─┼───▶",
        "╭─┼────",
        "│ │",
        "│ │ ╭──",
        "╰─┴─┴─▶",
        "╭──────",
        "╰─────▶",
    ]


def test_text_tells_node_process_port_policy_and_type(joined):
    text = as_text(joined)
    assert re.search(r" mic +WavFile +process audio +source$", text, re.MULTILINE)
    assert re.search(r" \.samples +→ join\.b +drop_oldest 16 +float32\[time\] at 100 Hz$", text, re.MULTILINE)


def test_one_of_a_kind_is_told_in_the_singular():
    assert summary_text(Graph("one", (stage("a", "", "x"),), ())) == "one: 1 stage in 1 process, 0 edges"


def test_a_live_source_is_told_apart():
    live = StageDef("mic", "Microphone", "mic", {}, {"samples": PORT}, is_source=True, live=True)
    assert as_text(resolved("live", [live], [])).endswith("live source")


def test_latest_has_no_capacity_to_tell():
    assert policy_text(EdgeDef("a", "x", "b", "y", Overflow.LATEST, 8)) == "latest"
    assert policy_text(EdgeDef("a", "x", "b", "y", Overflow.BLOCK, 3)) == "block 3"


# ------------------------------------------------------------------------------------------ for documents


def test_mermaid_is_a_flowchart_with_a_subgraph_for_a_shared_process(joined):
    assert as_mermaid(joined).splitlines() == [
        "---",
        'title: "joined"',
        "---",
        "flowchart LR",
        '  subgraph p0["process audio"]',
        '    s0(["mic<br/>WavFile"])',
        '    s1["filter<br/>Thing"]',
        "  end",
        '  s2(["imu<br/>Thing"])',
        '  s3["join<br/>Thing"]',
        '  s4["log<br/>Thing"]',
        '  s0 -->|"float32[time] at 100 Hz<br/>block 8"| s1',
        '  s0 -->|"float32[time] at 100 Hz<br/>drop_oldest 16"| s3',
        '  s1 -->|"float32[time] at 100 Hz<br/>drop_newest 4"| s3',
        '  s2 -->|"float32[time] at 100 Hz<br/>latest"| s3',
        '  s3 -->|"float32[time] at 100 Hz<br/>block 8"| s4',
    ]


def test_mermaid_never_sees_a_stages_name_as_a_word_of_its_own():
    text = as_mermaid(resolved("x", [stage("end", "", "o"), stage("graph", "i")], [EdgeDef("end", "o", "graph", "i")]))
    assert "  s0 -->|" in text
    assert not re.search(r"^\s*end\b", text, re.MULTILINE)


def test_dot_is_a_digraph_with_a_cluster_for_a_shared_process(joined):
    lines = as_dot(joined).splitlines()
    assert lines[0] == 'digraph "joined" {'
    assert lines[-1] == "}"
    assert '  subgraph "cluster_audio" {' in lines
    assert '    "mic" [label="mic\\nWavFile", style=rounded];' in lines
    assert '  "mic" -> "join" [label="float32[time] at 100 Hz\\ndrop_oldest 16"];' in lines


ODD_NAME = 'say "hi" \\ <b> & # \n'


@pytest.mark.parametrize("draw", [as_text, as_mermaid, as_dot, as_svg])
def test_a_pipelines_name_may_hold_any_character(draw):
    drawn = draw(resolved(ODD_NAME, [stage("a", "", "x")], []))
    if draw is as_svg:
        assert ElementTree.fromstring(drawn).find(f"{SVG}title").text.startswith('say "hi" \\ <b> & #')
    if draw is as_dot:
        assert drawn.startswith('digraph "say \\"hi\\" \\\\ <b> & # \n" {')


# ---------------------------------------------------------------------------------------------- a picture


def test_the_picture_shows_every_stage_and_an_arrow_for_every_edge(joined):
    picture = ElementTree.fromstring(as_svg(joined))
    names = [text.text for text in picture.iter(f"{SVG}text") if text.get("class") == "name"]
    assert names == ["mic", "filter", "imu", "join", "log"]
    arrows = [path for path in picture.iter(f"{SVG}path") if path.get("marker-end")]
    assert [arrow.find(f"{SVG}title").text.partition(":")[0] for arrow in arrows] == [
        edge.name for edge in joined.graph.edges
    ]


def test_the_picture_labels_edges_that_lose_data_and_inputs_that_are_one_of_several(joined):
    picture = ElementTree.fromstring(as_svg(joined))
    labels = [text.text for text in picture.iter(f"{SVG}text") if text.get("class") == "label"]
    assert labels == ["b · drop_oldest 16", "a · drop_newest 4", "c · latest"]


def test_the_picture_puts_a_box_around_a_shared_process(joined):
    picture = ElementTree.fromstring(as_svg(joined))
    assert [text.text for text in picture.iter(f"{SVG}text") if text.get("class") == "process"] == ["process audio"]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Any acyclic graph in which every stage but sources has one to three inputs, some in shared processes."""
    count = draw(st.integers(1, 9))
    stages, edges = [], []
    for number in range(count):
        senders = draw(st.lists(st.integers(0, number - 1), max_size=3)) if number else []
        inputs = " ".join(f"i{index}" for index in range(len(senders)))
        process = draw(st.sampled_from(["", "", "left", "right"]))
        stages.append(stage(f"s{number}", inputs, "o", node="N" * draw(st.integers(1, 20)), process=process))
        policies = draw(st.lists(st.sampled_from(Overflow), min_size=len(senders), max_size=len(senders)))
        for index, (sender, policy) in enumerate(zip(senders, policies, strict=True)):
            edges.append(EdgeDef(f"s{sender}", "o", f"s{number}", f"i{index}", policy))
    return Graph("any", tuple(stages), tuple(edges))


def overlap(a: Box, b: Box) -> bool:
    return a.x < b.x + b.width and b.x < a.x + a.width and a.y < b.y + b.height and b.y < a.y + a.height


def inside(inner: Box, outer: Box) -> bool:
    return (
        outer.x <= inner.x
        and outer.y <= inner.y
        and inner.x + inner.width <= outer.x + outer.width
        and inner.y + inner.height <= outer.y + outer.height
    )


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_no_box_covers_another_and_a_processes_box_holds_its_own_stages_only(graph):
    layout = arrange(graph, {one.name: (40 + 7 * len(one.node), 48) for one in graph.stages}, {})
    page = Box(0, 0, layout.width, layout.height)
    for a, b in combinations(layout.stages.values(), 2):
        assert not overlap(a, b)
    for process, box in layout.processes.items():
        assert inside(box, page)
        for one in graph.stages:
            if one.process == process:
                assert inside(layout.stages[one.name], box)
            else:
                assert not overlap(layout.stages[one.name], box)
    for a, b in combinations(layout.processes.values(), 2):
        assert not overlap(a, b)
    assert all(inside(box, page) for box in layout.stages.values())


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_every_route_runs_from_its_sender_to_its_receiver_and_level_past_other_boxes(graph):
    layout = arrange(graph, {one.name: (40 + 7 * len(one.node), 48) for one in graph.stages}, {})
    for edge in graph.edges:
        route = layout.routes[edge.name]
        sender, receiver = layout.stages[edge.source], layout.stages[edge.target]
        assert route[0][0] == sender.x + sender.width
        assert sender.y < route[0][1] < sender.y + sender.height
        assert route[-1][0] == receiver.x
        assert receiver.y < route[-1][1] < receiver.y + receiver.height
        assert [x for x, _ in route] == sorted(x for x, _ in route)
        for (x0, y0), (x1, y1) in pairwise(route):
            stretch = Box(x0, y0, x1 - x0, y1 - y0)
            if y0 == y1:
                assert not any(overlap(stretch, box) for box in layout.stages.values())


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_senders_are_left_of_their_receivers_and_above_them(graph):
    order, ranks = reading_order(graph), ranks_of(graph)
    assert sorted(order) == sorted(one.name for one in graph.stages)
    for edge in graph.edges:
        assert order.index(edge.source) < order.index(edge.target)
        assert ranks[edge.source] < ranks[edge.target]


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_in_text_every_rail_that_begins_ends_at_its_receiver(graph):
    found = resolved(graph.name, list(graph.stages), list(graph.edges))
    ending_at: dict[int, str] = {}
    for line in as_text(found).splitlines()[2:]:
        rail = re.match(RAIL, line)[0]
        cells = line[len(rail) :]
        if "╭" in rail:
            lane = rail.index("╭")
            assert lane not in ending_at
            ending_at[lane] = cells.split("→ ")[1].split(".")[0]
        elif "▶" in rail:
            arriving = [lane for lane, symbol in enumerate(rail) if symbol in "╰┴"]
            assert {ending_at.pop(lane) for lane in arriving} == {cells.split()[0]}
        for lane in ending_at:
            assert rail[lane] in "│┼╭"
    assert ending_at == {}


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_every_drawing_of_any_graph_names_every_stage(graph):
    found = resolved(graph.name, list(graph.stages), list(graph.edges))
    ElementTree.fromstring(as_svg(found))
    for draw in (as_text, as_mermaid, as_dot, as_svg):
        drawn = draw(found)
        assert all(re.search(rf"\b{one.name}\b", drawn) for one in graph.stages)


def test_a_lossless_edge_is_told_as_such() -> None:
    assert policy_text(EdgeDef("a", "out", "b", "x", capacity=4)) == "block 4"
    assert policy_text(EdgeDef("a", "out", "b", "x", capacity=4, is_lossless=True)) == "lossless 4"
