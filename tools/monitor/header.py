"""What stands above every view: which run it is, whether it lives, and what is wrong with it."""

from __future__ import annotations

from tools.monitor.snapshot import Condition, Snapshot
from tools.monitor.text import Line, Tone, cut_line, duration, line, percent, wrapped

SILENCE_S = 2.5  # a run tells its state every second
ILL = (Condition.HUNG, Condition.RESTARTING, Condition.FAILED)


def header(snapshot: Snapshot, width: int, *, note: str = "") -> list[Line]:
    """Two lines, and one for each thing that is wrong. `note` is about the monitor itself."""
    missed = snapshot.missed_count
    with_bound = [path for path in snapshot.paths if path.within_ms is not None]
    worst = min((path for path in with_bound if path.share is not None), key=lambda path: path.share or 0, default=None)
    restarts = sum(stage.restarts for stage in snapshot.stages)
    ill = [f"{stage.name} {stage.condition.value}" for stage in snapshot.stages if stage.condition in ILL]
    first = line(
        (snapshot.pipeline, Tone.STRONG),
        f"  {snapshot.run}  ",
        _life(snapshot),
        f"  {duration(snapshot.elapsed_s)}",
        ("  offline" if snapshot.is_offline else "", Tone.DIM),
        (f"  {note}" if note else "", Tone.WARN),
    )
    second = line(
        ("in time ", Tone.DIM),
        percent(worst.share if worst is not None else None),
        (f" at worst ({worst.name})" if worst is not None and len(with_bound) > 1 else "", Tone.DIM),
        ("  missed ", Tone.DIM),
        (f"{missed:,}", Tone.BAD if missed else Tone.PLAIN),
        ("  restarts ", Tone.DIM),
        (f"{restarts:,}", Tone.BAD if restarts else Tone.PLAIN),
        ("  " + ", ".join(ill) if ill else "", Tone.BAD),
    )
    troubles = [f"NOT CONSERVED: {sentence}" for sentence in snapshot.broken_sums]
    troubles += [f"SILENT: {name}" for name in snapshot.silent]
    lines = [first, second, *(line((text, Tone.BAD)) for one in troubles for text in wrapped(one, width))]
    return [cut_line(one, width) for one in lines]


def _life(snapshot: Snapshot) -> tuple[str, Tone]:
    if snapshot.is_over:
        tone = Tone.GOOD if snapshot.ending == "done" else Tone.BAD
        return f"HAS ENDED: {snapshot.ending}", tone
    if snapshot.age_s > SILENCE_S:
        return f"{snapshot.phase}, but its supervisor has told nothing for {snapshot.age_s:.0f} s", Tone.BAD
    return snapshot.phase, Tone.GOOD if snapshot.phase == "running" else Tone.WARN
