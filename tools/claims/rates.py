"""The claims of signals at different rates: joins, batches chosen by slack, states that survive, variants, a cabin."""

from __future__ import annotations

import sys

from tools.claims.framework import main
from tools.claims.rates_batches import CLAIMS as BATCHES
from tools.claims.rates_cabin import CLAIMS as CABIN
from tools.claims.rates_joins import CLAIMS as JOINS
from tools.claims.rates_overload import CLAIMS as OVERLOAD
from tools.claims.rates_state import CLAIMS as STATE
from tools.claims.rates_streams import CLAIMS as STREAMS
from tools.claims.rates_variants import CLAIMS as VARIANTS

CLAIMS = [*JOINS, *OVERLOAD, *BATCHES, *STREAMS, *STATE, *VARIANTS, *CABIN]

if __name__ == "__main__":
    sys.exit(main("rates", CLAIMS))
