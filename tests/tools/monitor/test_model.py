"""What is on the screen, and what keys and clicks change about it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from tests.left_behind import LeftBehind
from tests.tools.monitor.conftest import graph, told
from tools.monitor.help import KEYS, LEAVING, VIEWS
from tools.monitor.model import Model, View, as_text, widest
from tools.monitor.observation import Observation
from tools.monitor.snapshot import Condition, condition_of
from tools.monitor.text import Tone

SIZES = [(80, 24), (120, 40), (200, 60), (40, 10)]


class Shown:
    """A screen over a run that was left behind."""

    def __init__(self, run: LeftBehind, width: int = 80, height: int = 24) -> None:
        self.observation = Observation(run.folder)
        self.model = Model()
        self.model.follow(self.observation.resolved)
        self.size = width, height
        self.snapshot = self.observation.look()

    def text(self) -> str:
        return as_text(self.model.screen(self.snapshot, *self.size, self.observation.stamps))

    def press(self, *keys: str) -> str:
        for key in keys:
            self.text()  # a key acts on what is seen
            names = {"/": "slash", "?": "question_mark", " ": "space"}
            assert self.model.press(names.get(key, key), key if len(key) == 1 else None)
        return self.text()


@pytest.fixture
def show() -> Iterator[Callable[..., Shown]]:
    """`Shown`, and closed at the end."""
    made: list[Shown] = []

    def make(run: LeftBehind, *size: int) -> Shown:
        made.append(Shown(run, *size))
        return made[-1]

    yield make
    for one in made:
        one.observation.close()


@pytest.fixture
def shown(left: LeftBehind, show: Callable[..., Shown]) -> Shown:
    return show(left)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("view", list(View))
def test_every_view_fills_the_screen_and_nothing_is_wider_than_it(left, show, size, view):
    shown = show(left, *size)
    shown.model.view = view
    lines = shown.model.screen(shown.snapshot, *size)
    assert len(lines) == size[1]
    assert widest(lines) <= size[0]


def test_a_path_has_its_bound_its_shares_its_quantiles_and_whose_fault_it_was(shown):
    text = shown.text()
    assert "speech  mic → log  within 50.0 ms  shed\n   9 of 10 BROKEN (level 1), 2 times so far" in text
    assert "10 s 93.55%  1 min 100%  all 71.43%" in text
    assert "61.0 ms" in text
    assert "missed 15: service vad 12, stall log 3; shed 3" in text


def test_seconds_in_which_something_was_not_kept_are_marked(shown):
    lines = shown.text().splitlines()
    spark = next(line for line in lines if "60 s" in line)
    marks = next(line for line in lines if "not kept" in line)
    assert [i for i, one in enumerate(marks) if one == "!"] == [spark.index("▏") - 2, spark.index("▏") - 1]


def test_the_head_tells_how_the_run_ended(shown):
    assert "speech-4711-a0b1  HAS ENDED: killed" in shown.text().splitlines()[0]


def test_the_graph_leads_each_edge_to_its_receiver(shown):
    lines = shown.press("2").splitlines()[3:]
    assert [line.split()[0] for line in lines[:5]] == ["mic", "╭──", "╰─▶vad", "╭──", "╰─▶log"]
    assert lines[1].endswith("dropped 2 (drop_oldest)")


@pytest.mark.parametrize("width", [80, 160])
def test_names_of_edges_are_whole_where_there_is_room_and_what_was_dropped_is_told_with_why(left, show, width):
    left.folder.describe(
        json.loads(json.dumps({"graph": graph(), "pipeline": "speech"}).replace("signal", "windows_of_sensor"))
    )
    content = told(left)
    edge = content["edges"].pop("mic.signal->vad.x") | {"dropped": {"drop_oldest": 6, "too_old": 1}, "lost": 2}
    left.state(edges={"mic.windows_of_sensor->vad.x": edge})
    text = show(left, width, 24).press("2")
    assert ".windows_of_sensor → vad.x " in text
    expected = "dropped 7 (drop_oldest 6, too_old 1), lost 2" if width == 160 else "dropped 7, lost 2"
    assert expected in text
    assert "…" not in text


def test_a_contract_without_escalation_has_no_level_and_its_breaches_are_told(left, show):
    content = told(left)
    content["paths"]["speech"]["firm"] |= {"level": 0, "breaches": 1}
    left.state(paths=content["paths"])
    assert "9 of 10 BROKEN, 1 time so far" in show(left).text()


def test_the_share_in_the_head_says_of_which_path_it_is(left, show):
    assert "in time 71.43%  missed" in show(left).text()
    content = told(left)
    content["paths"]["calm"] = content["paths"]["speech"] | {"missed": 0, "shed": 0}
    left.state(paths=content["paths"])
    assert "in time 71.43% at worst (speech)  missed 15" in show(left).text()


def test_all_counts_of_a_picture_are_of_one_moment(left, shown):
    left.miss(10, 2100)
    shown.snapshot = shown.observation.look()
    text = shown.text()
    assert "missed 16  restarts" in text
    assert "4 Misses 16 " in text
    assert "missed 16: service vad 13, stall log 3" in text
    assert " 16 missed, the last 4 of them here" in shown.press("4")


def test_a_stage_is_opened_and_closed_with_enter(shown):
    assert "works on" not in shown.press("3")
    text = shown.press("down", "enter")
    assert "▶vad" in text
    assert "gets           mic.signal->vad.x" in text
    assert "gets" not in shown.press("enter")


def test_a_stage_is_said_to_have_a_device_only_where_it_asked_for_one(left, show):
    opened = show(left, 120, 40).press("3", "down", "enter")
    assert "pid - , device host".replace(" ,", ",") in opened
    content = told(left)
    content["stages"]["vad"]["device"] = None
    left.state(stages=content["stages"])
    assert "device host" not in show(left, 120, 40).press("3", "down", "enter")


def test_a_miss_shows_where_its_time_went_and_opens_to_all_stamps(shown):
    text = shown.press("4")
    assert text.count("mailbox wait vad") == 2
    assert "m" * 10 in text
    opened = shown.press("enter")
    assert "mailbox of vad held it 30.0 ms" in opened
    assert [line for line in opened.splitlines() if line.rstrip().endswith("vad  run")]


def test_a_miss_is_late_by_so_much_or_was_given_up_so_long_before_its_deadline(left, show):
    left.miss(10, 1900, late_ms=-23.902)
    text = show(left).press("4")
    assert text.count("    +5.00 ms  ") == 3
    assert text.count("  -23.9 ms  ") == 1
    assert "│ deadline, - given up" in " ".join(text.split())


def test_an_opened_miss_stays_open_and_has_the_cursor_when_others_come(left, shown):
    shown.press("4", "down", "enter")
    left.miss(10, 1900)
    shown.snapshot = shown.observation.look()
    text = shown.text()
    assert "mic#10" in text
    assert text.splitlines()[next(i for i, one in enumerate(text.splitlines()) if "▶" in one)].split()[2] == "mic#8"


def test_a_traceback_is_shown_where_it_is_asked_for(shown):
    text = shown.press("5")
    assert "ValueError" in text
    assert "line 1" not in text
    assert "line 1" in shown.press("down", "down", "enter")


def test_a_filter_shows_what_has_it_in_its_name_and_escape_shows_all(shown):
    assert "mic#8" not in shown.press("4", "/", *"mailbox", "enter")
    assert "mic#8" in shown.press("escape")
    assert "no stage has q in its name" in shown.press("3", "/", "q")


def test_a_filter_keeps_paths_whose_stages_or_culprits_have_it(shown):
    for wanted in ("vad", "stall"):
        assert "within 50.0 ms" in shown.press("escape", "/", *wanted, "enter")
    assert "no path has nobody in its name, its stages or its culprits" in shown.press("/", *"nobody", "enter")


def test_a_filter_dims_what_of_the_graph_does_not_have_it(shown):
    shown.press("2", "/", *"vad.x", "enter")
    lines = [line for line in shown.model.screen(shown.snapshot, 80, 24)[3:8] if line]
    bright = [any(tone not in (Tone.DIM, Tone.STRONG) for text, tone in line if text.strip()) for line in lines]
    assert bright == [False, True, False, False, False]
    assert "no stage and no edge has q in its name" in shown.press("/", "q")


def test_what_a_filter_is_typed_for_is_seen(shown):
    assert "this help" in shown.press("?")
    assert "this help" not in shown.press("/", "v")


def test_letters_are_text_while_a_filter_is_typed(shown):
    shown.press("/", *"jkp2")
    assert (shown.model.wanted, shown.model.is_paused, shown.model.view) == ("jkp2", False, View.PATHS)


@pytest.mark.parametrize("width", [60, 80, 100, 130])
def test_help_is_wrapped_to_the_width_and_closes(shown, width):
    shown.size = (width, 60)
    lines = shown.press("?").splitlines()
    begin = next(i for i, line in enumerate(lines) if "1-5, Tab" in line)
    told = [line for line in lines[begin:-1] if line]
    for name, text in (*KEYS, *LEAVING, *VIEWS):
        first = next(i for i, line in enumerate(told) if line[1:].startswith(f"{name}  "))
        rest = itertools.takewhile(lambda line: line.startswith("  "), told[first + 1 :])
        assert " ".join([told[first][1 + len(name) :].strip(), *(line.strip() for line in rest)]) == text
    for line, following in pairwise(told):
        if following.startswith("  "):  # a line ends only where the next word had no room
            assert len(line) + 1 + len(following.split()[0]) > width - 1
    assert "this help" not in shown.press("escape")


def test_help_tells_of_the_own_run_that_ctrl_c_ends_it_and_q_does_not(shown):
    shown.size = (130, 60)
    assert "drain the run" not in shown.press("?")
    shown.model.is_own = True
    assert re.search(r"^ q +leave the screen; the run goes on", text := shown.text(), re.MULTILINE)
    assert re.search(r"^ Ctrl-C +leave the screen, drain the run", text, re.MULTILINE)


def test_a_click_on_a_view_goes_there_and_on_a_thing_opens_it(shown):
    row = next(i for i, one in enumerate(shown.text().splitlines()) if "3 Stages" in one)
    shown.model.click(shown.text().splitlines()[row].index("Stages"), row)
    assert shown.model.view is View.STAGES
    rows = shown.text().splitlines()
    shown.model.click(5, next(i for i, one in enumerate(rows) if one.startswith(" vad")))
    assert "gets" in shown.text()


def test_a_paused_screen_says_so(shown):
    assert "PAUSED" in shown.press(" ")
    assert "PAUSED" not in shown.press(" ")


def test_a_long_list_scrolls_and_says_where_it_is(left, show):
    for seq in range(20, 120):
        left.miss(seq, seq * 10)
    shown = show(left)
    assert "mic#119" in shown.press("4")
    assert "mic#119" not in shown.press("pagedown")
    assert "mic#7" in shown.press("end")
    assert "-103 of 103" in shown.text().splitlines()[-1]


def test_what_is_wrong_with_the_run_stands_above_every_view(left, show):
    content = told(left)
    left.state(**content | {"conserved": ["edge a: 3 sent, 2 told"], "rates": {"alive": {"is_silent": True}}})
    text = show(left).text()
    assert "NOT CONSERVED: edge a: 3 sent, 2 told" in text
    assert "SILENT: alive" in text


def test_a_terminal_that_is_too_small_is_told(left, show):
    shown = show(left, 30, 8)
    assert "30x8 is too small" in shown.text()


def test_a_run_that_tells_nothing_is_a_screen_all_the_same(tmp_path, show):
    shown = show(LeftBehind(tmp_path / "run"))
    shown.observation.folder.state.write_text('{"paths": {"p": {}}, "stages": {"s": {}}, "edges": {"e": {}}}')
    shown.snapshot = shown.observation.look()
    for number in "12345":
        assert len(shown.press(number).splitlines()) == 24


def test_a_stage_that_stays_ended_is_failed_whatever_the_log_still_has() -> None:
    """As the run says it, in one word with `status`; the log may have been put aside since."""
    well = {"is_hung": False, "is_blocked": False, "is_degraded": False, "busy": None, "is_over": False}
    assert condition_of("failed", last_event="", **well) is Condition.FAILED
    assert condition_of("down", last_event="restarting", **well) is Condition.RESTARTING
