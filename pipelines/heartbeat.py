"""Heart beats in an electrocardiogram: samples of a WFDB record in, the instant of every beat out."""

from nodes.ingest import WfdbFile
from nodes.postprocess import BeatDetector, CsvWriter
from streamflow import Pipeline, ms


def build(record: str, out: str = "-", lead: int = 0) -> Pipeline:
    """`record`: the path without suffix; `out`: a CSV with a header: sample, time_s, ...; `lead`: from 0."""
    p = Pipeline("heartbeat")
    electrodes = p.add("electrodes", WfdbFile(record, chunk=36))
    beats = p.add("beats", BeatDetector(lead=lead))
    log = p.add("log", CsvWriter(out))
    p.connect(electrodes, beats)
    p.connect(beats, log)
    p.deadline("heartbeat", electrodes, log, within=100 * ms)
    return p
