"""BACKUP_DESTINATION_INIT on the node: create a repository or adopt its own."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from haulback.contract.destination_init import DestinationInitOrder
from haulback.destinations.pass_through import innermost
from haulback.destinations.probe import probe, require_exclusive_create
from haulback.destinations.protocol import ObjectStore as Place
from haulback.destinations.protocol import Preparable
from haulback.errors import Conflict, Damaged, NotFound, WrongKey
from haulback.repository.config import CONFIG, is_repository
from haulback.repository.keys import Keys, Secret
from haulback.repository.repository import Repository
from haulback.work.context import Results, TaskContext, TaskWork
from haulback.work.support.foreign_repository import strangers
from haulback.work.support.phases import phase


def run(context: TaskContext) -> Results:
    order: DestinationInitOrder = context.order
    record = order.destination
    family = context.repositories.open(order.family).keys if order.family else None
    where = str(record.config.get("path", record.name))
    context.repositories.check_place(record)
    place = context.repositories.store(record)
    inner = innermost(place)
    if isinstance(inner, Preparable):
        inner.prepare()
    with phase(context, f"{where} was probed: objects are written, read and listed there"):
        seen = probe(place)
    own = context.repositories.secret(record)
    # The key of the family opens the new repository, too: the first site may be gone one day.
    secrets = [own, context.repositories.secret(order.family)] if order.family else [own]
    repository = _made(place, secrets, where, family)
    if order.family and family and family.master != repository.keys.master:
        raise Conflict(
            f"{where} holds a repository with another key than {order.family.name}; name an "
            "empty place"
        )
    with suppress(NotFound, Damaged):  # the repository then uses the copy of this object
        require_exclusive_create(repository.destination, CONFIG)
    context.log(f"{where} holds the repository {repository.guid}")
    told = {"probe": msgspec.to_builtins(seen)} if seen else {}
    return {"repository": repository.guid} | told | context.repositories.space(record)


def _made(place: Place, secrets: list[Secret], where: str, family: Keys | None) -> Repository:
    """A new repository, or the repository that a dead attempt made with the first of the keys.

    Raises Conflict for the repository of another server, which stays as it is.
    """
    if not is_repository(place):
        with suppress(Conflict):  # another attempt has created the repository
            return Repository.init(place, *secrets, family=family)
    try:
        return Repository.open(place, secrets[0])
    except WrongKey:
        raise Conflict(strangers(where)) from None


WORK = TaskWork("BACKUP_DESTINATION_INIT", DestinationInitOrder, run)
