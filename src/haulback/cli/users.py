"""`haulback user`, `token` and `audit`: users, API tokens and the audit log."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from haulback.cli.arguments import NewName, RecordWord, Rows, SubjectWord, UserWord
from haulback.cli.confirmation import ASK, Consent
from haulback.cli.connection import PasswordFile, ask_password, connect
from haulback.cli.output import Output, dump, moment, show, text
from haulback.cli.questions import agreed
from haulback.cli.subjects import subject_guid
from haulback.client.client import Client
from haulback.client.projects import project_uuid
from haulback.contract.tokens import NewToken
from haulback.contract.users import ChangedUser, NewUser
from haulback.units import DAY_MS

user = App(name="user")
token = App(name="token")
Roles = Annotated[list[str], Parameter(help="A role from `haulback user roles`.")]
Projects = Annotated[list[str], Parameter(help="Projects that the user sees; without one, all.")]
_USERS = (text("guid"), text("login"), text("roles"), text("projects"), text("uiTimeZone"))
_TOKENS = (text("guid"), text("name"), text("roles"), moment("created"), moment("expires"))
_TRAIL = (text("number"), moment("time"), text("login"), text("operation"), text("subject"))


@user.command(name="ls")
def users(*, output: Output = "table") -> None:
    """List all users."""
    show(connect().users.all(), _USERS, output)


@user.command(name="show")
def show_user(login: UserWord = "") -> None:
    """Show a user, by default the logged-in user."""
    users = connect().users
    dump(users.find(login) if login else users.me())


@user.command
def roles(*, output: Output = "table") -> None:
    """List all roles and their purposes."""
    show(connect().users.roles(), (text("name"), text("description")), output)


@user.command(name="add")
def add_user(
    login: Annotated[str, Parameter(help="Name of the new login.")],
    *,
    role: Roles,
    project: Projects = [],  # noqa: B006 - read only
    time_zone: Annotated[str, Parameter(help="Time zone of the user, like Europe/Berlin.")] = "UTC",
    password_file: PasswordFile = None,
) -> None:
    """Add a user; the password comes from a prompt, a file or HAULBACK_NEW_PASSWORD."""
    client = connect()
    projects = _uuids(client, project)
    new = NewUser(login, _password(login, password_file), role, projects, time_zone)
    print(client.users.add(new).guid)


@user.command(name="set")
def set_user(
    login: UserWord,
    *,
    role: Roles = [],  # noqa: B006
    project: Projects = [],  # noqa: B006
    all_projects: Annotated[
        bool, Parameter(help="Let the user see all projects.", negative="")
    ] = False,
    time_zone: Annotated[str, Parameter(help="Time zone of the user, like Europe/Berlin.")] = "",
    password: Annotated[bool, Parameter(negative="", help="Ask for a new password.")] = False,
    password_file: PasswordFile = None,
) -> None:
    """Change a user and end the user's logins; options not given stay unchanged."""
    client = connect()
    users = client.users
    wanted = ChangedUser(
        password=_password(login, password_file) if password or password_file else None,
        roles=role or None,
        projects=_uuids(client, project),
        allProjects=all_projects or None,
        uiTimeZone=time_zone or None,
    )
    users.change(users.find(login).guid, wanted)


@user.command(name="rm")
def remove_user(login: UserWord, *, consent: Consent = ASK) -> None:
    """Remove a user with all logins and tokens."""
    client = connect()
    guid = client.users.find(login).guid
    if agreed(client, consent, lambda: client.users.remove(guid)):
        client.users.remove(guid)


@token.command(name="ls")
def tokens(*, output: Output = "table") -> None:
    """List your API tokens; administrators see all tokens."""
    show(connect().users.tokens.all(), _TOKENS, output)


@token.command(name="add")
def add_token(
    name: NewName,
    *,
    role: Roles = [],  # noqa: B006
    project: Projects = [],  # noqa: B006
    days: Annotated[
        float | None,
        Parameter(help="Days until the token expires; without it the token does not expire."),
    ] = None,
) -> None:
    """Create a token and print it; it is shown only once.

    --role names its roles, at most those of its owner; without roles a token may only read
    (viewer).
    """
    valid = None if days is None else round(days * DAY_MS)
    client = connect()
    new = NewToken(name, role or None, valid, _uuids(client, project))
    made = client.users.tokens.add(new)
    print(made.token)
    print(f"roles of the token: {', '.join(made.roles)}", file=sys.stderr)


@token.command(name="rm")
def remove_token(name: RecordWord, *, consent: Consent = ASK) -> None:
    """Revoke a token, by name or guid."""
    client = connect()
    found = client.users.tokens.guid(name)
    if agreed(client, consent, lambda: client.users.tokens.remove(found)):
        client.users.tokens.remove(found)


def audit(
    subject: SubjectWord = "",
    *,
    before: Annotated[
        int | None, Parameter(help="Number of an entry: list older entries only.")
    ] = None,
    size: Rows = 100,
    output: Output = "table",
) -> None:
    """List the newest audit entries, about one object (a name, a guid or its beginning) or all."""
    client = connect()
    about = subject_guid(client, subject) if subject else ""
    show(client.users.audit(about, before=before, size=size), _TRAIL, output)


user.command(
    "haulback.cli.password_reset:reset_password",
    name="reset-password",
    help="""Set a new password of a user in the server's own database, on the server's machine.

The password comes from --password-file (- for stdin), from HAULBACK_NEW_PASSWORD, or is
generated and printed.  The logins of the user end; API tokens stay.  --data or --database is
the same as of the server, which may run meanwhile.
""",
)


def _uuids(client: Client, projects: list[str]) -> list[str] | None:
    return [project_uuid(client.records.projects, word) for word in projects] or None


def _password(login: str, file: Path | None) -> str:
    return ask_password(f"{login}'s new password: ", "HAULBACK_NEW_PASSWORD", file)
