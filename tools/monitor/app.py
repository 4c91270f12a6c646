"""The monitor on a terminal: Textual gives the screen, keys and mouse; the model says what is on it.

One widget draws every line, and of those only what has changed since it was last drawn, so that five pictures a second
cost little. Alternative not taken: a widget for each table and bar, of which each picture lays out all anew.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from enum import Enum

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from streamflow.errors import StreamflowError
from streamflow.runtime.rundir import RunFolder
from tools.monitor.model import Model
from tools.monitor.observation import Observation, next_of, successor_of
from tools.monitor.snapshot import Snapshot
from tools.monitor.text import Line, Tone, line_width, merged

PERIOD_S = 0.2
SUCCESSOR_S = 1.0
WHEEL_LINES = 3

STYLES = {
    Tone.PLAIN: Style(),
    Tone.DIM: Style(dim=True),
    Tone.STRONG: Style(bold=True),
    Tone.HEAD: Style(bold=True, underline=True),
    Tone.GOOD: Style(color="green"),
    Tone.WARN: Style(color="yellow"),
    Tone.BAD: Style(color="red", bold=True),
    Tone.LIVE: Style(color="cyan"),
}


PLAIN_STYLES = STYLES | {
    Tone.GOOD: Style(),
    Tone.WARN: Style(bold=True),
    Tone.BAD: Style(bold=True, reverse=True),
    Tone.LIVE: Style(),
}
"""For who asked for no colours (no-color.org)."""


class Scope(Enum):
    """What is shown after the run that was asked for."""

    OWN = "own"
    """Nothing: the run belongs to the command that shows it, and Ctrl-C ends both."""
    ONE = "one"
    """Nothing."""
    PIPELINE = "pipeline"
    """The next run of the same pipeline."""
    ANY = "any"
    """The newest that lives, for none was asked for by name."""

    @property
    def ends_with_run(self) -> bool:
        return self in (Scope.OWN, Scope.ONE)


class Canvas(Widget, can_focus=True):
    """All lines of the screen."""

    DEFAULT_CSS = "Canvas { width: 100%; height: 100%; }"

    def __init__(self, lines: Callable[[int, int], list[Line]]) -> None:
        """`lines`: of a screen of that width and height."""
        super().__init__()
        self._lines = lines
        self._drawn: list[Line] = []
        self._styles = PLAIN_STYLES if os.environ.get("NO_COLOR") else STYLES

    def redraw(self) -> None:
        """Draw what has changed."""
        lines = [merged(one) for one in self._lines(self.size.width, self.size.height)]
        former, self._drawn = self._drawn, lines
        if len(former) != len(lines):
            self.refresh()
            return
        changed = [number for number, (old, new) in enumerate(zip(former, lines, strict=True)) if old != new]
        if changed:
            self.refresh(*(Region(0, number, self.size.width, 1) for number in changed))

    def on_resize(self) -> None:
        self._drawn = []
        self.redraw()

    def render_lines(self, crop: Region) -> list[Strip]:
        """As they are: there is no border, padding or background of a style sheet's to be added to each."""
        return [self.render_line(y).crop(crop.x, crop.right) for y in range(crop.y, crop.bottom)]

    def render_line(self, y: int) -> Strip:
        spans = self._drawn[y] if y < len(self._drawn) else ()
        width, filled = self.size.width, line_width(spans)
        segments = [Segment(text, self._styles[tone]) for text, tone in spans]
        return Strip([*segments, Segment(" " * (width - filled), self._styles[Tone.PLAIN])], width)


class MonitorApp(App[None]):
    """Follows a run, and after it another, as far as the scope goes."""

    ENABLE_COMMAND_PALETTE = False
    CSS = "Screen { background: ansi_default; color: ansi_default; }"

    def __init__(self, observation: Observation, scope: Scope = Scope.PIPELINE) -> None:
        super().__init__(ansi_color=True)
        self.model = Model(is_own=scope is Scope.OWN)
        self.model.follow(observation.resolved)
        self._observation = observation
        self._scope = scope
        self._snapshot: Snapshot = observation.look()
        self._sought_s = 0.0
        self._canvas = Canvas(self._screen)

    def compose(self) -> ComposeResult:
        yield self._canvas

    def on_mount(self) -> None:
        self._canvas.focus()
        self.set_interval(PERIOD_S, self._look)

    def on_unmount(self) -> None:
        self._observation.close()

    def _look(self) -> None:
        if self.model.is_paused:
            return
        if self._snapshot.is_over:
            if self._scope.ends_with_run:
                self.exit()
            self._seek_successor()
        else:
            self._snapshot = self._observation.look()
        self._canvas.redraw()

    def _seek_successor(self) -> None:
        """Whether the pipeline was started again, or, where it need not be that one, another lives."""
        if time.monotonic() - self._sought_s < SUCCESSOR_S:
            return
        self._sought_s = time.monotonic()
        former, pipeline = self._observation.folder, self._snapshot.pipeline
        is_any = self._scope is Scope.ANY
        folder = successor_of(former, None if is_any else pipeline)
        if folder is None:
            self.model.note = f"q leaves; waits for the next run{'' if is_any else ' of it'}"
            return
        told = "STARTED AGAIN" if folder.pipeline == pipeline else "THE NEWEST NOW"
        self._go_to(folder, f"{told}; {former.path.name} has ended: {self._snapshot.ending}")

    def _go_to_next(self) -> None:
        """To the next run that lives, round and round."""
        folder = next_of(self._observation.folder)
        if folder is None:
            self.model.note = "no other run is live"
        else:
            self._go_to(folder, "")

    def _go_to(self, folder: RunFolder, note: str) -> None:
        try:
            observation = Observation(folder)
        except StreamflowError:
            return  # it has gone again, or is not described yet
        self._observation.close()
        self._observation = observation
        self.model.follow(observation.resolved)
        self.model.note, self.model.is_paused = note, False
        self._snapshot = observation.look()

    def _screen(self, width: int, height: int) -> list[Line]:
        return self.model.screen(self._snapshot, width, height, self._observation.stamps)

    # --------------------------------------------------------------------------------- keys and mouse

    def on_key(self, event: events.Key) -> None:
        if event.key == "ctrl+c" or (event.key == "q" and not self.model.is_typing):
            event.stop()
            ends_run = event.key == "ctrl+c" and self._scope is Scope.OWN
            self.exit(return_code=128 + signal.SIGINT if ends_run else 0)
            return
        if event.key == "n" and not self.model.is_typing and self._scope is not Scope.OWN:
            event.stop()
            self._go_to_next()
            self._canvas.redraw()
            return
        if self.model.press(event.key, event.character):
            event.stop()
            event.prevent_default()
            self._canvas.redraw()

    def on_click(self, event: events.Click) -> None:
        self.model.click(event.screen_x, event.screen_y)
        self._canvas.redraw()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.model.scroll(WHEEL_LINES)
        self._canvas.redraw()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.model.scroll(-WHEEL_LINES)
        self._canvas.redraw()
