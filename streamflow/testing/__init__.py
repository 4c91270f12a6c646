"""Tools for testing nodes and pipelines, public like `trio.testing`: run a node by hand with no processes at all."""

from streamflow.testing.harness import Driven, drive

__all__ = ["Driven", "drive"]
