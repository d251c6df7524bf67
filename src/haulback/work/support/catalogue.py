"""The catalogue of a destination on the node: extracts are written, and backups are read for it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from haulback.contract.backup_destination_sync import DestinationSyncOrder
from haulback.contract.catalogue import CatalogueItem, OwnerReport
from haulback.contract.damage import DamageReport
from haulback.contract.order_records import Owner
from haulback.errors import Cancelled, Fenced, HaulbackError, OwnerChanged
from haulback.repository.extracts import ExtractOrigin
from haulback.repository.found_backups import Survey, missing, pages
from haulback.repository.owners import OwnerRecord
from haulback.repository.reported_damage import MOST
from haulback.repository.repository import Repository
from haulback.units import counted
from haulback.work.context import Results, TaskContext

_OLD_MS = 12 * 3_600_000  # age of the newest extract after which a copy writes a new one
_SAID = 20  # problems that the log lists


def write_extract(context: TaskContext, repository: Repository, server: Owner) -> None:
    """Store the changes of the catalogue; a failure is logged, and the next task tries again."""
    try:
        origin = ExtractOrigin(context.attempt, context.server.now_ms(), server.server, server.name)
        listed = repository.objects.leaves("manifests")
        repository.check_owner()
        items = _confirming(context)
        report = repository.extracts.write(origin, items, listed.__contains__)
    except (Cancelled, Fenced, OwnerChanged):
        raise
    except HaulbackError as error:
        context.log(f"no extract of the catalogue was stored: {error.message}")
        return
    kind = "the whole catalogue" if report.whole else "changes"
    records = counted(report.items, "record")
    context.log(f"an extract of the catalogue was stored ({kind}, {records})")


def write_extract_if_old(context: TaskContext, repository: Repository, server: Owner) -> None:
    """Store an extract unless the newest is only hours old, because copies follow each backup."""
    if context.server.now_ms() - repository.extracts.newest_time() > _OLD_MS:
        write_extract(context, repository, server)


def _confirming(context: TaskContext) -> Iterator[CatalogueItem]:
    """The server's facts; raises if the attempt is cancelled meanwhile."""
    for number, item in enumerate(context.server.catalogue()):
        if number % 1000 == 0:
            context.progress.meter(0)
        yield item


def read_catalogue(context: TaskContext) -> Results:
    """Add the backups of a destination to the catalogue; with `takeOver` become its owner first.

    Safe to repeat at any point, because pages that were sent before change nothing.
    """
    order: DestinationSyncOrder = context.order
    repository = context.repositories.open(order.destination)
    owner = _owner(context, repository)
    stored = repository.extracts.read()
    for text in list(stored.problems.values())[:_SAID]:
        context.log(text)
    survey, added = Survey(), 0
    context.progress.expect_records(len(repository.objects.leaves("manifests")))
    for page in pages(repository, stored, survey):
        added += context.server.found(page)
        context.progress.meter(len(page))
    results = _results(context, repository, survey)
    results |= {"added": added, "extractTime": stored.time or 0, "repository": repository.guid}
    _tell(context, results)
    if order.reader and owner.server == order.reader.server:
        write_extract(context, repository, order.reader)
    if owner.number:
        report = OwnerReport(order.destination.guid, owner)
        results["owner"] = msgspec.to_builtins(report)
    return results | context.repositories.space(order.destination)


def _owner(context: TaskContext, repository: Repository) -> Owner:
    """The owner of the repository, which is the reader after a take-over."""
    order: DestinationSyncOrder = context.order
    if not order.takeOver or order.reader is None:
        return repository.owners.newest()
    repository.begin_writing()
    context.progress.confirm()
    reader, now = order.reader, context.server.now_ms()
    record = OwnerRecord(reader.server, reader.name, now, order.revoked, context.guid)
    owner = repository.owners.take_over(record)
    context.log(f"this server is the owner by record {owner.number}")
    return owner


def _results(context: TaskContext, repository: Repository, survey: Survey) -> Results:
    """The report: expected backups that the destination lacks are missing."""
    to = context.order.destination
    gone = missing(repository, context.server.expected(), survey)
    damage = DamageReport(to.guid, unreadable=survey.unreadable[:MOST], missing=gone[:MOST])
    results: Results = {"backups": len(survey.listed), "lost": len(set(survey.lost))}
    if gone or survey.unreadable:
        results["damage"] = msgspec.to_builtins(damage)
    return results


def _tell(context: TaskContext, results: Results) -> None:
    context.log(
        f"{counted(results['backups'], 'backup')} stored, {results['added']} of them new to the "
        f"catalogue; named by extracts, but missing: {results['lost']}"
    )
    if not results["extractTime"]:
        context.log(
            "there is no extract of a catalogue: locks, marks, proof levels and projects "
            "are unknown"
        )
