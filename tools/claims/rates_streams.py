"""The claims of many streams on one batched recurrent stage: how many it holds, by the rule of its batches."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from tools.claims.command import a_run
from tools.claims.framework import Claim, HostShare, Options, Row, main, recording

PIPELINE = "pipelines.many_streams"
WAV, MODEL = "silero_vad/test.wav", "silero_vad/silero_vad.onnx"
COUNTS = (32, 64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512)
COUNTS_QUICK = (32, 128)
SECONDS, SECONDS_QUICK = 8, 3
IN_TIME_MIN = 0.99
GAIN_MIN = 2.0
RULES: Mapping[str, tuple[dict[str, Any], list[str]]] = {
    "ours": ({"batch": 64}, []),
    "batch 1": ({"batch": 1}, []),
    "batch 64 with a 5 ms time-out": ({"batch": 64, "timeout_ms": 5}, ["--no-enforcement"]),
}


def held(options: Options) -> Iterator[Row]:
    """Streams of 31.25 chunks a second, each due in 30 ms: up to how many are 99 % in time, on one thread."""
    wav, model = recording(WAV), recording(MODEL)
    seconds = SECONDS_QUICK if options.is_quick else SECONDS
    counts = COUNTS_QUICK if options.is_quick else COUNTS
    most = dict.fromkeys(RULES, 0)
    is_over: set[str] = set()
    for count in counts:
        host = HostShare()
        told = []
        for rule, (settings, arguments) in RULES.items():
            if rule in is_over:
                continue
            given = {"wav": wav, "model": model, "streams": count, "duration_s": seconds, **settings}
            with a_run(PIPELINE, arguments, given) as run:
                report = run.succeed()
            path = report["paths"]["speech"]
            share = path["met"] / path["produced"] if path["produced"] else 0.0
            sizes = report["stages"]["vad"]["batch"]
            mean = sum(int(size) * each for size, each in sizes.items()) / max(sum(sizes.values()), 1)
            told.append(f"{rule} {share:.1%} (batches of {mean:.1f})")
            if share >= IN_TIME_MIN:
                most[rule] = count
            elif share < IN_TIME_MIN / 2:
                is_over.add(rule)  # more streams will not make it better
        yield Row(f"{count} streams, in time", "", f"{'; '.join(told)}; {host}", None)
    gain = most["ours"] / most["batch 1"] if most["batch 1"] else 0.0
    measured = ", ".join(f"{rule} {count}" for rule, count in most.items())
    holds = None if options.is_quick else gain >= GAIN_MIN
    yield Row(f"streams held at {IN_TIME_MIN:.0%}", f">= {GAIN_MIN:g}x batch 1", f"{measured}: {gain:.1f}x", holds)


CLAIMS = [Claim("many streams", held)]

if __name__ == "__main__":
    sys.exit(main("rates", CLAIMS))
