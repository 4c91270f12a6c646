"""Where a test may lay hands on the stages of a process: the runtime calls this at a few points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from streamflow.core.enforcement import Act
from streamflow.core.message import Message
from streamflow.runtime.accounts.logbook import Logbook
from streamflow.runtime.node import Output
from streamflow.runtime.stage.ends import Outlet


class Interference(Protocol):
    """What a test does to the stages of a process, and sees of them; nobody interferes with a real run."""

    async def before_take(self) -> None:
        """Return when the process's loop is free for a stage to go on."""

    async def before_work(self, stage: str, message: Message, act: Act) -> None:
        """Take the time that the work takes; hang, or end the process."""

    async def before_batch(self, stage: str, messages: Sequence[Message]) -> None:
        """The same for several data that are worked on at once."""

    async def before_emit(self, stage: str, seq: int, output: Output) -> Output:
        """A source's next datum as its sensor gives it, when it gives it."""

    def handled(self, stage: str, message: Message) -> None: ...
    def sent(self, stage: str, port: str, message: Message) -> None: ...
    def outlet(self, outlet: Outlet, logbook: Logbook) -> Outlet:
        """The end of an edge that its actor is to use in place of this one."""
