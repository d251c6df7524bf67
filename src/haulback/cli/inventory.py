"""`haulback machine`, `hypervisor` and `destination`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from haulback.cli.connection import connect, find
from haulback.cli.output import Output, console, show, text
from haulback.cli.watch import follow
from haulback.client.api import Api

machine = App(name="machine", help="What there is to protect.")
hypervisor = App(name="hypervisor", help="Where machines live.")
destination = App(name="destination", help="Where backups go.")
_PLACE = (text("guid"), text("name"), text("driver"), text("path"))


@machine.command(name="ls")
def machines(text_in_name: str = "", *, size: int = 200, output: Output = "table") -> None:
    """Machines, by name."""
    query = {"filter": text_in_name, "page": 0, "size": size}
    columns = (text("guid"), text("name"), text("uuid"), text("present"))
    show(connect().get("/virtual-machines", query), columns, output)


@hypervisor.command(name="ls")
def hypervisors(*, output: Output = "table") -> None:
    """All hypervisors."""
    show(connect().get("/hypervisors"), _PLACE, output)


@hypervisor.command(name="add")
def add_hypervisor(name: str, path: Path, *, node: str = "") -> None:
    """Add a folder of machines, one sub-folder each, and list what it holds."""
    _add("/hypervisors", name, path, node)


@hypervisor.command
def sync(name: str) -> None:
    """Look again what machines a hypervisor holds."""
    api = connect()
    body = {"hypervisors": [{"guid": find(api, "/hypervisors", name)["guid"]}]}
    for task in api.post("/tasks/inventory-sync", body):
        follow(api, task["guid"], console())


@hypervisor.command(name="test")
def test_hypervisor(name: str) -> None:
    """Whether its node reaches it."""
    _test("hypervisors", "/hypervisors", name)


@destination.command(name="ls")
def destinations(*, output: Output = "table") -> None:
    """All destinations."""
    show(connect().get("/backup-destinations"), (*_PLACE, text("initialized")), output)


@destination.command(name="add")
def add_destination(name: str, path: Path, *, node: str = "") -> None:
    """Add a folder, which must exist, and make a repository in it."""
    _add("/backup-destinations", name, path, node)


@destination.command
def key(
    name: str,
    *,
    data: Path = Path("haulback-data"),
    database: Annotated[str, Parameter(env_var="HAULBACK_DATABASE")] = "",
) -> None:
    """Print the key file of a destination's repository: keep it where the server is not.

    Works on the server's machine only, for who may read its --data.
    """
    from haulback.server.serve import key_of

    print(key_of(data, database, name))


@destination.command(name="test")
def test_destination(name: str) -> None:
    """Whether its node can use it."""
    _test("backupDestinations", "/backup-destinations", name)


def _add(collection: str, name: str, path: Path, node: str) -> None:
    api = connect()
    body: dict[str, Any] = {"name": name, "path": str(path.absolute())}
    if node:
        body["node"] = {"guid": find(api, "/nodes", node)["guid"]}
    made = api.post(collection, body)
    print(made["guid"])
    follow(api, made["task"]["guid"], console())


def _test(member: str, collection: str, name: str) -> None:
    api: Api = connect()
    body = {member: [{"guid": find(api, collection, name)["guid"]}]}
    for task in api.post("/tasks/connectivity-test", body):
        follow(api, task["guid"], console())
