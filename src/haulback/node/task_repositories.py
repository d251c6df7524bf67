"""Backup destinations of an attempt, their repositories, and the damage found in these."""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from haulback import units
from haulback.contract.catalogue import OwnerReport
from haulback.contract.damage import DamageReport
from haulback.contract.order_records import BackupDestination
from haulback.destinations.add_only import AddOnly
from haulback.destinations.pass_through import close
from haulback.destinations.protocol import ObjectStore
from haulback.destinations.registry import check_place, listing_delay, open_destination, usage
from haulback.errors import Conflict, Misconfigured, NotFound, Unavailable, is_away
from haulback.node.destination_settings import settings_of
from haulback.node.pack_memory import FilePackMemory
from haulback.node.server_client import ServerClient
from haulback.node.state_dir import StateDir
from haulback.node.task_progress import TaskProgress
from haulback.repository.keys import Keys, Secret
from haulback.repository.openers import opener, wrapper
from haulback.repository.owners import Ownership
from haulback.repository.recent_reads import RecentReads
from haulback.repository.reported_damage import ReadBackups, as_results, report_damage
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
        self.told: set[str] = set()
        self.unread: list[tuple[str, str]] = []
        self.away: str | None = None  # guid of the last destination that did not answer
        self._opened: list[tuple[str, Repository]] = []
        self._stores: list[ObjectStore] = []

    def store(self, record: BackupDestination) -> ObjectStore:
        with self._reaching(record):
            settings, tell = self._settings(record), self._progress.log
            made = open_destination(record.driver, settings, self._attempt, tell)
        self._stores.append(made)
        # The server grants deletion to clean-up tasks; all other tasks can only add objects.
        return made if record.may_delete else AddOnly(made)

    def check_place(self, record: BackupDestination) -> None:
        check_place(record.driver, self._settings(record))

    def secret(self, record: BackupDestination) -> Secret:
        return wrapper(self.kept_secret(record))

    def kept_secret(self, record: BackupDestination) -> bytes:
        """The secret of a destination, from the bytes that the server stores."""
        kept = self._progress.call_server(lambda: self._link.key(record.guid))
        self._progress.hide((kept.hex(), base64.b64encode(kept).decode()))
        return kept

    def open(self, record: BackupDestination) -> Repository:
        return self._open(record, None)

    def open_for_backup(self, record: BackupDestination) -> Repository:
        return self._open(record, self._home.recent_reads.of(record.guid))

    def _open(self, record: BackupDestination, recent: RecentReads | None) -> Repository:
        begun = time.monotonic()
        store, secret = self.store(record), opener(self.kept_secret(record))
        with self._reaching(record):
            opened = self._opened_repository(record, store, secret, recent)
        took = units.duration(time.monotonic() - begun)
        self._progress.log(
            f"destination {record.name} was opened in {took} ({record.driver}, "
            f"repository {opened.guid})"
        )
        if record.repository not in (None, opened.guid):
            raise Conflict(
                f"destination {record.name} holds a different repository than before; correct "
                "the settings of the destination, or move the destination"
            )
        opened.locks.memory = self._home.lock_memories.of(opened.guid)
        opened.listing_delay = listing_delay(record.driver, self._settings(record))
        self._opened.append((record.guid, opened))
        if record.owner.server:  # the order allows writes
            opened.ownership = Ownership(opened.owners, record.owner, self._link.now_ms())
            opened.check_owner()
        return opened

    def owner(self) -> Results:
        """The newest owner record that was read, for the results; empty without one."""
        for destination, repository in self._opened:
            if repository.ownership and repository.ownership.present.number:
                report = OwnerReport(destination, repository.ownership.present)
                return {"owner": msgspec.to_builtins(report)}
        return {}

    @contextmanager
    def _reaching(self, record: BackupDestination) -> Iterator[None]:
        """Record a destination that does not answer, because the server counts tasks that end in
        this way.
        """
        try:
            yield
        except Unavailable as error:
            if is_away(error):
                self.away = record.guid
            raise

    def _opened_repository(
        self,
        record: BackupDestination,
        store: ObjectStore,
        secret: Secret | Keys,
        recent: RecentReads | None,
    ) -> Repository:
        try:
            return Repository.open(store, secret, self._home.index_cache, recent)
        except NotFound as error:
            if record.repository is None:
                raise
            raise Misconfigured(
                f"destination {record.name} held the repository {record.repository} and "
                "holds none now: its store was emptied or made again, or the settings "
                "name another store; nothing was changed"
            ) from error

    def space(self, record: BackupDestination) -> dict[str, int]:
        try:
            space = usage(record.driver, self._settings(record))
        except (OSError, Unavailable) as error:
            self._progress.log(f"the space of destination {record.name} is unknown: {error}")
            return {}
        return {"totalSpace": space.total, "freeSpace": space.free} if space else {}

    def _settings(self, record: BackupDestination) -> JsonObject:
        task = self._attempt.rpartition("-")[0]
        settings = self._progress.call_server(lambda: settings_of(record, self._link, task))
        self._progress.hide(
            str(value) for name, value in settings.items() if name not in record.config
        )
        return settings

    def pack_memory(self, repository: Repository) -> FilePackMemory:
        return self._home.pack_memories.of(repository.guid)

    def damage(self, by: str, backups: list[str], error: Exception | None) -> Results:
        """Record damage and return the report for the results; empty without damage.

        `by` names the task, `backups` are the guids of the task's backups.  The report must not
        change the result of the attempt, so errors in reporting are only logged.
        """
        sign = (by, self._link.now_ms())
        reports = []
        concerned = list(dict.fromkeys([*backups, *self.damaged]))
        for report in self._reports(concerned, sign, error):
            reports.append(report)
            self._tell(report)
        return as_results(reports)

    def _reports(
        self, backups: list[str], sign: tuple[str, int], error: Exception | None
    ) -> Iterator[DamageReport]:
        for destination, repository in self._opened:
            unread = {backup for place, backup in self.unread if place == destination}
            asked = ReadBackups(backups, sorted(unread), error)
            try:
                report = report_damage(destination, repository, asked, lambda: sign)
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
            if text not in self.told:
                tell(f"damaged: {text}")
        for loss in report.losses:
            disks = ", ".join(f"{disk.name} ({units.size(disk.bytes)})" for disk in loss.disks)
            tell(f"backup {loss.backup} lacks data of {disks}")
        if report.missing:
            tell(f"missing: {', '.join(report.missing[:20])}")
        if report.unreliable:
            tell(f"no damage was recorded: {report.unreliable}")

    def close(self) -> None:
        for store in self._stores:
            close(store)
        for _, repository in self._opened:
            self._home.pack_memories.of(repository.guid).save()
            self._home.lock_memories.of(repository.guid).save()
