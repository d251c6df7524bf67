"""BACKUP_DESTINATION_INIT: makes the repository of a destination, or takes over its own."""

from __future__ import annotations

import shlex
from contextlib import suppress

import msgspec

from haulback.contract.task_states import State
from haulback.destinations.protocol import ObjectStore as Place
from haulback.errors import Conflict, WrongKey
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import BackupDestination
from haulback.kinds.api import Ask, Results, TaskContext, TaskKind
from haulback.kinds.support import planning
from haulback.repository.config import is_repository
from haulback.repository.keys import Secret
from haulback.repository.repository import Repository
from haulback.tasks.record import Task


class DestinationInitOrder(msgspec.Struct):
    """Which destination."""

    destination: BackupDestination


def init(destination: BackupDestination, ask: Ask) -> Task:
    """The task that makes a new destination usable."""
    refs = {"backupDestination": planning.named(destination)}
    return planning.task(
        "BACKUP_DESTINATION_INIT", "upkeep", ask, refs=refs, pinned=destination.node
    )


def prepare(task: Task, catalogue: Catalogue) -> DestinationInitOrder:
    return DestinationInitOrder(catalogue.places.destination(task.ref("backupDestination") or ""))


def run(job: TaskContext) -> Results:
    record: BackupDestination = job.order.destination
    repository = _made(job.destination(record), job.secret(record), str(record.config["path"]))
    return {"repository": repository.guid} | job.space(record)


def _made(place: Place, secret: Secret, path: str) -> Repository:
    """A new repository, or the one that an attempt that died has made with this key.

    Raises Conflict for a stranger's, which stays as it is.
    """
    if not is_repository(place):
        with suppress(Conflict):  # another attempt was faster
            return Repository.init(place, secret)
    try:
        return Repository.open(place, secret)
    except WrongKey:
        raise Conflict(strangers(path)) from None


def strangers(path: str) -> str:
    """Why a destination cannot use the repository in its folder, and what to do."""
    return (
        f"this repository is another one's: attach it with its own key file (haulback repository "
        f"ls {shlex.quote(path)} --key-file KEY reads it without a server), put back the database "
        "and the server.key of the server that made it, or give the destination an empty folder; "
        f"the key that this server has does not open what lies in {path}"
    )


class InitResult(msgspec.Struct):
    """What the node reports."""

    repository: str | None = None
    totalSpace: int | None = None
    freeSpace: int | None = None


def settle(task: Task, state: State, ledger: Ledger) -> None:
    if state is State.FINISHED:
        found = msgspec.convert(task.results, InitResult)
        destination = task.ref("backupDestination") or ""
        # A node with a format of its own need not name what it made.
        ledger.destinations.initialised(destination, found.repository or destination)
        ledger.destinations.space(destination, found.totalSpace, found.freeSpace)


KIND = TaskKind(
    type="BACKUP_DESTINATION_INIT",
    lane="upkeep",
    order=DestinationInitOrder,
    prepare=prepare,
    run=run,
    settle=settle,
)
