"""What nodes keep per stream."""

from __future__ import annotations

import pytest

from nodes.kernels.streams import PerStream
from streamflow import InputError


def test_each_stream_has_its_own_from_its_first_datum_on():
    kept = PerStream(list)
    kept["a"].append(1)
    kept["b"].append(2)
    assert kept["a"] == [1]
    assert list(kept) == ["a", "b"]


def test_more_streams_than_the_limit_are_refused_rather_than_one_forgotten():
    kept = PerStream(list, limit=2)
    for stream in "ab":
        assert kept[stream] == []
    with pytest.raises(InputError, match="stream 'c': 2 other streams have a state here"):
        kept["c"]
    assert kept["a"] == []
