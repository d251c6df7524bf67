"""The root command: lazy noun modules, and the one place where errors become exit codes."""

from __future__ import annotations

import sys

from cyclopts import App

import haulback
from haulback.errors import HaulbackError

app = App(name="haulback", help="Open backup and recovery.", version=haulback.__version__)
app.command("haulback.cli.repository:app", name="repository")
app.command("haulback.cli.demo:app", name="demo")
for program in ("up", "server", "node"):
    app.command(f"haulback.cli.programs:{program}", name=program)


def main() -> None:
    """Run the command line and exit: 0 ok, else the error's own code (docs/reference/cli.md)."""
    try:
        app()
    except HaulbackError as error:
        print(f"haulback: {error.message}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
