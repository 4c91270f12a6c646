"""How a node with several inputs gets them together, as in `p.add("fuse", Fuse(), join=Nearest(trigger="camera"))`.

| policy | a row is |
|---|---|
| `Exact` | data of one event time: branches of one source (what is used where nothing is said) |
| `Nearest` | with each datum of one input, the nearest of every other |
| `Approximate` | the set that lies closest together, as ROS 2's ApproximateTime finds it |
| `Latest` | what each input had last, when one of them or a timer asks |
| `Interpolate` | the value of every input at one instant |
| `Window` | all data of a span |
| `Settled` | by event time alone: the same rows whatever the order of arrival |
"""

from streamflow.core.joins.approximate import Approximate
from streamflow.core.joins.contract import InputState, Join, OnMissing, Reason
from streamflow.core.joins.exact import Exact
from streamflow.core.joins.interpolate import Blend, Interpolate
from streamflow.core.joins.latest import Latest
from streamflow.core.joins.nearest import Nearest
from streamflow.core.joins.settled import Settled
from streamflow.core.joins.window import Window

__all__ = [
    "Approximate",
    "Blend",
    "Exact",
    "InputState",
    "Interpolate",
    "Join",
    "Latest",
    "Nearest",
    "OnMissing",
    "Reason",
    "Settled",
    "Window",
]
