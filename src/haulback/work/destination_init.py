"""BACKUP_DESTINATION_INIT on the node: create a repository or adopt its own."""

from __future__ import annotations

from contextlib import suppress

from haulback.contract.destination_init import DestinationInitOrder
from haulback.contract.order_records import BackupDestination
from haulback.destinations.probe import require_exclusive_create
from haulback.destinations.protocol import ObjectStore as Place
from haulback.errors import Conflict, Damaged, NotFound, WrongKey
from haulback.repository.config import CONFIG, is_repository
from haulback.repository.keys import Secret
from haulback.repository.repository import Repository
from haulback.work.context import Results, TaskContext, TaskWork
from haulback.work.support.foreign_repository import strangers


def run(context: TaskContext) -> Results:
    record: BackupDestination = context.order.destination
    context.repositories.check_place(record)
    repository = _made(
        context.repositories.store(record),
        context.repositories.secret(record),
        str(record.config.get("path", record.name)),
    )
    with suppress(NotFound, Damaged):  # the repository then uses the copy of this object
        require_exclusive_create(repository.destination, CONFIG)
    return {"repository": repository.guid} | context.repositories.space(record)


def _made(place: Place, secret: Secret, where: str) -> Repository:
    """A new repository, or the repository that a dead attempt made with this key.

    Raises Conflict for the repository of another server, which stays as it is.
    """
    if not is_repository(place):
        with suppress(Conflict):  # another attempt has created the repository
            return Repository.init(place, secret)
    try:
        return Repository.open(place, secret)
    except WrongKey:
        raise Conflict(strangers(where)) from None


WORK = TaskWork("BACKUP_DESTINATION_INIT", DestinationInitOrder, run)
