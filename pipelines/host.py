"""This machine watches itself: jitter, processors, memory, network, disks; a forecaster tells what is unusual."""

from nodes.infer import EchoForecaster
from nodes.ingest import CpuPressure, DiskTemperature, MemoryNetwork, SchedulerJitter, has_disk_or_temperature
from nodes.postprocess import JsonLines, ThresholdAlert
from nodes.preprocess import Summarise, Window
from streamflow import Overflow, Pipeline, ms, s

# The smallest change worth notice, in the unit of each feature.
JITTER_US = (10.0, 100.0)  # of a window's mean, of its maximum
SHARE = 0.02  # of a processor's time
RESOLUTION = {
    "memory_used": 0.002,
    "received": 10e3,
    "sent": 10e3,
    "disk_read": 1e6,
    "disk_written": 1e6,
    "temperature": 0.5,
}


def build(score: float = 6.0, out: str = "-") -> Pipeline:
    """`score`: how many usual errors a forecast must be off for an alert; `out`: where alerts go, - is the screen."""
    p = Pipeline("host")
    jitter = p.add("jitter", SchedulerJitter(rate_hz=250, chunk=5))
    jitter_window = p.add("jitter_window", Window(50, hop=25))
    jitter_features = p.add("jitter_features", Summarise())
    cpu = p.add("cpu", CpuPressure(rate_hz=50))
    cpu_window = p.add("cpu_window", Window(20, hop=10))
    cpu_features = p.add("cpu_features", Summarise())
    memory_node = MemoryNetwork(rate_hz=10)
    memory = p.add("memory", memory_node)

    signals = {"jitter": jitter_features, "cpu": cpu_features, "memory": memory}
    worth_notice: dict[str, float | tuple[float, ...]] = {
        "jitter": JITTER_US,
        "cpu": SHARE,
        "memory": _resolution(memory_node.find_channels()),
    }
    if has_disk_or_temperature():
        disk_node = DiskTemperature(rate_hz=1)
        signals["disk"] = p.add("disk", disk_node)
        worth_notice["disk"] = _resolution(disk_node.find_channels())

    forecast = p.add("forecast", EchoForecaster(worth_notice, warm_up_s=5.0))
    alerts = p.add("alerts", ThresholdAlert(score, release=score / 2, field="score", by="signal"))
    log = p.add("log", JsonLines(out, attributes=("signal",)))

    p.connect(jitter, jitter_window, overflow=Overflow.DROP_OLDEST, capacity=16)
    p.connect(jitter_window, jitter_features, overflow=Overflow.DROP_OLDEST)
    p.connect(cpu, cpu_window, overflow=Overflow.DROP_OLDEST, capacity=16)
    p.connect(cpu_window, cpu_features, overflow=Overflow.DROP_OLDEST)
    for name, features in signals.items():
        p.connect(features, forecast[name], overflow=Overflow.DROP_OLDEST)
    p.connect(forecast, alerts)
    p.connect(alerts, log)
    p.deadline("jitter", jitter, alerts, within=100 * ms, firm=(95, 100))
    p.deadline("cpu", cpu, alerts, within=100 * ms, firm=(95, 100))
    p.rate_deadline("memory_speaks", forecast.memory, within=1 * s)
    return p


def _resolution(channels: tuple[str, ...]) -> tuple[float, ...]:
    return tuple(RESOLUTION[name] for name in channels)
