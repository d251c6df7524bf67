"""The program `haulback`: the version at once, every other command by the root command."""

from __future__ import annotations

import sys

import haulback


def main() -> None:
    """Run the command line.  `--version` loads neither the parser of options nor any command."""
    if sys.argv[1:] == ["--version"]:
        print(haulback.__version__)
        return
    from haulback.cli.main import main as run

    run()
