"""Connection to the server: address, login and saved tokens."""

from __future__ import annotations

import contextlib
import getpass
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from haulback import credentials
from haulback.errors import Forbidden, Unauthenticated

if TYPE_CHECKING:  # the server imports this module too, and must not load the client
    from haulback.client.client import Client

URL = "http://127.0.0.1:8181"
Server = Annotated[
    str, Parameter(name="--server", env_var="HAULBACK_SERVER", help="Address of the server.")
]


InsecureHttp = Annotated[
    bool,
    Parameter(
        name="--insecure-http",
        negative="",
        env_var="HAULBACK_INSECURE_HTTP",
        help="Allow plain HTTP to other machines.",
    ),
]
PasswordFile = Annotated[
    Path | None,
    Parameter(
        name="--password-file",
        help="File whose first line is the password; - for stdin.",
        allow_leading_hyphen=True,
    ),
]


def connect(server: str = "") -> Client:
    """Connect to the server with the saved token, or with HAULBACK_ADMIN_PASSWORD as admin."""
    url = server or os.environ.get("HAULBACK_SERVER", URL)
    client = _client(url, is_insecure=False)
    token = credentials.get("HAULBACK_TOKEN") or _saved().get(client.url)
    if token:
        client.api.token = token
        with contextlib.suppress(Unauthenticated):
            _check(client)
            return client
        client.api.token = None
    password = credentials.get("HAULBACK_ADMIN_PASSWORD")
    if not password:
        raise Unauthenticated(_not_logged_in(url, list(_saved())))
    _save(client.url, client.log_in("admin", password))
    return client


def _not_logged_in(url: str, others: list[str]) -> str:
    """The sentence for a server without a login; `others` are the servers with a saved token."""
    told = f"not logged in at {url}; use `haulback login --server {url}`"
    if "HAULBACK_SERVER" not in os.environ and len(others) == 1 and others[0] != url:
        told += f", or `export HAULBACK_SERVER={others[0]}`, where you are logged in"
    return told


def _check(client: Client) -> None:
    """Check the token.  Raises Unauthenticated.  The token of a node is accepted too, although the
    server returns no user data for nodes.
    """
    with contextlib.suppress(Forbidden):
        client.users.me()


def _client(url: str, *, is_insecure: bool) -> Client:
    from haulback.client.client import Client

    allowed = os.environ.get("HAULBACK_INSECURE_HTTP", "").lower() in ("1", "true", "yes")
    trust = os.environ.get("HAULBACK_TRUST")
    return Client(url, trust=trust, insecure_http=is_insecure or allowed)


def ask_password(prompt: str, variable: str, file: Path | None) -> str:
    """A password: from a file, a variable, a terminal, or the first line of standard input."""
    if file is not None:
        return credentials.read(file, "--password-file")
    if found := credentials.get(variable):
        return found
    if sys.stdin is not None and sys.stdin.isatty():
        return getpass.getpass(prompt)
    return credentials.read(Path("-"), "--password-file")


def login(
    *,
    server: Server = URL,
    user: Annotated[str, Parameter(help="Name of the login.")] = "admin",
    password_file: PasswordFile = None,
    insecure_http: InsecureHttp = False,
) -> None:
    """The command `haulback login`."""
    client = _client(server, is_insecure=insecure_http)
    prompt = f"{user}'s password: "
    password = ask_password(prompt, "HAULBACK_ADMIN_PASSWORD", password_file)
    try:
        token = client.log_in(user, password)
    except Unauthenticated as error:
        raise Unauthenticated(
            f"{error.message}: {user} is refused at {client.url}; --user names another login, and "
            "`haulback user reset-password --data DATA` on the server's machine makes a new "
            "password"
        ) from None
    _save(client.url, token)
    print(f"logged in at {client.url} as {user}")
    if client.url != os.environ.get("HAULBACK_SERVER", URL).rstrip("/"):
        print(f"for the next commands: export HAULBACK_SERVER={client.url}")


def logout() -> None:
    """Log out at the server, and delete the saved token."""
    client = connect()
    client.log_out()
    _write({url: token for url, token in _saved().items() if url != client.url})


def _file() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "haulback" / "tokens.json"


def _saved() -> dict[str, str]:
    try:
        return msgspec.json.decode(_file().read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError):
        return {}


def _save(url: str, token: str) -> None:
    """Save a token; a failed write only prints a warning."""
    try:
        _write({**_saved(), url: token})
    except OSError as error:
        print(f"the token is not saved: {error}")


def _write(tokens: dict[str, str]) -> None:
    path = _file()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(handle, "wb") as file:
        file.write(msgspec.json.encode(tokens))
