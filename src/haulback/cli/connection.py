"""Which server the commands speak to, and as whom."""

from __future__ import annotations

import contextlib
import getpass
import os
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from haulback.client.api import Api
from haulback.errors import Malformed, NotFound, Unauthenticated
from haulback.ids import is_guid

URL = "http://127.0.0.1:8181"
Server = Annotated[
    str, Parameter(name="--server", env_var="HAULBACK_SERVER", help="Where the server listens.")
]


def connect(server: str = "") -> Api:
    """The server, as whoever logged in; with HAULBACK_ADMIN_PASSWORD as admin."""
    url = server or os.environ.get("HAULBACK_SERVER", URL)
    api = Api(url, trust=os.environ.get("HAULBACK_TRUST"))
    token = os.environ.get("HAULBACK_TOKEN") or _saved().get(api.url)
    if token:
        api.token = token
        with contextlib.suppress(Unauthenticated):
            api.get("/user-info")
            return api
        api.token = None
    password = os.environ.get("HAULBACK_ADMIN_PASSWORD")
    if not password:
        raise Unauthenticated(f"not logged in at {url}; use `haulback login --server {url}`")
    _save(api.url, api.log_in("admin", password))
    return api


def login(*, server: Server = URL, user: str = "admin") -> None:
    """Log in and remember it, in a file that only this user may read."""
    api = Api(server, trust=os.environ.get("HAULBACK_TRUST"))
    password = os.environ.get("HAULBACK_ADMIN_PASSWORD") or getpass.getpass(f"{user}'s password: ")
    _save(api.url, api.log_in(user, password))
    print(f"logged in at {api.url} as {user}")


def find(api: Api, collection: str, wanted: str) -> dict[str, Any]:
    """The one record of a collection that has this guid or this name.

    Raises NotFound, or Malformed when several have the name.
    """
    what = collection.strip("/").replace("-", " ").removesuffix("s")
    if is_guid(wanted):
        found = [one for one in api.get(collection) if one["guid"] == wanted]
    else:
        found = [one for one in api.get(collection, {"filter": wanted}) if one["name"] == wanted]
    if len(found) > 1:
        guids = ", ".join(one["guid"] for one in found)
        raise Malformed(f"there are several {what}s named {wanted!r}; use a guid: {guids}")
    if not found:
        raise NotFound(f"there is no {what} {wanted!r}")
    return dict(found[0])


def _file() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "haulback" / "tokens.json"


def _saved() -> dict[str, str]:
    try:
        return msgspec.json.decode(_file().read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError):
        return {}


def _save(url: str, token: str) -> None:
    """Not being able to remember is no reason to fail."""
    path = _file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        saved = {**_saved(), url: token}
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(handle, "wb") as file:
            file.write(msgspec.json.encode(saved))
    except OSError as error:
        print(f"the login is not remembered: {error}")
