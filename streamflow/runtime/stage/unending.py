"""A source that is declared PERMANENT: where it ends by itself it has failed, and its stream goes on in its next life.

What it has sent gets out first, so that an end that the node had meant loses nothing. A source that was told to stop
ends its stream like any other. Alternative not taken: to end the stream and to open it anew; whoever is downstream
would have flushed, closed its files, and said that it is done.
"""

from __future__ import annotations

from streamflow.core.timebase import ms
from streamflow.errors import NodeError
from streamflow.runtime.stage.actor import Actor

LOOK_NS = 2 * ms  # between two looks at whether anything is held back
ON_THE_WAY_NS = 10 * ms  # a hundred times what a socket needs: no credit tells of the last data of a blocking edge


class Unending(Actor):
    """Only where the run restarts what fails."""

    async def run(self) -> None:
        """Until it was told to stop; raises NodeError where it has ended by itself."""
        await self._run_source()
        while self.sending.holds_data and not self._is_told_to_stop:
            await self.sleep_until(self.now_ns() + LOOK_NS)
        if not self._is_told_to_stop:
            await self.sleep_until(self.now_ns() + ON_THE_WAY_NS)
        if not self._is_told_to_stop:
            raise NodeError(self.stage, "its stream has ended, and it is declared permanent")
        self.sending.end()

    @property
    def _is_told_to_stop(self) -> bool:
        return self._draining.cancel_called
