"""Deciders: pure rules and quantities, from the standard library alone; time comes in as `now_ns`."""
