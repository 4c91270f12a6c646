"""Firm contracts: at least `m` of any `k` consecutive data on time ((m, k)-firm deadlines, Hamdaoui and Ramanathan 1995)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Firm:
    """`m` of any `k` consecutive data of the path are on time (met, or absorbed in time)."""

    m: int
    k: int
