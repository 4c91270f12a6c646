"""The run's folder: private to the user, holds the sockets and the run's description, and goes when the run goes.

Inside a run's folder:

    lock         held by the supervisor, and after it by the janitor: nobody holds it, the run is dead
    run.json     what the processes of the run need to know
    control, eN  sockets
    recordings   `<stage>.rec`, `events.jsonl`, `state.json`, `course-<path>.json`: written all the time, so a link to a
                 folder in /dev/shm (a mapping of a file on a disk stalls its writer while pages are written back); a
                 folder where there is none, and once the run is dead. While it lives also `<stage>.states`, the
                 recurrent states

A run that is killed is not there to clean up, so a shell that waits for the end of a pipe does it (janitor.sh): it
costs a megabyte, and needs nothing of ours to work. It saves the recordings, so that what a dead run did can be told.
If it is killed too, the next start runs the same shell. Of each pipeline the newest dead run is kept, and no other.
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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from streamflow.errors import StreamflowError, UsageError

SHARED_MEMORY = Path("/dev/shm")
NONE_THERE = "start one; of a run that has ended only what run --keep FOLDER has kept can be read: name FOLDER"
_DESCRIPTION = "run.json"
_LOCK = "lock"
_RECORDINGS = "recordings"
_BACK = ".run"  # in the folder in memory: a link to the run's folder it belongs to
_JANITOR = Path(__file__).with_name("janitor.sh")


def recording_path(recordings: Path, stage: str) -> Path:
    """In the folder of the recordings."""
    return recordings / f"{stage}.rec"


def states_path(recordings: Path, stage: str) -> Path:
    """In the folder of the recordings."""
    return recordings / f"{stage}.states"


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
    """The folder of one run; made by its supervisor, found by its stages, read by anyone, also when the run is dead."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def control_endpoint(self) -> str:
        return f"ipc://{self.path}/control"

    @property
    def edge_endpoint(self) -> str:
        """A pattern; `{}` is the number of the edge."""
        return f"ipc://{self.path}/e{{}}"

    @property
    def recordings(self) -> Path:
        return self.path / _RECORDINGS

    def recording(self, stage: str) -> Path:
        """The flight recorder of a stage."""
        return recording_path(self.recordings, stage)

    def states(self, stage: str) -> Path:
        """What a stage keeps of its streams from step to step, over all its lives; not for those who look at a dead
        run."""
        return states_path(self.recordings, stage)

    @property
    def events(self) -> Path:
        """The log of what happened in the run, a line each."""
        return self.recordings / "events.jsonl"

    @property
    def state(self) -> Path:
        """How the run is, as its supervisor last wrote."""
        return self.recordings / "state.json"

    def course(self, path: int) -> Path:
        """How the path of this index has gone from the begin, as its supervisor wrote when it was its turn."""
        return self.recordings / f"course-{path}.json"

    @property
    def pipeline(self) -> str:
        """The name of the pipeline, as far as it is known."""
        try:
            return str(self.description()["pipeline"])
        except (StreamflowError, KeyError):
            return self.path.name.rsplit("-", 2)[0]

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

    def is_live(self) -> bool:
        """Whether somebody, the supervisor or at last the janitor, still holds the lock."""
        # Shared: others who look at the same time do not take each other for the supervisor.
        with _held_lock(self.path, fcntl.LOCK_SH) as held:
            return not held


