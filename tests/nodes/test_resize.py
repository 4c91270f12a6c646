"""Images of another size."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.kernels.image import resize_area
from nodes.preprocess import Resize
from streamflow import InputError
from streamflow.testing import drive

# CRC-32 of what cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) returned, OpenCV 5.0.0 on x86-64.
OPENCV = [
    ((360, 640, 3), (352, 352), 0x368E2B45),
    ((480, 640, 3), (352, 352), 0x47F34598),
    ((64, 96, 3), (32, 48), 0x9B4E8B90),
    ((90, 60, 1), (30, 20), 0x2DF7BDAA),
    ((37, 53, 4), (36, 17), 0xA7A1657E),
    ((40, 30, 2), (1, 1), 0x9BE01912),
]


def noise(*shape):
    return np.random.default_rng(shape[0] * shape[1]).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(("shape", "size", "crc"), OPENCV)
def test_shrinking_gives_the_bytes_of_opencv(shape, size, crc):
    assert zlib.crc32(resize_area(noise(*shape), *size).tobytes()) == crc


def coverage(size, result_size):
    """float64[result_size, size]: which share of each cell of the result each pixel covers."""
    edges = np.linspace(0, size, result_size + 1)
    left, right = np.arange(size), np.arange(1, size + 1)
    overlap = np.minimum(edges[1:, None], right) - np.maximum(edges[:-1, None], left)
    return np.maximum(overlap, 0) * result_size / size


@given(st.tuples(*[st.integers(1, 40)] * 4), st.integers(1, 4))
def test_every_pixel_is_the_mean_over_its_area(sizes, channels):
    rows, height = max(sizes[:2]), min(sizes[:2])
    columns, width = max(sizes[2:]), min(sizes[2:])
    image = noise(rows, columns, channels)
    means = np.einsum("hr,wc,rck->hwk", coverage(rows, height), coverage(columns, width), image.astype(float))
    found = resize_area(image, height, width)
    assert found.dtype == np.uint8
    assert np.abs(found - means).max() <= 0.501


def test_growing_is_linear_between_pixel_centres():
    ramp = np.array([[0, 100]], np.uint8)[..., None]
    assert resize_area(ramp, 1, 4)[0, :, 0].tolist() == [0, 25, 75, 100]


def test_an_image_may_shrink_one_way_and_grow_the_other():
    image = np.array([[0, 100], [40, 200]], np.uint8)[..., None]
    assert resize_area(image, 1, 4)[0, :, 0].tolist() == [20, 52, 118, 150]


def test_the_same_size_is_the_same_image():
    image = noise(5, 7, 3)
    np.testing.assert_array_equal(resize_area(image, 5, 7), image)


@pytest.mark.parametrize("image", [np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_image_is_refused(image):
    with pytest.raises(ValueError, match=r"is no uint8|a size is 0"):
        resize_area(image, 2, 2)


def test_the_node_resizes_what_comes_and_its_port_tells_the_size():
    node = Resize(3, 5)
    assert drive(node, [noise(6, 10, 3), noise(4, 4, 3)]).arrays[1].shape == (3, 5, 3)
    assert str(node.resized.type) == "uint8[3, 5, channels]"
    with pytest.raises(InputError, match=r"Resize\(width\): 0, expected at least 1 pixel"):
        Resize(3, 0)
