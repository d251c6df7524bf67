"""Machines as a node reports them after a scan."""

from __future__ import annotations

import msgspec

from haulback.contract.inventory_sync import Hardware, ScannedUnprotectedPart
from haulback.drivers.hypervisor import Inventory, Machine, Problem
from haulback.ids import is_guid
from haulback.inventory.hardware import hardware_of
from haulback.wire import JsonObject

_REASON = 500  # maximum length of the reason why a machine is unreadable, in characters
_MOST = 100  # parts of a machine in a report


def machine_row(machine: Machine) -> JsonObject:
    """The report of a machine."""
    held = machine.snapshots
    return {
        "uuid": machine.uuid,
        "name": machine.name,
        "disks": [{"name": d.name, "size": d.size, "format": d.format} for d in machine.disks],
        "snapshots": held and [{"name": one.name, "time": one.time} for one in held],
        "hardware": msgspec.to_builtins(_hardware(machine)),
    }


def location_row(uuid: str, found: Inventory) -> JsonObject:
    """The report of a machine's location on its platform."""
    return {"place": found.places.get(uuid, "")[:400]}


def failure_row(problem: Problem) -> JsonObject:
    """The report of a machine that cannot be read."""
    where, message = problem.where[:400], problem.message[:_REASON]
    uuid = problem.uuid or (where if is_guid(where) else "")
    return {"where": where, "message": message, "uuid": uuid}


def _hardware(machine: Machine) -> Hardware:
    apart = [ScannedUnprotectedPart(one.name, one.why) for one in machine.apart if not one.held]
    return msgspec.structs.replace(hardware_of(machine.definition), apart=apart[:_MOST])
