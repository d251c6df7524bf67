"""Machines as a node reports them after a scan."""

from __future__ import annotations

from typing import Any

import msgspec

from haulback.contract.inventory_sync import ApartSeen, Hardware
from haulback.drivers.hypervisor import Inventory, Machine, Problem
from haulback.ids import is_guid
from haulback.inventory.hardware import hardware_of

_REASON = 500  # characters of why one cannot be read
_MOST = 100  # parts of a machine that are named


def told(machine: Machine) -> dict[str, Any]:
    """A machine as a node reports it."""
    held = machine.snapshots
    return {
        "uuid": machine.uuid,
        "name": machine.name,
        "disks": [{"name": d.name, "size": d.size, "format": d.format} for d in machine.disks],
        "snapshots": held and [{"name": one.name, "time": one.time} for one in held],
        "hardware": msgspec.to_builtins(_hardware(machine)),
    }


def placed(uuid: str, found: Inventory) -> dict[str, Any]:
    """Where a machine lies, as a node reports it."""
    return {"place": found.places.get(uuid, "")[:400]}


def broken(problem: Problem) -> dict[str, Any]:
    """A machine that cannot be read, as a node reports it."""
    where, message = problem.where[:400], problem.message[:_REASON]
    uuid = problem.uuid or (where if is_guid(where) else "")
    return {"where": where, "message": message, "uuid": uuid}


def _hardware(machine: Machine) -> Hardware:
    apart = [ApartSeen(one.name, one.why) for one in machine.apart if not one.held]
    return msgspec.structs.replace(hardware_of(machine.definition), apart=apart[:_MOST])
