"""A pipeline that goes on until it is stopped, with a stage that gets stuck for a while where that is asked for."""

from nodes.ingest import Tone
from nodes.postprocess import JsonLines
from streamflow import In, Message, Node, Out, Output, Pipeline


class Loudness(Node):
    """The largest value of a chunk; after the first `quick_count` chunks each takes `stuck_s` seconds."""

    signal = In("float32[time]")
    loudness = Out("float32[]")

    def __init__(self, stuck_s: float, quick_count: int) -> None:
        self._stuck_ns = round(stuck_s * 1e9)
        self._quick_count = quick_count

    async def process(self, message: Message) -> Output:
        if message.seq >= self._quick_count:
            await self.context.sleep_until(self.context.now_ns() + self._stuck_ns)
        return Output(message.array.max())


def build(out: str, stuck_s: float = 0.0, quick_count: int = 10) -> Pipeline:
    """100 chunks a second. `stuck_s`: what stage loud takes for a chunk after the first ones; `out`: JSON lines."""
    p = Pipeline("endless")
    tone = p.add("tone", Tone(rate_hz=16000, chunk=160))
    loud = p.add("loud", Loudness(stuck_s, quick_count))
    log = p.add("log", JsonLines(out, attributes=("sample",)))
    p.connect(tone.signal, loud)
    p.connect(loud, log)
    return p
