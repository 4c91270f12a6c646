"""The view of events: what happened in the run, the newest first."""

from __future__ import annotations

from streamflow.core.happenings import Level, tell
from tools.monitor.snapshot import Snapshot
from tools.monitor.text import Item, Line, Page, Tone, cut_line, fit, line, wrapped
from tools.monitor.views.misses import TIME_WIDTH, clock_of, key_of

WORD_WIDTH = 10
TONES = {Level.ERROR: Tone.BAD, Level.WARNING: Tone.WARN, Level.INFO: Tone.STRONG, Level.DEBUG: Tone.DIM}


def view(snapshot: Snapshot, width: int, wanted: str, opened: str = "") -> Page:
    told_of = [(one, tell(one)) for one in snapshot.events]
    events = [(one, told) for one, told in told_of if wanted in told.sentence or wanted in str(one["event"])]
    if not events:
        nothing = f"nothing that happened has {wanted} in it" if snapshot.events else "nothing has happened yet"
        return Page([line((nothing, Tone.DIM))])
    lines: list[Line] = []
    items: list[Item] = []
    for event, told in events:
        key = key_of(event)
        first = len(lines)
        word = str(event["event"])
        indent = TIME_WIDTH + WORD_WIDTH + 4
        texts = wrapped(told.sentence, max(width - indent, 20)) or [""]
        texts = texts if key == opened else texts[:2]
        for i, text in enumerate(texts):
            head = [(clock_of(event), Tone.DIM), "  ", (fit(word, WORD_WIDTH), TONES[told.level]), "  "]
            lines.append(line(*(head if i == 0 else [" " * indent]), text))
        if key == opened and told.traceback:
            lines += [line("    ", (one, Tone.DIM)) for one in told.traceback.splitlines()]
        items.append(Item(key, first, len(lines) - 1))
    return Page([cut_line(one, width) for one in lines], items)
