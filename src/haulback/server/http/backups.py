"""Backups, their locations and files, and restore jobs."""

from __future__ import annotations

import msgspec

from haulback.contract.backups import BackupRecord, File, FlagValue, Location, Proof, TextValue
from haulback.contract.damage import BackupDamage
from haulback.contract.project_access import ProjectAccess
from haulback.contract.restores import RestoreJobRecord
from haulback.contract.roles import ADMINS, OPERATORS, PEOPLE
from haulback.errors import Malformed
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.derived_guids import disk_guid, file_guid
from haulback.inventory.hardware import cards_of
from haulback.inventory.own_server import type_of
from haulback.inventory.records import Backup, RestoreJob
from haulback.server.http import paging, query_params
from haulback.server.http.operation import FLAG, GUID, TEXT, ApiRequest, Param, Reply, Router
from haulback.server.queries import ListQuery
from haulback.server.services import backups, record_losses
from haulback.server.services.backups import BackupLocations, BackupReading, location_status
from haulback.units import size
from haulback.wire import JsonObject, Named, Ref, label

_STATUSES = {"FAILED", "INPROGRESS", "PARTIAL_SUCCESS", "QUEUED", "SUCCESS", "SUCCESS_REMOVED"}
_PLACES = {"PRESENT", "DAMAGED", "MISSING", "REMOVED", "FAILED", "IN_PROGRESS"}
_TYPES = {"FULL", "INCREMENTAL", "SYNCHRONIZATION", "SYNTHETIC"}
router = Router()


_FILTERS = (
    *paging.COMMON,
    *paging.SPAN,
    paging.ENTITY,
    *(Param(name, f"Of this {name.replace('-', ' ')}.", GUID) for name in (
        "backup-destination", "backup-rule", "hypervisor", "parent-backup",
    )),
    Param("nameLike", "Part of the machine's name.", TEXT),
    Param("only-mountable", "Only backups that can be restored.", FLAG),
    Param("min-size", "Smallest size in bytes.", paging.TIME),
    Param("status", "With these statuses.", {"enum": sorted(_STATUSES)}, many=True),
    Param("type", "Of this type.", {"enum": sorted(_TYPES)}),
)  # fmt: skip


@router(
    "GET",
    "/backups",
    "Backups.",
    answer=BackupRecord,
    many=True,
    query=_FILTERS,
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="backup ls",
)
def list_backups(call: ApiRequest) -> Reply:
    """A page of backups, the newest first."""
    with BackupReading.of(call.app) as reading:
        found, total = reading.wholes(_wanted(call))
        return paging.page(found, total, lambda whole: _backup(whole, reading.catalogue))


@router(
    "GET",
    "/backups/{guid}",
    "A backup.",
    answer=BackupRecord,
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="backup show BACKUP",
)
def one_backup(call: ApiRequest) -> BackupRecord:
    """A backup by its guid."""
    with BackupReading.of(call.app, call.who.scope) as reading:
        return _backup(reading.whole(call.guid), reading.catalogue)


@router(
    "PUT",
    "/backups/{guid}/description",
    "Describe a backup.",
    request=TextValue,
    status=204,
    roles=OPERATORS,
    projects=ProjectAccess.OBJECTS,
    examples=[{"value": "words"}],
    command="backup describe BACKUP WORDS",
)
def describe(call: ApiRequest) -> None:
    """Set the description of a backup."""
    wanted: TextValue = call.read(TextValue)
    text = wanted.value[:4000]
    backups.set_members(call.app, call.who, "describe backup", call.guid, description=text)


@router(
    "PUT",
    "/backups/{guid}/warnings-acknowledged",
    "Acknowledge warnings.",
    request=FlagValue,
    status=204,
    roles=OPERATORS,
    projects=ProjectAccess.OBJECTS,
    examples=[{"value": True}],
    command="backup acknowledge BACKUP",
)
def acknowledge(call: ApiRequest) -> None:
    """Mark the warnings of a backup as read."""
    wanted: FlagValue = call.read(FlagValue)
    operation, is_read = "acknowledge warnings", wanted.value
    backups.set_members(call.app, call.who, operation, call.guid, acknowledged=is_read)


@router(
    "POST",
    "/backups/{guid}/confirm-missing",
    "Confirm that a backup is lost.",
    status=204,
    roles=ADMINS,
    command="backup confirm-missing MISSING --yes",
    destroys=lambda call: record_losses.of_missing_backup(call.app, call.guid, call.who.scope),
)
def confirm_missing(call: ApiRequest) -> None:
    """Give up a missing backup, so that clean-ups of its destination no longer wait for it."""
    backups.confirm_missing(call.app, call.who, call.guid)


@router(
    "GET",
    "/backups/{guid}/proof",
    "Proof of a backup.",
    answer=Proof,
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="backup proof PROVEN",
)
def proof(call: ApiRequest) -> Proof:
    """The signed evidence of the last successful boot."""
    backup, result = backups.proof(call.app, call.guid, call.who.scope)
    vault = call.app.vault
    return Proof(
        level=label(backup.level),
        time=result.time,
        evidence=result.evidence,
        signature=result.signature,
        publicKey=vault.public_key,
        valid=vault.is_signed(result.evidence.encode(), result.signature),
    )


