"""Disks and network cards of a restored machine, as requested."""

from __future__ import annotations

import re

import msgspec

from haulback.contract.import_machine import RestoredNetwork, TaskFile
from haulback.errors import Malformed, NotFound
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.derived_guids import file_guid
from haulback.inventory.hardware import cards_of
from haulback.inventory.records import Backup
from haulback.wire import JsonObject, present

_MAC = re.compile(
    r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}"
)  # the address of a single card, not multicast


def disks_of(files: list[TaskFile] | None, backup: Backup) -> JsonObject:
    """Disks to leave out and new names of disks, by `taskFiles`."""
    known = {file_guid(backup.first, file["name"]): str(file["name"]) for file in backup.files}
    skip, rename = [], {}
    for i, file in enumerate(files or []):
        field = f"taskFiles[{i}].backupFile"
        disk = known.get(file.backupFile.guid)
        if disk is None:
            raise NotFound(f"{field}: the backup has no file {file.backupFile.guid}", field=field)
        if file.excludedFromRestore or file.markedForRestore is False:
            skip.append(disk)
        elif file.diskName and file.diskName != disk:
            rename[disk] = file.diskName
    if known and len(set(skip)) == len(known):
        raise Malformed(
            "taskFiles: every disk is excluded; keep at least one disk", field="taskFiles"
        )
    names = [rename.get(disk, disk) for disk in known.values() if disk not in skip]
    if len(set(names)) != len(names) or any(len(n) > 200 or not n.isprintable() for n in names):
        raise Malformed("taskFiles: each disk needs a printable name of its own", field="taskFiles")
    said = present(msgspec.to_builtins(files or []))
    return {"skip": skip, "rename": rename} | ({"taskFiles": said} if said else {})


def cards_wanted(
    networks: list[RestoredNetwork] | None, backup: Backup, catalogue: Catalogue
) -> JsonObject:
    """Network and MAC address of each card, by `restoredNetworks`."""
    known = {card.guid: card.number for card in cards_of(backup.first, backup.definition)}
    cards = []
    for i, wish in enumerate(networks or []):
        field = f"restoredNetworks[{i}]"
        number = known.get(wish.networkInterfaceCard.guid)
        if number is None:
            guid = wish.networkInterfaceCard.guid
            raise NotFound(
                f"{field}.networkInterfaceCard: the backup has no card {guid}", field=field
            )
        if wish.securityGroups:
            raise Malformed(
                f"{field}.securityGroups: Haulback has no security groups; leave the member out",
                field=field,
            )
        network = catalogue.records.get("network", wish.network.guid).name if wish.network else ""
        mac = (wish.macAddress or "").lower() if wish.macAddressSpecified else ""
        if wish.macAddressSpecified and not _MAC.fullmatch(mac):
            raise Malformed(
                f"{field}.macAddress: send an address like 52:54:00:12:34:56", field=field
            )
        cards.append({"number": number, "network": network, "mac": mac})
    return {"cards": cards} if cards else {}
