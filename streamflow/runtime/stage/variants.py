"""The variants of a stage: several nodes as one, and which of them works on the next datum.

To everybody else they are one node, whose ports are those of the best. All are open from the start, so that a switch
costs nothing; each has a context of its own, which differs in the recurrent states that it is lent.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, Final, cast

from streamflow.core.cost import ServiceCost
from streamflow.core.message import Message
from streamflow.core.variants import BACK_AFTER_NS, VARIANT_COUNT_MAX, Load, Variants, VariantStates
from streamflow.errors import Fault
from streamflow.recorder import layout
from streamflow.recorder.writer import Recorder
from streamflow.runtime.guard import VARIANT_NOTE
from streamflow.runtime.node import Context, Node, Port, with_attributes
from streamflow.runtime.stage.enforcer import Enforcer
from streamflow.runtime.stream_states import StreamStates

GAP_WEIGHT: Final = 4  # data over which the time from one to the next is averaged
NEWEST_COUNT: Final = 3  # of the last, by themselves: fewer are close together by chance
STREAM_COUNT_MAX: Final = 1024  # whose numbers are remembered; of more it is not known what was dropped
ATTRIBUTE: Final = "variant"
"""Of each result: the name of the variant that made it."""


class _Lent:
    """What the runtime lends one of the variants: the stage's own, but for its states."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.states: StreamStates | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


class VariantsNode(Node):
    """`variants` by name, best first."""

    def __init__(
        self,
        variants: Mapping[str, Node],
        back_after_ns: int = BACK_AFTER_NS,
        states: VariantStates = VariantStates.OWN,
    ) -> None:
        self.variants = dict(variants)
        self.back_after_ns = back_after_ns
        self.states = states
        nodes = list(self.variants.values())
        self.best = nodes[0]
        self.join = self.best.join
        self.fork_safe = all(node.fork_safe for node in nodes)
        self.retimes = any(node.retimes for node in nodes)
        self.stateful = any(node.stateful for node in nodes)

    @property
    def context(self) -> Context:
        return self.best.context

    @context.setter
    def context(self, context: Context) -> None:
        for node in self.variants.values():
            node.context = cast(Context, _Lent(context))

    def ports(self) -> dict[str, Port]:
        """Of the best; tensors are on a device where each variant takes them, and leaves them, there."""
        found = {name: copy(port) for name, port in self.best.ports().items()}
        for node in self.variants.values():
            for name, port in node.ports().items():
                if name in found and not port.type.on_device:
                    found[name].type = replace(found[name].type, on_device=False)
        return found

    def inspect(self) -> None:
        for node in self.variants.values():
            node.stage_devices = self.stage_devices
            node.inspect()

    def preload(self) -> None:
        for node in self.variants.values():
            node.preload()

    async def open(self) -> None:
        opened: list[Node] = []
        for name, node in self.variants.items():
            try:
                await _done(node.open())
            except Exception as error:
                error.add_note(f"{VARIANT_NOTE}{name}")
                for each in opened:  # all may be opened again, on another device
                    await _done(each.close())
                raise
            opened.append(node)

    def process(self, *messages: Any, **by_input: Any) -> Any:
        """The best, where nobody chooses."""
        return cast(Any, self.best).process(*messages, **by_input)

    async def flush(self) -> Any:
        """What any of them has held back."""
        return [with_attributes(await _done(node.flush()), {ATTRIBUTE: name}) for name, node in self.variants.items()]

    async def close(self) -> None:
        failure: Exception | None = None
        for node in self.variants.values():
            try:
                await _done(node.close())
            except Exception as error:  # the others are to be closed all the same
                failure = failure or error
        if failure is not None:
            raise failure

    def lend_states(self, states: StreamStates, name: str) -> None:
        """To the variant of that name; to all where nothing is said."""
        for each, node in self.variants.items():
            if name in ("", each):
                cast(_Lent, node.context).states = states


