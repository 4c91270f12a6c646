"""A real terminal of a chosen size, in which a program runs that thinks somebody is looking: tmux, driven from outside.

Each has a server of its own, which goes with it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

LIMIT_S = 20.0
LOOK_S = 0.05


class TerminalError(Exception):
    """What was waited for was not to be seen; the message has the screen."""


def is_there() -> bool:
    """Whether there is a tmux."""
    return shutil.which("tmux") is not None


class Terminal:
    """`width` x `height` cells, in which `command` runs; `environment` is added to this process's own."""

    def __init__(
        self,
        command: Sequence[str],
        width: int,
        height: int,
        folder: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._socket = folder / f"tmux-{os.getpid()}-{id(self):x}"
        self.width, self.height = width, height
        # Ctrl-C is for the program: of a shell's it would be the end too.
        shown = f"trap : INT; {shlex.join(command)}; echo EXIT $?; exec sleep 1000"
        config = folder / "tmux.conf"
        config.write_text("set -g status off\nset -g default-terminal tmux-256color\nset -g mouse on\n")
        subprocess.run(
            ["tmux", "-S", str(self._socket), "-f", str(config), "new-session", "-d",
             "-x", str(width), "-y", str(height), "/bin/sh", "-c", shown],
            check=True,
            env={**os.environ, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", **(environment or {})},
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def screen(self) -> list[str]:
        """Its lines as they are now, without trailing blanks."""
        return self._tmux("capture-pane", "-p").splitlines()

    def coloured(self) -> str:
        """The same with its escape sequences."""
        return self._tmux("capture-pane", "-p", "-e")

    def press(self, *keys: str) -> None:
        """By tmux's names: `Enter`, `Escape`, `PageDown`, `C-c`, or a letter."""
        self._tmux("send-keys", *keys)

    def click(self, column: int, row: int) -> None:
        """With the left button, as a terminal tells it to who has asked for the mouse (SGR)."""
        for letter in ("M", "m"):
            self._tmux("send-keys", "-l", f"\x1b[<0;{column + 1};{row + 1}{letter}")

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-x", str(width), "-y", str(height))
        self.width, self.height = width, height

    def until(self, is_there: Callable[[str], bool] | str, limit_s: float = LIMIT_S) -> str:
        """The screen, once it has the text, or is as asked for. Raises TerminalError where it never is."""
        limit = time.monotonic() + limit_s
        while True:
            text = "\n".join(self.screen())
            if is_there in text if isinstance(is_there, str) else is_there(text):
                return text
            if time.monotonic() > limit:
                raise TerminalError(f"not seen in {limit_s:g} s: {is_there}; on the screen:\n{text}")
            time.sleep(LOOK_S)

    def pid(self) -> int:
        """Of the program that draws in it: the shell's child, or the one that this has started for it."""
        shell = int(self._tmux("display-message", "-p", "#{pane_pid}"))
        children = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
        if not children:
            raise TerminalError("the program has ended")
        pid = int(children[0])
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(below[0]) if below else pid

    def close(self) -> None:
        subprocess.run(["tmux", "-S", str(self._socket), "kill-server"], check=False, capture_output=True)
        self._socket.unlink(missing_ok=True)

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(["tmux", "-S", str(self._socket), *words], check=True, capture_output=True, text=True)
        return done.stdout
