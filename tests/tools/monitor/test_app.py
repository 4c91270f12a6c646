"""The monitor on Textual: keys, mouse and resizing, with a run that was left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from textual.pilot import Pilot

from tests.left_behind import LeftBehind
from tools.monitor.app import Canvas, MonitorApp, Scope
from tools.monitor.model import View
from tools.monitor.observation import Observation

Acts = Callable[[MonitorApp, Pilot], Awaitable[None]]


def on_screen(app: MonitorApp) -> list[str]:
    canvas = app.query_one(Canvas)
    return [canvas.render_line(y).text.rstrip() for y in range(canvas.size.height)]


def driven(run: LeftBehind, acts: Acts, size: tuple[int, int] = (80, 24), scope: Scope = Scope.PIPELINE) -> None:
    """Textual needs asyncio, and the tests' own loop is trio's."""

    async def main() -> None:
        app = MonitorApp(Observation(run.folder), scope)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await acts(app, pilot)

    asyncio.run(main())


def test_keys_go_from_view_to_view(left):
    async def acts(app, pilot):
        assert "within 50.0 ms" in "\n".join(on_screen(app))
        for key, view in zip("23451", (View.GRAPH, View.STAGES, View.MISSES, View.EVENTS, View.PATHS), strict=True):
            await pilot.press(key)
            assert app.model.view is view
        await pilot.press("tab")
        assert app.model.view is View.GRAPH
        assert "╰─▶vad" in "\n".join(on_screen(app))

    driven(left, acts)


def test_typing_a_filter_does_not_leave_the_program(left):
    async def acts(app, pilot):
        await pilot.press("4", "slash", "q", "enter")
        assert app.is_running
        assert app.model.wanted == "q"
        await pilot.press("escape", "q")
        await pilot.pause()
        assert app._exit

    driven(left, acts)


def test_the_mouse_chooses_views_and_scrolls(left):
    for seq in range(20, 90):
        left.miss(seq, seq * 10)

    async def acts(app, pilot):
        row = next(i for i, one in enumerate(on_screen(app)) if "Misses" in one)
        await pilot.click(Canvas, offset=(on_screen(app)[row].index("Misses"), row))
        assert app.model.view is View.MISSES
        first = on_screen(app)[6]
        await pilot._post_mouse_events([_scroll_down()], Canvas, offset=(10, 10))
        await pilot.pause()
        assert on_screen(app)[6] != first

    driven(left, acts)


def _scroll_down():
    from textual.events import MouseScrollDown

    return MouseScrollDown


def test_the_screen_follows_the_size_of_the_terminal(left):
    async def acts(app, pilot):
        for size in ((120, 40), (60, 15), (30, 8), (200, 60)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            lines = on_screen(app)
            assert len(lines) == size[1]
            if size[0] >= 40:
                assert "? help" in lines[-1]

    driven(left, acts)


def test_a_run_that_is_over_is_told_with_what_q_does(left):
    async def acts(app, pilot):
        await pilot.pause(0.5)
        assert "HAS ENDED: killed" in on_screen(app)[0]
        assert "q leaves" in on_screen(app)[0]

    driven(left, acts, (120, 40))


@pytest.mark.parametrize(
    ("scope", "key", "code"),
    [(Scope.OWN, "q", 0), (Scope.OWN, "ctrl+c", 130), (Scope.ANY, "ctrl+c", 0), (Scope.PIPELINE, "q", 0)],
)
def test_only_ctrl_c_asks_for_the_end_of_a_run_and_only_of_its_own(left, scope, key, code):
    async def acts(app, pilot):
        await pilot.press("question_mark")
        text = "\n".join(on_screen(app))
        assert ("drain the run" in text) is (scope is Scope.OWN)
        await pilot.press(key)
        assert app.return_code == code

    driven(left, acts, (120, 40), scope)


def test_n_says_where_there_is_no_other_run_and_is_a_letter_while_a_filter_is_typed(left, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))

    async def acts(app, pilot):
        await pilot.press("n")
        assert "no other run is live" in on_screen(app)[0]
        await pilot.press("slash", "n", "enter")
        assert app.model.wanted == "n"

    driven(left, acts, (120, 40))