async def _done(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


class Choosing:
    """Of one life of a stage with variants."""

    def __init__(self, node: VariantsNode, enforcer: Enforcer, recorder: Recorder) -> None:
        self._node = node
        self._enforcer = enforcer
        self._recorder = recorder
        self._sent: deque[tuple[int, int]] = deque(maxlen=NEWEST_COUNT + 1)  # when, and with it how many since the last
        self._gap_ns = 0
        self.worked_until_ns = 0
        """When the stage was last done with a datum."""
        self._numbers: dict[str, tuple[int, int]] = {}  # of each stream's last, and the least from one to the next
        self._names = list(node.variants)
        self._handlers: list[Callable[..., Any]] = [cast(Any, each).process for each in node.variants.values()]
        self._costs = [enforcer.cost, *(ServiceCost(enforcer.margin_limit_ns) for _ in self._names[1:])]
        for nth, cost in enumerate(self._costs):  # as a former life knew them
            cost.usual_ns = cost.usual_ns or recorder.get(layout.VARIANT_USUAL_NS + nth)
        self._variants = Variants(len(self._names), node.back_after_ns, recorder.get(layout.VARIANT))
        self.level = -1
        self._use(self._variants.level)

    @property
    def handler(self) -> Callable[..., Any]:
        """Of the variant in use."""
        return self._handlers[self.level]

    def choose(self, message: Message, now_ns: int, mailbox: int) -> Message:
        """Which is to work on it; the message, on which that is noted. `mailbox`: so many may wait in its input's."""
        enforcer, costs = self._enforcer, self._costs
        level = self._variants.choose(
            now_ns,
            self._load(message, mailbox, now_ns),
            [cost.usual_ns for cost in costs],
            [cost.expected_ns() for cost in costs],
            is_degraded=enforcer.has_broken_contract,
        )
        if level != self.level:
            self._use(level)
            self._recorder.add(layout.VARIANT_SWITCHES)
        return message.replace(attributes={**message.attributes, ATTRIBUTE: self._names[level]})

    def _load(self, message: Message, mailbox: int, now_ns: int) -> Load:
        sent_ns, enforcer = message.sent_ns, self._enforcer
        dropped_count = self._dropped_count(message) if mailbox else 0
        last_ns = self._sent[-1][0] if self._sent else 0
        if sent_ns >= last_ns:
            count = dropped_count + 1
            if last_ns:
                gap_ns = (sent_ns - last_ns) // count
                for _ in range(min(count, GAP_WEIGHT)):
                    self._gap_ns += (gap_ns - self._gap_ns) // (GAP_WEIGHT if self._gap_ns else 1)
            self._sent.append((sent_ns, count))
        waited_ns = max(now_ns - sent_ns, 0) if sent_ns else 0
        has_dropped = dropped_count > 0 and enforcer.has_contract
        return Load(
            enforcer.room_ns(message, now_ns), waited_ns, self._gap_ns, mailbox, self._newest_gap_ns(), has_dropped
        )

    def _dropped_count(self, message: Message) -> int:
        """Data of its stream that were sent before it and are gone, where a mailbox drops: their numbers are left out.

        Else the time from one datum that is taken to the next would be that of a service, whatever the load. What is
        left out while the stage stood idle was never sent to it.
        """
        numbers, stream = self._numbers, message.stream
        if stream not in numbers:
            if len(numbers) < STREAM_COUNT_MAX:
                numbers[stream] = (message.seq, 0)
            return 0
        last, stride = numbers[stream]
        step = message.seq - last
        if step <= 0:
            return 0
        stride = min(stride or step, step)
        numbers[stream] = (message.seq, stride)
        return step // stride - 1 if message.sent_ns < self.worked_until_ns else 0

    def _newest_gap_ns(self) -> int:
        sent = self._sent
        if len(sent) <= NEWEST_COUNT:
            return 0
        return (sent[-1][0] - sent[0][0]) // sum([count for _, count in sent][1:])

    def worked(self) -> None:
        """The variant in use works on a datum."""
        self._recorder.add(layout.VARIANT_DATA + self.level)

    def _use(self, level: int) -> None:
        if self.level >= 0 and self._node.states is VariantStates.RESET:
            states = self._node.variants[self._names[level]].context.states
            if states is not None:
                states.start_anew()
        if self.level >= 0:
            self._recorder.set(layout.VARIANT_USUAL_NS + self.level, self._costs[self.level].usual_ns)
        self.level = level
        self._enforcer.cost = self._costs[level]
        self._recorder.set(layout.VARIANT, level)


def named(stage: str, given: object) -> tuple[dict[str, Node], list[Fault]]:
    """The variants of a stage by name, and what is wrong with what was given."""
    subject = f"stage {stage}, variants"
    hint = "as in variants=[Full(), Small()]"
    if isinstance(given, Mapping):
        found = {str(name): node for name, node in given.items()}
    elif isinstance(given, Sequence) and not isinstance(given, str):
        found = dict(zip(_names(given), given, strict=True))
    else:
        return {}, [Fault(subject, repr(given), "nodes, the best first", hint)]
    if not 2 <= len(found) <= VARIANT_COUNT_MAX:
        return {}, [Fault(subject, f"{len(found)} of them", f"2 to {VARIANT_COUNT_MAX}, the best first", hint)]
    if not all(found):
        return {}, [Fault(subject, "one without a name", "a name for each", "it stands in each result")]
    wrong = [node for node in found.values() if not isinstance(node, Node)]
    if wrong:
        return {}, [Fault(subject, f"a {type(wrong[0]).__name__}", "nodes, the best first", hint)]
    if len({id(node) for node in found.values()}) < len(found):
        return {}, [Fault(subject, "one node twice", "a node for each", hint)]
    return found, []


def _names(nodes: Sequence[object]) -> list[str]:
    """Their classes'; those of one class, as two files of one kind of model, are numbered."""
    classes = [type(node).__name__ for node in nodes]
    return [
        f"{name}-{classes[: nth + 1].count(name)}" if classes.count(name) > 1 else name
        for nth, name in enumerate(classes)
    ]


def variant_faults(stage: str, node: VariantsNode) -> list[Fault]:
    """What keeps nodes from being variants of each other; after they were inspected."""
    faults = []
    expected = _ports_told(node.best)
    best = next(iter(node.variants))
    for name, each in node.variants.items():
        subject = f"stage {stage}, variant {name}"
        if each.is_source or not callable(getattr(each, "process", None)):
            faults.append(Fault(subject, f"{type(each).__name__} has no process()", "a node that has"))
        elif hasattr(each, "degrade"):
            found = f"{type(each).__name__} has degrade()"
            faults.append(Fault(subject, found, "none", "cheaper variants are in its place"))
        if _ports_told(each) != expected:
            faults.append(Fault(subject, f"ports {_ports_told(each)}", f"those of {best}: {expected}"))
    return faults


def _ports_told(node: Node) -> str:
    told = [f"{name} {type(port).__name__}({port.type})" for name, port in node.ports().items()]
    return ", ".join(told) or "none"
