"""Previews of automatic assignment."""

from __future__ import annotations

from collections.abc import Sequence

from haulback.contract.machines import VirtualMachine
from haulback.contract.policies import AssignmentPreview
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import ADMINS
from haulback.server.http.machine_views import view_of
from haulback.server.http.operation import ApiRequest, Router
from haulback.server.services import assignment
from haulback.server.services.machines import MachineReading
from haulback.server.services.record_kinds import RECORD_KINDS

router = Router()
_EXAMPLE = {
    "name": "gold",
    "autoAssignSettings": {"mode": {"name": "ASSIGN_ONLY"}, "includeTags": ["gold"]},
}


def _declare(name: str) -> None:
    kind = RECORD_KINDS[name]
    noun = "policy" if name == "vm-backup" else "snapshot-policy"

    def preview(call: ApiRequest) -> AssignmentPreview:
        """Machines that auto-assignment would add to the policy, and machines that it would
        remove.
        """
        result = assignment.preview(call.app, call.who, kind, call.read(kind.struct), call.guid)
        return AssignmentPreview(_shown(call, result.assigned), _shown(call, result.removed))

    for path, summary, named in (
        (f"/policies/{name}/auto-assignment-preview", "of a draft", "gold --new"),
        (f"/policies/{name}/{{guid}}/auto-assignment-preview", "of a changed policy", noun.upper()),
    ):
        router(
            "POST",
            path,
            f"Preview the auto-assignment {summary}.",
            roles=ADMINS,
            projects=ProjectAccess.CHANGE,
            request=kind.struct,
            answer=AssignmentPreview,
            examples=[_EXAMPLE],
            command=f"{noun} preview {named}",
        )(preview)


def _shown(call: ApiRequest, guids: Sequence[str]) -> list[VirtualMachine]:
    with MachineReading.of(call.app, call.who.scope) as reading:
        found = reading.catalogue.machines.get_many(guids)
        found.sort(key=lambda machine: (machine.name, machine.guid))
        view = view_of(call, reading, found)
        return [view(machine) for machine in found]


for _name in ("vm-backup", "vm-snapshot"):
    _declare(_name)