@router(
    "GET",
    "/backup-locations",
    "Locations of backups.",
    answer=Location,
    many=True,
    query=(
        *_FILTERS,
        Param("location-status", "With these statuses.", {"enum": sorted(_PLACES)}, many=True),
        Param("backup", "Only of this backup.", GUID),
    ),
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="backup locations",
)
def list_locations(call: ApiRequest) -> Reply:
    """Locations of backups, the newest first."""
    if backup := query_params.guid(call, "backup"):
        with BackupReading.of(call.app, call.who.scope) as reading:
            known = reading.catalogue
            shown = [shown_location(item, known) for item in known.backups.locations(backup)]
        return Reply(shown, headers={"X-Total-Count": str(len(shown))})
    wanted = _wanted(call)
    wanted.locations = True
    if places := query_params.names(call, "location-status", _PLACES):
        wanted.places = list(places)
    elif not wanted.statuses:
        wanted.places = ["PRESENT", "DAMAGED"]
    with BackupReading.of(call.app) as reading:
        locations, total = reading.page(wanted)
        return paging.page(locations, total, lambda item: shown_location(item, reading.catalogue))


@router(
    "GET",
    "/backup-locations/{guid}",
    "A location.",
    answer=Location,
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
)
def one_location(call: ApiRequest) -> Location:
    """A backup location by its guid."""
    with BackupReading.of(call.app, call.who.scope) as reading:
        known = reading.catalogue
        return shown_location(known.backups.at_location(call.guid), known)


@router(
    "GET",
    "/backup-files",
    "Files of a backup.",
    answer=File,
    many=True,
    query=(Param("backup", "The backup of the files.", GUID),),
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="backup files BACKUP",
)
def list_files(call: ApiRequest) -> list[File]:
    """The disks of a backup."""
    return _files(call)


@router(
    "GET",
    "/backup-files/detailed/for-restore",
    "Files to restore.",
    answer=File,
    many=True,
    query=(
        Param("backup", "The backup of the files.", GUID),
        Param("with-modified-configs", "Accepted without effect.", FLAG),
    ),
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="backup files BACKUP --to-restore",
)
def files_to_restore(call: ApiRequest) -> list[File]:
    """The disks of a backup, as a restore takes them in `taskFiles`."""
    return _files(call)


def _files(call: ApiRequest) -> list[File]:
    guid = query_params.guid(call, "backup")
    if guid is None:
        raise Malformed("backup: send the guid of a backup", field="backup")
    with BackupReading.of(call.app, call.who.scope) as reading:
        whole = reading.whole(guid)
    return [_file(whole, disk) for disk in whole.first.files]


@router(
    "GET",
    "/restore-jobs",
    "Restore jobs.",
    answer=RestoreJobRecord,
    many=True,
    query=(*paging.COMMON, *paging.SPAN, paging.ENTITY),
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="restore ls",
)
def list_jobs(call: ApiRequest) -> Reply:
    """A page of restore jobs, the newest first."""
    return paging.page(*backups.restore_jobs(call.app, paging.wanted(call)), _job)


@router(
    "GET",
    "/restore-jobs/{guid}",
    "A restore job.",
    answer=RestoreJobRecord,
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="restore show RESTORE",
)
def one_job(call: ApiRequest) -> RestoreJobRecord:
    """A restore job by its guid."""
    return _job(backups.restore_job(call.app, call.guid, call.who.scope))


def _wanted(call: ApiRequest) -> ListQuery:
    statuses = query_params.names(call, "status", _STATUSES)
    places: list[str] = []
    if query_params.flag(call, "only-mountable"):
        statuses, places = [], ["PRESENT", "DAMAGED"]
    return paging.wanted(
        call,
        destination=query_params.guid(call, "backup-destination"),
        rule=query_params.guid(call, "backup-rule"),
        hypervisor=query_params.guid(call, "hypervisor"),
        parent=query_params.guid(call, "parent-backup"),
        statuses=statuses,
        places=places,
        types=query_params.names(call, "type", _TYPES),
        name=query_params.one(call, "nameLike"),
        min_size=query_params.number(call, "min-size", 1 << 53),
    )


def _backup(whole: BackupLocations, known: Catalogue) -> BackupRecord:
    backup, best = whole.first, whole.best
    ran = sum(backup.times.get(name, 0) for name in ("exportTime", "storeTime"))
    return BackupRecord(
        guid=backup.guid,
        name=backup.entity_name,
        protectedEntity=Named(backup.entity, backup.entity_name, label(type_of(backup.entity))),
        type=label(backup.type),
        status=label(shown_status(whole)),
        statusInfo=damage_text(best) or best.status_info,
        backupTime=backup.created,
        snapshotTime=backup.snapshot_time,
        size=backup.held,
        hidden=False,
        transferredSize=backup.read,
        storedSize=backup.stored,
        warnings=_warnings(whole),
        warningsPresent=bool(_warnings(whole)),
        warningsAcknowledged=backup.acknowledged,
        description=backup.description,
        parentBackup=Named(backup.parent) if backup.parent else None,
        backupLocations=[shown_location(item, known) for item in whole.all],
        originEntity=backup.origin or None,
        backupRule=Named(backup.rule) if backup.rule else None,
        taskTimeStats=backup.times,
        taskDurationTime=ran or None,
        iscsiMountable=_is_mountable(best),
        networkInterfaceCards=_cards(backup, known),
        archiveExpire=backup.keep_until,
        level=label(whole.level if best.is_whole else location_status(best)),
        consistency=label(backup.consistency) if backup.consistency else None,
    )


