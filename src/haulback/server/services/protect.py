"""Protection in one step: one transaction adds a policy with its rule, schedule and
notification.
"""

from __future__ import annotations

import shlex
from itertools import chain, count
from typing import NamedTuple

import msgspec

from haulback.contract.order_records import BackupDestination
from haulback.contract.protect import Protecting, ProtectRequest
from haulback.contract.system_schedules import SystemTask
from haulback.errors import Malformed
from haulback.inventory.records import Record
from haulback.policy.retention_text import read_keeps
from haulback.policy.time_text import read_days, read_duration, read_time
from haulback.server.caller import Caller
from haulback.server.scope import EVERYTHING
from haulback.server.services import (
    assignment,
    configuration,
    notifications,
    system_schedules,
)
from haulback.server.services.app import App, AuditedChange
from haulback.server.services.configuration import ConfigurationReading, RequestRecord
from haulback.server.services.notifications import AddedMail, MailRule
from haulback.server.services.record_kinds import RECORD_KINDS
from haulback.server.store import configuration as configuration_store
from haulback.server.store import lists, schedule_clocks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.texts import check_address
from haulback.units import DAY_MS
from haulback.wire import JsonObject, Named, read

_LONGEST_GLOB, _MOST = 200, 50
_DAYS_OF_A_TURN = {"daily": 1, "weekly": 7, "monthly": 30}  # time in which each machine is proven
_FEWEST_PROOFS = 5  # length of a nightly window
_SHORTEST_MS = 60_000  # shortest time between two backups
_RETRIES = 1  # retries of a backup in the policies made here
_SPECIAL = frozenset(r"\.+^$()|{}[]")  # characters that have a meaning in an expression


class _Added(NamedTuple):
    """The records that protect, the first run in epoch ms, and a sentence about proofs.

    `copy_to` has the second copies, None without any.
    """

    policy: Record
    rule: Record
    schedule: Record
    to: BackupDestination
    copy_to: BackupDestination | None
    mail: AddedMail | None
    first: int | None
    proofs: str


def protect(app: App, who: Caller, wanted: ProtectRequest) -> Protecting:
    """Add the records that protect machines, and assign the machines.

    Raises Malformed, NotFound, Conflict, Forbidden; nothing is added then.
    """
    _check_possible(wanted)
    if wanted.prove:
        system_schedules.ensure(app)
    with app.change(who, "protect") as change:
        added = _add(app, change, who, wanted)
        change.subject = added.policy.guid
        change.after = [added.policy, added.rule, added.schedule]
    assignment.assign_now(app, added.policy.guid)
    with ConfigurationReading.of(app, who.scope) as reading:
        machines = len(reading.members(added.policy))
        return Protecting(
            policy=_named(added.policy),
            rule=_named(added.rule),
            schedule=_named(added.schedule),
            destination=Named(added.to.guid, added.to.name),
            copyDestination=Named(added.copy_to.guid, added.copy_to.name)
            if added.copy_to
            else None,
            notificationRule=_named(added.mail.rule) if added.mail else None,
            machines=machines,
            firstRun=added.first,
            timeZone=added.schedule.body["timeZone"],
            rpo=reading.rpo(added.policy.guid),
            notes=list(_notes(wanted, added, machines)),
        )


