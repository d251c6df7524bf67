"""PROVE: boots a backup in isolation, waits for a sign of life, and keeps the evidence."""

from __future__ import annotations

import base64
import time
from enum import Enum
from typing import Annotated, Any, Literal

import msgspec

from haulback.drivers.capabilities import ProofBoot, capability
from haulback.drivers.hypervisor import Booted, Machine, MachineDisk
from haulback.errors import Malformed, Unavailable
from haulback.hypervisor_types import Capability, type_of
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import BackupDestination, Catalogue, Hypervisor
from haulback.kinds.api import Ask, Results, Submission, TaskContext, TaskKind
from haulback.kinds.restore import chosen, references
from haulback.kinds.support import planning
from haulback.repository.manifest import Manifest
from haulback.repository.stored_disk import StoredDisk
from haulback.tasks.record import Plan, Task
from haulback.tasks.states import State
from haulback.wire import Ref

_LONGEST_MS, _USUAL_MS = 3_600_000, 600_000
_LOOK_EVERY = 0.2  # seconds
_LONGEST_TEXT, _LONGEST_SCRIPT = 200, 64_000
_SCREEN_BYTES = 1 << 20  # a larger picture is left out
_LOST_BYTES = 500


class Sign(Enum):
    """What shows that a machine came up."""

    AGENT = "AGENT"
    TEXT = "TEXT"
    SCREEN = "SCREEN"


class ProveRequest(msgspec.Struct):
    """What to prove, where, and by which sign; `timeout` in ms.

    `text` is what the console has to say where the sign is TEXT; `script` is run inside by the
    agent and must end with 0.
    """

    backup: Ref
    hypervisor: Ref | None = None
    sign: Sign | None = None
    text: str | None = None
    script: str | None = None
    timeout: int | None = None
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class ProveOrder(msgspec.Struct):
    """The same for the node."""

    backup: str
    destination: BackupDestination
    hypervisor: Hypervisor
    sign: Sign
    text: str
    script: str
    timeout: int


Words = Annotated[str, msgspec.Meta(max_length=1 << 17)]


class Script(msgspec.Struct):
    """What a script inside came to."""

    exitCode: int
    output: Words


class Evidence(msgspec.Struct, omit_defaults=True):
    """What a node saw.  `took` is ms until the sign; `disks` the root hash of each disk's map.

    `screenshot` is a PNG in base64.
    """

    sign: Literal["AGENT", "TEXT", "SCREEN"]
    took: int
    disks: dict[str, str]
    console: Words = ""
    text: Words | None = None
    script: Script | None = None
    screenshot: Annotated[str, msgspec.Meta(max_length=2 << 20)] | None = None


def plan(request: ProveRequest, catalogue: Catalogue, ask: Ask) -> Plan:
    """One task.  Raises Malformed, NotFound, or Conflict for what is no stored backup."""
    backup = chosen(request.backup, None, catalogue)
    entity = catalogue.entity(backup.entity)
    where = request.hypervisor.guid if request.hypervisor else entity.hypervisor
    hypervisor = catalogue.hypervisor(where)
    platform = type_of(hypervisor.driver, hypervisor.config)
    if not platform.can(Capability.PROOF):
        raise Malformed(
            f"hypervisor: {platform.words} cannot boot a backup; name one that runs machines",
            field="hypervisor",
        )
    params = _checked(request)
    to = catalogue.destination(backup.destination)
    refs = {**references(backup, catalogue), **planning.platform(hypervisor, catalogue)}
    return Plan(
        [
            planning.task(
                "PROVE",
                "restore",
                ask.of(backup.project or ask.project),
                request,
                refs=refs,
                params=params,
                pinned=planning.pinned(hypervisor, to),
            )
        ]
    )


