"""The program `haulback`: it answers --version itself, and loads the root command for all
others.
"""

from __future__ import annotations

import sys

import haulback


def main() -> None:
    """Run the command line.  `--version` loads neither the option parser nor any command."""
    if sys.argv[1:] == ["--version"]:
        print(haulback.__version__)
        return
    from haulback.cli.main import main as run

    run()
