"""What a node returns of work that a device does: awaited for it, the results are there."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, final

from streamflow.device.contract import Ticket


@final
class OnDevice:
    """`results()` is called once the device is done, and returns like `process`. The stage's own work ends when this is
    returned (`given_ns`); from then until the ticket is done the device has it, and a miss is blamed on the device
    where that is what took too long."""

    __slots__ = ("_results", "_ticket", "given_ns")

    def __init__(self, ticket: Ticket, results: Callable[[], Any]) -> None:
        self.given_ns = 0
        self._ticket = ticket
        self._results = results

    def then(self, further: Callable[[Any], Any]) -> OnDevice:
        """The same work, of whose results `further` makes the node's."""
        results = self._results
        return OnDevice(self._ticket, lambda: further(results()))

    def span_ns(self, started_ns: int, ended_ns: int) -> tuple[int, int]:
        """When the device was given its work and when it was done with it, for a handling of that time."""
        given_ns = min(max(self.given_ns, started_ns), ended_ns)
        return given_ns, min(max(self._ticket.done_ns, given_ns), ended_ns)

    @property
    def is_done(self) -> bool:
        """Whether the device is done, or has failed."""
        return self._ticket.is_done

    @property
    def done_ns(self) -> int:
        """When that was seen; 0 until then."""
        return self._ticket.done_ns

    async def wait(self) -> None:
        """Return when the device is done. Raises what its work has raised, or a DeviceError."""
        await self._ticket.wait()

    def __await__(self) -> Generator[Any, Any, Any]:
        yield from self._ticket.wait().__await__()
        results, self._results = self._results, _nothing
        return results()  # what it has kept for the device is let go with it


def _nothing() -> None:
    """There are no results any more."""
