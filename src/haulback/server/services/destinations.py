"""Backup destinations: insertion, change and removal."""

from __future__ import annotations

import os
from collections.abc import Mapping
from shlex import quote

import msgspec

from haulback.contract.alarms import AlarmKind
from haulback.contract.copies import COPY_OF, Copying
from haulback.contract.destination_types import DestinationType
from haulback.contract.destinations import (
    ChangedDestination,
    NewDestination,
    Retention,
    Verification,
)
from haulback.contract.order_records import BackupDestination
from haulback.contract.task_states import State
from haulback.errors import Conflict, Malformed, NotFound
from haulback.ids import new_guid
from haulback.inventory import destination_types
from haulback.inventory.reach import common, nodes_of
from haulback.inventory.records import Record
from haulback.kinds import destination_move
from haulback.kinds.api import Context
from haulback.kinds.destination_init import init
from haulback.policy import terms
from haulback.policy.keeps import is_zone
from haulback.server.caller import SYSTEM, Caller
from haulback.server.key_vault import KeyVault
from haulback.server.services import destination_secrets, folders, hold
from haulback.server.services import space as space_limits
from haulback.server.services.app import App, AuditedChange
from haulback.server.services.place_fields import changed_reach, reach_of
from haulback.server.services.reach import reach_changed
from haulback.server.services.verification import wish_of
from haulback.server.store import (
    alarms,
    destinations,
    given_up,
    given_up_keys,
    lists,
    node_groups,
    queue,
    tasks,
)
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.server.store.given_up_keys import GivenUpKey
from haulback.server.store.ledger import SqlLedger
from haulback.tasks.record import Task
from haulback.texts import check_name
from haulback.units import DAY_MS
from haulback.wire import JsonObject, Named

_LEAST_RATE = 10_000  # bytes per second: at a lower rate a large backup would never be copied
_KEY_BYTES = 32  # bytes of a repository's key, for AES-256
_LONGEST_AGE = 100 * 365 * DAY_MS


def add_destination(
    app: App, wanted: NewDestination, who: Caller = SYSTEM
) -> tuple[BackupDestination, Task]:
    """Add a destination; the returned task creates its repository.

    Raises Malformed, NotFound, Conflict.
    """
    name, kind = check_name(wanted.name), destination_types.chosen(wanted.type, wanted.driver)
    checked = destination_types.checked(kind, given_settings(wanted))
    with app.change(who, "add destination") as change:
        sql = change.sql
        reach, family = reach_of(sql, wanted), _family(sql, wanted)
        settings = settings_of(wanted)
        settings |= {COPY_OF: family.guid} if family else {}
        record = BackupDestination(
            guid=new_guid(),
            name=name,
            driver=kind.driver,
            config=checked.plain,
            node=reach.node,
            nodes=reach.nodes,
            settings=settings,
        )
        record = folders.with_delay(record)
        folders.check(sql, record)
        check_single_writer(record)
        record, sealed = _found_again(change, app.vault, record, kind) or (
            record,
            app.vault.seal(record.guid, os.urandom(_KEY_BYTES)),
        )
        stored = destination_secrets.sealed(app.vault, record, checked.secrets)
        destinations.add(sql, stored, sealed)
        node_groups.keep(sql)
        task = init(record, SqlCatalogue(sql), Context(change.now), family)
        tasks.insert(sql, [task])
        change.subject, change.after = record.guid, record
    app.wakeups.ring()
    return record, task


def has_kept_key(app: App, guid: str) -> bool:
    """Whether the key of a given-up destination with this guid is kept until its repository is read
    again.
    """
    with app.store.read() as sql:
        return given_up_keys.is_kept(sql, guid)


def _found_again(
    at: AuditedChange, vault: KeyVault, record: BackupDestination, kind: DestinationType
) -> tuple[BackupDestination, str] | None:
    """A new destination with the guid and key of the given-up destination at the same location.

    The key stays recorded until the task of the new destination has read that repository.
    """
    wanted = _place_of(kind, record.config)
    keys = [
        key
        for key in given_up_keys.of_driver(at.sql, kind.driver)
        if _place_of(kind, key.record.get("config", {})) == wanted
    ]
    if not keys:
        return None
    # Folders on different nodes may have equal paths: a second attempt uses the key of another
    # destination.
    key = min(keys, key=lambda key: (key.tried, not _share_node(record, key), -key.begun))
    given_up_keys.note_trial(at.sql, key.guid, at.now)
    if not destinations.names(at.sql, [key.guid]):
        return msgspec.structs.replace(record, guid=key.guid), key.sealed
    # Another repository now has the guid: the key is sealed for the new guid.
    return record, vault.seal(record.guid, vault.unseal(key.guid, key.sealed))


