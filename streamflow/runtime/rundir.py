"""The run's folder: private to the user, holds the sockets and the run's description, and goes when the run goes.

While the run lives, the supervisor holds a lock on a file in it. A folder whose lock nobody holds belongs to a
run that was killed: the next start removes it. A run that is killed is not there to clean up, so a shell that
waits for the end of a pipe does it: it costs a megabyte, and needs nothing of ours to work.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from streamflow.errors import StreamflowError, UsageError

_DESCRIPTION = "run.json"
_LOCK = "lock"
# Waits for end of file on its input, which comes when the supervisor's end of the pipe is closed, however that
# ended. A process that is about to die may still create a file: so more than once.
_JANITOR = 'trap "" INT TERM HUP; read -r _; for _ in 1 2 3; do rm -rf -- "$1" && break; sleep 0.1; done; rmdir -- "$2"'


def base_path() -> Path:
    """Where the folders of this user's runs are, whether there are any or not."""
    try:
        return Path(tempfile.gettempdir()) / f"streamflow-{os.getuid()}"
    except FileNotFoundError:
        raise UsageError(
            "temporary folder", "none that can be written", hint="set TMPDIR to a folder of yours"
        ) from None


def base_folder() -> Path:
    """The same, made, 0700, when missing. Raises UsageError if it is not ours."""
    base = base_path()
    try:
        base.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UsageError(
            str(base), f"cannot be made: {error.strerror}", hint="set TMPDIR to a folder of yours"
        ) from None
    _make_private(base)
    return base


def _make_private(base: Path) -> None:
    status = base.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise UsageError(str(base), "not a folder of this user", hint="set TMPDIR to a folder of yours")
    if stat.S_IMODE(status.st_mode) != 0o700:
        base.chmod(0o700)


class RunFolder:
    """The folder of one run; made by its supervisor, found by its stages."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def control_endpoint(self) -> str:
        return f"ipc://{self.path}/control"

    @property
    def edge_endpoint(self) -> str:
        """A pattern; `{}` is the number of the edge."""
        return f"ipc://{self.path}/e{{}}"

    def describe(self, description: Mapping[str, Any]) -> None:
        """Write what the processes of the run need to know."""
        partial = self.path / (_DESCRIPTION + ".partial")
        partial.write_text(json.dumps(description))
        partial.rename(self.path / _DESCRIPTION)

    def description(self) -> dict[str, Any]:
        try:
            found = json.loads((self.path / _DESCRIPTION).read_text())
        except (OSError, ValueError) as error:
            raise StreamflowError(str(self.path), f"no run is there ({error})") from None
        assert isinstance(found, dict)
        return found


class OwnedRunFolder(RunFolder):
    """The supervisor's: locked, watched by the janitor, removed on `close`."""

    def __init__(self, pipeline: str) -> None:
        sweep()
        name = _folder_name(pipeline, os.getpid())
        hidden = _make_folder(f".{name}")
        base, path = hidden.parent, hidden.with_name(name)
        self._lock = os.open(hidden / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        hidden.rename(path)  # seen by others only once it is locked
        super().__init__(path)
        self._janitor = subprocess.Popen(
            ["/bin/sh", "-c", _JANITOR, "streamflow-janitor", str(path), str(base)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    def close(self) -> None:
        """Remove the folder, and the user's base folder when it was the last."""
        assert self._janitor.stdin is not None
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)
        self._janitor.stdin.close()
        self._janitor.wait()


def _make_folder(name: str) -> Path:
    """A new folder in the base folder, which the end of another run may remove between two calls of ours."""
    while True:
        path = base_folder() / name
        try:
            path.mkdir(mode=0o700)
        except FileNotFoundError:
            continue
        return path


def _folder_name(pipeline: str, pid: int) -> str:
    return f"{pipeline[:32]}-{pid}-{secrets.token_hex(2)}"


def longest_socket() -> Path:
    """The longest path a socket of any run may have."""
    return base_path() / _folder_name("p" * 32, 9_999_999) / "control"


def live_runs() -> Iterator[RunFolder]:
    """The folders of this user's runs whose supervisor lives, the newest last."""
    for path in _run_paths():
        if not _is_abandoned(path):
            yield RunFolder(path)


def abandoned_runs() -> Iterator[Path]:
    """The folders that killed runs have left behind."""
    return (path for path in _run_paths() if _is_abandoned(path))


def sweep() -> None:
    """Remove what killed runs have left behind."""
    for path in abandoned_runs():
        shutil.rmtree(path, ignore_errors=True)


def _run_paths() -> list[Path]:
    """Folders of runs, alive or not; looking makes nothing. Raises UsageError if the base folder is not ours."""
    base = base_path()
    try:
        _make_private(base)
        paths = sorted(base.iterdir(), key=_started)
        return [path for path in paths if path.is_dir() and not path.name.startswith(".")]
    except FileNotFoundError:
        return []


def _started(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0  # it has gone meanwhile


def _is_abandoned(path: Path) -> bool:
    """Whether nobody holds the lock."""
    try:
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
