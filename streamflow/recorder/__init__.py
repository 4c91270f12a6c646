"""The flight recorder: one memory-mapped file per stage that says, at any time and after any end, what it did."""