def _share_node(record: BackupDestination, key: GivenUpKey) -> bool:
    """Whether a node of a new destination also reached the given-up destination."""
    before = {key.record.get("node"), *key.record.get("nodes", ())}
    return bool(before & {*record.nodes, record.node} - {None})


def _place_of(kind: DestinationType, config: JsonObject) -> JsonObject:
    """The settings that determine the location of a store; for a folder its path, on any node."""
    return destination_types.place(kind, config) or {"path": config.get("path")}


def check_single_writer(record: BackupDestination) -> None:
    """Raise Malformed for a store that replaces objects if several nodes would write to it."""
    nodes = nodes_of(record)
    if record.config.get("singleWriter") and (nodes is None or len(nodes) != 1):
        raise Malformed(
            "singleWriter: name the one `node` that uses the destination, because only "
            "one node may write there",
            field="node",
        )


def _family(sql: Connection, wanted: NewDestination) -> BackupDestination | None:
    """The destination whose master key a new destination receives.  Raises NotFound, Conflict."""
    if wanted.copyOf is None:
        return None
    family = SqlCatalogue(sql).places.destination(wanted.copyOf.guid)
    if family.repository is None:
        raise Conflict(
            f"copyOf: {family.name} has no repository yet; wait until its "
            "BACKUP_DESTINATION_INIT is FINISHED, or repeat it if it FAILED "
            "(`haulback destination init`)",
            field="copyOf",
        )
    return family


def change_destination(
    app: App, guid: str, wanted: ChangedDestination, who: Caller
) -> BackupDestination:
    """Change a destination; the locks of stored backups are never shortened.  Raises NotFound,
    Malformed, Conflict.
    """
    with app.change(who, "change destination", guid) as change:
        before = SqlCatalogue(change.sql).places.destination(guid)
        after = _changed(app.vault, change.sql, before, wanted)
        folders.check(change.sql, after)
        check_single_writer(after)
        destinations.change(change.sql, after)
        SqlLedger(change.sql, change.now).destinations.limited(guid)
        reach_changed(change.sql, before, after, change.now)
        alarms.renamed(change.sql, Named(guid, after.name))
        if not wish_of(after).active:
            SqlLedger(change.sql, change.now).alarms.clear(AlarmKind.VERIFY_OVERDUE, guid)
        change.before, change.after = map(destination_secrets.shown, (before, after))
    app.wakeups.ring()
    return after


def _changed(
    vault: KeyVault, sql: Connection, before: BackupDestination, wanted: ChangedDestination
) -> BackupDestination:
    """The record with the changes of a request.  Raises NotFound, Malformed, Conflict."""
    kind = destination_types.chosen(None, before.driver)
    if wanted.type is not None and wanted.type != kind.name:
        raise Malformed(
            f"type: {before.name} is of type {kind.name}; leave the member out", field="type"
        )
    settings = _chosen_settings(wanted, before.settings)
    given = _given(kind, wanted, before)
    if given.secrets and queue.has_task(sql, destination_move.TYPE, before.guid):
        raise Conflict(f"{before.name} is being moved; change its secrets after the move")
    reach = changed_reach(sql, wanted, before)
    after = msgspec.structs.replace(
        before,
        name=before.name if wanted.name is None else check_name(wanted.name),
        settings=settings,
        config={
            name: value
            for name, value in (before.config | given.plain).items()
            if value != "" or name not in given.plain
        },
        node=reach.node,
        nodes=reach.nodes,
    )
    after = destination_secrets.changed(vault, after, given.secrets)
    if given.secrets:
        destination_types.check_together(kind, destination_secrets.opened(vault, after))
    is_moved = reach != (before.node, before.nodes)
    is_set = wanted.settings or wanted.removedSettings
    return folders.with_delay(after) if is_set or is_moved else after


