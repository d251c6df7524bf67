"""Protection of machines: counts by state, and the machines of a state."""

from __future__ import annotations

from haulback.contract.project_access import ProjectAccess
from haulback.contract.protection import MachineProtection, ProtectionCounts, ProtectionState
from haulback.contract.roles import PEOPLE
from haulback.server.http import paging, query_params
from haulback.server.http.operation import GUID, PROJECT, ApiRequest, Param, Reply, Router
from haulback.server.services import protection
from haulback.server.services.configuration import ConfigurationReading
from haulback.server.services.protection import MachineRpo
from haulback.wire import Named, label

router = Router()
_STATES = set(ProtectionState.__members__)
STATE = Param("protection", "In one of these states.", {"enum": sorted(_STATES)}, many=True)


def states(call: ApiRequest) -> list[str]:
    """The protection states that a query names.  Raises Malformed."""
    return query_params.names(call, "protection", _STATES)


@router(
    "GET",
    "/protection",
    "Machines by protection.",
    answer=ProtectionCounts,
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    query=(PROJECT,),
    command="status",
)
def counts(call: ApiRequest) -> ProtectionCounts:
    """Numbers of machines by protection state; each machine counts once."""
    known = protection.counts(call.app, call.who)
    by_name = {state.value.lower(): count for state, count in known.items()}
    return ProtectionCounts(total=sum(by_name.values()), **by_name)


@router(
    "GET",
    "/protection/machines",
    "Machines with their protection.",
    answer=MachineProtection,
    many=True,
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    query=(STATE, Param("vm-backup-policy", "Of this policy.", GUID), *paging.COMMON),
    command="status --state late",
)
def machines(call: ApiRequest) -> Reply:
    """A page of machines by name, with state, RPO and the time of the last good backup."""
    policy = query_params.guid(call, "vm-backup-policy")
    wanted = paging.wanted(call, policy=policy, statuses=states(call))
    page, total = protection.page(call.app, wanted)
    with ConfigurationReading.of(call.app, call.who.scope) as reading:
        names = {
            record.guid: record.name for record in reading.catalogue.records.of_kind("vm-backup")
        }
    return paging.page(page, total, lambda item: _shown(item, names))


def _shown(item: MachineRpo, names: dict[str, str]) -> MachineProtection:
    machine = item.machine
    policy = machine.settings.get("backupPolicy")
    return MachineProtection(
        guid=machine.guid,
        name=machine.name,
        state=label(machine.protection),
        present=machine.present,
        since=machine.protection_since,
        policy=Named(policy, names[policy]) if policy in names else None,
        lastBackup=machine.facts.get("lastBackup"),
        rpo=item.rpo,
        dueAt=machine.protection_due,
    )
