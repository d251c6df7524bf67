"""BACKUP_DESTINATION_INIT: makes the repository of a destination, or takes over its own."""

from __future__ import annotations

import msgspec

from haulback.errors import Conflict
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import Catalogue, Destination
from haulback.kinds import planning
from haulback.kinds.seam import Ask, Job, Kind, Results
from haulback.repository.repository import Repository
from haulback.tasks.record import Task
from haulback.tasks.states import State


class Order(msgspec.Struct):
    """Which destination."""

    destination: Destination


def init(destination: Destination, ask: Ask) -> Task:
    """The task that makes a new destination usable."""
    refs = {"backupDestination": planning.named(destination)}
    return planning.task(
        "BACKUP_DESTINATION_INIT", "upkeep", ask, refs=refs, pinned=destination.node
    )


def prepare(task: Task, catalogue: Catalogue) -> Order:
    return Order(catalogue.destination(task.ref("backupDestination") or ""))


def run(job: Job) -> Results:
    record: Destination = job.order.destination
    place, secret = job.destination(record), job.secret(record)
    try:
        repository = Repository.init(place, secret)
    except Conflict:
        # Made by an attempt that died; a stranger's does not open with our key.
        repository = Repository.open(place, secret)
    return {"repository": repository.guid} | job.space(record)


class Made(msgspec.Struct):
    """What the node reports."""

    repository: str
    totalSpace: int | None = None
    freeSpace: int | None = None


def settle(task: Task, state: State, ledger: Ledger) -> None:
    if state is State.FINISHED:
        found = msgspec.convert(task.results, Made)
        destination = task.ref("backupDestination") or ""
        ledger.initialised(destination, found.repository)
        ledger.space(destination, found.totalSpace, found.freeSpace)


KIND = Kind(
    type="BACKUP_DESTINATION_INIT",
    lane="upkeep",
    order=Order,
    prepare=prepare,
    run=run,
    settle=settle,
)
