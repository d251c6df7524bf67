"""`python -m haulback` is `haulback`."""

from haulback.cli.main import main

main()