def _cards(backup: Backup, known: Catalogue) -> list[JsonObject]:
    """The network cards of a backup; a network that no record names has an empty guid."""
    cards = cards_of(backup.guid, backup.definition)
    networks = (
        {record.name: record.guid for record in known.records.of_kind("network")} if cards else {}
    )
    return [
        {
            "guid": card.guid,
            "name": f"card {card.number}",
            "macAddress": card.mac,
            "network": {"guid": networks.get(card.network, ""), "name": card.network},
        }
        for card in cards
    ]


def shown_status(whole: BackupLocations) -> str:
    """The status for portals, by the best location: partial if damaged, failed if missing."""
    one = whole.best
    if one.status != "SUCCESS":
        return whole.first.status
    shown = {"PRESENT": "SUCCESS", "DAMAGED": "PARTIAL_SUCCESS"}
    return shown.get(one.location_status, "FAILED")


def damage_text(backup: Backup) -> str:
    """The damage of a stored backup in a sentence; "" for a sound backup."""
    if backup.status != "SUCCESS" or backup.location_status == "PRESENT":
        return ""
    converted = msgspec.convert(backup.damage, BackupDamage)
    objects = "; ".join(converted.objects[:3])
    by = f"found by {converted.foundBy}"
    if backup.location_status == "DAMAGED":
        disks = ", ".join(f"{disk.name} lacks {size(disk.bytes)}" for disk in converted.disks)
        return f"DAMAGED: {disks or 'its manifest cannot be read'}; {objects}; {by}"
    if backup.location_status == "GIVEN_UP":
        return f"MISSING: given up by {converted.confirmedBy}"
    return f"MISSING from its destination; {by}"


def _warnings(whole: BackupLocations) -> list[str]:
    texts = [damage_text(location) for location in whole.all]
    return [*filter(None, texts), *whole.first.warnings]


def _is_mountable(one: Backup) -> bool:
    return one.status == "SUCCESS" and one.location_status in ("PRESENT", "DAMAGED")


def shown_location(item: Backup, known: Catalogue) -> Location:
    to = known.places.destination(item.destination)
    return Location(
        guid=item.location,
        backup=Named(item.first, item.entity_name),
        snapshotTime=item.snapshot_time,
        backupDestination=Named(to.guid, to.name),
        roleType=label(item.role),
        status=label(location_status(item)),
        statusInfo=damage_text(item) or (item.status_info if item.copy_of else None),
        level=label(item.level),
        storedSize=item.stored,
        damage=(item.location_status != "PRESENT" and item.damage) or None,
        retentionHint=label(item.hint),
        archiveExpire=item.keep_until,
        backupRule=Ref(item.rule) if item.rule else None,
        lockUntil=item.lock_until,
        type=label(item.type),
    )


def _file(whole: BackupLocations, disk: JsonObject) -> File:
    item = whole.first
    name = str(disk["name"])
    shown = {"guid": disk_guid(item.entity, name), "name": name, "excludedFromBackup": False}
    # Portals read the guid of the disk's storage; backups do not record the storage.
    shown["originalStorage"] = {"guid": "", "name": ""}
    return File(
        guid=file_guid(item.guid, name),
        path=name,
        originalPath=name,
        objectName=name,
        size=int(disk["size"]),
        backupTime=item.snapshot_time,
        mountable=_is_mountable(whole.best),
        iscsiMountable=_is_mountable(whole.best),
        encryption=1,
        backup=Named(item.guid, item.entity_name),
        backupFileType=label("DISK" if item.type == "FULL" else "DISK_INC"),
        format=label(str(disk.get("format", "raw")).upper()),
        locations=[Named(place.location) for place in whole.all if _is_mountable(place)],
        vmDisk=shown,
    )


def _job(restore_job: RestoreJob) -> RestoreJobRecord:
    backup = {"guid": restore_job.backup, "name": restore_job.entity_name, "size": restore_job.size}
    if restore_job.snapshot_time is not None:
        backup["snapshotTime"] = restore_job.snapshot_time
    return RestoreJobRecord(
        guid=restore_job.guid,
        restoreTime=restore_job.created,
        restoreType=label(restore_job.type),
        status=label(restore_job.status),
        statusInfo=restore_job.status_info,
        protectedEntity=Named(
            restore_job.entity, restore_job.entity_name, label(type_of(restore_job.entity))
        ),
        backup=backup,
        taskTimeStats=restore_job.times,
        finishTime=restore_job.finished,
        target=restore_job.target,
    )