def _checked(request: ProveRequest) -> dict[str, Any]:
    sign = request.sign or (Sign.TEXT if request.text else Sign.AGENT)
    text, script = request.text or "", request.script or ""
    timeout = _USUAL_MS if request.timeout is None else request.timeout
    if (sign is Sign.TEXT) != bool(text):
        raise Malformed("text: goes with the sign TEXT, which needs it", field="text")
    if len(text) > _LONGEST_TEXT or "\0" in text:
        raise Malformed(f"text: at most {_LONGEST_TEXT} characters", field="text")
    if len(script) > _LONGEST_SCRIPT or "\0" in script:
        raise Malformed(f"script: at most {_LONGEST_SCRIPT} characters", field="script")
    if script and sign is not Sign.AGENT:
        raise Malformed("script: is run by the guest agent; the sign is AGENT", field="script")
    if not 1000 <= timeout <= _LONGEST_MS:
        raise Malformed("timeout: ms, 1000 to one hour", field="timeout")
    return {"sign": sign.value, "text": text, "script": script, "timeout": timeout}


def prepare(task: Task, catalogue: Catalogue) -> ProveOrder:
    backup = catalogue.backup(task.ref("backup") or "")
    params = task.params
    return ProveOrder(
        backup=backup.guid,
        destination=catalogue.destination(backup.destination),
        hypervisor=catalogue.hypervisor(task.ref("hypervisor") or ""),
        sign=Sign(params["sign"]),
        text=params["text"],
        script=params["script"],
        timeout=params["timeout"],
    )


def run(job: TaskContext) -> Results:
    order: ProveOrder = job.order
    repository = job.repository(order.destination)
    manifest = repository.manifest(order.backup)
    reader = repository.reader()
    sources = {disk.name: StoredDisk(disk.map, reader) for disk in manifest.disks}
    begun = time.monotonic()
    hypervisor = capability(job.hypervisor(order.hypervisor), ProofBoot)
    with hypervisor.boot(_machine(manifest), sources, job.attempt) as booted:
        left = booted.left_out()
        for sentence in left:
            job.log(sentence)
        _wait(job, booted, order, begun + order.timeout / 1000)
        took = round((time.monotonic() - begun) * 1000)
        job.log(f"{order.sign.value} after {took} ms")
        script = _script(job, booted, order)
        picture = booted.screen()
        found = Evidence(
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
    return {"evidence": msgspec.to_builtins(found), "warnings": left}


def _machine(manifest: Manifest) -> Machine:
    disks = tuple(MachineDisk(one.name, one.map.size, one.format) for one in manifest.disks)
    return Machine("", manifest.entity_name, disks, manifest.definition)


def _wait(job: TaskContext, booted: Booted, order: ProveOrder, end: float) -> None:
    """Until the sign shows.  Raises Unavailable when it does not, Cancelled or Fenced."""
    first = booted.screen() if order.sign is Sign.SCREEN else None
    while True:
        job.meter(0)
        if _shows(booted, order, first):
            return
        over = "it stopped" if not booted.is_running() else None
        over = over or ("it took too long" if time.monotonic() > end else None)
        if over:
            said = booted.console()[-_LOST_BYTES:].strip() or "nothing"
            raise Unavailable(f"no {order.sign.value}: {over}; its console said: {said}")
        time.sleep(_LOOK_EVERY)


def _shows(booted: Booted, order: ProveOrder, first: bytes | None) -> bool:
    if order.sign is Sign.AGENT:
        return booted.agent_answers()
    if order.sign is Sign.TEXT:
        return order.text in booted.console()
    now = booted.screen()
    return now is not None and now != first


def _script(job: TaskContext, booted: Booted, order: ProveOrder) -> Script | None:
    if not order.script:
        return None
    code, output = booted.run(order.script, order.timeout // 1000)
    job.log(f"the script ended with {code}")
    if code:
        raise Unavailable(f"the script ended with {code}: {output[-_LOST_BYTES:].strip()}")
    return Script(code, output)


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """Only what was seen counts: without evidence the backup stays what it was."""
    if state is not State.FINISHED or "evidence" not in task.results:
        return
    try:
        found = msgspec.convert(task.results["evidence"], Evidence)
    except msgspec.ValidationError as error:
        raise Malformed(f"transfer-info of a PROVE: {error}") from None
    ledger.proved(task.ref("backup") or "", msgspec.to_builtins(found), task)


KIND = TaskKind(
    type="PROVE",
    lane="restore",
    order=ProveOrder,
    prepare=prepare,
    run=run,
    settle=settle,
    submissions=(
        Submission(
            "prove",
            ProveRequest,
            plan,
            many=False,
            summary="Boot a backup in isolation and prove it.",
        ),
    ),
)
