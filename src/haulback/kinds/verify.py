"""VERIFY: reads a destination back, share by share, and says which backups lack something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from haulback.contract.damage import DamageReport
from haulback.contract.destinations import VerifyState
from haulback.contract.task_states import State
from haulback.errors import Malformed
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import BackupDestination
from haulback.kinds.api import Amount, Ask, Results, Submission, TaskContext, TaskKind
from haulback.kinds.support import planning
from haulback.kinds.support.damage_report import Complete, complete_report
from haulback.repository.verify import Depth, Share, VerifyReport, verify
from haulback.tasks.record import HOUR_MS, Plan, Task
from haulback.units import GIB, size
from haulback.wire import Ref

WINDOW = 24 * HOUR_MS
_NOTED_EVERY = 8  # packs, 512 MiB: what is read again after a node died
_LEAST = GIB  # of a nightly share, bytes: a small destination is read in one night
_LONGEST = 7 * 86_400  # seconds


class VerifyRequest(msgspec.Struct):
    """Which destinations to verify; without bounds everything is read once.

    `bytes` and `seconds` bound what one task reads; the next one goes on from there.
    """

    backupDestinations: list[Ref]
    bytes: int | None = None
    seconds: int | None = None
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class VerifyOrder(msgspec.Struct):
    """The packs to read: those after `cursor` (hex), so many bytes and seconds.

    `days`: the bytes are the share that reads everything within so many days.  `looked`: the maps
    of backups are looked at from the one that follows this guid.
    """

    destination: BackupDestination
    cursor: str = ""
    bytes: int | None = None
    seconds: int | None = None
    days: int | None = None
    looked: str = ""


class VerifyResult(msgspec.Struct):
    """The node's report: bytes and packs read, and whether that ended a round.

    `looked` is the backup after which the next task goes on; "" where all were looked at.
    """

    cursor: str = ""
    isRound: bool = False
    read: Amount = 0
    groups: Amount = 0
    backups: Amount = 0
    unknown: Amount = 0
    strangers: Amount = 0
    looked: Annotated[str, msgspec.Meta(max_length=36)] = ""
    damage: DamageReport | None = None
    totalSpace: int | None = None
    freeSpace: int | None = None


def plan(request: VerifyRequest, catalogue: Catalogue, ask: Ask) -> Plan:
    """Plan a task for each destination.  Raises Malformed or NotFound."""
    found = planning.repositories(request.backupDestinations, catalogue)
    if request.bytes is not None and request.bytes < 1:
        raise Malformed("bytes: at least 1", field="bytes")
    if request.seconds is not None and not 1 <= request.seconds <= _LONGEST:
        raise Malformed(f"seconds: 1 to {_LONGEST}", field="seconds")
    bounds = {"bytes": request.bytes, "seconds": request.seconds}
    return Plan([task(one, ask, bounds, request) for one in found])


def task(to: BackupDestination, ask: Ask, bounds: dict[str, Any], request: Any = None) -> Task:
    """The task that verifies one destination."""
    return planning.task(
        "VERIFY",
        "verify",
        ask,
        request,
        refs={"backupDestination": planning.named(to)},
        params={name: value for name, value in bounds.items() if value is not None},
        pinned=to.node,
        window=WINDOW,
    )


def start(task: Task, ledger: Ledger, catalogue: Catalogue) -> None:
    """Fix what must be found."""
    ledger.damage.expect(task.guid, task.ref("backupDestination") or "")


def prepare(task: Task, catalogue: Catalogue) -> VerifyOrder:
    to = catalogue.places.destination(task.ref("backupDestination") or "")
    state = msgspec.convert(to.verify_state, VerifyState)
    params = task.params
    bounds = {name: params.get(name) for name in ("bytes", "seconds", "days")}
    begin = state.cursor if any(bounds.values()) else ""
    return VerifyOrder(to, str(params.get("cursor") or begin), **bounds, looked=state.looked)


def run(job: TaskContext) -> Results:
    order: VerifyOrder = job.order
    repository = job.repository(order.destination)
    share = _share(job, order, sum(repository.objects.packs().values()))
    sign = (f"VERIFY {job.guid}", job.now_ms())
    report = verify(
        repository,
        Depth.DATA,
        job.pool,
        job.meter,
        share=share,
        folder=job.folder,
        record=lambda: sign,
    )
    found = complete_report(order.destination.guid, report, job.expected(), order.looked)
    _tell(job, report, found)
    return {
        "cursor": report.cursor.hex() if report.cursor else "",
        "isRound": report.is_round or not report.packs,
        "read": report.bytes,
        "groups": report.groups,
        "backups": report.backups,
        "unknown": found.unknown,
        "strangers": len(report.strangers),
        "looked": found.told,
        "damage": msgspec.to_builtins(found.report),
    } | job.space(order.destination)


def _share(job: TaskContext, order: VerifyOrder, total: int) -> Share:
    """The packs and backups to look at, of `total` bytes of packs; the job is told how many."""
    budget = _budget(order, total)
    job.expect(min(total, total if budget is None else budget))
    after = bytes.fromhex(order.cursor) if order.cursor else None
    return Share(after, budget, order.seconds, _noting(job), order.looked)


def _tell(job: TaskContext, report: VerifyReport, found: Complete) -> None:
    """The log of the task."""
    count = report.backups - len(report.unlooked)
    job.log(
        f"{report.groups} groups, {size(report.bytes)} of {size(report.total)} read; "
        f"{count} backups looked at, {found.unknown} of all are unknown to the catalogue"
    )
    if report.unlooked:
        job.log(f"the next VERIFY looks at {len(report.unlooked)} backups first: the time was over")
    if found.told and not report.unlooked:
        job.log(found.report.findings[0])
    for text in report.findings[:100]:
        job.log(f"damaged: {text}")
    for name in report.strangers[:20]:
        job.log(f"{name} is no object of the repository and is ignored")


def _budget(order: VerifyOrder, total: int) -> int | None:
    if order.days:
        return max(_LEAST, -(-total // order.days))
    return order.bytes


def _noting(job: TaskContext) -> Callable[[bytes], None]:
    """Tell the server from time to time how far the task is."""
    count = 0

    def note(pack: bytes) -> None:
        nonlocal count
        count += 1
        if count % _NOTED_EVERY == 0:
            job.note({"cursor": pack.hex()})

    return note


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """Keep how far the destination is read; damage was taken in already."""
    destination = task.ref("backupDestination") or ""
    ledger.damage.expected_over(task.guid)
    if state is not State.FINISHED:
        if "damage" in task.results:
            ledger.damage.verify_ended(destination)
        return
    found = msgspec.convert(task.results, VerifyResult)
    _check_cursor(found.cursor)
    ledger.destinations.space(destination, found.totalSpace, found.freeSpace)
    if found.damage and found.damage.unreliable:
        return  # the next share reads the same packs again
    since = task.started or 0
    ledger.damage.verified_share(
        destination, found.cursor, since=since, is_round=found.isRound, looked=found.looked
    )


def _check_cursor(cursor: str) -> None:
    try:
        bytes.fromhex(cursor)
    except ValueError:
        raise Malformed("transfer-info of a VERIFY: cursor is no pack id in hex") from None


KIND = TaskKind(
    type="VERIFY",
    lane="verify",
    order=VerifyOrder,
    prepare=prepare,
    run=run,
    start=start,
    settle=settle,
    submissions=(
        Submission("verify", VerifyRequest, plan, summary="Create tasks to verify destinations."),
    ),
    window=WINDOW,
)