def _given(
    kind: DestinationType, wanted: ChangedDestination, before: BackupDestination
) -> destination_types.CheckedSettings:
    """The settings that a request changes; removed ones have the empty text.  Raises Malformed."""
    changed = destination_types.changed(
        kind, wanted.settings or {}, before.config, is_initialized=before.repository is not None
    )
    removed = destination_types.removed(kind, wanted, before)
    return destination_types.CheckedSettings(
        changed.plain | removed.plain, changed.secrets | removed.secrets
    )


def init_again(app: App, guid: str, who: Caller) -> tuple[BackupDestination, Task]:
    """Queue the task that creates the repository of a destination once more.

    Raises NotFound, or Conflict for a destination with a repository, and while the task waits.
    """
    with app.change(who, "create repository again", guid) as change:
        sql = change.sql
        known = SqlCatalogue(sql)
        record = known.places.destination(guid)
        if record.repository is not None:
            raise Conflict(f"{record.name} has its repository already; nothing was done")
        for live in known.work.under_way("backupDestination", guid, "BACKUP_DESTINATION_INIT"):
            raise Conflict(
                f"the BACKUP_DESTINATION_INIT of {record.name} is {live.state}; wait for "
                "the end of this task, or cancel it",
                task=live.guid,
            )
        family = _family_of(known, record)
        task = init(record, known, Context(change.now), family)
        tasks.insert(sql, [task])
        change.after = {"task": task.guid}
    app.wakeups.ring()
    return record, task


def _family_of(known: SqlCatalogue, record: BackupDestination) -> BackupDestination | None:
    """The destination whose master key a destination receives.  Raises Conflict if it was
    removed.
    """
    if not (copied := record.settings.get(COPY_OF)):
        return None
    try:
        return known.places.destination(copied)
    except NotFound:
        raise Conflict(
            f"copyOf: the destination whose key {record.name} needs was removed; remove "
            f"{record.name} and add it again without copyOf"
        ) from None


def remove_destination(app: App, guid: str, who: Caller) -> None:
    """Remove a destination.  Raises NotFound; raises Conflict while the destination holds backups,
    which need its key.
    """
    with app.change(who, "remove destination", guid) as change:
        sql = change.sql
        record = SqlCatalogue(sql).places.destination(guid)
        change.before = destination_secrets.shown(record)
        # The restored catalogue may lack the newest backups of the destination, which need its key.
        hold.check_removal(sql, "the removal of a destination")
        # Without a repository no backup has data there: all of them failed, or wait.
        if record.repository is not None and destinations.has_backups(sql, guid):
            raise Conflict(
                "the destination holds backups; delete the backups first, or, if the destination "
                f"is lost for good, give it up: haulback destination rm {quote(record.name)} --gone"
            )
        for rule in SqlCatalogue(sql).records.of_kind("rule"):
            if guid in destinations_of(rule):
                raise Conflict(
                    f"the rule {rule.name} stores its backups there; give it another destination "
                    "first",
                    rule=rule.guid,
                )
        _end_tasks(app, sql, guid)
        removed = destinations.remove(sql, guid)
        SqlLedger(sql, change.now).alarms.clear_all([guid, *removed])


def _end_tasks(app: App, sql: Connection, guid: str) -> None:
    """End all tasks of a destination; a destination without backups has few tasks."""
    while some := given_up.some_tasks(sql, given_up.of_destination(guid)):
        for task in some:
            current = tasks.find(sql, task.guid)
            # A follower may have ended with its predecessor.
            if current and current.state == task.state:
                app.task_changes(sql).end(current, State.CANCELLED, "the destination was removed")


def destinations_of(rule: Record) -> set[str]:
    """The destinations of a rule, by guid."""
    named = [one.get("backupDestination") for one in rule.body.get("ruleBackupDestinations", [])]
    return {str(one["guid"]) for one in named if one}


def usable_for(app: App, machines: list[str], who: Caller) -> list[BackupDestination]:
    """Destinations that some node reaches together with each machine.  Raises NotFound."""
    with app.store.read() as sql:
        known = SqlCatalogue(sql, who.scope)
        result = known.machines.get_many(machines)
        sources = [known.places.hypervisor(item.hypervisor) for item in result]
        return [
            place
            for place in lists.places(sql, BackupDestination)
            if common((place, *sources)) != frozenset()
        ]


