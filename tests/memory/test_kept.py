"""What a lossless edge keeps to send again: found by the next life as it was, whatever its size."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamflow.errors import PoolError
from streamflow.memory.kept import Kept


def test_what_was_kept_is_found_by_another_life(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "a.0")
    kept.write(0, [b"head", b"", bytes(10_000)])
    kept.write(3, [b"other"])
    kept.close()
    again = Kept(tmp_path, "a.0")
    assert again.read(0) == [b"head", b"", bytes(10_000)]
    assert again.read(3) == [b"other"]
    again.close()


def test_a_place_is_used_again_for_more_and_for_less(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "a.0")
    for size in (10, 100_000, 1, 4096):
        kept.write(1, [memoryview(bytes([size % 251]) * size)])
        assert kept.read(1) == [bytes([size % 251]) * size]
    kept.close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.0.1.kept"]


def test_a_place_where_nothing_was_kept_is_no_datum(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match=r"a\.0\.2\.kept: cannot be kept \(No such file or directory\)"):
        Kept(tmp_path, "a.0").read(2)
