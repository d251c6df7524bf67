"""VERIFY on the node: read packs back and list the backups that lack data."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from haulback.contract.verify import VerifyOrder
from haulback.errors import Damaged, NotFound
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.verify import CheckOrder, Depth, Share, VerifyReport, verify
from haulback.units import GIB, counted, size
from haulback.wire import JsonObject
from haulback.work.context import Results, TaskContext, TaskWork
from haulback.work.support.damage_report import CompletedReport, complete_report
from haulback.work.support.phases import phase
from haulback.work.support.recent_backup import expected_backups, leave_out_young

_NOTED_EVERY = 8  # packs, 512 MiB, that a VERIFY reads again after the death of a node
_SAID = 100  # findings that the log names
_NAMED = 100  # unknown backups that a report names
_LEAST = GIB  # smallest nightly share in bytes, so that a small destination takes one night


def run(context: TaskContext) -> Results:
    order: VerifyOrder = context.order
    repository = context.repositories.open(order.destination)
    leave_out_young(context, repository)
    share = _share(context, order, sum(repository.objects.packs().values()))
    sign = (f"VERIFY {context.guid}", context.server.now_ms())
    check = CheckOrder(share, context.staging.folder, lambda: sign)
    resources = Resources(context.pool, context.disk, context.progress.meter)
    with phase(context, "the packs were read") as reading:
        report = verify(repository, Depth.DATA, resources, check)
        reading.moved = report.bytes
    complete = complete_report(
        order.destination.guid, report, expected_backups(context, repository, report), order.looked
    )
    _tell(context, report, complete)
    _tell_young(context, repository)
    return {
        "cursor": report.cursor.hex() if report.cursor else "",
        "isRound": report.is_round or not report.packs,
        "read": report.bytes,
        "groups": report.groups,
        "backups": report.backups,
        "unknown": len(complete.unknown),
        "unknownBackups": _named(context, repository, complete.unknown),
        "strangers": len(report.strangers),
        "looked": complete.told,
        "damage": msgspec.to_builtins(complete.report),
    } | context.repositories.space(order.destination)


def _named(context: TaskContext, repository: Repository, unknown: list[str]) -> list[JsonObject]:
    """The first backups that the catalogue does not know, as their manifests describe them."""
    described: list[JsonObject] = []
    for backup in unknown[:_NAMED]:
        context.progress.meter(0)  # ends here when the attempt is cancelled
        try:
            manifest = repository.manifest(backup)
        except (NotFound, Damaged):
            continue  # the report of damage names it
        about = {"backup": backup, "entity": manifest.entity, "name": manifest.entity_name[:400]}
        described.append(about | {"snapshotTime": manifest.snapshot_time})
    return described


def _share(context: TaskContext, order: VerifyOrder, total: int) -> Share:
    """The packs and backups to read, of `total` bytes of packs; sets the expected bytes."""
    budget = _budget(order, total)
    context.progress.expect(min(total, total if budget is None else budget))
    after = bytes.fromhex(order.cursor) if order.cursor else None
    return Share(after, budget, order.seconds, _noting(context), order.looked)


def _tell(context: TaskContext, report: VerifyReport, complete: CompletedReport) -> None:
    """Log the outcome of the task."""
    count = report.backups - len(report.unlooked)
    context.log(
        f"{counted(report.groups, 'group')} read, {size(report.bytes)} of {size(report.total)}; "
        f"{counted(count, 'backup')} checked; unknown to the catalogue: {len(complete.unknown)}"
    )
    if report.unlooked:
        left = counted(len(report.unlooked), "backup")
        context.log(f"the time limit left {left} unchecked: the next VERIFY begins with them")
    if complete.told and not report.unlooked:
        context.log(complete.report.findings[0])
    for text in report.findings[:_SAID]:
        context.log(f"damaged: {text}")
    if report.recorded and len(report.findings) <= _SAID:
        context.repositories.told |= set(map(str, report.recorded.damaged))
    for name in report.strangers[:20]:
        context.log(f"{name} is a foreign file in the repository and is ignored")


def _tell_young(context: TaskContext, repository: Repository) -> None:
    """Log how many backups were left out."""
    young = [name for name in repository.objects.young if name.startswith("manifests/")]
    if young:
        context.log(
            f"{counted(len(young), 'young backup')} not checked: the lists of this store may not "
            "show all data of the last minutes yet; a later VERIFY checks the rest"
        )


def _budget(order: VerifyOrder, total: int) -> int | None:
    if order.days:
        return max(_LEAST, -(-total // order.days))
    return order.bytes


def _noting(context: TaskContext) -> Callable[[bytes], None]:
    """A function that reports the position in the packs to the server from time to time."""
    count = 0

    def note(pack: bytes) -> None:
        nonlocal count
        count += 1
        if count % _NOTED_EVERY == 0:
            context.server.note({"cursor": pack.hex()})

    return note


WORK = TaskWork("VERIFY", VerifyOrder, run)
