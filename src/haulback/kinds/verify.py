"""VERIFY: reads a destination back, share by share, and says which backups lack something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from haulback.errors import Malformed
from haulback.inventory.damage import DamageReport, VerifyState
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import Catalogue, Destination
from haulback.kinds import planning
from haulback.kinds.damage_results import complete_report
from haulback.kinds.seam import Amount, Ask, Job, Kind, Results, Submission
from haulback.repository.verify import Depth, Share, verify
from haulback.tasks.record import HOUR_MS, Plan, Task
from haulback.tasks.states import State
from haulback.units import GIB, size
from haulback.wire import Ref

WINDOW = 24 * HOUR_MS
_NOTED_EVERY = 8  # packs, 512 MiB: what is read again after a node died
_LEAST = GIB  # of a nightly share, bytes: a small destination is read in one night
_LONGEST = 7 * 86_400  # seconds


class Request(msgspec.Struct):
    """Which destinations to verify; without bounds everything is read once.

    `bytes` and `seconds` bound what one task reads; the next one goes on from there.
    """

    backupDestinations: list[Ref]
    bytes: int | None = None
    seconds: int | None = None
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class Order(msgspec.Struct):
    """The packs to read: those after `cursor` (hex), so many bytes and seconds.

    `days`: the bytes are the share that reads everything within so many days.
    """

    destination: Destination
    cursor: str = ""
    bytes: int | None = None
    seconds: int | None = None
    days: int | None = None


class Verified(msgspec.Struct):
    """The node's report: bytes and packs read, and whether that ended a round."""

    cursor: str = ""
    isRound: bool = False
    read: Amount = 0
    groups: Amount = 0
    backups: Amount = 0
    unknown: Amount = 0
    strangers: Amount = 0
    damage: DamageReport | None = None
    totalSpace: int | None = None
    freeSpace: int | None = None


def plan(request: Request, catalogue: Catalogue, ask: Ask) -> Plan:
    """One task for each destination.  Raises Malformed or NotFound."""
    found = planning.repositories(request.backupDestinations, catalogue)
    if request.bytes is not None and request.bytes < 1:
        raise Malformed("bytes: at least 1", field="bytes")
    if request.seconds is not None and not 1 <= request.seconds <= _LONGEST:
        raise Malformed(f"seconds: 1 to {_LONGEST}", field="seconds")
    bounds = {"bytes": request.bytes, "seconds": request.seconds}
    return Plan([task(one, ask, bounds, request) for one in found])


def task(to: Destination, ask: Ask, bounds: dict[str, Any], request: Any = None) -> Task:
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
    ledger.expect(task.guid, task.ref("backupDestination") or "")


def prepare(task: Task, catalogue: Catalogue) -> Order:
    to = catalogue.destination(task.ref("backupDestination") or "")
    state = msgspec.convert(to.verify_state, VerifyState)
    params = task.params
    bounds = {name: params.get(name) for name in ("bytes", "seconds", "days")}
    begin = state.cursor if any(bounds.values()) else ""
    return Order(to, str(params.get("cursor") or begin), **bounds)


def run(job: Job) -> Results:
    order: Order = job.order
    repository = job.repository(order.destination)
    total = sum(repository.objects.packs().values())
    budget = _budget(order, total)
    job.expect(min(total, total if budget is None else budget))
    after = bytes.fromhex(order.cursor) if order.cursor else None
    share = Share(after, budget, order.seconds, _noting(job))
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
    found, unknown = complete_report(order.destination.guid, report, job.expected())
    job.log(
        f"{report.groups} groups, {size(report.bytes)} of {size(report.total)} read; "
        f"{report.backups} backups looked at, {unknown} of them unknown to the catalogue"
    )
    for text in report.findings[:100]:
        job.log(f"damaged: {text}")
    for name in report.strangers[:20]:
        job.log(f"{name} is no object of the repository and is ignored")
    return {
        "cursor": report.cursor.hex() if report.cursor else "",
        "isRound": report.is_round or not report.packs,
        "read": report.bytes,
        "groups": report.groups,
        "backups": report.backups,
        "unknown": unknown,
        "strangers": len(report.strangers),
        "damage": msgspec.to_builtins(found),
    } | job.space(order.destination)


def _budget(order: Order, total: int) -> int | None:
    if order.days:
        return max(_LEAST, -(-total // order.days))
    return order.bytes


def _noting(job: Job) -> Callable[[bytes], None]:
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
    ledger.expected_over(task.guid)
    if state is not State.FINISHED:
        if "damage" in task.results:
            ledger.verify_ended(destination)
        return
    found = msgspec.convert(task.results, Verified)
    _check_cursor(found.cursor)
    ledger.space(destination, found.totalSpace, found.freeSpace)
    if found.damage and found.damage.unreliable:
        return  # the next share reads the same packs again
    since = task.started or 0
    ledger.verified_share(destination, found.cursor, since=since, is_round=found.isRound)


def _check_cursor(cursor: str) -> None:
    try:
        bytes.fromhex(cursor)
    except ValueError:
        raise Malformed("transfer-info of a VERIFY: cursor is no pack id in hex") from None


KIND = Kind(
    type="VERIFY",
    lane="verify",
    order=Order,
    prepare=prepare,
    run=run,
    start=start,
    settle=settle,
    submissions=(
        Submission("verify", Request, plan, summary="Create tasks to verify destinations."),
    ),
    window=WINDOW,
)
