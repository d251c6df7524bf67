"""The run of a recovery plan: a RESTORE and an IMPORT for each machine of each active rule."""

from __future__ import annotations

import msgspec

from haulback.contract.import_machine import ImportMachineRequest
from haulback.contract.recovery_plans import RecoveryRule
from haulback.errors import Conflict
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import Backup, Record
from haulback.kinds import import_machine
from haulback.kinds.api import Context
from haulback.tasks.record import Plan
from haulback.wire import Ref


def plan_recovery(guid: str, catalogue: Catalogue, context: Context) -> Plan:
    """The plan of the restores and imports of a recovery plan, from the present records.

    Raises NotFound, Conflict for an inactive plan or an entity without a backup, and the errors of
    a single restore and import; no task is planned then.
    """
    record = catalogue.records.get("recovery-plan", guid)
    if record.body.get("active") is False:
        raise Conflict(f"recovery plan {record.name} is not active")
    rules = sorted(_rules(record), key=lambda rule: rule.order)
    whole = Plan()
    for place, rule in enumerate(rules):
        made = _plan_rule(rule, record, catalogue, context)
        for task in made.tasks:
            task.rank += place  # the order in which the restores start
            task.retry_count = task.tries = int(record.body.get("backupRetryCount") or 0)
            # A repetition is another task, and must find the machine that this task made.
            task.params = {**task.params, "mark": task.guid}
        whole.add(made)
    if not whole.tasks:
        raise Conflict(f"recovery plan {record.name} has no active rule with an entity")
    return whole


def _rules(record: Record) -> list[RecoveryRule]:
    found = msgspec.convert(record.body.get("rules", []), list[RecoveryRule])
    return [rule for rule in found if rule.active]


def _plan_rule(rule: RecoveryRule, plan: Record, catalogue: Catalogue, context: Context) -> Plan:
    whole = Plan()
    for entity in catalogue.machines.get_many([ref.guid for ref in rule.protectedEntities]):
        backup = _selected(entity.guid, entity.name, catalogue)
        name = f"{rule.prefix}{entity.name}{rule.suffix}"
        request = ImportMachineRequest(
            backup=Ref(backup.guid),
            hypervisor=rule.hypervisor
            or (None if rule.hypervisorManager else Ref(entity.hypervisor)),
            hypervisorManager=rule.hypervisorManager,
            restoreClusterId=rule.restoreClusterId,
            restoreStorageId=rule.restoreStorageId,
            restoreProject=rule.restoreProject,
            restoredPeName=name,
            restoredDiskAllocationFormat=rule.restoredDiskAllocationFormat,
            overwrite=rule.overwrite,
            powerOnAfterRestore=rule.powerOnAfterRestore,
            priority=plan.body.get("priority"),
        )
        whole.add(import_machine.plan(request, catalogue, context))
    return whole


def _selected(entity: str, name: str, catalogue: Catalogue) -> Backup:
    """The newest restorable backup; the level ANY selects the same backup."""
    for backup in catalogue.backups.of_entity(entity, "SUCCESS"):
        return backup
    raise Conflict(f"{name} has no backup that can be restored")
