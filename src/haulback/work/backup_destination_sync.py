"""BACKUP_DESTINATION_SYNC on the node: copy backups, or read the catalogue of a destination."""

from __future__ import annotations

import time

import msgspec

from haulback.contract.backup_destination_sync import (
    CopiedBackup,
    DestinationSyncOrder,
    WantedCopy,
)
from haulback.errors import Damaged, HaulbackError, NotFound
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.transfer.copy import CopyWish, copy_backup, heal_backup, lacks_data
from haulback.transfer.portions import CopyServices
from haulback.units import counted, duration, size
from haulback.wire import JsonObject
from haulback.work.context import Results, TaskContext, TaskWork
from haulback.work.support.catalogue import read_catalogue, write_extract_if_old
from haulback.work.support.family_slot import let_family_open
from haulback.work.support.rate_limit import RateLimit
from haulback.work.support.recent_backup import let_be_listed


def run(context: TaskContext) -> Results:
    order: DestinationSyncOrder = context.order
    if order.source is None:
        return read_catalogue(context)
    source = context.repositories.open(order.source)
    target = context.repositories.open(order.destination)
    results: Results = {"copied": [], "sealedAnew": not source.is_of_family(target)}
    if results["sealedAnew"]:
        context.log("the destinations have different keys: the data is decrypted and sealed again")
    let_family_open(context, target, order.family)
    for wanted in order.copies:
        let_be_listed(context, source, wanted.source)
    context.log(
        f"{counted(len(order.copies), 'backup')} to copy from {order.source.name} to "
        f"{order.destination.name}"
    )
    context.progress.expect(sum(_amount(source, wanted) for wanted in order.copies))
    _Copying(context, source, target).copy(order, results)
    write_extract_if_old(context, target, order.destination.owner)
    return results | context.repositories.space(order.destination)


def _amount(source: Repository, wanted: WantedCopy) -> int:
    """The stored bytes of a backup, which its copy roughly needs; 0 if it no longer exists."""
    try:
        return source.manifest(wanted.source).stored
    except HaulbackError:
        return 0


class _Copying:
    """Copies of an order, one after another."""

    def __init__(self, context: TaskContext, source: Repository, target: Repository) -> None:
        order: DestinationSyncOrder = context.order
        self._context, self._source, self._target = context, source, target
        meter = RateLimit(order.rate, context.progress.meter)
        resources = Resources(context.pool, context.disk, meter, context.progress.confirm)
        memory = context.repositories.pack_memory(target)
        self._services = CopyServices(context.staging.folder, resources, memory)

    def copy(self, order: DestinationSyncOrder, results: Results) -> None:
        """Make all copies, and report each at once; a failed copy does not stop the others.

        Raises the last error.
        """
        failed: HaulbackError | None = None
        older = None
        for wanted in order.copies:
            try:
                done = self._one(wanted, older)
            except NotFound as error:
                self._unread(wanted)
                self._context.log(f"not copied: {error.message}")
                continue
            except Damaged as error:
                self._context.repositories.damaged.append(wanted.source)
                self._unread(wanted)
                self._context.log(f"not copied: {error.message}")
                failed = error
                continue
            results["copied"].append(done)
            self._context.server.note({"copied": results["copied"]})
            older = wanted.backup
        if failed:
            raise failed

    def _unread(self, wanted: WantedCopy) -> None:
        """Let the end of the task look for the manifest of a backup again."""
        source = self._context.order.source
        self._context.repositories.unread.append((source.guid, wanted.source))

    def _one(self, wanted: WantedCopy, older: str | None) -> JsonObject:
        wish = CopyWish(wanted.source, wanted.backup, older or wanted.older, wanted.lock)
        act = heal_backup if wanted.heals else copy_backup
        begun = time.monotonic()
        made = act(self._source, self._target, wish, self._services)
        lacks = wanted.heals and lacks_data(self._target, wanted.backup)
        took = duration(time.monotonic() - begun)
        self._context.log(
            f"{made.manifest.entity_name}: {_said(wanted, lacks=lacks)} in {took}, "
            f"{size(made.stored)} stored"
        )
        copied = CopiedBackup(wanted.backup, made.stored, made.manifest.parent, lacks)
        return dict(msgspec.to_builtins(copied))


def _said(wanted: WantedCopy, *, lacks: bool) -> str:
    """The result of a copy or a healing."""
    if not wanted.heals:
        return f"backup {wanted.source} was copied as {wanted.backup}"
    if lacks:
        return (
            f"backup {wanted.backup} still lacks data that {wanted.source} lacks too; it was read"
        )
    return f"backup {wanted.backup} was healed from {wanted.source}"


WORK = TaskWork("BACKUP_DESTINATION_SYNC", DestinationSyncOrder, run)
