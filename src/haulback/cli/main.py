"""The root command: lazy noun modules, and the one place where errors become exit codes."""

from __future__ import annotations

import sys

from cyclopts import App

import haulback
from haulback.errors import HaulbackError

app = App(name="haulback", help="Open backup and recovery.", version=haulback.__version__)
app.command("haulback.cli.repository:app", name="repository")
app.command("haulback.cli.demo:app", name="demo")
app.command("haulback.cli.programs:up", name="up")
app.command("haulback.cli.programs:server", name="server")
app.command("haulback.cli.programs:node", name="node")
app.command("haulback.cli.connection:login", name="login")
app.command("haulback.cli.tasks:app", name="task")
app.command("haulback.cli.backups:backup", name="backup")
app.command("haulback.cli.backups:restore", name="restore")
app.command("haulback.cli.inventory:machine", name="machine")
app.command("haulback.cli.inventory:hypervisor", name="hypervisor")
app.command("haulback.cli.inventory:destination", name="destination")


@app.command
def api(method: str, path: str, body: str = "") -> None:
    """Any call to the API, like `haulback api GET /tasks`; BODY is JSON."""
    from haulback.cli.connection import connect
    from haulback.cli.output import dump
    from haulback.wire import parse

    wanted = parse(body.encode()) if body else None
    answer = connect().call(method.upper(), path.removeprefix("/api"), wanted)
    if answer is not None:
        dump(answer)


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
