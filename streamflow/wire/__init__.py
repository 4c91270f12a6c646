"""Bytes to values and back, with no input or output of their own: arrays, packets, and the session of a link."""
