"""The command line, as `python -m haulback`."""

from haulback.cli.main import main

main()
