"""Proofs of machines in rotation: oldest evidence first, a few at a time, within a window."""

from __future__ import annotations

import logging

from haulback.contract.prove import BootSign, ProveRequest
from haulback.errors import HaulbackError
from haulback.hypervisor_types import Capability, type_of
from haulback.inventory.records import Entity
from haulback.kinds import prove
from haulback.kinds.api import Context
from haulback.server.services.app import App
from haulback.server.services.fire_plans import FirePlanning, enter
from haulback.server.services.system_plans import budget_of
from haulback.server.store import fires, nodes, proof_rotation, schedule_clocks
from haulback.server.store.fires import Skip
from haulback.wire import Ref

log = logging.getLogger(__name__)


def top_up(app: App) -> int:
    """Plan further proofs of a fire, as far as its budget allows; returns their number."""
    with app.store.write() as sql:
        fire = fires.take(sql, fires.PROVING)
        if fire is None:
            return 0
        now = app.clock.now_ms()
        record = schedule_clocks.record_of(sql, fire.schedule)
        [rule] = fires.rules(sql, fire.guid)
        wanted = FirePlanning(sql, Context(now, None, nodes.windows(sql)), fire, record, rule)
        before = fire.planned
        if now >= fire.window_end or record.body.get("active") is False or not _fill(wanted):
            fire.state = fires.RUNNING
        fires.write(sql, fire)
        return fire.planned - before


def _fill(wanted: FirePlanning) -> bool:
    """Plan proofs until enough run; False once the budget is used up or no machine is left."""
    fire = wanted.fire
    at_once, most = budget_of(wanted.schedule)
    running = proof_rotation.running(wanted.sql, wanted.rule.run)
    while running < at_once and fire.planned + fire.skipped < most:
        machine = proof_rotation.next_machine(wanted.sql, _provable(wanted), fire.created)
        if machine is None:
            return False
        running += _prove(wanted, machine)
    return fire.planned + fire.skipped < most


def _provable(wanted: FirePlanning) -> list[str]:
    """The hypervisors that can boot a backup."""
    return [
        hypervisor.guid
        for hypervisor in wanted.known.places.hypervisors()
        if type_of(hypervisor.driver, hypervisor.config).can(Capability.PROOF)
    ]


def _prove(wanted: FirePlanning, machine: Entity) -> int:
    """Plan the proof of a machine's newest backup, and move the machine to the end of the order;
    returns the planned tasks.
    """
    # The clock of the server that made the fire may be ahead, so the machine's time must be after
    # the fire.
    moment = max(wanted.context.now, wanted.fire.created)
    proof_rotation.take(wanted.sql, machine.guid, moment)
    sign = wanted.schedule.body.get("sign")
    try:
        backup = next(iter(wanted.known.backups.of_entity(machine.guid, "SUCCESS")))
        request = ProveRequest(
            backup=Ref(backup.guid),
            sign=BootSign(sign) if sign else None,
            windowEnd=wanted.fire.window_end,
        )
        plan = prove.plan(request, wanted.known, wanted.context)
    except HaulbackError as error:
        skip = Skip(
            fire=wanted.fire.guid,
            rule=wanted.rule.rule,
            entity=machine.guid,
            name=machine.name,
            reason=error.message,
        )
        fires.skip(wanted.sql, [skip])
        wanted.fire.skipped += 1
        return 0
    enter(wanted, plan)
    wanted.fire.planned += len(plan.heads)
    return len(plan.heads)
