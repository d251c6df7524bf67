"""The command line, as `python -m haulback`."""

from haulback.cli.entry import main

main()
