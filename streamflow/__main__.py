"""`python -m streamflow` is the command line."""

from streamflow.cli.main import main

main()
