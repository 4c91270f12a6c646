"""The claims of whole pipelines with stages on a GPU; on the host the same rows claim what is done, and no times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from streamflow.core.blame import Culprit
from tools.claims.command import a_run
from tools.claims.framework import Claim, Options, Row, ShortfallError
from tools.claims.gpu_device import require
from tools.claims.gpu_stages import BETWEEN_CAPACITY

STAGES = "tools.claims.gpu_stages"
HOST, GPU = "host", "cuda:0"
SIZES_KIB = (64, 4096)
TENSORS, TENSORS_QUICK = 500, 100
RATE_HZ = 50.0
BETWEEN, DEATHS, DEATHS_QUICK = 4_000, 20, 1
LOST_WITH_A_PROCESS = 3 * BETWEEN_CAPACITY  # what was on the edges at its ends, and in it
LARGE_KIB = 4096
WAYS = {"within": "in one process", "between": "in two", "copied": "in two, by way of the host"}
NO_LIMIT = ("--restart-limit", "100000/0.1")
PAGEABLE_RATIO_MAX = 1.05  # no slower than by way of pageable memory, but for the noise


def end_to_end(options: Options, device: str) -> Iterator[Row]:
    """From shared memory to the device and back to another process; every second tensor by way of pageable buffers."""
    require(device)
    count = TENSORS_QUICK if options.is_quick else TENSORS
    for kib in SIZES_KIB:
        settings = {"device": device, "kib": kib, "count": count, "rate_hz": RATE_HZ}
        with a_run(f"{STAGES}:round_trip", ("--no-enforcement",), settings) as run:
            report = run.succeed()
        paths, stages = report["paths"], report["stages"]
        arrived = stages["direct_check"]["processed"] + stages["pageable_check"]["processed"]
        yield Row(f"{kib} KiB, arrive whole", f"{count}", f"{arrived}", arrived == count)
        direct_ms, pageable_ms = (paths[name]["latency_ms"] for name in ("direct", "pageable"))
        told = "; ".join(
            f"{name} p50 {one['p50'] * 1e3:.0f} µs, p99 {one['p99'] * 1e3:.0f} µs"
            for name, one in (("direct", direct_ms), ("pageable", pageable_ms))
        )
        ratio = direct_ms["p50"] / pageable_ms["p50"]
        told += f" ({ratio:.2f}×); {_copied(stages['direct'])}"
        if device == HOST:
            yield Row(f"{kib} KiB, latency", "", told, None)
        else:
            bound = f"<= {PAGEABLE_RATIO_MAX:g}× pageable, p50"
            yield Row(f"{kib} KiB, latency", bound, told, ratio <= PAGEABLE_RATIO_MAX)


def _copied(stage: Mapping[str, Any]) -> str:
    """How its tensors went to the device."""
    copies = stage["copies"]
    return f"{copies['straight']} straight from shared memory, {copies['staged']} staged, {copies['refused']} refused"


def faults(options: Options, device: str) -> Iterator[Row]:
    """A kernel that writes where nothing is takes the device from all stages of its process; all come back."""
    require(device)
    settings = {"device": device, "mark": "{}/mark"}
    with a_run(f"{STAGES}:faults", ("--no-enforcement",), settings) as run:
        report = run.succeed()
    stages, paths, events = report["stages"], report["paths"], report["events"]
    for name in ("broken", "beside"):
        restarts, state = stages[name]["restarts"], stages[name]["state"]
        yield Row(f"stage {name} is started again", "1, and ends in order", f"{restarts}, {state}",
                  restarts == 1 and state == "ended")  # fmt: skip
        culprits = paths[name]["culprits"]
        missed = sum(culprits.values())
        blamed = sum(n for culprit, n in culprits.items() if culprit.startswith(Culprit.DEVICE))
        told = f"{blamed} of {missed} misses: " + ", ".join(f"{culprit} {n}" for culprit, n in culprits.items())
        yield Row(f"misses behind {name}", "most are the device's", told, blamed > missed / 2)
    back = [event for event in events if event["event"] == "back"]
    if not back:
        raise ShortfallError("no process came back")
    yield Row("recovery", "", f"{back[0]['down_ms']:.0f} ms until its process was at work again", None)
    yield Row("the accounts", "add up", str(report["conserved"]), report["conserved"] is True)


def between_processes(options: Options, device: str) -> Iterator[Row]:
    """Written on the device by one process, read there by another; both are killed again and again."""
    require(device)
    count, deaths = (TENSORS_QUICK, DEATHS_QUICK) if options.is_quick else (BETWEEN, DEATHS)
    settings = {"device": device, "marks": "{}/mark", "count": count, "deaths": deaths}
    with a_run(f"{STAGES}:between", ("--no-enforcement", *NO_LIMIT), settings) as run:
        report = run.succeed()
    stages, way = report["stages"], report["edges"]["writer.output->reader.input"]["on_device"]
    restarts = [stages[name]["restarts"] for name in ("writer", "reader", "check")]
    told = "writer {}, reader {}, who checks {}".format(*restarts)
    yield Row("deaths", f"{deaths} each, of who checks none", told, restarts == [deaths, deaths, 0])
    yield Row("what goes there", "stays on the device", str(way), way == "between processes")
    arrived, lost_max = stages["check"]["processed"], 2 * deaths * LOST_WITH_A_PROCESS
    yield Row("arrive whole", f"all but {lost_max} of {count:,}", f"{arrived:,}", count - lost_max <= arrived <= count)
    yield Row("the accounts", "add up", str(report["conserved"]), report["conserved"] is True)
    for way in () if options.is_quick else ("within", "between", "copied"):
        settings = {"device": device, "marks": "{}/mark", "count": TENSORS, "kib": LARGE_KIB, "way": way}
        with a_run(f"{STAGES}:between", ("--no-enforcement",), settings) as run:
            latency_ms = run.succeed()["paths"]["there"]["latency_ms"]
        told = f"p50 {latency_ms['p50']:.2f} ms, p99 {latency_ms['p99']:.2f} ms"
        yield Row(f"latency through both, {LARGE_KIB} KiB, {WAYS[way]}", "", told, None)


ON_THE_HOST = [
    Claim("end to end on the host", partial(end_to_end, device=HOST)),
    Claim("faults on the host", partial(faults, device=HOST)),
]
BETWEEN_ON_THE_HOST = Claim("between processes on the host", partial(between_processes, device=HOST))
ON_A_GPU = [
    Claim("end to end", partial(end_to_end, device=GPU)),
    Claim("faults", partial(faults, device=GPU)),
    Claim("between processes", partial(between_processes, device=GPU)),
]
