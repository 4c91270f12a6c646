"""Lines of text with tones, before anybody knows on what they are shown: cut, padded and measured in cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import NamedTuple
from unicodedata import combining, east_asian_width


class Tone(Enum):
    """What a piece of text means; a terminal with colours shows it by one, and none is told by its colour alone."""

    PLAIN = "plain"
    DIM = "dim"
    STRONG = "strong"
    HEAD = "head"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    LIVE = "live"


Span = tuple[str, Tone]
Line = tuple[Span, ...]

ELLIPSIS = "…"
EIGHTHS = " ▏▎▍▌▋▊▉█"
LEVELS = "▁▂▃▄▅▆▇█"


class Item(NamedTuple):
    """A thing that can be chosen: what it is known by from look to look, and its first and last line, from 0."""

    key: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Page:
    """What a view shows; what stays in place above it while the rest is scrolled; what in it can be chosen."""

    lines: Sequence[Line]
    items: Sequence[Item] = field(default=())
    head: Sequence[Line] = field(default=())


def line(*parts: Span | str) -> Line:
    """Of spans, and of texts that are plain."""
    return tuple((part, Tone.PLAIN) if isinstance(part, str) else part for part in parts)


def width_of(text: str) -> int:
    """In cells of a terminal."""
    return len(text) if text.isascii() else _measured(text)


@lru_cache(4096)
def _measured(text: str) -> int:
    return sum(0 if combining(one) else 2 if east_asian_width(one) in "WF" else 1 for one in text)


def line_width(spans: Line) -> int:
    return width_of("".join([text for text, _ in spans]))


def cut(text: str, width: int) -> str:
    """At most so wide; what was cut is told by an ellipsis."""
    if width_of(text) <= width:
        return text
    if width < 1:
        return ""
    kept = ""
    for one in text:
        if width_of(kept + one) > width - 1:
            break
        kept += one
    return kept + ELLIPSIS


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Exactly so wide."""
    text = cut(text, width)
    room = " " * (width - width_of(text))
    return room + text if right else text + room


def cut_line(spans: Line, width: int) -> Line:
    if line_width(spans) <= width:
        return spans
    kept: list[Span] = []
    room = width
    for text, tone in spans:
        if width_of(text) >= room:
            kept.append((cut(text + ELLIPSIS, room), tone))
            break
        kept.append((text, tone))
        room -= width_of(text)
    return tuple(kept)


def merged(spans: Line) -> Line:
    """The same, with neighbours of one tone together."""
    found: list[Span] = []
    for text, tone in spans:
        if found and found[-1][1] is tone:
            found[-1] = found[-1][0] + text, tone
        elif text:
            found.append((text, tone))
    return tuple(found)


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """At spaces, in lines of at most `width`; a longer word is broken."""
    lines: list[str] = []
    current = ""
    for word in filter(None, text.replace("\n", " ").split(" ")):
        while width_of(word) > width - len(indent):
            room = width - len(indent)
            lines += [current] if current else []
            current, word = word[:room], word[room:]
            lines.append(current)
            current = ""
        if not current:
            current = word
        elif width_of(current) + 1 + width_of(word) <= width - (len(indent) if lines else 0):
            current += f" {word}"
        else:
            lines.append(current)
            current = word
    lines += [current] if current else []
    return [one if i == 0 else indent + one for i, one in enumerate(lines)]


# ------------------------------------------------------------------------------------ bars and figures


def bar(share: float, width: int) -> str:
    """So much of `width` cells filled, to an eighth of a cell."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (EIGHTHS[rest] if rest else "")).ljust(width)


def against(value: float, bound: float, width: int) -> list[Span]:
    """A bar whose bound is marked at three quarters of the width: what goes beyond it is over."""
    mark = max(width * 3 // 4, 1)
    filled = bar(value / bound * mark / width if bound else 0.0, width)
    before, after = filled[:mark], filled[mark + 1 :]
    is_over = value > bound
    tone = Tone.BAD if is_over else Tone.WARN if value > 0.8 * bound else Tone.GOOD
    return [(before, tone), ("┃" if not is_over else "╋", Tone.STRONG), (after, Tone.BAD)]


def sparkline(values: Sequence[float], top: float) -> str:
    """A level for each value; 0 is a gap, and what is above `top` is as high as it."""
    if top <= 0:
        return " " * len(values)
    return "".join(" " if value <= 0 else LEVELS[min(int(value / top * 7.999), 7)] for value in values)


def milliseconds(value: float | None) -> str:
    """Three figures and the unit that suits: `320 us`, `4.21 ms`, `1.20 s`."""
    if value is None:
        return "-"
    if value < 0:
        return f"-{milliseconds(-value)}"
    if value < 1:
        return f"{value * 1000:.0f} us"
    if value < 1000:
        return f"{_three(value)} ms"
    return f"{_three(value / 1000)} s"


def rate(value: float | None) -> str:
    """A second: `31.2/s`, `5.0k/s`."""
    return "-" if value is None else f"{short(value)}/s"


def short(value: float) -> str:
    """Three figures, with k, M or G: `0`, `31.2`, `4.97k`."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * limit:
            return _three(value / limit) + unit
    return _three(value) if value % 1 else f"{value:.0f}"


def _three(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def percent(value: float | None) -> str:
    """Never rounded up to all: 99.9999 % are not 100."""
    if value is None:
        return "-"
    if value < 1:
        return f"{min(value, 0.9999):.2%}"
    return "100%"


def duration(seconds: float) -> str:
    """`12.3 s`, `4:05`, `1:02:05`."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def each(counts: Iterable[tuple[str, int]]) -> str:
    """As in `too_old 3, drop_oldest 2`; nothing for none."""
    return ", ".join(f"{name} {count:,}" for name, count in counts if count)


def given_up(dropped: Mapping[str, int], lost: int) -> str:
    """As in `dropped 6 (drop_oldest), lost 2`; nothing where nothing was."""
    reasons = [(reason, count) for reason, count in dropped.items() if count]
    why = reasons[0][0] if len(reasons) == 1 else each(reasons)
    told = f"dropped {sum(dropped.values()):,} ({why})" if reasons else ""
    return ", ".join(filter(None, (told, f"lost {lost:,}" if lost else "")))
