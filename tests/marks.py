"""Marks that tests of several folders share."""

from __future__ import annotations

import pytest

from streamflow import compilation

from_sources = pytest.mark.skipif(
    not compilation.reason,
    reason=f"compiled: it reaches into sources, and make test runs it so ({compilation.VARIABLE}=no)",
)
"""A test that traces lines, or puts something else in the place of what the hot path calls or inherits from."""
