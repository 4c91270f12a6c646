"""What a recorder has room for, and the names by which its numbers are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from streamflow.errors import RecorderError

PATH_COUNT_LIMIT = 63  # a path is a bit of a 64-bit mask
RING_CAPACITY = 8192  # records, 0.9 MB; at 1000 data a second the last 8 s
RING_CAPACITY_LIMIT = 1 << 22
TABLE_LIMIT = 1 << 20  # data on one edge
BATCH_SIZE_LIMIT = 1 << 12
NAME_COUNT_LIMIT = 1 << 15


@dataclass(frozen=True, slots=True)
class Shape:
    """Of one stage. Streams and stages are numbered alike; -1 in a record is none.

    `in_edges` have a name and a window, `out_edges` a name and how many data may be live at their sender at a time.
    `streams` are all stages of the pipeline by number, `paths` all paths; each path of `sink_paths` ends here.
    `batch_size_max`: how many data it works on at once at most, where it does so in batches; else 0. `has_ages`: it
    joins inputs that need not be of one instant, and counts how old each was.
    """

    stage: str
    stage_index: int
    in_edges: tuple[tuple[str, int], ...] = ()
    out_edges: tuple[tuple[str, int], ...] = ()
    streams: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    sink_paths: tuple[int, ...] = ()
    ring_capacity: int = RING_CAPACITY
    batch_size_max: int = 0
    has_ages: bool = False

    def __post_init__(self) -> None:
        faults = [
            (len(self.paths) > PATH_COUNT_LIMIT, f"{len(self.paths)} paths", f"at most {PATH_COUNT_LIMIT}"),
            (len(self.streams) > NAME_COUNT_LIMIT, f"{len(self.streams)} stages", f"at most {NAME_COUNT_LIMIT}"),
            (
                not 2 <= self.ring_capacity <= RING_CAPACITY_LIMIT or self.ring_capacity.bit_count() != 1,
                f"a ring of {self.ring_capacity} records",
                f"a power of two from 2 to {RING_CAPACITY_LIMIT}",
            ),
            (
                not all(0 <= path < len(self.paths) for path in self.sink_paths)
                or len(set(self.sink_paths)) < len(self.sink_paths),
                f"sink paths {self.sink_paths}",
                f"different numbers of the {len(self.paths)} paths",
            ),
            (
                not 0 <= self.batch_size_max <= BATCH_SIZE_LIMIT,
                f"batches of {self.batch_size_max}",
                f"at most {BATCH_SIZE_LIMIT}",
            ),
            *(
                (not 1 <= count <= TABLE_LIMIT, f"room for {count} data on edge {name}", f"1 to {TABLE_LIMIT}")
                for name, count in (*self.in_edges, *self.out_edges)
            ),
        ]
        for is_broken, found, expected in faults:
            if is_broken:
                raise RecorderError(f"recorder of {self.stage}", found, expected)

    def to_json(self) -> dict[str, object]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> Shape:
        """Raises ValueError for what is not the JSON of a shape."""
        if not isinstance(value, Mapping) or set(value) != set(cls.__slots__):
            raise ValueError("not the fields of a shape")
        return cls(
            stage=_text(value["stage"]),
            stage_index=_number(value["stage_index"]),
            in_edges=tuple(_edge(edge) for edge in _list(value["in_edges"])),
            out_edges=tuple(_edge(edge) for edge in _list(value["out_edges"])),
            streams=tuple(_text(name) for name in _list(value["streams"])),
            paths=tuple(_text(name) for name in _list(value["paths"])),
            sink_paths=tuple(_number(path) for path in _list(value["sink_paths"])),
            ring_capacity=_number(value["ring_capacity"]),
            batch_size_max=_number(value["batch_size_max"]),
            has_ages=_flag(value["has_ages"]),
        )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} where a name is due")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{value!r} where a number is due")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} where true or false is due")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError(f"{value!r} where a list is due")
    return value


def _edge(value: object) -> tuple[str, int]:
    name, count = pair if len(pair := _list(value)) == 2 else (None, None)
    return _text(name), _number(count)
