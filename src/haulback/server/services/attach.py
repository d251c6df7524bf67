"""Attachment of destinations that hold a repository, and the tasks that read the catalogues."""

from __future__ import annotations

from haulback.contract.catalogue import AttachedDestination
from haulback.contract.order_records import BackupDestination
from haulback.contract.repository_secrets import packed, secret_of
from haulback.errors import Conflict, Malformed
from haulback.ids import new_guid
from haulback.inventory import destination_types
from haulback.kinds.api import Context
from haulback.kinds.backup_destination_sync import reading
from haulback.kinds.support.catalogue_orders import REVOKED, TAKE_OVER
from haulback.kinds.support.second_copies import TYPE
from haulback.server.caller import Caller
from haulback.server.services import destination_owners, destination_secrets, destinations, folders
from haulback.server.services.app import App
from haulback.server.services.place_fields import reach_of
from haulback.server.store import destinations as destination_store
from haulback.server.store import node_groups, queue, tasks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.tasks.record import Task
from haulback.texts import check_name


def attach(app: App, wanted: AttachedDestination, who: Caller) -> tuple[BackupDestination, Task]:
    """Add a destination with its repository; the returned task reads its catalogue.

    Raises Malformed, NotFound, Conflict.
    """
    name, kind = check_name(wanted.name), destination_types.chosen(wanted.type, wanted.driver)
    checked = destination_types.checked(kind, destinations.given_settings(wanted))
    secret = packed(secret_of(wanted))
    if wanted.copyOf is not None:
        raise Malformed(
            "copyOf: an attached repository has its own key already; leave the member out",
            field="copyOf",
        )
    if wanted.oldCredentialRevoked and not wanted.takeOver:
        raise Malformed(
            "oldCredentialRevoked: needs takeOver; send both, or leave oldCredentialRevoked out",
            field="oldCredentialRevoked",
        )
    with app.change(who, "attach destination") as change:
        sql, reach = change.sql, reach_of(change.sql, wanted)
        record = BackupDestination(
            guid=new_guid(),
            name=name,
            driver=kind.driver,
            config=checked.plain,
            node=reach.node,
            nodes=reach.nodes,
            settings=destinations.settings_of(wanted) | {destination_owners.ATTACHED: True},
        )
        record = folders.with_delay(record)
        folders.check(sql, record)
        destinations.check_single_writer(record)
        stored = destination_secrets.sealed(app.vault, record, checked.secrets)
        destination_store.add(sql, stored, app.vault.seal(record.guid, secret))
        node_groups.keep(sql)
        task = _task(record, change.now, wanted.takeOver, wanted.oldCredentialRevoked)
        tasks.insert(sql, [task])
        change.subject, change.after = record.guid, record
    app.wakeups.ring()
    return record, task


def read_again(
    app: App, guid: str, who: Caller, *, take_over: bool, revoked: bool
) -> tuple[BackupDestination, Task]:
    """Plan a task that reads the catalogue of a destination; with `take_over` it changes the owner.

    Raises NotFound, and Conflict while such a task waits or runs.
    """
    operation = "take destination over" if take_over else "read catalogue of destination"
    with app.change(who, operation, guid) as change:
        record = SqlCatalogue(change.sql).places.destination(guid)
        if queue.has_task(change.sql, TYPE, guid):
            raise Conflict(
                f"a task already reads the catalogue of {record.name} or copies to "
                f"{record.name}; wait for the end of the task"
            )
        task = _task(record, change.now, take_over, revoked)
        tasks.insert(change.sql, [task])
        change.after = {"task": task.guid, "takeOver": take_over, "oldCredentialRevoked": revoked}
    app.wakeups.ring()
    return destination_secrets.shown(record), task


def _task(to: BackupDestination, now: int, take_over: bool, revoked: bool) -> Task:
    task = reading(to, Context(now))
    if take_over:
        task.params = {TAKE_OVER: True, REVOKED: revoked}
    return task
