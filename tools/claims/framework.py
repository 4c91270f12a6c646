"""Claims as rows that anyone can run: claim, bound, measured, holds; as a table or JSON, and an exit code.

A row that needs what is not there counts as neither held nor fallen short, and so does one that only reports.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from streamflow import compilation

ROOT = Path(__file__).resolve().parent.parent.parent
COLUMNS = ("claim", "bound", "measured", "holds")
WIDTHS = (46, 34, 44)  # characters of the first three columns on a wide screen; longer text goes on below


class AbsentError(Exception):
    """What a claim needs is not there: its row counts as neither. `because`: told once, for all such rows."""

    def __init__(self, what: str, *, because: str = "") -> None:
        super().__init__(what)
        self.because = because


class ShortfallError(Exception):
    """A claim could not even be measured, because what it is about failed."""


@dataclass(frozen=True, slots=True)
class Options:
    """`is_quick`: shortened streams, for a first look and for tests; what is claimed is the full length."""

    is_quick: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `holds` None: it counts as neither. `because`: what is told below the table."""

    claim: str
    bound: str
    measured: str
    holds: bool | None
    because: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that can be run by itself and gives one row or several."""

    name: str
    measure: Callable[[Options], Iterable[Row]]

    def rows(self, options: Options) -> Iterator[Row]:
        """The rows as they are measured; what fails on the way is a row that falls short."""
        try:
            for row in self.measure(options):
                yield replace(row, claim=f"{self.name}: {row.claim}")
        except AbsentError as error:
            yield Row(self.name, "", f"not measured: {error}", None, error.because)
        except Exception as error:  # whatever it is: the other claims are measured all the same
            if not isinstance(error, ShortfallError):
                traceback.print_exc()
            yield Row(self.name, "can be measured", f"{type(error).__name__}: {error}", False)


def recording(name: str) -> Path:
    """A file or WFDB record of the data folder. Raises AbsentError."""
    folder = Path(os.environ.get("STREAMFLOW_DATA", ROOT.parent / "shared" / "data"))
    path = folder / name
    if not path.exists() and not (path.parent.is_dir() and list(path.parent.glob(path.name + ".*"))):
        raise AbsentError(f"{name} is not there (STREAMFLOW_DATA names the folder)")
    return path


class HostShare:
    """How much of the processors the host has taken for others since this was made: none where there is no host.

    What it took can make any figure of time worse; a row that depends on it says how much it was.
    """

    def __init__(self) -> None:
        self._stolen, self._all = self._ticks()

    @staticmethod
    def _ticks() -> tuple[int, int]:
        with open("/proc/stat") as stat:
            ticks = [int(word) for word in stat.readline().split()[1:9]]
        return ticks[7], sum(ticks)

    def __str__(self) -> str:
        stolen, every = self._ticks()
        return f"host took {(stolen - self._stolen) / max(every - self._all, 1):.1%}"


def environment() -> str:
    """What the figures depend on, in a line."""
    cpus = len(os.sched_getaffinity(0))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    kernel = f"{platform.system()} {platform.release()} {platform.machine()}"
    libraries = ", ".join(f"{name} {_version(name)}" for name in ("streamflow", "numpy", "pyzmq", "trio"))
    hot_path = f"interpreted ({compilation.reason})" if compilation.reason else "compiled"
    return f"{cpus} CPUs, load {load}; {kernel}; Python {platform.python_version()}; {libraries}; hot path {hot_path}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "from its sources"


def main(topic: str, claims: Sequence[Claim], arguments: Sequence[str] | None = None) -> int:
    """Run the claims of a topic and print their rows; 1 when one falls short, 2 when none was asked for."""
    parser = argparse.ArgumentParser(prog=f"claims-{topic}", description=f"Measure the claims of '{topic}'.")
    parser.add_argument("--json", action="store_true", help="the rows as a JSON list on standard output")
    parser.add_argument(
        "--only", metavar="NAME", default="", help="the claim of this name, or those that have this in it"
    )
    parser.add_argument("--quick", action="store_true", help="shortened streams, for a first look")
    parser.add_argument("--list", action="store_true", help="the names of the claims, and nothing is run")
    asked = parser.parse_args(arguments)
    chosen = [claim for claim in claims if asked.only == claim.name]
    chosen = chosen or [claim for claim in claims if asked.only in claim.name]
    if not chosen:
        print(f"claims-{topic}: no claim has '{asked.only}' in its name; --list tells them", file=sys.stderr)
        return 2
    if asked.list:
        print("\n".join(claim.name for claim in chosen))
        return 0
    print(environment(), file=sys.stderr if asked.json else sys.stdout, flush=True)
    options, rows = Options(asked.quick), list[Row]()
    measured = (row for claim in chosen for row in claim.rows(options))
    if asked.json:  # a row a line, when it is known: who stops it has those before
        for row in measured:
            print("," if rows else "[", json.dumps({"topic": topic} | asdict(row)), flush=True)
            rows.append(row)
        print("]" if rows else "[]")
    else:
        _print_row(COLUMNS)
        for row in measured:
            _print_row((row.claim, row.bound, row.measured, _word(row.holds)))
            rows.append(row)
        for what, because in dict.fromkeys((row.measured, row.because) for row in rows if row.because):
            print(f"{what}: {because}")
        print(_verdict(rows))
    return 1 if any(row.holds is False for row in rows) else 0


def _word(holds: bool | None) -> str:
    return "-" if holds is None else "yes" if holds else "NO"


def _print_row(cells: Sequence[str]) -> None:
    """One row under the other, each when it is known; a cell that is too long goes on in the next line."""
    share = min(1.0, max(0.5, (shutil.get_terminal_size((140, 24)).columns - 16) / sum(WIDTHS)))
    widths = [int(width * share) for width in WIDTHS]
    columns = [textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, widths, strict=False)]
    for number in range(max(len(lines) for lines in columns)):
        parts = [lines[number] if number < len(lines) else "" for lines in columns]
        padded = [part.ljust(width) for part, width in zip(parts, widths, strict=True)]
        print(" | ".join([*padded, cells[-1] if number == 0 else ""]).rstrip(" |" if number else " "), flush=True)


def _verdict(rows: Sequence[Row]) -> str:
    held = sum(row.holds is True for row in rows)
    short = sum(row.holds is False for row in rows)
    return f"{held} hold, {short} fall short, {len(rows) - held - short} count as neither"
