"""The help on the monitor's screen: what each key does, and what is to be seen in each view."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tools.monitor.text import Line, Page, Tone, fit, line, wrapped

Entries = Sequence[tuple[str, str]]

KEYS: Entries = (
    ("1-5, Tab", "the views, also by a click"),
    ("Up, Down, j, k", "move the cursor; PageUp, PageDown, Home, End; the wheel"),
    ("Enter", "open what has the cursor: everything about a stage, all stamps of a miss, a traceback"),
    ("/", "show only what has this text in its name; Esc shows all again"),
    ("Space", "hold the picture still, and go on"),
    ("?", "this help"),
)
LEAVING: Entries = (
    ("n", "the next run that is live, where there are several"),
    ("q, Ctrl-C", "leave; the run goes on"),
)
LEAVING_OWN: Entries = (
    ("q", "leave the screen; the run goes on here, with a line of progress now and then, and its table at the end"),
    ("Ctrl-C", "leave the screen, drain the run, and end it; again: kill it"),
)
"""Where the run belongs to the command that shows it."""
VIEWS: Entries = (
    (
        "Paths",
        "bars end at the bound, which is marked ┃ (╋ where it was passed). In time: of all data whose end is known, "
        "those that were on time; what was shed, dropped, rejected or lost was not.",
    ),
    ("Graph", "from senders to receivers; on each edge what passes in a second and how full its mailboxes are."),
    (
        "Stages",
        "rate and busy of the last second, service (p99) since the start, depth: what waits for it, drop: what its "
        "mailboxes dropped, rest: restarts, MB: memory with what it shares, stall: how long its loop stood still in "
        "the last minute. A stage is ready, busy (half of the time or more), blocked (waits for room), degraded "
        "(works with a cheaper variant), hung, restarting, failed, draining or stopped.",
    ),
    ("Misses", "each with where its time went, from the event on; what is to blame stands out."),
    ("Events", "what happened, the newest first."),
)


def help_page(width: int, *, is_own: bool) -> Page:
    """`is_own`: the run belongs to the command that shows it."""
    keys = (*KEYS, *(LEAVING_OWN if is_own else LEAVING))
    return Page([*_told(keys, width), (), *_told(VIEWS, width)])


def _told(entries: Entries, width: int) -> Iterator[Line]:
    """What is told of each stands beside it."""
    name_width = max(len(name) for name, _ in entries) + 2
    for name, told in entries:
        for i, text in enumerate(wrapped(told, max(width - name_width, 1))):
            yield line((fit(name if i == 0 else "", name_width), Tone.STRONG), text)
