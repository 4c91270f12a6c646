"""Where the boxes and lines of a drawn graph go: layers from left to right, ranked by the longest path.

The scheme is Sugiyama's (1981) in its plainest form: rank, put a way point into every rank that a long edge
passes, order each rank by the barycentre of its neighbours, and stack. Stages that share a process have a
horizontal band to themselves, so that a box around them never holds a stranger. It does not try to be optimal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from streamflow.core.drawing import reading_order, shared_processes
from streamflow.core.graph import EdgeDef, Graph

MARGIN = 20
RANK_GAP = 64  # between the boxes of one rank and the labels of the next
STACK_GAP = 26  # between boxes of one rank
BAND_PADDING = 14
BAND_TITLE = 22
WAY_POINT_HEIGHT = 16
SWEEPS = 4  # there and back twice; more changes nothing for graphs that people draw by hand

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; y grows downwards."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Layout:
    """Boxes of stages and of shared processes, and the points each edge (by name) goes through."""

    width: float
    height: float
    stages: Mapping[str, Box]
    processes: Mapping[str, Box]
    routes: Mapping[str, tuple[Point, ...]]


@dataclass(slots=True, eq=False)
class _Cell:
    """What takes up room in a rank: a stage, or a way point of an edge that passes."""

    rank: int
    band: int
    width: float
    height: float
    left: list[_Cell] = field(default_factory=list)
    right: list[_Cell] = field(default_factory=list)
    x: float = 0
    y: float = 0
    rank_end: float = 0

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


def arrange(graph: Graph, sizes: Mapping[str, tuple[float, float]], label_widths: Mapping[str, float]) -> Layout:
    """`sizes`: width and height of each stage's box; `label_widths`: room wanted at the left of each."""
    whole, graph = graph, graph.forward
    ranks = ranks_of(graph)
    processes = list(shared_processes(graph))
    bands = {s.name: processes.index(s.process) + 1 if s.process in processes else 0 for s in graph.stages}
    cells = {name: _Cell(ranks[name], bands[name], *sizes[name]) for name in reading_order(graph)}
    chains = {edge.name: _chain(edge, cells) for edge in graph.edges}
    columns: list[list[_Cell]] = [[] for _ in range(max(ranks.values()) + 1)]
    for cell in [*cells.values(), *(point for chain in chains.values() for point in chain[1:-1])]:
        columns[cell.rank].append(cell)
    _put_in_order(columns)
    gaps = [0.0] * len(columns)
    for name, cell in cells.items():
        gaps[cell.rank] = max(gaps[cell.rank], label_widths.get(name, 0))
    width = _place_columns(columns, gaps)
    height = _stack(columns, len(processes) + 1)
    loops = [edge for edge in whole.edges if edge.loop is not None]
    routes = {edge.name: _route(graph, edge, chains[edge.name]) for edge in graph.edges}
    for number, edge in enumerate(loops):
        routes[edge.name] = _way_back(graph, edge, cells, height + number * STACK_GAP)
    return Layout(
        width,
        height + len(loops) * STACK_GAP,
        {name: Box(cell.x, cell.y, cell.width, cell.height) for name, cell in cells.items()},
        {process: _around([cells[name] for name in stages]) for process, stages in shared_processes(graph).items()},
        routes,
    )


def ranks_of(graph: Graph) -> dict[str, int]:
    """0 for what receives nothing, else one more than the highest rank of the senders."""
    ranks: dict[str, int] = {}
    for name in reading_order(graph):
        ranks[name] = max((ranks[edge.source] + 1 for edge in graph.forward.edges_into(name)), default=0)
    return ranks


def _chain(edge: EdgeDef, cells: Mapping[str, _Cell]) -> list[_Cell]:
    """The cells an edge goes through, one in each rank, from sender to receiver."""
    first, last = cells[edge.source], cells[edge.target]
    band = first.band if first.band == last.band else 0
    points = [_Cell(rank, band, 0, WAY_POINT_HEIGHT) for rank in range(first.rank + 1, last.rank)]
    chain = [first, *points, last]
    for left, right in pairwise(chain):
        left.right.append(right)
        right.left.append(left)
    return chain


