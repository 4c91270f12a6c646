"""Pixel values as a network was trained on them."""

from __future__ import annotations

import numpy as np
import pytest

from nodes.preprocess import Normalise
from streamflow import InputError
from streamflow.testing import drive

IMAGE = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)


def test_pixels_become_channels_first_from_0_to_1():
    found = drive(Normalise(), [IMAGE]).arrays[0]
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, IMAGE.transpose(2, 0, 1) / 255, rtol=1e-6)


@pytest.mark.parametrize("layout", ["chw", "hwc"])
def test_mean_and_deviation_of_each_channel_are_taken_off(layout):
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    found = drive(Normalise(mean=mean, std=std, layout=layout), [IMAGE]).arrays[0]
    expected = (IMAGE / 255 - mean) / std
    np.testing.assert_allclose(found, expected if layout == "hwc" else expected.transpose(2, 0, 1), atol=1e-5)


def test_ports_tell_the_layout():
    assert str(Normalise().normalised.type) == "float32[channels, height, width]"
    assert str(Normalise(mean=[0, 0, 0], layout="hwc").normalised.type) == "float32[height, width, 3]"
    assert str(Normalise(mean=[0, 0, 0]).image.type) == "uint8[height, width, 3]"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"std": 0}, r"Normalise\(std\): 0, expected numbers other than 0"),
        ({"mean": (0, 0), "std": (1, 1, 1)}, "2 and 3 values, expected one per channel"),
        ({"layout": "cwh"}, "expected one of chw, hwc"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(InputError, match=words):
        Normalise(**settings)
