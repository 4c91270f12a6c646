"""The monitor on a terminal: Textual gives the screen, keys and mouse; the model says what is on it.

One widget draws every line, and of those only what has changed since it was last drawn, so that five pictures a second
cost little. Alternative not taken: a widget for each table and bar, of which each picture lays out all anew.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from streamflow.errors import StreamflowError
from tools.monitor.model import Model
from tools.monitor.observation import Observation, successor_of
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
    """Follows a run, and after it the next of the same pipeline."""

    ENABLE_COMMAND_PALETTE = False
    CSS = "Screen { background: ansi_default; color: ansi_default; }"

    def __init__(self, observation: Observation, *, ends_with_run: bool = False) -> None:
        """`ends_with_run`: where the run belongs to the same command, the screen goes when it has ended."""
        super().__init__(ansi_color=True)
        self.model = Model()
        self.model.follow(observation.resolved)
        self._observation = observation
        self._ends_with_run = ends_with_run
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
            if self._ends_with_run:
                self.exit()
            self._seek_successor()
        else:
            self._snapshot = self._observation.look()
        self._canvas.redraw()

    def _seek_successor(self) -> None:
        """Whether the pipeline was started again."""
        if time.monotonic() - self._sought_s < SUCCESSOR_S:
            return
        self._sought_s = time.monotonic()
        former = self._observation.folder
        folder = successor_of(former, self._snapshot.pipeline)
        if folder is None:
            self.model.note = "q leaves; waits for the next run of it"
            return
        try:
            observation = Observation(folder)
        except StreamflowError:
            return  # it has gone again, or is not described yet
        self._observation.close()
        self._observation = observation
        self.model.follow(observation.resolved)
        self.model.note = f"STARTED AGAIN, after {former.path.name}"
        self._snapshot = observation.look()

    def _screen(self, width: int, height: int) -> list[Line]:
        return self.model.screen(self._snapshot, width, height, self._observation.stamps)

    # --------------------------------------------------------------------------------- keys and mouse

    def on_key(self, event: events.Key) -> None:
        if event.key == "ctrl+c" or (event.key == "q" and not self.model.is_typing):
            event.stop()
            self.exit()
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
