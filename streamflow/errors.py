"""Every exception of the project, one tree: what is named, what was found, what was expected, and a hint.

Shed, dropped, or late data are outcomes, not errors: they are values and counters. An exception is a broken
promise: a graph that cannot run, bytes that are no message, a peer that vanished, a node that failed.
`exit_code` is what the command line returns when the exception ends it.
"""

from __future__ import annotations

from collections.abc import Sequence


class StreamflowError(Exception):
    """One sentence: subject, what was found, what was expected, and a hint; the parts stay readable as fields."""

    exit_code = 1

    def __init__(self, subject: str, found: str, expected: str = "", hint: str = "") -> None:
        super().__init__(subject, found, expected, hint)
        self.subject = subject
        self.found = found
        self.expected = expected
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.subject}: {self.found}" if self.subject else self.found
        if self.expected:
            text += f", expected {self.expected}"
        if self.hint:
            text += f"; {self.hint}"
        return text


class UsageError(StreamflowError):
    """The command line or a parameter is wrong; nothing was started."""

    exit_code = 2


class PipelineError(StreamflowError):
    """The pipeline cannot run as defined: every fault that was found, each a sentence of its own."""

    exit_code = 2

    def __init__(self, faults: Sequence[StreamflowError]) -> None:
        super().__init__("pipeline", f"{len(faults)} fault{'s' if len(faults) != 1 else ''}")
        self.faults = tuple(faults)

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)


class Fault(StreamflowError):
    """One thing that is wrong with a pipeline definition."""

    exit_code = 2


class InputError(StreamflowError):
    """A file, device or setting that a node was given is not what it needs.

    Raised in a node's `__init__` it is a fault of the pipeline (nothing was started, exit 2); raised later it
    ends the run (exit 1). Either way the user sees the sentence and no traceback.
    """


class DamagedFileError(InputError):
    """A file that is damaged where it is read: who begins again comes to the same place, so the run ends at once."""


class ClosedOutputError(InputError):
    """Nobody reads standard output any more, as after `| head`: the run ends as any Unix tool does, without a word."""

    exit_code = 141  # what a shell says of a tool that SIGPIPE ended


class MissingExtraError(InputError):
    """A node needs a library that is not installed; the hint is the command that brings it."""

    def __init__(self, subject: str, library: str, extra: str) -> None:
        super().__init__(subject, f"{library} is not installed", hint=f"pip install 'streamflow[{extra}]' brings it")


class WireError(StreamflowError, ValueError):
    """Bytes that are not a message, or a value that cannot be put on the wire."""


class PortError(WireError):
    """A datum is not of its port's type; the subject names the stage and the port."""


class RecorderError(StreamflowError, ValueError):
    """A flight recorder that cannot be made, written or read."""


class PoolError(StreamflowError, ValueError):
    """Shared memory for tensors that cannot be made or read."""


class StateError(StreamflowError, ValueError):
    """Recurrent state that cannot be kept, read or gone on from, or a rule for it that makes no sense."""


class ResultError(StreamflowError, ValueError):
    """User code returned something that is none of the forms of a result."""


class MissingInputError(StreamflowError):
    """A row of joined inputs lacks one that it may not lack."""


class LinkError(StreamflowError):
    """A link between two stages cannot be used."""


class ClosedLinkError(LinkError):
    """This side closed the link."""


class BrokenLinkError(LinkError):
    """The other side, or what lies between, broke the link."""


class RefusedLinkError(LinkError):
    """The other side refused our hello: another protocol version, edge, schema or generation."""


class NodeError(StreamflowError):
    """User code raised: names the stage and carries the user's own part of the traceback.

    `is_final`: it would raise again, so the stage is not started again.
    """

    def __init__(self, stage: str, message: str, traceback_text: str = "", *, is_final: bool = False) -> None:
        super().__init__(f"stage {stage}", message)
        self.stage = stage
        self.traceback_text = traceback_text
        self.is_final = is_final
