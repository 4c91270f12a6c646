"""Images of a batch become what the nodes of the host make of each, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from nodes.kernels.image_batch import NetworkInput
from nodes.preprocess import Normalise, Resize
from streamflow.testing import drive
from tests.marks import array_module, array_modules, on_host


@pytest.mark.parametrize("module", array_modules)
@pytest.mark.parametrize(
    ("rows", "columns", "height", "width"),
    [(36, 64, 35, 35), (36, 64, 16, 60), (36, 64, 18, 32), (36, 63, 12, 21), (20, 20, 20, 20), (10, 12, 25, 40)],
    ids=["smaller", "one axis little", "halves", "thirds", "as it is", "larger"],
)
def test_each_image_of_a_batch_is_resized_and_scaled_as_alone(rows, columns, height, width, module) -> None:
    xp = array_module(module)
    images = np.random.default_rng(2).integers(0, 256, (3, rows, columns, 3), np.uint8)
    resized = drive(Resize(height, width), list(images)).arrays
    expected = drive(Normalise(scale=1 / 255), resized).arrays
    prepare = NetworkInput(height, width, 1 / 255)
    for _ in range(2):
        found = on_host(prepare(xp.asarray(images), xp))
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, np.stack(expected))
