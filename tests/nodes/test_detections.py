"""Detections decodes, suppresses and scales as FastestDet's own example does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.kernels.boxes import overlap_of, suppress
from nodes.postprocess import Detections
from streamflow import InputError, Message
from streamflow.testing.harness import drive


def raw_map(*objects: tuple[int, int, float, int], classes: int = 3, rows: int = 4, columns: int = 5) -> np.ndarray:
    """An empty map but for objects (row, column, score, class) a quarter of the frame wide and high."""
    raw = np.zeros((5 + classes, rows, columns), np.float32)
    quarter = np.log(0.25 / 0.75)
    for row, column, score, kind in objects:
        raw[:5, row, column] = [score, 0, 0, quarter, quarter]
        raw[5 + kind, row, column] = score
    return raw


def detect(raw: np.ndarray, node: Detections | None = None, **attributes: int) -> Message:
    (message,) = drive(node or Detections(), [Message({"array": raw}, attributes=attributes)]).messages
    return message


def test_a_cell_becomes_a_box_around_its_centre() -> None:
    found = detect(raw_map((1, 2, 0.9, 1)), Detections(size=(200, 400)))
    np.testing.assert_allclose(found["box"], [[80 - 25, 100 - 50, 80 + 25, 100 + 50]], rtol=1e-6)
    np.testing.assert_allclose(found["score"], [0.9], rtol=1e-6)
    assert found["class"].tolist() == [1]
    assert found["box"].dtype == found["score"].dtype == np.float32
    assert found["class"].dtype == np.int64


def test_a_frame_without_objects_has_no_boxes() -> None:
    found = detect(raw_map())
    assert [found[name].shape for name in ("box", "score", "class", "name")] == [(0, 4), (0,), (0,), (0,)]


def test_the_best_score_comes_first_and_classes_suppress_each_other() -> None:
    found = detect(raw_map((0, 0, 0.7, 0), (3, 4, 0.8, 1), (3, 3, 0.9, 2)))
    assert found["class"].tolist() == [2, 1, 0]  # one column apart is 0.11 of overlap
    found = detect(raw_map((3, 10, 0.8, 1), (3, 11, 0.9, 2), columns=20))
    assert found["class"].tolist() == [2]


def test_the_frame_of_the_message_goes_before_the_size_of_the_node() -> None:
    relative = detect(raw_map((1, 2, 0.9, 1)))["box"]
    pixels = detect(raw_map((1, 2, 0.9, 1)), Detections(size=(1, 1)), frame_width=640, frame_height=360)["box"]
    np.testing.assert_allclose(pixels, relative * [640, 360, 640, 360], rtol=1e-6)


def test_names_come_from_the_file_and_fix_the_number_of_classes(tmp_path: Path) -> None:
    (tmp_path / "names").write_text("bolt\nnut\nwäscher\n", encoding="utf-8")
    node = Detections(names=tmp_path / "names")
    assert detect(raw_map((1, 1, 0.9, 2)), node)["name"].tolist() == ["wäscher"]
    assert str(node.inputs()["raw"].type) == "float32[..., 8, rows, columns]"


def test_without_names_a_class_is_called_by_its_number() -> None:
    assert detect(raw_map((1, 1, 0.9, 2)))["name"].tolist() == ["2"]


@pytest.mark.parametrize(
    ("content", "found"), [(None, "No such file"), (b"\n \n", "no names in it"), (b"\xff\xfe\x00", "not UTF-8 text")]
)
def test_a_bad_names_file_is_found_before_the_run(tmp_path: Path, content: bytes | None, found: str) -> None:
    path = tmp_path / "names"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=found):
        Detections(names=path).inspect()


@pytest.mark.parametrize("settings", [{"score": 1.2}, {"overlap": -0.1}, {"size": (0, 3)}])
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match="Detections"):
        Detections(**settings)  # type: ignore[arg-type]


def test_a_leading_dimension_of_one_is_taken_and_a_batch_is_not() -> None:
    assert len(detect(raw_map((1, 2, 0.9, 1))[np.newaxis])["score"]) == 1
    with pytest.raises(InputError, match="one map"):
        detect(np.zeros((2, 8, 4, 5), np.float32))


corner = st.floats(0, 10, width=32)
box = st.tuples(corner, corner, corner, corner).map(
    lambda c: [min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3])]
)


@settings(deadline=None)
@given(st.lists(st.tuples(box, st.floats(0, 1, width=32)), max_size=12), st.sampled_from([0.0, 0.3, 0.45, 1.0]))
def test_suppression_keeps_no_two_that_overlap_and_drops_none_without_a_better_one(
    found: list[tuple[list[float], float]], limit: float
) -> None:
    boxes = np.array([b for b, _ in found], np.float32).reshape(-1, 4)
    scores = np.array([s for _, s in found], np.float32)
    kept = suppress(boxes, scores, limit).tolist()
    for index in range(len(boxes)):
        better = [k for k in kept if (scores[k], -k) > (scores[index], -index)]
        is_covered = bool(better) and bool((overlap_of(boxes[index], boxes[better]) > limit).any())
        assert (index in kept) == (not is_covered)


def test_overlap_is_intersection_over_union() -> None:
    boxes = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [2, 2, 3, 3], [5, 5, 5, 5]], np.float32)
    np.testing.assert_allclose(overlap_of(boxes[0], boxes), [1, 1 / 7, 0, 0])


def test_the_recorded_maps_give_the_recorded_detections(recordings: Callable[[str], Path]) -> None:
    expected = json.loads(recordings("cam_fastestdet/expected_detections.json").read_text())["frames"][::100]
    maps = np.load(recordings("cam_fastestdet/expected_rawmap_every100.npy"))
    node = Detections(names=recordings("cam_fastestdet/coco.names"), size=(640, 360))
    for message, objects in zip(drive(node, list(maps)).messages, expected, strict=True):
        wanted = np.array(objects).reshape(-1, 6)
        np.testing.assert_array_equal(np.trunc(message["box"]), wanted[:, :4])  # the reference has whole pixels
        np.testing.assert_allclose(message["score"], wanted[:, 4], atol=1e-5)
        np.testing.assert_array_equal(message["class"], wanted[:, 5])
        assert set(message["name"]) <= {"bottle", "person", "chair"}
