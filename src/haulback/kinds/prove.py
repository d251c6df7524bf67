"""PROVE: boots a backup in isolation, waits for a sign of life, and keeps the evidence."""

from __future__ import annotations

import msgspec

from haulback.contract import example_values as example
from haulback.contract.project_access import ProjectAccess
from haulback.contract.prove import BootSign, Evidence, ProveOrder, ProveRequest
from haulback.contract.roles import RESTORERS
from haulback.contract.task_states import State
from haulback.errors import Malformed
from haulback.hypervisor_types import Capability, type_of
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.kinds.api import Context, Submission, TaskKind
from haulback.kinds.support import planning
from haulback.kinds.support.backup_choice import (
    chosen,
    other_places,
    reached_with,
    references,
)
from haulback.kinds.support.reports import READ_FROM, ReportMember
from haulback.tasks.destination_health import read_from
from haulback.tasks.record import Plan, Task
from haulback.wire import JsonObject

_LONGEST_MS, _USUAL_MS = 3_600_000, 600_000
_LONGEST_TEXT, _LONGEST_SCRIPT = 200, 64_000


def plan(request: ProveRequest, catalogue: Catalogue, context: Context) -> Plan:
    """Plan the task.  Raises Malformed, NotFound, or Conflict for a backup that is not stored."""
    backup = chosen(request.backup, None, catalogue)
    entity = catalogue.machines.get(backup.entity)
    where = request.hypervisor.guid if request.hypervisor else entity.hypervisor
    hypervisor = catalogue.places.hypervisor(where)
    backup = chosen(request.backup, None, catalogue, reached_with(hypervisor))
    platform = type_of(hypervisor.driver, hypervisor.config)
    if not platform.can(Capability.PROOF):
        raise Malformed(
            f"hypervisor: {platform.words} cannot boot a backup; name a hypervisor that "
            "can run machines",
            field="hypervisor",
        )
    params = _checked(request)
    to = catalogue.places.destination(backup.destination)
    refs = {**references(backup, catalogue), **planning.platform(hypervisor, catalogue)}
    return Plan(
        [
            planning.task(
                "PROVE",
                "restore",
                context.of(backup.project or context.project),
                request,
                planning.TaskSpec(
                    refs=refs,
                    params=params,
                    pinned=planning.pinned(catalogue, hypervisor, to),
                ),
            )
        ]
    )


def _checked(request: ProveRequest) -> JsonObject:
    sign = request.sign or (BootSign.TEXT if request.text else BootSign.AGENT)
    text, script = request.text or "", request.script or ""
    timeout = _USUAL_MS if request.timeout is None else request.timeout
    if (sign is BootSign.TEXT) != bool(text):
        raise Malformed(
            "text: the sign TEXT needs a text, and no other sign takes one", field="text"
        )
    if len(text) > _LONGEST_TEXT or "\0" in text:
        raise Malformed(f"text: send at most {_LONGEST_TEXT} characters", field="text")
    if len(script) > _LONGEST_SCRIPT or "\0" in script:
        raise Malformed(f"script: send at most {_LONGEST_SCRIPT} characters", field="script")
    if script and sign is not BootSign.AGENT:
        raise Malformed("script: is run by the guest agent; the sign is AGENT", field="script")
    if not 1000 <= timeout <= _LONGEST_MS:
        raise Malformed("timeout: give ms, from 1000 to one hour", field="timeout")
    return {"sign": sign.value, "text": text, "script": script, "timeout": timeout}


def prepare(task: Task, catalogue: Catalogue) -> ProveOrder:
    backup = catalogue.backups.get(task.ref("backup") or "")
    params = task.params
    return ProveOrder(
        backup=backup.guid,
        destination=catalogue.places.destination(backup.destination),
        hypervisor=catalogue.places.hypervisor(task.ref("hypervisor") or ""),
        sign=BootSign(params["sign"]),
        text=params["text"],
        script=params["script"],
        timeout=params["timeout"],
        others=other_places(backup, task.node, catalogue),
    )


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """Record the evidence; without evidence the proof level of the backup is unchanged."""
    if state is not State.FINISHED or "evidence" not in task.results:
        return
    try:
        found = msgspec.convert(task.results["evidence"], Evidence)
    except msgspec.ValidationError as error:
        raise Malformed(f"transfer-info of a PROVE: {error}") from None
    ledger.proofs.booted(read_from(task).backup or "", msgspec.to_builtins(found), task)


Request = ProveRequest  # the name in scripts that were written for the first release
KIND = TaskKind(
    type="PROVE",
    lane="restore",
    order=ProveOrder,
    prepare=prepare,
    settle=settle,
    report=(
        ReportMember(
            "evidence",
            "object",
            "sign (AGENT, TEXT, SCREEN), took (ms), disks (a hash of each by name), console, "
            "text, script, screenshot (PNG in base64).",
            needed=True,
        ),
        READ_FROM,
        ReportMember("warnings", "texts", "Sentences about parts that the machine lacked."),
    ),
    submissions=(
        Submission(
            "prove",
            ProveRequest,
            plan,
            many=False,
            summary="Boot a backup in isolation and prove it.",
            roles=RESTORERS,
            projects=ProjectAccess.OBJECTS,
            examples=[
                {"backup": example.REF, "sign": "AGENT", "script": "systemctl is-active nginx"},
                {
                    "backup": example.GUID,
                    "hypervisor": example.REF,
                    "text": "login:",
                    "timeout": 300000,
                },
            ],
            command="backup prove BACKUP --hypervisor KVM",
        ),
    ),
)
