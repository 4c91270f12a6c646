"""A hop over Eclipse Cyclone DDS, the wire under ROS 2: a writer and a reader, reliable, keep all, on loopback.

The way is its own and only one: the published wheel has no shared memory in it, so the data go through UDP. The type
is an array of octets, which its Python binding copies as a block; a sequence of them it packs one by one.
"""

from __future__ import annotations

import os
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tools.bench.peers import hop

SETTINGS = """
<CycloneDDS><Domain Id="any">
  <General>
    <Interfaces><NetworkInterface name="lo"/></Interfaces>
    <AllowMulticast>false</AllowMulticast>
    <MaxMessageSize>65500B</MaxMessageSize>
    <FragmentSize>65000B</FragmentSize>
  </General>
  <Discovery>
    <ParticipantIndex>auto</ParticipantIndex>
    <MaxAutoParticipantIndex>99</MaxAutoParticipantIndex>
    <Peers><Peer address="127.0.0.1"/></Peers>
  </Discovery>
  <Internal><SocketReceiveBufferSize min="default" max="16MB"/></Internal>
</Domain></CycloneDDS>
"""
os.environ["CYCLONEDDS_URI"] = "".join(line.strip() for line in SETTINGS.splitlines())  # read when a domain is made

from cyclonedds.core import ReadCondition, ViewState, InstanceState, SampleState, WaitSet  # noqa: E402, I001
from cyclonedds.domain import DomainParticipant  # noqa: E402
from cyclonedds.idl import make_idl_struct  # noqa: E402
from cyclonedds.idl.types import array, uint8  # noqa: E402
from cyclonedds.pub import DataWriter  # noqa: E402
from cyclonedds.qos import Policy, Qos  # noqa: E402
from cyclonedds.sub import DataReader  # noqa: E402
from cyclonedds.topic import Topic  # noqa: E402
from cyclonedds.util import duration  # noqa: E402

POLL_S = 0.05
DRAIN_COUNT = 64  # samples taken at a time
QOS = Qos(Policy.Reliability.Reliable(duration(seconds=10)), Policy.History.KeepAll)


def _topic(case: hop.Case, folder: Path) -> tuple[Any, Any, Any]:
    """The participant, the type of a sample, and a topic named for this run alone."""
    participant = DomainParticipant()
    kind = make_idl_struct("Sample", f"Sample{case.size}", {"data": array[uint8, case.size]})
    return participant, kind, Topic(participant, folder.name, kind, qos=QOS)


def send(case: hop.Case, folder: Path) -> None:
    participant, kind, topic = _topic(case, folder)
    writer = DataWriter(participant, topic, qos=QOS)
    block = bytearray(hop.blank(case.size))  # it serializes from bytes and this only
    sample = kind(data=block)
    while not writer.get_matched_subscriptions():
        time.sleep(POLL_S)
    sending = hop.Sending(case)
    for number in sending.numbers():
        hop.stamp(block, number)
        writer.write(sample)
    hop.stamp(block, hop.END)
    writer.write(sample)
    hop.keep(folder, sending.sent)
    hop.wait_for_receiver()


def receive(case: hop.Case, folder: Path) -> None:
    participant, _, topic = _topic(case, folder)
    reader = DataReader(participant, topic, qos=QOS)
    waitset = WaitSet(participant)
    waitset.attach(ReadCondition(reader, ViewState.Any | InstanceState.Alive | SampleState.NotRead))
    receipts = hop.Receipts(case)
    hop.say_ready()
    while not (receipts.is_over or receipts.is_idle()):
        waitset.wait(duration(milliseconds=500))
        for sample in reader.take(N=DRAIN_COUNT):
            receipts.note(np.frombuffer(sample.data, np.uint8))
    hop.keep(folder, receipts.received())


if __name__ == "__main__":
    hop.main("cyclonedds", version("cyclonedds"), send, receive)
