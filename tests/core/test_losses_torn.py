"""A sender that died amid accepting a datum: what its table says of one that was not accepted yet."""

from __future__ import annotations

from streamflow.core.losses import Died, EdgeState, InService, Live, LiveState, losses
from streamflow.core.message import Origin

MINE = (Origin("mic", 4, 0),)
SERIAL = 7


def lost_places(*entries: Live, splits: int = 0) -> list[str]:
    """Where something was lost of a datum that was in service as `SERIAL`; its receiver got all that was out."""
    edge = EdgeState("a->b", "a", Died.SENDER, entries, received={0: 100})
    service = InService("a", SERIAL, MINE, mask=1, splits=[1] * splits)
    return [loss.place for loss in losses([edge], [service])]


def test_a_datum_that_was_not_yet_held_is_lost_with_the_service_it_came_from() -> None:
    torn = Live(LiveState.FREE, -1, 0, (), SERIAL)
    assert lost_places(torn) == ["a"]


def test_one_that_was_sent_and_is_done_with_is_not() -> None:
    assert lost_places(Live(LiveState.FREE, 0, 0, (), SERIAL)) == []


def test_what_was_sent_before_from_the_same_place_is_not_lost_either() -> None:
    """The slot of the first piece was free again, and was taken for the second."""
    torn = Live(LiveState.FREE, -1, 0, (), SERIAL, nth=1)
    assert lost_places(torn, splits=1) == ["a"]
    assert lost_places(torn, splits=0) == []
