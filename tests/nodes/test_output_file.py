"""An output file says before the run what is wrong with its path, and holds whole records at any time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nodes.postprocess.output_file import OutputFile
from streamflow import InputError


def test_a_record_is_in_the_file_as_soon_as_it_is_written(tmp_path: Path) -> None:
    output = OutputFile(tmp_path / "out")
    output.open()
    output.append(b"one\n")
    assert (tmp_path / "out").read_bytes() == b"one\n"
    output.append(b"two\n")
    assert (tmp_path / "out").read_bytes() == b"one\ntwo\n"
    output.close()


def test_opening_empties_and_checking_does_not_touch(tmp_path: Path) -> None:
    path = tmp_path / "out"
    OutputFile(path).check()
    assert not path.exists()
    path.write_bytes(b"old")
    output = OutputFile(path)
    output.check()
    assert path.read_bytes() == b"old"
    output.open()
    output.close()
    assert path.read_bytes() == b""


def test_the_head_can_be_replaced(tmp_path: Path) -> None:
    output = OutputFile(tmp_path / "out")
    output.open()
    output.append(b"head")
    output.append(b"body")
    output.replace_head(b"HEAD")
    output.append(b"tail")
    output.close()
    assert (tmp_path / "out").read_bytes() == b"HEADbodytail"


@pytest.mark.parametrize(
    ("name", "found"),
    [("", "is a folder"), ("none/out", "folder does not exist"), ("file/out", "should be its folder is a file")],
)
def test_a_path_that_cannot_be_written_is_named(tmp_path: Path, name: str, found: str) -> None:
    (tmp_path / "file").touch()
    output = OutputFile(tmp_path / name)
    for attempt in (output.check, output.open):
        with pytest.raises(InputError, match=found) as caught:
            attempt()
        assert caught.value.subject == str(tmp_path / name)


def test_an_empty_path_is_refused() -> None:
    with pytest.raises(InputError, match="the path is empty"):
        OutputFile("").check()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="no permission"):
        OutputFile(tmp_path / "out").check()
    tmp_path.chmod(0o700)


def test_standard_output_without_a_reader_ends_in_one_sentence() -> None:
    program = (
        "from nodes.postprocess.output_file import OutputFile\n"
        "import sys\n"
        "output = OutputFile('-')\n"
        "try:\n"
        "    while True: output.append(b'x' * 1000 + b'\\n')\n"
        "except Exception as error: print(type(error.__cause__).__name__, error, file=sys.stderr)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
    assert said == "BrokenPipeError standard output: its reader has closed it\n"
    assert process.returncode == 0