class OwnedRunFolder(RunFolder):
    """The supervisor's: locked, watched by the janitor, removed on `close`, when `keep` gets what was recorded."""

    def __init__(self, pipeline: str, keep: Path | None = None) -> None:
        if keep is not None:
            _make_kept(keep)
        self._keep = keep
        sweep()
        name = _folder_name(pipeline, os.getpid())
        hidden = _make_folder(f".{name}")
        base, path = hidden.parent, hidden.with_name(name)
        self._lock = os.open(hidden / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        hidden.rename(path)  # seen by others only once it is locked
        super().__init__(path)
        self._memory = _make_memory(path)
        if self._memory is None:
            self.recordings.mkdir(mode=0o700)
        else:
            self.recordings.symlink_to(self._memory)
        self._janitor = subprocess.Popen(
            _janitor_command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            env=_janitor_environment(path, self._memory, base),
            pass_fds=(self._lock,),
        )

    @property
    def janitor_pid(self) -> int:
        """A child of this process, and no orphan."""
        return self._janitor.pid

    def close(self) -> None:
        """Keep what is to be kept, remove the folder, and the user's base folder when it was the last.

        Raises StreamflowError, when all is removed, if it could not be kept.
        """
        try:
            if self._keep is not None:
                self._copy_to(self._keep)
        finally:
            shutil.rmtree(self.path, ignore_errors=True)
            if self._memory is not None:
                shutil.rmtree(self._memory, ignore_errors=True)
            self._janitor.communicate(b"closed\n")
            os.close(self._lock)

    def _copy_to(self, keep: Path) -> None:
        try:
            shutil.copytree(
                self.recordings,
                keep / _RECORDINGS,
                ignore=shutil.ignore_patterns(_BACK, "*.pool*", "*.ring", "*.states*", "*.kept"),
                dirs_exist_ok=True,
            )
            shutil.copy2(self.path / _DESCRIPTION, keep / _DESCRIPTION)
        except (OSError, shutil.Error) as error:
            raise StreamflowError(str(keep), f"what was recorded could not be kept ({error})") from None


def _make_kept(keep: Path) -> None:
    """Raises UsageError where it cannot be, or where a run was kept already."""
    if (keep / _DESCRIPTION).exists():
        raise UsageError(str(keep), "a run was kept there already", "a new folder", f"rm -r {keep} removes it")
    try:
        keep.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(str(keep), f"cannot be made: {error.strerror}", "a folder for what is recorded") from None


def _make_folder(name: str) -> Path:
    """A new folder in the base folder, which the end of another run may remove between two calls of ours."""
    while True:
        path = base_folder() / name
        try:
            path.mkdir(mode=0o700)
        except FileNotFoundError:
            continue
        return path


def _make_memory(path: Path) -> Path | None:
    """The folder in memory of the run in `path`; None where there is no memory file system that we may write."""
    memory = _memory_path(path)
    hidden = memory.with_name(f".{memory.name}")
    try:
        hidden.mkdir(mode=0o700)
        (hidden / _BACK).symlink_to(path)
        hidden.rename(memory)  # seen by others only once they can see whose it is
    except OSError:
        return None
    return memory


def _memory_path(path: Path) -> Path:
    return SHARED_MEMORY / f"streamflow-{os.getuid()}-{path.name}"


def _memory_of(path: Path) -> Path | None:
    """The folder in memory that a run has, if it has one."""
    memory = _memory_path(path)
    return memory if _owner_of(memory) == path else None


def _owner_of(memory: Path) -> Path | None:
    """The run's folder to which a folder in memory belongs; None where it is none of ours."""
    try:
        if memory.is_symlink() or memory.lstat().st_uid != os.getuid():
            return None
        return (memory / _BACK).readlink()
    except OSError:
        return None


def _janitor_command() -> list[str]:
    return ["/bin/sh", str(_JANITOR), "streamflow-janitor"]


def _janitor_environment(path: Path, memory: Path | None, base: Path) -> dict[str, str]:
    return {**os.environ, "RUN": str(path), "MEMORY": str(memory or ""), "BASE": str(base)}


def _folder_name(pipeline: str, pid: int) -> str:
    return f"{pipeline[:32]}-{pid}-{secrets.token_hex(2)}"


def longest_socket() -> Path:
    """The longest path a socket of any run may have."""
    return base_path() / _folder_name("p" * 32, 9_999_999) / "control"


# ------------------------------------------------------------------------------------------- finding runs


def live_runs() -> list[RunFolder]:
    """The folders of this user's runs whose supervisor lives, the newest last."""
    return [folder for folder in _runs() if folder.is_live()]


def dead_runs() -> list[RunFolder]:
    """The folders of runs that were killed and can still be read, the newest last."""
    return [folder for folder in _runs() if (folder.path / _DESCRIPTION).exists() and not folder.is_live()]


def abandoned_runs() -> list[Path]:
    """Killed runs behind which nobody has cleared up: their janitors were killed too. The next start does it."""
    return [folder.path for folder in _runs() if not _is_buried(folder.path) and not folder.is_live()]


def find_run(name: str | None = None) -> RunFolder:
    """The newest live run, else the newest dead one, that is called so: its pipeline, its folder, or a folder's path.

    Raises UsageError, with what there is, when there is none.
    """
    if name is not None and (Path(name) / _DESCRIPTION).is_file():
        return RunFolder(Path(name))
    live, dead = live_runs(), dead_runs()
    for folder in [*reversed(live), *reversed(dead)]:
        if name in (None, folder.path.name, folder.pipeline):
            return folder
    there = ", ".join([f.path.name for f in live] + [f"{f.path.name} (killed)" for f in dead])
    found = "there is none" if name is None else "no such run"
    hint = f"there are: {there}; of one that has ended only what run --keep FOLDER has kept: name FOLDER"
    raise UsageError(f"run {name}" if name else "runs", found, hint=hint if there else NONE_THERE)


def sweep() -> None:
    """Clear up behind killed runs: keep of each pipeline the newest, and of no run anything in memory."""
    kept: set[str] = set()
    for folder in reversed(_runs()):
        with _held_lock(folder.path, fcntl.LOCK_EX) as held:
            if not held:
                continue
            if not _is_buried(folder.path):
                _bury(folder.path)
            if folder.pipeline in kept or not (folder.path / _DESCRIPTION).exists():
                shutil.rmtree(folder.path, ignore_errors=True)
            else:
                kept.add(folder.pipeline)
    for memory in SHARED_MEMORY.glob(f"streamflow-{os.getuid()}-*"):
        owner = _owner_of(memory)
        if owner is not None and not owner.exists():
            shutil.rmtree(memory, ignore_errors=True)


def _is_buried(path: Path) -> bool:
    """Whether the janitor has been there, and there was something to keep."""
    return (path / _DESCRIPTION).exists() and _memory_of(path) is None and not (path / "control").exists()


def _bury(path: Path) -> None:
    """What the janitor would have done."""
    subprocess.run(
        _janitor_command(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=_janitor_environment(path, _memory_of(path), path.parent),
        check=False,
    )


def _runs() -> list[RunFolder]:
    """Folders of runs, alive or not; looking makes nothing. Raises UsageError if the base folder is not ours."""
    base = base_path()
    try:
        _make_private(base)
        paths = sorted(base.iterdir(), key=_started)
        return [RunFolder(path) for path in paths if path.is_dir() and not path.name.startswith(".")]
    except FileNotFoundError:
        return []


def _started(path: Path) -> float:
    """When the run was described, or its folder made: the janitor changes the folder, not the description."""
    for part in (path / _DESCRIPTION, path):
        with suppress(OSError):
            return part.lstat().st_mtime
    return 0.0  # it has gone meanwhile


@contextmanager
def _held_lock(path: Path, kind: int) -> Iterator[bool]:
    """Whether we hold the lock of the run's folder now, because nobody else does; a folder without one is nobody's."""
    try:
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        yield True
        return
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(lock)
