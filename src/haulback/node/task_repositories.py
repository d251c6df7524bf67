"""Backup destinations of an attempt, their repositories, and the damage found in these."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from haulback.contract.damage import DamageReport
from haulback.contract.order_records import BackupDestination
from haulback.destinations.add_only import AddOnly
from haulback.destinations.protocol import ObjectStore
from haulback.destinations.registry import check_place, listing_delay, open_destination, usage
from haulback.errors import Conflict, NotFound, Unavailable
from haulback.node.damage_check import as_results, report_damage
from haulback.node.destination_settings import settings_of
from haulback.node.pack_memory import FilePackMemory
from haulback.node.server_client import ServerClient
from haulback.node.state_dir import StateDir
from haulback.node.task_progress import TaskProgress
from haulback.repository.keys import Secret
from haulback.repository.repository import Repository
from haulback.texts import sendable
from haulback.wire import JsonObject
from haulback.work.context import Results

log = logging.getLogger(__name__)


class TaskRepositories:
    """Destinations and repositories of the attempt named `attempt`."""

    def __init__(
        self, attempt: str, progress: TaskProgress, link: ServerClient, home: StateDir
    ) -> None:
        self._attempt, self._progress = attempt, progress
        self._link, self._home = link, home
        self.damaged: list[str] = []
        self._opened: list[tuple[str, Repository]] = []

    def store(self, record: BackupDestination) -> ObjectStore:
        made = open_destination(record.driver, self._settings(record), self._attempt)
        # The server grants deletion to clean-up tasks; all other tasks can only add objects.
        return made if record.may_delete else AddOnly(made)

    def check_place(self, record: BackupDestination) -> None:
        check_place(record.driver, self._settings(record))

    def secret(self, record: BackupDestination) -> Secret:
        return Secret("keyfile", self._progress.ask(lambda: self._link.key(record.guid)))

    def open(self, record: BackupDestination) -> Repository:
        store, secret = self.store(record), self.secret(record)
        try:
            repository = Repository.open(store, secret, self._home.index_cache)
        except NotFound as error:
            if record.repository is None:
                raise
            where = record.config.get("path", record.name)
            raise Unavailable(
                f"destination {record.name}: {where} does not hold its repository; mount it there "
                f"again ({error.message})"
            ) from None
        if record.repository not in (None, repository.guid):
            raise Conflict(f"destination {record.name} holds another repository than before")
        repository.listing_delay = listing_delay(record.driver, self._settings(record))
        self._opened.append((record.guid, repository))
        return repository

    def space(self, record: BackupDestination) -> dict[str, int]:
        try:
            space = usage(record.driver, self._settings(record))
        except (OSError, Unavailable) as error:
            self._progress.log(f"the space of destination {record.name} is unknown: {error}")
            return {}
        return {"totalSpace": space.total, "freeSpace": space.free} if space else {}

    def _settings(self, record: BackupDestination) -> JsonObject:
        return self._progress.ask(lambda: settings_of(record, self._link))

    def pack_memory(self, repository: Repository) -> FilePackMemory:
        return self._home.pack_memories.of(repository.guid)

    def damage(self, by: str, backups: list[str], error: Exception | None) -> Results:
        """Record damage and return the report for the results; empty without damage.

        `by` names the task, `backups` are the guids that the task was about.  The report must not
        change how the attempt ends: an error in reporting is only logged.
        """
        sign = (by, self._link.now_ms())
        results: Results = {}
        for report in self._reports([*backups, *self.damaged], sign, error):
            results |= as_results(report)
            self._tell(report)
        return results

    def _reports(
        self, backups: list[str], sign: tuple[str, int], error: Exception | None
    ) -> Iterator[DamageReport]:
        for destination, repository in self._opened:
            try:
                report = report_damage(destination, repository, backups, lambda: sign, error)
            except Exception as other:
                log.warning("%s: damage cannot be recorded", self._attempt, exc_info=other)
                self._progress.log(f"damage cannot be recorded: {sendable(str(other))}")
                continue
            if report:
                yield report

    def _tell(self, report: DamageReport) -> None:
        """Log the damage for the readers of the task's log."""
        tell = self._progress.log
        for text in (*report.objects[:20], *report.findings[:20]):
            tell(f"damaged: {text}")
        for loss in report.losses:
            disks = ", ".join(f"{disk.name} ({disk.bytes} bytes)" for disk in loss.disks)
            tell(f"backup {loss.backup} lacks data of {disks}")
        if report.missing:
            tell(f"missing: {', '.join(report.missing[:20])}")
        if report.unreliable:
            tell(f"no damage was recorded: {report.unreliable}")

    def close(self) -> None:
        for _, repository in self._opened:
            self._home.pack_memories.of(repository.guid).save()