def retention_of(one: BackupDestination) -> Retention:
    """The retention settings of a destination."""
    return terms.of(one.settings)


def _chosen_settings(wanted: NewDestination | ChangedDestination, before: JsonObject) -> JsonObject:
    kept = _verified(wanted.verification, _keeping(wanted.retention, before))
    return space_limits.limited(wanted.space, _copying(wanted.copying, kept))


def _keeping(wanted: Retention | None, before: JsonObject) -> JsonObject:
    if wanted is None:
        return before
    for name in ("keepLastNFull", "keepLastNIncremental"):
        if (count := getattr(wanted, name)) is not None and not 1 <= count <= 1_000_000:
            raise Malformed(
                f"retention.{name}: send a number of at least 1", field=f"retention.{name}"
            )
    for name in ("keepFullNewerThan", "keepIncrementalNewerThan"):
        if (age := getattr(wanted, name)) is not None and not 0 < age <= _LONGEST_AGE:
            raise Malformed(f"retention.{name}: send an age in ms", field=f"retention.{name}")
    days = wanted.daysToKeepRetentionLock
    if days is not None and not 0 <= days <= 36_500:
        field = "retention.daysToKeepRetentionLock"
        raise Malformed(f"{field}: send days, at most 36500", field=field)
    days = wanted.keepLastBackupOfAbsentDays
    if not 0 <= days <= 36_500:
        field = "retention.keepLastBackupOfAbsentDays"
        raise Malformed(f"{field}: send days, at most 36500; 0 for none", field=field)
    return {**before, "retention": msgspec.to_builtins(wanted)}


def _verified(wanted: Verification | None, before: JsonObject) -> JsonObject:
    if wanted is None:
        return before
    if not 1 <= wanted.days <= 3650:
        raise Malformed(
            f"verification.days: {wanted.days} is not between 1 and 3650", field="verification.days"
        )
    if not 60 <= wanted.seconds <= 86_400:
        field = "verification.seconds"
        raise Malformed(f"{field}: {wanted.seconds} is not between 60 and 86400", field=field)
    return {**before, "verification": msgspec.to_builtins(wanted)}


def settings_of(wanted: NewDestination) -> JsonObject:
    """The retention, verification, copying and space of a new destination.  Raises Malformed."""
    return _chosen_settings(wanted, {})


def _copying(wanted: Copying | None, before: JsonObject) -> JsonObject:
    if wanted is None:
        return before
    if wanted.rate is not None and wanted.rate < _LEAST_RATE:
        field = "copying.rate"
        raise Malformed(f"{field}: send bytes per second, at least {_LEAST_RATE}", field=field)
    for name in ("startHour", "endHour"):
        hour, field = getattr(wanted, name), f"copying.{name}"
        if hour is not None and not 0 <= hour <= DAY_MS:
            raise Malformed(f"{field}: send ms from midnight, 0 to {DAY_MS}", field=field)
    if (wanted.startHour is None) != (wanted.endHour is None):
        field = "copying.endHour" if wanted.endHour is None else "copying.startHour"
        raise Malformed(
            f"{field}: a window needs both startHour and endHour; send both or neither", field=field
        )
    if wanted.timeZone and not is_zone(wanted.timeZone):
        field = "copying.timeZone"
        raise Malformed(f"{field}: name an IANA time zone, like Europe/Berlin", field=field)
    return {**before, "copying": msgspec.to_builtins(wanted)}


def given_settings(wanted: NewDestination) -> JsonObject:
    """The settings in a request; `path` may stand outside `settings`."""
    path = {} if wanted.path is None else {"path": wanted.path}
    return path | (wanted.settings or {})


def all_destinations(app: App) -> list[BackupDestination]:
    """All destinations, ordered by name."""
    with app.store.read() as sql:
        return lists.places(sql, BackupDestination)


def destination(app: App, guid: str) -> BackupDestination:
    """A destination by its guid.  Raises NotFound."""
    with app.store.read() as sql:
        return SqlCatalogue(sql).places.destination(guid)


def node_names(app: App) -> Mapping[str, str]:
    """The names of all nodes by guid."""
    with app.store.read() as sql:
        return SqlCatalogue(sql).places.node_names()
