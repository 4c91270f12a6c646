"""Which outputs may stay on a device, and how many tensors of theirs somebody may have at once."""

from __future__ import annotations

from typing import Any

import pytest

from streamflow import Batch, In, Message, Node, Out, Pipeline
from streamflow.core.graph import Resolved
from streamflow.core.staying import SPARE_COUNT, lacking_device, staying, why_copied
from streamflow.core.turns import FLIGHT_LIMIT
from streamflow.errors import Fault


class Source(Node):
    number = Out("float32[4]", on_device=True)

    async def run(self) -> None: ...


class Takes(Node):
    number = In("float32[4]", on_device=True)

    def process(self, message: Message) -> None: ...


class Copies(Takes):
    number = In("float32[4]")


class Several(Node):
    number = In("float32[4]", on_device=True)

    def process_batch(self, messages: Any) -> Any: ...


class Both(Node):
    left = In("float32[4]", on_device=True)
    right = In("float32[4]", on_device=True)

    def process(self, *, left: Message, right: Message) -> None: ...


def resolved(
    *targets: Node,
    process: str = "gpu",
    source: Node | None = None,
    device: Any = None,
    sender: Any = None,
    **edge: Any,
) -> Resolved:
    p = Pipeline("staying")
    made = p.add("source", source or Source(), process="gpu", device=sender)
    for nth, target in enumerate(targets):
        stage = p.add(f"target{nth}", target, process=process if nth == 0 else "gpu", device=device)
        for port in target.inputs():
            p.connect(made, stage[port], **edge)
    return p.definition().resolved()


def found(*targets: Node, **how: Any) -> int:
    """How many may be there at once; 0: none stays."""
    stays = staying(resolved(*targets, **how), "source", "number")
    return 0 if stays is None else stays.tensor_count


def test_it_stays_where_all_who_get_it_take_it_there() -> None:
    assert found(Takes(), Takes(), capacity=5) == 5 + 2 * FLIGHT_LIMIT + SPARE_COUNT


def test_there_are_as_many_as_the_widest_edge_and_a_batch_at_its_end_may_hold() -> None:
    class Small(Several):
        batch = Batch(size_max=3, queue_size=7)

    assert found(Takes(), Small(), capacity=5) == 5 + 7 + 3 * FLIGHT_LIMIT + FLIGHT_LIMIT + SPARE_COUNT


def test_to_another_process_it_stays_beside_those_in_its_own() -> None:
    stays = staying(resolved(Takes(), Takes(), process="another"), "source", "number")
    assert stays is not None
    assert (stays.targets, stays.elsewhere) == ({"target1"}, ("source.number->target0.number",))


def test_why_it_is_copied_names_what_to_change() -> None:
    (edge,) = resolved(Copies()).graph.edges
    assert why_copied(resolved(Copies()), edge) == "target0.number is not declared on_device=True"
    assert why_copied(resolved(Takes()), edge) == ""
    assert "no device in common" in why_copied(resolved(Takes(), device="cuda:0"), edge)


@pytest.mark.parametrize(
    ("sender", "receiver", "lacks"),
    [
        (["cuda:0", "host"], None, 'device=["cuda:0", "host"]'),
        ("cuda:1", None, 'device="cuda:1"'),
        ("host", None, ""),
        (None, None, ""),
        ("cuda:0", "host", ""),
    ],
)
def test_a_receiver_lacks_a_device_where_its_sender_asks_for_a_gpu_and_it_asks_for_none(
    sender: Any, receiver: Any, lacks: str
) -> None:
    made = resolved(Takes(), process="another", device=receiver, sender=sender)
    assert [words for _, words in lacking_device(made)] == ([lacks] if lacks else [])


@pytest.mark.parametrize(("target", "edge"), [(Copies(), {}), (Both(), {}), (Takes(), {"lossless": True})])
def test_a_device_is_not_lacking_where_data_would_be_copied_all_the_same(target: Node, edge: dict[str, Any]) -> None:
    assert list(lacking_device(resolved(target, process="another", sender="cuda:0", **edge))) == []


@pytest.mark.parametrize(
    "why",
    [
        {"targets": [Copies()]},
        {"targets": [Takes(), Copies()]},
        {"targets": [Takes()], "process": "another", "lossless": True},
        {"targets": [Takes()], "process": "another", "device": ["cuda:0"]},
        {"targets": [Both()]},
        {"targets": []},
    ],
)
def test_it_does_not_where_one_would_have_to_copy_it_anyway(why: dict[str, Any]) -> None:
    assert found(*why.pop("targets"), **why) == 0


def test_it_does_not_where_it_was_not_declared() -> None:
    class Plain(Source):
        number = Out("float32[4]")

    assert found(Takes(), source=Plain()) == 0


def test_what_is_no_yes_or_no_is_told() -> None:
    with pytest.raises(Fault, match="on_device 'cuda:0', expected True or False; on which device a stage says"):
        Out("float32[4]", on_device="cuda:0")  # type: ignore[arg-type]
