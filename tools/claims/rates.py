"""The claims of signals at different rates: joins, batches chosen by slack, a cabin of four sensors."""

from __future__ import annotations

import sys

from tools.claims.framework import main
from tools.claims.rates_cabin import CLAIMS as CABIN
from tools.claims.rates_joins import CLAIMS as JOINS
from tools.claims.rates_overload import CLAIMS as OVERLOAD

CLAIMS = [*JOINS, *OVERLOAD, *CABIN]

if __name__ == "__main__":
    sys.exit(main("rates", CLAIMS))
