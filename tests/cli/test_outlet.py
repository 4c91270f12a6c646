"""Standard error that nobody reads holds nobody up, and what was left out is counted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TextIO, cast

import pytest

from streamflow.cli.outlet import PIECES_MAX, Outlet


class Pipe:
    """In place of standard error."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def fileno(self) -> int:
        return self.writer

    def flush(self) -> None: ...

    def fill(self) -> int:
        """Until no byte more goes in; how many did."""
        os.set_blocking(self.writer, False)
        count = 0
        try:
            while True:
                count += os.write(self.writer, b"." * 4096)
        except BlockingIOError:
            os.set_blocking(self.writer, True)
            return count

    def read(self, count: int) -> str:
        found = b""
        while len(found) < count:
            found += os.read(self.reader, count - len(found))
        return found.decode()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    os.close(pipe.reader)
    os.close(pipe.writer)


def begun(pipe: Pipe) -> Outlet:
    outlet = Outlet(lambda count: f"{count} left out\n", cast(TextIO, pipe))
    outlet.start()
    return outlet


def test_all_is_written_in_its_order(pipe: Pipe) -> None:
    outlet = begun(pipe)
    for number in range(100):
        outlet.put(f"{number}\n")
    assert outlet.close()
    text = "".join(f"{number}\n" for number in range(100))
    assert pipe.read(len(text)) == text


def test_who_writes_never_waits_for_a_reader_and_what_is_left_out_is_told(pipe: Pipe) -> None:
    filled = pipe.fill()
    outlet = begun(pipe)
    count = PIECES_MAX + 500
    for number in range(count):
        outlet.put(f"{number:05}\n")  # would block for ever if it waited
    pipe.read(filled)
    text = ""
    while not text.endswith("left out\n"):
        text += pipe.read(1)
    lines = text.splitlines()
    written = [int(line) for line in lines[:-1]]
    assert written == list(range(len(written)))
    assert len(written) + int(lines[-1].split()[0]) == count
    assert len(written) >= PIECES_MAX


def test_the_end_waits_no_longer_than_it_may(pipe: Pipe) -> None:
    pipe.fill()
    outlet = begun(pipe)
    outlet.put("line\n")
    assert not outlet.close(0.05)
    outlet.put("and nothing more\n")
    os.close(pipe.reader)  # its thread ends with it
    pipe.reader = os.open(os.devnull, os.O_RDONLY)


def test_what_is_not_needed_gives_way(pipe: Pipe) -> None:
    filled = pipe.fill()
    outlet = begun(pipe)
    outlet.put("first\n")
    outlet.put("second\n")
    for _ in range(10):
        outlet.put("progress\n", is_needed=False)
    outlet.put("third\n")
    pipe.read(filled)
    assert pipe.read(len("first\nsecond\n")).startswith("first\n")
    assert outlet.close()
    os.write(pipe.writer, b"END")
    rest = ""
    while not rest.endswith("END"):
        rest += pipe.read(1)
    assert rest.count("progress") <= 1
    assert "third" in rest


def test_a_reader_that_went_away_ends_nothing(pipe: Pipe) -> None:
    os.close(pipe.reader)
    outlet = begun(pipe)
    for _ in range(100):
        outlet.put("line\n")
    assert outlet.close()
    pipe.reader = os.open(os.devnull, os.O_RDONLY)
