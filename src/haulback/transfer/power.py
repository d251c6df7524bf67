"""The start of a restored machine; a new machine that does not start is removed."""

from __future__ import annotations

from haulback.drivers.capabilities import MachineTarget, PowerControl, capability
from haulback.drivers.hypervisor import Machine, MachineSource
from haulback.errors import HaulbackError


def start_restored(machines: MachineSource, machine: Machine, *, replaced: bool) -> None:
    """Start a restored machine; a new machine that does not start is removed with its disks.

    A machine that `replaced` another one stays, because the disks of the replaced machine no longer
    exist. Raises the error of the start, with a sentence about the machine.
    """
    try:
        capability(machines, PowerControl).start(machine.uuid)
    except HaulbackError as error:
        done = f"{machine.name} is restored, and off" if replaced else _removed(machines, machine)
        error.message += f"; {done}"
        raise


def _removed(machines: MachineSource, machine: Machine) -> str:
    """Remove a machine that did not start; returns a sentence about the removal."""
    try:
        capability(machines, MachineTarget).remove(machine.uuid)
    except HaulbackError as error:
        return f"{machine.name} is left, because its removal failed: {error.message}"
    return f"{machine.name} was removed again"
