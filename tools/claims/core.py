"""The claims of the core: real recordings through real models, a stream that loses nothing, and clean endings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from tools.bench.chain import latency_text, measure, ratio_text
from tools.claims import endings, recordings
from tools.claims.framework import Claim, Options, Row, main

CHAIN_S, CHAIN_QUICK_S = 30.0, 3.0
Mode = Sequence[str]  # options of `streamflow run`
MODES: dict[str, Mode] = {"processes": (), "inline": ("--inline",)}


def chain(options: Options) -> Iterator[Row]:
    """A thousand blocks a second through four stages: all arrive; how long they take beside bare pyzmq."""
    measured = measure(CHAIN_QUICK_S if options.is_quick else CHAIN_S)
    peer = next(figures for figures in measured if figures.way.startswith("raw"))
    for figures in measured:
        if figures.way.startswith("streamflow"):
            lost = figures.sent_count - figures.delivered_count
            text = f"{lost} of {figures.sent_count:,}, conserved {str(figures.conserved).lower()}"
            yield Row(f"{figures.way}, lost", "0, conserved true", text, figures.is_whole)
        beside = "" if figures is peer else f": {ratio_text(figures, peer)} {peer.way}"
        yield Row(f"{figures.way}, source to sink", "", f"{latency_text(figures)}{beside}", None)


def _in(mode: Mode, measure: Callable[[Mode], Iterable[Row]]) -> Callable[[Options], Iterable[Row]]:
    return lambda options: measure(mode)


def _claims() -> Iterator[Claim]:
    for name, mode in MODES.items():
        yield Claim(f"speech --offline, {name}", _in(mode, recordings.speech_offline))
        yield Claim(f"attitude --offline, {name}", _in(mode, recordings.attitude_offline))
        yield Claim(f"detect --offline, {name}", _in(mode, recordings.detect_offline))
        yield Claim(f"heartbeat --offline, {name}", _in(mode, recordings.heartbeat_offline))
        yield Claim(f"speech --speed 1, {name}", partial(recordings.speech_live, mode))
    yield Claim("chain, 1 kHz of 4 KiB", chain)
    yield Claim("kill -9 of a stage, --no-restart", _in(("--no-restart",), endings.stage_is_killed))
    for name, mode in MODES.items():
        yield Claim(f"kill -9 of the run, {name}", _in(mode, endings.run_is_killed))
        yield Claim(f"SIGTERM, {name}", _in(mode, endings.run_is_terminated))
        yield Claim(f"two Ctrl-C, {name}", _in(mode, endings.run_is_interrupted_twice))


CLAIMS = tuple(_claims())

if __name__ == "__main__":
    sys.exit(main("core", CLAIMS))
