"""`haulback user reset-password`: set a new password on the server's machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from haulback import credentials
from haulback.cli.arguments import ServerData, ServerDatabase
from haulback.cli.connection import PasswordFile
from haulback.server.services.password_reset import reset


def reset_password(
    login: Annotated[str, Parameter(help="Name of the login.")] = "admin",
    *,
    data: ServerData = Path("haulback-data"),
    database: Annotated[ServerDatabase, Parameter(env_var="HAULBACK_DATABASE")] = "",
    password_file: PasswordFile = None,
) -> None:
    """The command `haulback user reset-password`."""
    credentials.check_url(database, "--database", sys.argv[1:])
    named = credentials.read(password_file, "--password-file") if password_file else None
    wanted = named or credentials.get("HAULBACK_NEW_PASSWORD")
    if wanted:
        field = "--password-file" if named else "HAULBACK_NEW_PASSWORD"
        credentials.check_new(wanted, field)
    made = reset(data, database, login, wanted)
    if wanted:
        print(f"{login} has the new password")
    else:
        print(f"log in as {login} with the password {made}")
