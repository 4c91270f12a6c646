"""What the monitor's screen shows, and what a key or a click changes about it: no terminal, no clock, no run.

The screen is the header, the views to choose from, the view, and a line of keys. A thing in the view that has the
cursor is marked at its left, so that it is seen without colours too; it keeps the cursor while the view moves on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from operator import is_
from typing import Any

from streamflow.core.graph import Resolved
from tools.monitor.header import header
from tools.monitor.help import help_page
from tools.monitor.snapshot import Snapshot
from tools.monitor.text import Line, Page, Span, Tone, cut_line, fit, line, line_width, short, wrapped
from tools.monitor.views import events, paths, stages
from tools.monitor.views.graph import GraphView
from tools.monitor.views.misses import MissesView

Stamps = Callable[[str, int], Sequence[tuple[str, Any]]]

WIDTH_MIN, HEIGHT_MIN = 40, 10
FILTER_LIMIT = 60
KEYS = "1-5 views  / filter  Space hold  ↑↓ move  Enter open  ? help  q leave"
KEYS_SHORT = "1-5 / Space Enter  ? help  q leave"


class View(Enum):
    PATHS = "Paths"
    GRAPH = "Graph"
    STAGES = "Stages"
    MISSES = "Misses"
    EVENTS = "Events"


VIEWS = tuple(View)


@dataclass(slots=True)
class Model:
    """Of one screen, over all runs that it shows."""

    view: View = View.PATHS
    wanted: str = ""
    is_typing: bool = False
    is_paused: bool = False
    has_help: bool = False
    note: str = ""
    is_own: bool = False
    """Whether the run belongs to the command that shows it."""
    cursors: dict[View, str] = field(default_factory=dict)
    opened: dict[View, str] = field(default_factory=dict)
    offsets: dict[View, int] = field(default_factory=dict)
    _graph: GraphView = field(default_factory=lambda: GraphView(None))
    _misses: MissesView = field(default_factory=MissesView)
    _page: Page = field(default_factory=lambda: Page([]))
    _last_page: Page = field(default_factory=lambda: Page([]))
    _last_shown: Sequence[object] = ()
    _last_key: object = None
    _help_offset: int = 0
    _body: tuple[int, int] = (0, 0)
    """First line and number of lines of the view on the screen."""
    _tabs: list[tuple[int, int, View]] = field(default_factory=list)
    _tabs_line: int = 0

    def follow(self, resolved: Resolved | None) -> None:
        """Another run is shown from now on."""
        self._graph = GraphView(resolved)

    # ------------------------------------------------------------------------------------- the screen

    def screen(self, snapshot: Snapshot, width: int, height: int, stamps: Stamps | None = None) -> list[Line]:
        """As many lines as the terminal has, none wider than it."""
        if width < WIDTH_MIN or height < HEIGHT_MIN:
            told = f"{width}x{height} is too small, at least {WIDTH_MIN}x{HEIGHT_MIN}"
            return [line(text) for text in wrapped(told, max(width, 1))][:height]
        note = "PAUSED, Space goes on" if self.is_paused else self.note
        lines = header(snapshot, width, note=note)[: height - HEIGHT_MIN + 4]
        self._tabs_line = len(lines)
        lines.append(self._tabs_told(snapshot, width))
        page = help_page(width - 1, is_own=self.is_own) if self.has_help else self._shown(snapshot, width - 1, stamps)
        self._page = page
        head = list(page.head)[: height - len(lines) - 3]
        lines += [line(" ", *one) for one in head]
        room = height - len(lines) - 1
        self._body = (len(lines), room)
        body = self._window(page, room)
        lines += [cut_line(one, width) for one in body]
        lines += [()] * (height - 1 - len(lines))
        lines.append(self._keys(page, room, width))
        return lines

    def whole(self, snapshot: Snapshot, width: int, views: Sequence[View]) -> list[Line]:
        """Everything in these views, one below the other, for paper."""
        lines = header(snapshot, width)
        for view in views:
            self.view = view
            page = self._shown(snapshot, width, None)
            lines += [(), *page.head, *page.lines]
        return lines

    def _shown(self, snapshot: Snapshot, width: int, stamps: Stamps | None) -> Page:
        """The page of before where nothing of it has changed: a run tells its paths once a second, events seldom."""
        paths, misses, events = snapshot.paths, snapshot.misses, snapshot.events
        shown = {View.PATHS: (paths,), View.MISSES: (misses, paths), View.EVENTS: (events,)}.get(self.view, ())
        key = (self.view, width, self.wanted, self.opened.get(self.view, ""))
        is_same = key == self._last_key and all(map(is_, shown, self._last_shown))
        if not shown or not is_same:
            self._last_page = self._made(snapshot, width, stamps)
            self._last_shown, self._last_key = shown, key
        return self._last_page

    def _made(self, snapshot: Snapshot, width: int, stamps: Stamps | None) -> Page:
        wanted, opened = self.wanted, self.opened.get(self.view, "")
        match self.view:
            case View.PATHS:
                return paths.view(snapshot, width, wanted)
            case View.GRAPH:
                return self._graph.view(snapshot, width, wanted)
            case View.STAGES:
                return stages.view(snapshot, width, wanted, opened)
            case View.MISSES:
                return self._misses.view(snapshot, width, wanted, opened, stamps)
            case View.EVENTS:
                return events.view(snapshot, width, wanted, opened)

    def _window(self, page: Page, room: int) -> list[Line]:
        """The part of the page that is seen; the cursor is in it."""
        cursor = self._cursor_index(page)
        offset = self._help_offset if self.has_help else self.offsets.get(self.view, 0)
        if cursor is not None and not self.has_help:
            item = page.items[cursor]
            offset = min(offset, item.first)
            offset = max(offset, min(item.last - room + 1, item.first))
        offset = max(min(offset, len(page.lines) - room), 0)
        if self.has_help:
            self._help_offset = offset
        else:
            self.offsets[self.view] = offset
        marked = page.items[cursor].first if cursor is not None else -1
        return [line(("▶" if number == marked else " ", Tone.STRONG), *one)
                for number, one in enumerate(page.lines[offset : offset + room], offset)]  # fmt: skip

    def _cursor_index(self, page: Page) -> int | None:
        if not page.items or self.has_help or self.view is View.PATHS:
            return None
        key = self.cursors.get(self.view)
        return next((number for number, item in enumerate(page.items) if item.key == key), 0 if key is None else None)

    def _tabs_told(self, snapshot: Snapshot, width: int) -> Line:
        counts = {View.MISSES: snapshot.missed_count, View.EVENTS: len(snapshot.events)}
        spans: list[Span] = []
        column = 0
        self._tabs = []
        for number, view in enumerate(VIEWS, 1):
            is_here = view is self.view and not self.has_help
            text = f"[{number} {view.value}]" if is_here else f" {number} {view.value} "
            if counts.get(view) and width >= 80:
                text = text[:-1].rstrip() + f" {short(counts[view])}" + text[-1]
            self._tabs.append((column, column + len(text), view))
            column += len(text)
            spans.append((text, Tone.HEAD if is_here else Tone.DIM))
        if self.is_typing or self.wanted:
            spans.append((f"  /{self.wanted}{'_' if self.is_typing else ''}", Tone.WARN))
        return cut_line(tuple(spans), width)

    def _keys(self, page: Page, room: int, width: int) -> Line:
        hidden = len(page.lines) - room
        offset = self._help_offset if self.has_help else self.offsets.get(self.view, 0)
        first, last, count = offset + 1, min(offset + room, len(page.lines)), len(page.lines)
        if page.items and not self.has_help and self.view is not View.PATHS:  # then things are counted, not lines
            seen = [n for n, item in enumerate(page.items, 1) if item.last >= offset and item.first < offset + room]
            first, last, count = seen[0], seen[-1], len(page.items)
        aside = f" {first}-{last} of {count}" if hidden > 0 else ""
        if self.is_typing:
            text = "type a part of a name; Enter keeps it, Esc shows all"
        elif self.has_help:
            text = "? or Esc closes the help"
        else:
            text = KEYS if width >= len(KEYS) + len(aside) else KEYS_SHORT
        return cut_line(line((fit(text, width - len(aside)), Tone.DIM), (aside, Tone.WARN)), width)

    # --------------------------------------------------------------------------------- keys and clicks

    def press(self, key: str, character: str | None) -> bool:
        """Whether the key means anything here; `q` and Ctrl-C are the program's own, but while a filter is typed."""
        if self.is_typing:
            return self._type(key, character)
        if character is not None and character in "12345":
            self._go_to(VIEWS[int(character) - 1])
        elif key in ("tab", "right", "shift+tab", "left"):
            step = 1 if key in ("tab", "right") else -1
            self._go_to(VIEWS[(VIEWS.index(self.view) + step) % len(VIEWS)])
        elif key in ("question_mark", "h", "f1"):
            self.has_help = not self.has_help
        elif key == "escape":
            if self.has_help:
                self.has_help = False
            elif self.opened.pop(self.view, None) is None:
                self.wanted = ""
        elif key == "slash":
            self.is_typing, self.wanted, self.has_help = True, "", False
        elif key in ("space", "p"):
            self.is_paused = not self.is_paused
        elif key == "enter":
            self._open()
        elif key in ("up", "k", "down", "j"):
            self.move(1 if key in ("down", "j") else -1)
        elif key in ("pageup", "pagedown"):
            self._page_on(1 if key == "pagedown" else -1)
        elif key in ("home", "end"):
            self._jump(to_end=key == "end")
        else:
            return False
        return True

    def _type(self, key: str, character: str | None) -> bool:
        if key == "enter":
            self.is_typing = False
        elif key == "escape":
            self.is_typing, self.wanted = False, ""
        elif key == "backspace":
            self.wanted = self.wanted[:-1]
        elif character is not None and character.isprintable() and len(self.wanted) < FILTER_LIMIT:
            self.wanted += character
        else:
            return False
        return True

    def click(self, column: int, row: int) -> None:
        """On a view's name: goes there; on a thing: chooses it, and opens or closes it."""
        if row == self._tabs_line:
            for first, end, view in self._tabs:
                if first <= column < end:
                    self._go_to(view)
            return
        first_row, room = self._body
        number = row - first_row + self.offsets.get(self.view, 0)
        if self.has_help or not 0 <= row - first_row < room:
            return
        for item in self._page.items:
            if item.first <= number <= item.last and self.view is not View.PATHS:
                self.cursors[self.view] = item.key
                self._open()

    def move(self, step: int) -> None:
        """The cursor, or the picture where there is none."""
        items = self._page.items
        if not items or self.has_help or self.view is View.PATHS:
            self.scroll(step)
            return
        index = self._cursor_index(self._page)
        index = 0 if index is None else min(max(index + step, 0), len(items) - 1)
        self.cursors[self.view] = items[index].key

    def scroll(self, lines: int) -> None:
        """The picture; a cursor goes along."""
        if self.has_help:
            self._help_offset += lines
            return
        offset = max(self.offsets.get(self.view, 0) + lines, 0)
        self.offsets[self.view] = offset
        index = self._cursor_index(self._page)
        if index is None:
            return
        items, room = self._page.items, self._body[1]
        while items[index].first < offset and index + 1 < len(items):
            index += 1
        while items[index].first >= offset + room and index > 0:
            index -= 1
        self.cursors[self.view] = items[index].key

    def _page_on(self, direction: int) -> None:
        self.scroll(direction * max(self._body[1] - 1, 1))

    def _jump(self, *, to_end: bool) -> None:
        items = self._page.items
        if items and not self.has_help and self.view is not View.PATHS:
            self.cursors[self.view] = items[-1 if to_end else 0].key
        elif self.has_help:
            self._help_offset = len(self._page.lines) if to_end else 0
        else:
            self.offsets[self.view] = len(self._page.lines) if to_end else 0

    def _open(self) -> None:
        index = self._cursor_index(self._page)
        if index is None:
            return
        key = self._page.items[index].key
        self.cursors[self.view] = key
        if self.opened.get(self.view) == key:
            del self.opened[self.view]
        else:
            self.opened[self.view] = key

    def _go_to(self, view: View) -> None:
        self.view, self.has_help = view, False


def as_text(lines: Sequence[Line]) -> str:
    """Without tones."""
    return "\n".join("".join(text for text, _ in spans).rstrip() for spans in lines)


def widest(lines: Sequence[Line]) -> int:
    return max(map(line_width, lines), default=0)
