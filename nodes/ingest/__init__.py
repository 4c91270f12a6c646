"""Sources: recordings paced by their own time stamps, live sensors, and synthetic signals with known truth."""

from typing import TYPE_CHECKING

from streamflow.on_demand import on_demand

if TYPE_CHECKING:
    from nodes.ingest.audio_file import WavFile
    from nodes.ingest.camera import Camera
    from nodes.ingest.csv_file import CsvFile
    from nodes.ingest.hdf5_file import Hdf5File
    from nodes.ingest.live_audio import Microphone
    from nodes.ingest.machine import (
        CpuPressure,
        DiskTemperature,
        MemoryNetwork,
        SchedulerJitter,
        has_disk_or_temperature,
    )
    from nodes.ingest.mcap_file import McapFile
    from nodes.ingest.numpy_file import NumpyFile
    from nodes.ingest.sounds import Sounds
    from nodes.ingest.synthetic import Chirp, ImuMotion, MovingShapes, Talk, Thermometer, Tone
    from nodes.ingest.udp import UdpDatagrams
    from nodes.ingest.video_file import VideoFile
    from nodes.ingest.voices import Voices
    from nodes.ingest.wfdb_file import WfdbFile, read_annotations
else:
    __getattr__, __dir__ = on_demand(
        __name__,
        {
            "audio_file": ("WavFile",),
            "camera": ("Camera",),
            "csv_file": ("CsvFile",),
            "hdf5_file": ("Hdf5File",),
            "live_audio": ("Microphone",),
            "machine": (
                "CpuPressure",
                "DiskTemperature",
                "MemoryNetwork",
                "SchedulerJitter",
                "has_disk_or_temperature",
            ),
            "mcap_file": ("McapFile",),
            "numpy_file": ("NumpyFile",),
            "sounds": ("Sounds",),
            "synthetic": (
                "Chirp",
                "ImuMotion",
                "MovingShapes",
                "Talk",
                "Thermometer",
                "Tone",
            ),
            "udp": ("UdpDatagrams",),
            "video_file": ("VideoFile",),
            "voices": ("Voices",),
            "wfdb_file": (
                "WfdbFile",
                "read_annotations",
            ),
        },
    )

__all__ = [
    "Camera",
    "Chirp",
    "CpuPressure",
    "CsvFile",
    "DiskTemperature",
    "Hdf5File",
    "ImuMotion",
    "McapFile",
    "MemoryNetwork",
    "Microphone",
    "MovingShapes",
    "NumpyFile",
    "SchedulerJitter",
    "Sounds",
    "Talk",
    "Thermometer",
    "Tone",
    "UdpDatagrams",
    "VideoFile",
    "Voices",
    "WavFile",
    "WfdbFile",
    "has_disk_or_temperature",
    "read_annotations",
]
