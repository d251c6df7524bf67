"""`haulback server`: the server without a node, and without the modules of a node."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from haulback import credentials
from haulback.cli.log_start import start_log
from haulback.cli.server_options import USUAL, ServerOptions
from haulback.server.main import Server

app = App(name="server")
# Loaded on use, because a running server needs no repository; a list of commands shows the first
# sentence of their help, which therefore stands here.
_BACK_UP = """Back up the server's own database and key file, sealed, to a destination.

Without --to the backup goes to the only destination.
"""
_HOLD = """Show whether the server is held after the restore of its database, or --lift the hold."""
_RESTORE = """Restore the server's database from the backups in LOCATION into the new folder --data.

LOCATION is the folder of a destination, a JSON file with `type` and settings of a destination
of another type, or a sealed copy that a RESTORE gave back. Without --data the backups of the
database are listed. --backup names one of them; the newest is the default. A copy of a
PostgreSQL database is restored into an empty --database. The restored server is held: nothing
is deleted until each destination was compared with the catalogue.
"""
_COMMANDS = (("backup-database", _BACK_UP), ("hold", _HOLD), ("restore-database", _RESTORE))
for _name, _about in _COMMANDS:
    app.command(f"haulback.cli.server_database:{_name.replace('-', '_')}", name=_name, help=_about)


@app.default
def server(
    *,
    database: Annotated[
        str,
        Parameter(
            help="sqlite:///FILE or postgresql://USER@HOST/NAME; a file in --data if empty.",
            env_var="HAULBACK_DATABASE",
        ),
    ] = "",
    how: ServerOptions = USUAL,
) -> None:
    """Run the server alone.  --database is sqlite:///file.db or postgresql://user@host/name."""
    start_log(how.log_format)
    credentials.check_url(database, "--database", sys.argv[1:])
    made = Server(how.settings(database))
    announce(made, how.data, database)
    made.run()


def announce(server: Server, data: Path, database: str = "") -> None:
    """Print the URL, and a new password, for users and for programs that wait for the server.

    A server that has users already prints the way to a new password instead.
    """
    password = server.admit()
    print(f"Haulback listens at {server.url}", flush=True)
    if password:
        print(f"log in as admin with the password {password}", flush=True)
    else:
        print(f"to reset a lost password: {reset_command(data, database)}", flush=True)


def reset_command(data: Path, database: str) -> str:
    """The command that sets a new password; a URL with a password stays out of it."""
    command = f"haulback user reset-password --data {shlex.quote(str(data.absolute()))}"
    if not database:
        return command
    if credentials.has_password(database):
        return f"{command}, with HAULBACK_DATABASE as for this server"
    return f"{command} --database {shlex.quote(database)}"