def _add(app: App, change: AuditedChange, who: Caller, wanted: ProtectRequest) -> _Added:
    known = SqlCatalogue(change.sql, who.scope)
    to, copy_to = _destination(wanted, known), _copy_destination(wanted, known)

    def add(kind: str, body: JsonObject) -> Record:
        struct = RECORD_KINDS[kind].struct
        sent = RequestRecord(
            RECORD_KINDS[kind], lambda: read(body, struct, ""), msgspec.json.encode(body)
        )
        return configuration.add_within(app, change, who, sent)

    times = _schedule(wanted, app.time_zone)
    schedule = add("schedule", times | {"name": _free_name(known, "schedule", times["name"])})
    copies = [_place("SECONDARY", copy_to, wanted)] if copy_to else []
    policy = add("vm-backup", _policy(wanted, [_place("PRIMARY", to, wanted), *copies], schedule))
    [rule] = known.records.of_kind("rule", policy.guid)
    mail = None
    if wanted.mail:
        name = _free_name(known, notifications.RULE, f"{policy.name}: failures")
        asked = MailRule(name, wanted.mail, policy.guid, policy.project)
        mail = notifications.add_mail(change.sql, change.now, asked)
    clock = schedule_clocks.find(change.sql, schedule.guid)
    proofs = _prove(change, known, wanted.prove) if wanted.prove else ""
    first = clock.due_at if clock else None
    return _Added(policy, rule, schedule, to, copy_to, mail, first, proofs)


def _free_name(known: SqlCatalogue, kind: str, name: str) -> str:
    """The name, or the name with the first free number, for a new record.

    A removed policy leaves its schedule and its notification rule, which may have other uses.
    """
    taken = {record.name for record in known.records.of_kind(kind)}
    numbered = (f"{name} ({number})" for number in count(2))
    return next(free for free in chain((name,), numbered) if free not in taken)


