"""BACKUP_DESTINATION_INIT on the node: create a repository or adopt its own."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from shlex import quote

import msgspec

from haulback.contract.destination_init import DestinationInitOrder
from haulback.destinations.pass_through import innermost
from haulback.destinations.probe import probe, require_exclusive_create
from haulback.destinations.protocol import ObjectStore as Place
from haulback.destinations.protocol import Preparable
from haulback.errors import Conflict, Damaged, NotFound, WrongKey
from haulback.repository.config import CONFIG, is_repository, read_config
from haulback.repository.keys import Keys, Secret
from haulback.repository.repository import Repository
from haulback.units import counted
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
    # The key of the family opens the new repository, too: the first site may be lost one day.
    secrets = [own, context.repositories.secret(order.family)] if order.family else [own]
    try:
        repository = _made(place, secrets, family)
    except WrongKey:
        raise Conflict(_taken(place, where, order.others)) from None
    if order.family and family and family.master != repository.keys.master:
        raise Conflict(
            f"{where} holds a repository with another key than {order.family.name}; name an "
            "empty location"
        )
    with suppress(NotFound, Damaged):  # the repository then uses the copy of the configuration
        require_exclusive_create(repository.destination, CONFIG)
    context.log(f"{where} holds the repository {repository.guid}")
    backups = len(repository.objects.leaves("manifests"))
    if backups:
        context.log(
            f"{counted(backups, 'backup')} stored there; to add what the catalogue lacks: haulback "
            f"destination sync {quote(record.name)}"
        )
    told = {"probe": msgspec.to_builtins(seen)} if seen else {}
    told |= {"repository": repository.guid, "backups": backups}
    return told | context.repositories.space(record)


def _made(place: Place, secrets: list[Secret], family: Keys | None) -> Repository:
    """A new repository, or the repository that a dead attempt made with the first of the keys.

    Raises WrongKey for a repository of another destination or server, which stays unchanged.
    """
    if not is_repository(place):
        with suppress(Conflict):  # another attempt has created the repository
            return Repository.init(place, *secrets, family=family)
    return Repository.open(place, secrets[0])


def _taken(place: Place, where: str, others: Mapping[str, str]) -> str:
    """The reason why a destination cannot use the repository at its location, and the remedies."""
    name = ""
    with suppress(NotFound, Damaged):
        name = others.get(read_config(place).repository, "")
    if not name:
        return strangers(where)
    return (
        f"{where} holds the repository of the destination {name}: both are one location under two "
        "addresses, or this location is a copy; name an empty location"
    )


WORK = TaskWork("BACKUP_DESTINATION_INIT", DestinationInitOrder, run)
