"""IMPORT on the node: create a machine from a backup."""

from __future__ import annotations

from typing import NamedTuple

from haulback.contract.import_machine import ImportMachineOrder, taken_name
from haulback.contract.node_tasks import SourceLocation
from haulback.drivers.capabilities import InstantRestore, MachineTarget, capability
from haulback.drivers.hypervisor import Machine, MachineSource, NetworkCardSettings
from haulback.repository.manifest import Manifest
from haulback.transfer.power import start_restored
from haulback.transfer.restore import (
    RestoredMachine,
    RestoreServices,
    RestoreTarget,
    import_machine,
    wanted_of,
)
from haulback.units import counted
from haulback.work.context import Results, TaskContext, TaskWork
from haulback.work.support.attempt import is_first
from haulback.work.support.locations import OpenLocation, read_at_any, read_from
from haulback.work.support.machine_mark import MARK
from haulback.work.support.phases import phase


class _Made(NamedTuple):
    """A restored machine, and the member of the results that names the location from which it was
    read.
    """

    machine: RestoredMachine
    location: Results


def run(context: TaskContext) -> Results:
    order: ImportMachineOrder = context.order
    machines = context.machines.open(order.hypervisor)
    made, location = _made_before(context, machines) or _make(context, machines)
    machine, left = made.machine, made.left
    for sentence in left:
        context.log(sentence)
    if made.asked_name not in ("", machine.name):
        context.log(taken_name(made.asked_name, machine.name, order.hypervisor.name))
    context.log(f"machine {machine.name} exists on {order.hypervisor.name}, uuid {machine.uuid}")
    if order.power_on:
        with phase(context, f"{machine.name} was started"):
            start_restored(machines, machine, replaced=bool(order.replaces))
    disks = [{"name": d.name, "size": d.size, "format": d.format} for d in machine.disks]
    return {
        "uuid": machine.uuid,
        "name": machine.name,
        "disks": disks,
        "restoreHostId": order.hypervisor.guid,
        "restoreStorageId": str(order.hypervisor.config.get("path", "")),
        "warnings": left,
        **location,
    }


def _made_before(context: TaskContext, machines: MachineSource) -> _Made | None:
    for machine in machines.inventory().machines:
        if machine.definition.get(MARK) == _mark(context):
            context.log("an earlier attempt made the machine already")
            machines.sweep(context.server.needed())  # completes the steps after the definition
            machine = machines.machine(machine.uuid)
            made = RestoredMachine(machine, [], context.order.name)
            return _Made(made, read_from(SourceLocation()))
    return None


def _make(context: TaskContext, machines: MachineSource) -> _Made:
    order: ImportMachineOrder = context.order
    first = (order.backup, order.destination)
    return read_at_any(
        context,
        first,
        order.others,
        lambda at: _Made(_make_from(context, machines, at), at.read_from()),
    )


def _make_from(
    context: TaskContext, machines: MachineSource, location: OpenLocation
) -> RestoredMachine:
    """Create the machine from one location of the backup."""
    order: ImportMachineOrder = context.order
    (repository, manifest, _), target = location, _target(context)
    _tell_plan(context, manifest)
    if order.share:
        return _make_over(context, machines, wanted_of(manifest, target))
    total = sum(disk.map.size for disk in manifest.disks if disk.name not in order.skip)
    context.progress.expect(total)
    progress = context.progress
    services = RestoreServices(
        context.pool, progress.meter, progress.confirm, checks_space=is_first(context.attempt)
    )
    hypervisor = capability(machines, MachineTarget)
    with phase(context, "the disks were written and the machine was made") as writing:
        made = import_machine(repository, manifest, hypervisor, target, services)
        writing.moved = total
    return made


def _tell_plan(context: TaskContext, manifest: Manifest) -> None:
    """Log the decisions of the restore: its backup, its target and the disks left out."""
    order: ImportMachineOrder = context.order
    how = "over the original machine" if order.replaces else "as a new machine"
    context.log(
        f"backup {manifest.backup} of {manifest.entity_name} ({manifest.type}, "
        f"{counted(len(manifest.disks), 'disk')}) is restored {how}"
    )
    if order.skip:
        context.log(f"disks that were left out on request: {', '.join(order.skip)}")
    if order.share:
        context.log("the machine runs from the mounted backup: no data is copied")


def _target(context: TaskContext) -> RestoreTarget:
    order: ImportMachineOrder = context.order
    return RestoreTarget(
        context.attempt,
        uuid=order.replaces,
        name=order.name,
        overwrite=bool(order.replaces),
        allocate=None if order.as_before else order.allocate,
        skip=frozenset(order.skip),
        rename=order.rename,
        stores=order.stores,
        cards=tuple(
            NetworkCardSettings(card.number, card.network, card.mac) for card in order.cards
        ),
        marks={MARK: _mark(context)},
    )


def _mark(context: TaskContext) -> str:
    """The mark of the machine that this task, or an earlier task that it repeats, has made."""
    return context.order.mark or context.guid


def _make_over(context: TaskContext, machines: MachineSource, wanted: Machine) -> RestoredMachine:
    """Create a machine whose disks are overlays on a mounted backup; no data is copied."""
    overlays = capability(machines, InstantRestore)
    socket = context.mounts.socket(context.order.share)
    with overlays.create_over(wanted, socket, context.attempt) as new:
        context.progress.confirm()
        return RestoredMachine(new.commit(), new.left_out(), wanted.name)


WORK = TaskWork("IMPORT", ImportMachineOrder, run)
