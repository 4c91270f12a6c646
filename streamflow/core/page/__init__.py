"""The report of a run as a page for a browser: one file that needs no network and no scripts."""