def _prove(change: AuditedChange, known: SqlCatalogue, how: str) -> str:
    """Activate the system schedule of proofs; returns a sentence about it.

    The schedule proves the machines with the oldest evidence first, with a number for each night
    that lets each machine be proven in time.
    """
    guid = system_schedules.guid_of(SystemTask.PROVE)
    record = known.records.changeable(system_schedules.KIND, guid)
    if record.body.get("active", True):
        return f"the system schedule {record.name} runs proofs already and was not changed"
    machines = sum(lists.machine_counts(change.sql, EVERYTHING).values())
    most = max(_FEWEST_PROOFS, -(-machines // _DAYS_OF_A_TURN[how]))
    body = {**record.body, "active": True, "daysOfWeek": [], "most": most}
    after = msgspec.structs.replace(record, body=body, modified=change.now)
    configuration_store.change(change.sql, after)
    return (
        f"the system schedule {record.name} proves up to {most} machines a night, the "
        "oldest proof first; a hypervisor that cannot run machines proves nothing"
    )


def _check_possible(wanted: ProtectRequest) -> None:
    """Raises Malformed for a request without machine or time, or with an unknown proof period."""
    if not (wanted.all or wanted.match or wanted.tags):
        raise Malformed("match: name machines by match or tags, or choose all", field="match")
    if wanted.all and (wanted.match or wanted.tags):
        raise Malformed("all: takes every machine; leave match and tags out", field="all")
    for field in ("match", "tags", "exclude"):
        if len(getattr(wanted, field)) > _MOST:
            raise Malformed(f"{field}: send at most {_MOST} entries", field=field)
    for place, address in enumerate(wanted.mail):
        check_address(address, f"mail[{place}]")
    if bool(wanted.nightly) == bool(wanted.every):
        raise Malformed("nightly: name one of nightly (22:00) and every (4h)", field="nightly")
    if wanted.prove and wanted.prove not in _DAYS_OF_A_TURN:
        known = ", ".join(_DAYS_OF_A_TURN)
        raise Malformed(f"prove: {wanted.prove[:20]!r} is not one of {known}", field="prove")


def _destination(wanted: ProtectRequest, known: SqlCatalogue) -> BackupDestination:
    if wanted.to and wanted.to.guid:
        return known.places.destination(wanted.to.guid)
    return known.places.default_destination()


def _copy_destination(wanted: ProtectRequest, known: SqlCatalogue) -> BackupDestination | None:
    if not wanted.copyTo or not wanted.copyTo.guid:
        return None
    copy_to = known.places.destination(wanted.copyTo.guid)
    if copy_to.guid == _destination(wanted, known).guid:
        raise Malformed(
            f"copyTo: {copy_to.name} already stores the backups; name another destination",
            field="copyTo",
        )
    return copy_to


def _place(role: str, to: BackupDestination, wanted: ProtectRequest) -> JsonObject:
    """A destination of the rule; copies are kept as long as the backups."""
    place: JsonObject = {"roleType": role, "backupDestination": {"guid": to.guid}}
    if wanted.keep:
        place["backupRetentionSettings"] = msgspec.to_builtins(read_keeps(wanted.keep))
    return place


def _name(wanted: ProtectRequest) -> str:
    chosen = ["all machines"] if wanted.all else [*wanted.match, *wanted.tags]
    return wanted.name or ", ".join(chosen)[:_LONGEST_GLOB]


def _schedule(wanted: ProtectRequest, zone: str) -> JsonObject:
    name, zone = _name(wanted), wanted.timeZone or zone
    body: JsonObject = {"backupType": "FULL" if wanted.full else "INCREMENTAL"}
    if wanted.nightly:
        time = read_time(wanted.nightly, "nightly")
        body |= {"name": f"{name}: {wanted.nightly}", "hour": time.hour}
        body["timeZone"] = time.zone or zone
    else:
        every = read_duration(wanted.every, "every")
        if not _SHORTEST_MS <= every <= DAY_MS:
            raise Malformed(
                "every: send a duration from a minute to a day; for a longer interval "
                "choose nightly and days",
                field="every",
            )
        body |= {"name": f"{name}: every {wanted.every}", "executionType": "INTERVAL"}
        body |= {"interval": {"frequency": every}, "timeZone": zone}
    if wanted.days:
        body["daysOfWeek"] = [day.value for day in read_days(wanted.days, "days")]
    if wanted.window:
        body["startWindowLength"] = read_duration(wanted.window, "window")
    return body


def _policy(wanted: ProtectRequest, places: list[JsonObject], schedule: Record) -> JsonObject:
    rule = {
        "name": _name(wanted),
        "ruleBackupDestinations": places,
        "schedules": [{"guid": schedule.guid}],
    }
    return {
        "name": _name(wanted),
        "backupRetryCount": _RETRIES,
        "autoAssignSettings": {
            "mode": "ASSIGN_ONLY",
            "includeTags": wanted.tags,
            "includeRegExps": _expressions(["*"] if wanted.all else wanted.match, "match"),
            "excludeRegExps": _expressions(wanted.exclude, "exclude"),
        },
        "executeAutoAssignmentAfterSavingPolicy": True,
        "rpo": read_duration(wanted.rpo, "rpo") if wanted.rpo else None,
        "rules": [rule],
    }


def _expressions(globs: list[str], field: str) -> list[str]:
    """The expressions of names like `web*`, in which `*` and `?` stand for any characters."""
    for glob in globs:
        if not 0 < len(glob) <= _LONGEST_GLOB or not glob.isprintable():
            raise Malformed(
                f"{field}: {glob[:40]!r} is not a pattern of names; write a pattern like web*",
                field=field,
            )
    return [_expression(glob) for glob in globs]


def _expression(glob: str) -> str:
    parts = {"*": ".*", "?": "."}
    return "".join(parts.get(c, f"\\{c}" if c in _SPECIAL else c) for c in glob) + "$"


def _notes(wanted: ProtectRequest, added: _Added, machines: int) -> list[str]:
    notes = []
    if not machines:
        notes.append(
            "no machine was assigned: no machine matches, or each matching machine has a "
            "policy; the next inventory assigns new machines"
        )
    if not wanted.keep:
        notes.append("no backup is ever removed: name the backups to keep, like 7d,4w,12m")
    if added.mail and added.mail.is_new_channel:
        notes.append(
            "mails go through the mail server of this machine (localhost, port 25); "
            f"`haulback notify channel set {shlex.quote(added.mail.channel.name)} host=HOST` "
            "changes it"
        )
    return [*notes, added.proofs] if added.proofs else notes


def _named(record: Record) -> Named:
    return Named(record.guid, record.name)
