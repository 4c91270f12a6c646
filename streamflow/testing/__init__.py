"""Tools for testing nodes and pipelines, public like `trio.testing`.

`drive` runs one node by hand, with no processes at all; `simulate` runs a whole pipeline in virtual time, with the
faults that `Faults` declares and sensors (`Ticks`, `Bursts`) whose every datum is known beforehand.
"""

from streamflow.testing.fault_plan import FaultPlan
from streamflow.testing.faults import Faults, Kind
from streamflow.testing.harness import Driven, drive
from streamflow.testing.sensors import Bursts, Ticks
from streamflow.testing.simulated_venue import OfBatch, Service
from streamflow.testing.simulation import Simulation, simulate

__all__ = [
    "Bursts",
    "Driven",
    "FaultPlan",
    "Faults",
    "Kind",
    "OfBatch",
    "Service",
    "Simulation",
    "Ticks",
    "drive",
    "simulate",
]