def _put_in_order(columns: list[list[_Cell]]) -> None:
    for _ in range(SWEEPS // 2):
        for column, before in zip(columns[1:], columns, strict=False):
            _sort(column, {cell: cell.left for cell in column}, before)
        for column, after in zip(columns[-2::-1], columns[:0:-1], strict=False):
            _sort(column, {cell: cell.right for cell in column}, after)


def _sort(column: list[_Cell], neighbours: Mapping[_Cell, list[_Cell]], beside: list[_Cell]) -> None:
    """By band, then by the mean place of the neighbours; who has none keeps its own."""
    places = {cell: index / len(beside) for index, cell in enumerate(beside)}
    means = {}
    for index, cell in enumerate(column):
        found = [places[other] for other in neighbours[cell]]
        means[cell] = sum(found) / len(found) if found else index / len(column)
    column.sort(key=lambda cell: (cell.band, means[cell]))


def _place_columns(columns: list[list[_Cell]], gaps: list[float]) -> float:
    x: float = MARGIN + BAND_PADDING
    for index, (column, gap) in enumerate(zip(columns, gaps, strict=True)):
        x += gap + (RANK_GAP if index else 0)
        width = max(cell.width for cell in column)
        for cell in column:
            cell.x = x
            cell.rank_end = x + width
            if not cell.width:
                cell.width = width  # a way point is a straight line past the boxes of its rank
        x += width
    return x + BAND_PADDING + MARGIN


def _stack(columns: list[list[_Cell]], band_count: int) -> float:
    """Give every cell its y, band after band, each rank centred in its band; the height of it all."""
    top: float = MARGIN
    for band in range(band_count):
        stacks = [[cell for cell in column if cell.band == band] for column in columns]
        heights = [sum(cell.height + STACK_GAP for cell in stack) - STACK_GAP for stack in stacks]
        height = max(heights)
        if height <= 0:
            continue
        top += BAND_TITLE + BAND_PADDING if band else 0
        for stack, own in zip(stacks, heights, strict=True):
            y = top + (height - own) / 2
            for cell in stack:
                cell.y = y
                y += cell.height + STACK_GAP
        top += height + (BAND_PADDING if band else 0) + STACK_GAP
    return top - STACK_GAP + MARGIN


def _around(cells: list[_Cell]) -> Box:
    left = min(cell.x for cell in cells) - BAND_PADDING
    top = min(cell.y for cell in cells) - BAND_PADDING - BAND_TITLE
    right = max(cell.x + cell.width for cell in cells) + BAND_PADDING
    bottom = max(cell.y + cell.height for cell in cells) + BAND_PADDING
    return Box(left, top, right - left, bottom - top)


def _route(graph: Graph, edge: EdgeDef, chain: list[_Cell]) -> tuple[Point, ...]:
    """From the sender's right side to the receiver's left, each port at its own height."""
    first, *between, last = chain
    height = _port_height(first, list(graph.stage(edge.source).outputs), edge.output)
    points = [(first.x + first.width, height), (first.rank_end, height)]  # past wider boxes before it turns
    for cell in between:
        points += [(cell.x, cell.middle), (cell.x + cell.width, cell.middle)]
    points.append((last.x, _port_height(last, list(graph.stage(edge.target).inputs), edge.input)))
    return tuple(points)


def _way_back(graph: Graph, edge: EdgeDef, cells: Mapping[str, _Cell], level: float) -> tuple[Point, ...]:
    """From the sender's right side round below everything to the receiver's left."""
    first, last = cells[edge.source], cells[edge.target]
    start = _port_height(first, list(graph.stage(edge.source).outputs), edge.output)
    end = _port_height(last, list(graph.stage(edge.target).inputs), edge.input)
    right, left = first.x + first.width + BAND_PADDING, last.x - RANK_GAP / 2
    return ((first.x + first.width, start), (right, start), (right, level), (left, level), (left, end), (last.x, end))


def _port_height(cell: _Cell, ports: list[str], port: str) -> float:
    return cell.y + cell.height * (ports.index(port) + 1) / (len(ports) + 1)
