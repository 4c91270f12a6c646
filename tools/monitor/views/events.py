"""The view of events: what happened in the run, the newest first."""

from __future__ import annotations

import json

from tools.monitor.snapshot import Snapshot, Told
from tools.monitor.text import Item, Line, Page, Tone, cut_line, fit, line, wrapped
from tools.monitor.views.misses import TIME_WIDTH, clock_of, key_of

WORD_WIDTH = 10
TONES = {
    "raised": Tone.BAD, "failed": Tone.BAD, "hung": Tone.BAD, "broken": Tone.BAD, "broken_sum": Tone.BAD,
    "escalated": Tone.BAD, "left": Tone.BAD, "restarting": Tone.WARN, "silent": Tone.WARN, "refused": Tone.WARN,
    "variant": Tone.WARN, "back": Tone.GOOD, "heard": Tone.GOOD, "recovered": Tone.GOOD,
}  # fmt: skip
UNTOLD = ("at_ns", "at", "event", "traceback", "effects")


def view(snapshot: Snapshot, width: int, wanted: str, opened: str = "") -> Page:
    events = [(one, sentence_of(one)) for one in snapshot.events]
    events = [(one, told) for one, told in events if wanted in told or wanted in str(one["event"])]
    if not events:
        told = f"nothing that happened has {wanted} in it" if snapshot.events else "nothing has happened yet"
        return Page([line((told, Tone.DIM))])
    lines: list[Line] = []
    items: list[Item] = []
    for event, told in events:
        key = key_of(event)
        first = len(lines)
        word = str(event["event"])
        indent = TIME_WIDTH + WORD_WIDTH + 4
        texts = wrapped(told, max(width - indent, 20)) or [""]
        texts = texts if key == opened else texts[:2]
        for i, text in enumerate(texts):
            head = [(clock_of(event), Tone.DIM), "  ", (fit(word, WORD_WIDTH), TONES.get(word, Tone.STRONG)), "  "]
            lines.append(line(*(head if i == 0 else [" " * indent]), text))
        if key == opened and event.get("traceback"):
            lines += [line("    ", (one, Tone.DIM)) for one in str(event["traceback"]).rstrip().splitlines()]
        items.append(Item(key, first, len(lines) - 1))
    return Page([cut_line(one, width) for one in lines], items)


def sentence_of(event: Told) -> str:
    """What happened, in words, with whom it happened to."""
    parts = []
    for key, value in event.items():
        if key in UNTOLD or value in (None, "", []):
            continue
        told = ", ".join(map(str, value)) if isinstance(value, list) else value
        told = f"{value:g}" if isinstance(value, float) else told if isinstance(told, str) else json.dumps(told)
        parts.append(told if key in ("reason", "sentence") else f"{key.replace('_', ' ')} {told}")
    return "; ".join(parts)
