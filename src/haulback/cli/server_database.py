"""Commands of `haulback server` about its own database: backup, restore and hold."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from haulback import credentials
from haulback.cli.arguments import DestinationOption
from haulback.cli.connection import connect
from haulback.cli.database_source import DatabaseSource
from haulback.cli.output import Output, dump, moment, show, size, text
from haulback.cli.submit_options import watch as follow
from haulback.contract.own_database import DatabaseBackupRequest
from haulback.errors import Malformed
from haulback.server.services.database_restore import RestoredServer, restore
from haulback.wire import Choice

KeyFile = Annotated[Path | None, Parameter(name="--key-file", help="File with the repository key.")]
Kit = Annotated[
    Path | None, Parameter(name="--kit", help="File with the text of the recovery kit.")
]
Watch = Annotated[bool, Parameter(negative="", help="Follow the tasks to their end.")]
Data = Annotated[Path | None, Parameter(help="New folder of the restored server.")]
_LISTED = (text("backup"), moment("snapshot_time"), size("size"))


def backup_database(*, to: DestinationOption = "", watch: Watch = False) -> None:
    """The command `haulback server backup-database`."""
    client = connect()
    destination = Choice(client.destinations.find(to).guid) if to else None
    heads = [task.guid for task in client.server.back_up(DatabaseBackupRequest(destination))]
    print("\n".join(heads))
    if watch:
        follow(client, heads)


def hold(
    *, lift: Annotated[bool, Parameter(help="Lift the hold: deletions start again.")] = False
) -> None:
    """The command `haulback server hold`."""
    server = connect().server
    dump(server.lift_hold() if lift else server.hold())


def restore_database(
    location: Annotated[
        Path,
        Parameter(
            help="Folder of a destination, JSON file of a destination's settings, or sealed copy."
        ),
    ],
    *,
    kit: Kit = None,
    key_file: KeyFile = None,
    data: Data = None,
    database: Annotated[
        str,
        Parameter(
            help="Empty PostgreSQL database for the copy of a PostgreSQL database.",
            env_var="HAULBACK_DATABASE",
        ),
    ] = "",
    backup: Annotated[
        str, Parameter(help="Backup of the database; the newest is the default.")
    ] = "",
    output: Output = "table",
) -> None:
    """The command `haulback server restore-database`."""
    credentials.check_url(database, "--database", sys.argv[1:])
    options = [word.partition("=")[0] for word in sys.argv[1:]]
    for option in ("--backup", "--database"):
        if data is None and option in options:
            raise Malformed(f"{option}: name the new folder of the server by --data, too")
    source = DatabaseSource(location, kit, key_file)
    if data is None:
        show(source.rows(), _LISTED, output)
        return
    done = restore(RestoredServer(data.absolute(), database), source.writer(backup), source.secret)
    print(f"restored into {data}: the database of Haulback {done.haulback}, epoch {done.epoch}")
    print(f"start it with: haulback server --data {data}{' --database …' if database else ''}")
    print("the restored server is held: see haulback server hold")
