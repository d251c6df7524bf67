"""Connection to the server: address, login and saved tokens."""

from __future__ import annotations

import contextlib
import getpass
import os
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from haulback.client.client import Client
from haulback.errors import Forbidden, Unauthenticated

URL = "http://127.0.0.1:8181"
Server = Annotated[
    str, Parameter(name="--server", env_var="HAULBACK_SERVER", help="Where the server listens.")
]


def connect(server: str = "") -> Client:
    """The server, as whoever logged in; with HAULBACK_ADMIN_PASSWORD as admin."""
    url = server or os.environ.get("HAULBACK_SERVER", URL)
    client = Client(url, trust=os.environ.get("HAULBACK_TRUST"))
    token = os.environ.get("HAULBACK_TOKEN") or _saved().get(client.url)
    if token:
        client.api.token = token
        with contextlib.suppress(Unauthenticated):
            _check(client)
            return client
        client.api.token = None
    password = os.environ.get("HAULBACK_ADMIN_PASSWORD")
    if not password:
        raise Unauthenticated(f"not logged in at {url}; use `haulback login --server {url}`")
    _save(client.url, client.log_in("admin", password))
    return client


def _check(client: Client) -> None:
    """Raises Unauthenticated.  A node's token is as good: nodes have no user-info."""
    with contextlib.suppress(Forbidden):
        client.users.me()


def login(*, server: Server = URL, user: str = "admin") -> None:
    """Log in and save the token in a file that only this user can read."""
    client = Client(server, trust=os.environ.get("HAULBACK_TRUST"))
    password = os.environ.get("HAULBACK_ADMIN_PASSWORD") or getpass.getpass(f"{user}'s password: ")
    _save(client.url, client.log_in(user, password))
    print(f"logged in at {client.url} as {user}")


def logout() -> None:
    """End the login at the server, and delete the saved token."""
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
    """Save a token; a failed write is only printed."""
    try:
        _write({**_saved(), url: token})
    except OSError as error:
        print(f"the login is not remembered: {error}")


def _write(tokens: dict[str, str]) -> None:
    path = _file()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(handle, "wb") as file:
        file.write(msgspec.json.encode(tokens))
