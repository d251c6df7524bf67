"""`haulback backup` and `haulback restore`."""

from __future__ import annotations

from typing import Any

from cyclopts import App

from haulback import units
from haulback.cli.connection import connect, find
from haulback.cli.output import Column, Output, console, dump, moment, named, show, text
from haulback.cli.watch import follow
from haulback.client.api import Api

backup = App(name="backup", help="Back up machines and list what is stored.")
restore = App(name="restore", help="Bring machines or their disks back.")


def _bytes(name: str) -> Column:
    return name, lambda row: units.size(row.get(name, 0))


_COLUMNS = (
    text("guid"),
    text("name"),
    named("type"),
    named("status"),
    moment("snapshotTime"),
    _bytes("size"),
    _bytes("transferredSize"),
    _bytes("storedSize"),
    text("statusInfo"),
)


@backup.command
def create(
    *machine: str,
    incremental: bool = False,
    destination: str = "",
    priority: int = 50,
    retries: int = 0,
    watch: bool = False,
) -> None:
    """Back up machines, named or by guid; prints the guids of the tasks, or follows them."""
    api = connect()
    body: dict[str, Any] = {
        "protectedEntities": [{"guid": find(api, "/virtual-machines", m)["guid"]} for m in machine],
        "backupType": "INCREMENTAL" if incremental else "FULL",
        "priority": priority,
        "retryCount": retries,
    }
    if destination:
        body["backupDestination"] = {"guid": find(api, "/backup-destinations", destination)["guid"]}
    _follow(api, api.post("/tasks/export", body), watch)


@backup.command
def ls(machine: str = "", *, size: int = 50, output: Output = "table") -> None:
    """The newest backups, of one machine or of all."""
    api = connect()
    query: dict[str, Any] = {"page": 0, "size": size}
    if machine:
        query["protected-entity"] = find(api, "/virtual-machines", machine)["guid"]
    show(api.get("/backups", query), _COLUMNS, output)


@backup.command(name="show")
def show_backup(guid: str) -> None:
    """Everything about a backup."""
    dump(connect().get(f"/backups/{guid}"))


@restore.command(name="machine")
def restore_machine(
    backup: str,
    *,
    hypervisor: str,
    name: str = "",
    overwrite: bool = False,
    watch: bool = False,
) -> None:
    """Make the machine of BACKUP (a guid) on a hypervisor, under its own name or --name.

    --overwrite replaces the machine that is there.
    """
    api = connect()
    body = {
        "backup": {"guid": backup},
        "hypervisor": {"guid": find(api, "/hypervisors", hypervisor)["guid"]},
        "restoredPeName": name,
        "overwrite": overwrite,
    }
    _follow(api, [api.post("/tasks/restore-and-import", body)], watch)


@restore.command
def disks(backup: str, path: str, *, node: str = "", watch: bool = False) -> None:
    """Write the disks of BACKUP (a guid) as raw files to a new folder PATH on a node."""
    api = connect()
    nodes = api.get("/nodes")
    where = find(api, "/nodes", node) if node or len(nodes) != 1 else nodes[0]
    body = {"backup": {"guid": backup}, "node": {"guid": where["guid"]}, "restorePath": path}
    _follow(api, [api.post("/tasks/restore", body)], watch)


def _follow(api: Api, heads: list[dict[str, Any]], watch: bool) -> None:
    for task in heads:
        print(task["guid"])
    if watch:
        for task in heads:
            follow(api, task["guid"], console())
