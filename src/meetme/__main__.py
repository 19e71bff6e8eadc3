"""`python -m meetme` is `meetme`."""

from meetme.cli.main import main

main()
