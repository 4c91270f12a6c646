"""Boxes of whole batches without a loop over them: the same as one by one, as NumPy has them on the host."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.kernels.box_batch import CHAIN_LENGTH_MAX, detections, keep
from nodes.kernels.boxes import decode_fastestdet, suppress
from nodes.postprocess import Detections, NamedBoxes
from streamflow import Message
from streamflow.testing import drive
from tests.marks import array_module, array_modules, on_host

SCORE, OVERLAP, COUNT = 0.3, 0.45, 64


def raw_maps(seed: int, maps: int = 3, classes: int = 5, rows: int = 9, columns: int = 7) -> np.ndarray:
    """Objects anywhere, many over each other, with scores on both sides of the limit."""
    random = np.random.default_rng(seed)
    raw = random.uniform(-0.2, 1, (maps, 5 + classes, rows, columns))
    raw[:, 1:3] = random.normal(0, 0.5, (maps, 2, rows, columns))
    raw[:, 3:5] = random.normal(-0.5, 1, (maps, 2, rows, columns))
    return raw.astype(np.float32)


def one_by_one(raw: np.ndarray) -> list[np.ndarray]:
    found = []
    for each in raw:
        box, score, kind = decode_fastestdet(each, SCORE)
        kept = suppress(box, score, OVERLAP)
        found.append(np.concatenate([box[kept], score[kept, None], kind[kept, None]], axis=1))
    return found


@pytest.mark.parametrize("module", array_modules)
@pytest.mark.parametrize("seed", range(20))
def test_a_batch_has_for_each_map_the_boxes_that_it_has_alone(seed: int, module: str) -> None:
    raw, xp = raw_maps(seed), array_module(module)
    rows = on_host(detections(xp.asarray(raw), xp, score_limit=SCORE, overlap_limit=OVERLAP, count=COUNT))
    assert rows.shape == (3, COUNT, 6)
    for found, expected in zip(rows, one_by_one(raw), strict=True):
        assert 0 < len(expected) < COUNT
        kept = found[found[:, 4] > 0]
        assert np.array_equal(kept, expected.astype(np.float32)) or module == "cupy"
        np.testing.assert_allclose(kept, expected, rtol=1e-5, atol=1e-6)


def test_of_more_cells_than_are_looked_at_the_best_are() -> None:
    raw = raw_maps(3, maps=1)
    rows = detections(raw, np, score_limit=0.0, overlap_limit=1.0, count=5)[0]
    _, score, _ = decode_fastestdet(raw[0], 0.0)
    np.testing.assert_array_equal(rows[:, 4], np.sort(score)[::-1][:5])


def test_a_map_with_fewer_cells_than_are_looked_at_is_filled_up_with_none() -> None:
    rows = detections(raw_maps(1, maps=2, rows=2, columns=2), np, score_limit=0.0, overlap_limit=1.0, count=COUNT)
    assert (rows[:, 4:] == 0).all()


BOXES = st.lists(st.tuples(*[st.integers(0, 20)] * 4), min_size=1, max_size=CHAIN_LENGTH_MAX)


@given(BOXES, st.sampled_from([0.0, 0.2, 0.45, 0.8]))
def test_as_many_boxes_as_a_chain_may_have_are_kept_as_the_greedy_way_keeps_them(found, limit) -> None:
    corners = np.array(found, np.float32)
    boxes = np.concatenate([corners[:, :2], corners[:, :2] + corners[:, 2:]], axis=1)
    kept = keep(boxes[None], np.ones((1, len(boxes)), bool), limit, np)[0]
    expected = suppress(boxes, -np.arange(len(boxes), dtype=np.float32), limit)
    assert np.flatnonzero(kept).tolist() == expected.tolist()


def test_named_boxes_are_what_detections_gives_of_the_same_map(tmp_path) -> None:
    names = tmp_path / "names"
    names.write_text("cat\ndog\nbird\ncow\nfish\n")
    raw = raw_maps(7)[0]
    rows = detections(raw[None], np, score_limit=SCORE, overlap_limit=OVERLAP, count=COUNT)[0]
    size = {"frame_width": 640, "frame_height": 360}
    given = drive(NamedBoxes(names), [Message({"array": rows}, attributes=size)]).messages[0]
    expected = drive(Detections(names, SCORE, OVERLAP), [Message({"array": raw}, attributes=size)]).messages[0]
    for name in ("box", "score", "class", "name"):
        np.testing.assert_array_equal(given[name], expected[name])
        assert given[name].dtype == expected[name].dtype
