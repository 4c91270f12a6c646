"""Recordings as MCAP files: how data are written so that Foxglove shows them and a replay has them bit for bit."""
