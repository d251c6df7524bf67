"""BACKUP_DESTINATION_INIT on the node: create a repository or adopt its own."""

from __future__ import annotations

from contextlib import suppress

from haulback.contract.destination_init import DestinationInitOrder
from haulback.destinations.probe import require_exclusive_create
from haulback.destinations.protocol import ObjectStore as Place
from haulback.errors import Conflict, Damaged, NotFound, WrongKey
from haulback.inventory.records import BackupDestination
from haulback.repository.config import CONFIG, is_repository
from haulback.repository.keys import Secret
from haulback.repository.repository import Repository
from haulback.work.context import Results, TaskContext, TaskWork
from haulback.work.support.foreign_repository import strangers


def run(job: TaskContext) -> Results:
    record: BackupDestination = job.order.destination
    where = str(record.config.get("path", record.name))
    repository = _made(job.destination(record), job.secret(record), where)
    with suppress(NotFound, Damaged):  # the repository lives on the copy of this object then
        require_exclusive_create(repository.destination, CONFIG)
    return {"repository": repository.guid} | job.space(record)


def _made(place: Place, secret: Secret, where: str) -> Repository:
    """A new repository, or the one that an attempt that died has made with this key.

    Raises Conflict for a stranger's, which stays as it is.
    """
    if not is_repository(place):
        with suppress(Conflict):  # another attempt was faster
            return Repository.init(place, secret)
    try:
        return Repository.open(place, secret)
    except WrongKey:
        raise Conflict(strangers(where)) from None


WORK = TaskWork("BACKUP_DESTINATION_INIT", DestinationInitOrder, run)
