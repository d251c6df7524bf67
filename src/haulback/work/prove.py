"""PROVE on the node: boot a backup in isolation and wait for a sign of life."""

from __future__ import annotations

import base64
import time

import msgspec

from haulback.contract.order_records import BackupPlace
from haulback.contract.prove import BootSign, Evidence, ProveOrder, Script
from haulback.drivers.capabilities import ProofBoot, capability
from haulback.drivers.hypervisor import BootedMachine, Machine, MachineDisk
from haulback.errors import Unavailable
from haulback.repository.manifest import Manifest
from haulback.units import duration
from haulback.work.context import Results, TaskContext, TaskWork
from haulback.work.support.locations import disks_at_any, read_at_any
from haulback.work.support.phases import phase

_LOOK_EVERY = 0.2  # seconds
_SCREEN_BYTES = 1 << 20  # a larger picture is left out
_LOST_BYTES = 500  # end of a guest's console in a message


def run(context: TaskContext) -> Results:
    order: ProveOrder = context.order
    first = (order.backup, order.destination)
    location = read_at_any(context, first, order.others, lambda location: location)
    manifest = location.manifest
    sources = disks_at_any(context, location, [BackupPlace(*first), *order.others])
    context.log(
        f"backup {manifest.backup} of {manifest.entity_name} is booted in isolation on "
        f"{order.hypervisor.name}; the sign of life is {order.sign.value}"
    )
    begun = time.monotonic()
    hypervisor = capability(context.machines.open(order.hypervisor), ProofBoot)
    with hypervisor.boot(_machine(manifest), sources, context.attempt) as booted:
        left = booted.left_out()
        for sentence in left:
            context.log(sentence)
        context.log(f"the machine was started in {duration(time.monotonic() - begun)}")
        with phase(context, f"the sign of life ({order.sign.value}) was seen"):
            _wait(context, booted, order, begun + order.timeout / 1000)
        took = round((time.monotonic() - begun) * 1000)
        script = _script(context, booted, order)
        picture = booted.screen()
        evidence = Evidence(
            sign=order.sign.value,
            took=took,
            disks={disk.name: disk.map.page.hex() for disk in manifest.disks},
            console=booted.console(),
            text=order.text or None,
            script=script,
            screenshot=base64.b64encode(picture).decode()
            if picture and len(picture) <= _SCREEN_BYTES
            else None,
        )
    return {"evidence": msgspec.to_builtins(evidence), "warnings": left, **location.read_from()}


def _machine(manifest: Manifest) -> Machine:
    disks = tuple(MachineDisk(one.name, one.map.size, one.format) for one in manifest.disks)
    return Machine("", manifest.entity_name, disks, manifest.definition)


def _wait(context: TaskContext, booted: BootedMachine, order: ProveOrder, end: float) -> None:
    """Wait until the sign shows.  Raises Unavailable without the sign, Cancelled or Fenced."""
    first = booted.screen() if order.sign is BootSign.SCREEN else None
    while True:
        context.progress.meter(0)
        if _shows(booted, order, first):
            return
        over = "it stopped" if not booted.is_running() else None
        over = over or ("the time limit was reached" if time.monotonic() > end else None)
        if over:
            said = booted.console()[-_LOST_BYTES:].strip() or "nothing"
            raise Unavailable(f"no {order.sign.value}: {over}; the end of its console: {said}")
        time.sleep(_LOOK_EVERY)


def _shows(booted: BootedMachine, order: ProveOrder, first: bytes | None) -> bool:
    if order.sign is BootSign.AGENT:
        return booted.agent_answers()
    if order.sign is BootSign.TEXT:
        return order.text in booted.console()
    now = booted.screen()
    return now is not None and now != first


def _script(context: TaskContext, booted: BootedMachine, order: ProveOrder) -> Script | None:
    if not order.script:
        return None
    with phase(context, "the script was run in the guest") as running:
        code, output = booted.run(order.script, order.timeout // 1000)
        running.result = f"it ended with {code}"
    if code:
        said = output[-_LOST_BYTES:].strip() or "it printed nothing"
        raise Unavailable(f"the script ended with {code}: {said}")
    return Script(code, output)


WORK = TaskWork("PROVE", ProveOrder, run)
