"""A window in a few numbers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nodes.preprocess import Summarise
from streamflow.testing import drive


def test_means_come_first_then_maxima_channel_by_channel() -> None:
    (features,) = drive(Summarise(), [np.array([[1, 2, 6], [0, 0, -3]], dtype=np.float32)]).arrays
    assert features.tolist() == [3.0, -1.0, 6.0, 0.0]
    assert features.dtype == np.float32


@given(arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=st.floats(-1e6, 1e6, width=32)))
def test_no_mean_exceeds_its_maximum(window: np.ndarray) -> None:
    (features,) = drive(Summarise(), [window]).arrays
    means, maxima = features.reshape(2, -1)
    assert (means <= maxima + 1e-6 * np.abs(maxima) + 1e-6).all()
