"""Devices that compute for stages: one contract, and each device's way to keep it."""
