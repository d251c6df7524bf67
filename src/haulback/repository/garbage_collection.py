"""The clean-up of a repository: unreferenced data leaves the index, then the destination.

docs/design/locking.md explains why a clean-up loses no backup, even if other tasks run or fail
meanwhile, or a part of the repository is unreachable.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from haulback.contract.space import MACHINES_TOLD, MachineSpace, SpaceUsage
from haulback.errors import Damaged, NotFound, Unavailable
from haulback.repository import pending_deletes
from haulback.repository.catalogue_check import CatalogueComparison, Expected, agree
from haulback.repository.compaction import CompactionPlan, Copier, plan_compaction
from haulback.repository.damage import DamagedPlace
from haulback.repository.damage_report import record_findings
from haulback.repository.deletion_check import unproved
from haulback.repository.index import Index
from haulback.repository.index_arrays import Array
from haulback.repository.index_lookup import inside
from haulback.repository.live_chunks import LiveChunks
from haulback.repository.manifest import name_of as manifest_name
from haulback.repository.merge import MergePlan, merge
from haulback.repository.pack import name_of
from haulback.repository.pending_deletes import PendingDelete
from haulback.repository.reader import Reader
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.scan import RepositoryScan, ScanExtent, scan_completing_index
from haulback.repository.segment import Segment
from haulback.repository.store_time import StoreTime, Wait, require_known
from haulback.repository.writer import Staged, Writer

_OWNER_EVERY = 64  # packs that are deleted between two checks of the repository's owner
_TRIES = 3  # number of new backups between two scans that makes it scan again
# this many packs missing at once indicate an unmounted folder rather than damage
_MANY_GONE, _SHARE_GONE = 8, 1 / 4
log = logging.getLogger(__name__)


class CleanupReport(msgspec.Struct):
    """The results of a clean-up; `bytes_freed` in bytes.

    `backups` are the kept backups, `unknown` how many of them the catalogue does not know,
    `damaged` the guids of backups that lack data, `given_up` the guids of lost backups.
    `packs_waiting` are dead packs that a running task may still use, `packs_locked` and
    `bytes_locked` count the dead packs that the store keeps under lock.  `kept_locked` are guids of
    the order, even of lost backups, whose manifests stay because they are locked.  `held` is true
    if the clean-up deleted nothing, because a part of some map cannot be read.  `usage` is the
    space by machine before deletions.
    """

    backups: int = 0
    damaged: list[str] = []
    packs_deleted: int = 0
    bytes_freed: int = 0
    groups_rewritten: int = 0
    packs_waiting: int = 0
    unknown: int = 0
    unreadable: list[str] = []
    given_up: list[str] = []
    held: bool = False
    usage: SpaceUsage | None = None
    packs_locked: int = 0
    bytes_locked: int = 0
    kept_locked: list[str] = []


def _usage(scanned: RepositoryScan) -> SpaceUsage:
    sample = scanned.mark.sample
    machines = sample.by_machine()
    told = [MachineSpace(*machine) for machine in machines[:MACHINES_TOLD]]
    return SpaceUsage(sum(scanned.packs.values()), sample.living(), told)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class CleanupOrder:
    """The instructions of a clean-up.

    `forget` are guids of backups to delete, `expected` guids that must exist (None: only the last
    roll is checked), `given_up` guids whose loss a user has confirmed.  `by` and `now` (epoch ms)
    sign damage records.  `wait` pauses for some seconds if listings lag; an error that it raises
    ends the work.
    """

    forget: list[str] = field(default_factory=list)
    expected: Expected | None = None
    given_up: list[str] = field(default_factory=list)
    by: str = "a clean-up"
    now: Callable[[], int] = _now_ms
    wait: Wait = time.sleep


def clean_up(
    repository: Repository,
    folder: Path,
    pins: Callable[[], Set[str]],
    resources: Resources,
    orders: CleanupOrder | None = None,
) -> CleanupReport:
    """Delete the data that no present backup needs; needs the right to delete.

    `folder` is empty and belongs to the caller: new packs and index files are written there first.
    `pins` returns the names of all tasks that read or write this repository now: exports, stores
    (as long as they may be retried), restores, checks, other clean-ups.  The meter of `resources`
    gets the number of bytes copied.

    Safe to repeat after a failure at any point.  Raises Missing, having deleted nothing, when an
    expected backup is missing, and Unavailable when the destination does not list its objects.
    """
    return _CleanUp(repository, folder, pins, resources, orders or CleanupOrder()).run()


class _EndedDeletes(NamedTuple):
    """Pending deletes by name whose tasks have ended, the packs that may be deleted, and the
    announcement that names these packs, if one exists.
    """

    entries: Mapping[str, PendingDelete]
    packs: set[bytes]
    notice: str = ""


class _CleanUp:
    """A run of the clean-up."""

    def __init__(
        self,
        repository: Repository,
        folder: Path,
        pins: Callable[[], Set[str]],
        resources: Resources,
        orders: CleanupOrder,
    ) -> None:
        self._repository, self._folder = repository, folder
        self._destination, self._keys = repository.destination, repository.keys
        self._pins, self._resources, self._orders = pins, resources, orders
        self._confirm, self._disk = resources.confirm, resources.disk
        self._cleaned = CleanupReport()
        self._forgotten: Set[str] = frozenset()
        # Packs that the store keeps under lock although no backup needs them.
        self._locked: set[bytes] = set()
        self._known: Set[str] = frozenset()
        self._time = StoreTime(
            self._destination, self._keys, require_known(repository.listing_delay), orders.wait
        )
        self._early: _EndedDeletes | None = None

    def run(self) -> CleanupReport:
        self._confirm()
        self._time.require_times()
        self._repository.begin_writing()
        self._repository.check_deletion()
        self._forget(agree(self._repository, self._orders.expected, self._orders.given_up))
        rotten: dict[str, str] = {}
        pending = pending_deletes.read(self._repository.objects, self._keys, rotten)
        over = self._over(pending) if self._time.lags else None
        self._repository.index_folder.mend(self._folder, self._disk)
        for _ in range(_TRIES):
            self._look_back()
            scanned = self._scan_twice()
            if self._drop_dead(scanned, over):
                break
            log.info("a new backup needs data that was about to be deleted; the scan is repeated")
        self._report(scanned)
        self._add_pending_delete(self._unplaced(scanned) - pending_deletes.waiting(pending))
        self._remove_pending(name for name, entry in pending.items() if entry.pins is None)
        self._remove_pending(rotten)
        self._delete_pending(scanned)
        self._confirm()
        self._repository.check_owner()
        self._repository.sweep_index()
        self._repository.check_owner()
        self._repository.rolls.sweep()
        return self._cleaned

    def _forget(self, agreed: CatalogueComparison) -> None:
        """Delete the backups that the order names; the roll then lists the backups that remain."""
        self._cleaned.kept_locked = self._locked_backups({*agreed.lost, *self._orders.forget})
        gone = {*agreed.lost, *self._orders.forget} - set(self._cleaned.kept_locked)
        for backup in sorted(gone):
            self._confirm()
            self._repository.forget(backup)
        self._cleaned.given_up = sorted(agreed.lost & gone)
        self._cleaned.unknown = len(agreed.unknown - gone)
        self._known = agreed.listed - gone
        self._confirm()
        rolls = self._repository.rolls
        rolls.write(agreed.listed - gone)
        if self._orders.expected:  # a STORE failed for good, but a later attempt of it succeeded
            rolls.delete_tombstones(set(agreed.listed - agreed.unknown - gone))
        self._forgotten = rolls.forgotten(set(agreed.listed - gone)) | (agreed.lost - gone)

    def _locked_backups(self, backups: Iterable[str]) -> list[str]:
        """The backups whose manifests the store keeps under lock, visible or hidden."""
        locks = self._repository.locks
        if not locks.are_kept:
            return []
        names = {manifest_name(backup): backup for backup in backups}
        return sorted(names[name] for name in locks.held(names))

    def _report(self, scanned: RepositoryScan) -> None:
        # `known` also has the young backups, which the scan leaves out where lists lag
        self._cleaned.backups = len({*self._known, *scanned.backups})
        self._cleaned.damaged = scanned.damaged
        self._cleaned.unreadable, self._cleaned.held = scanned.unreadable, scanned.is_blind
        self._cleaned.usage = _usage(scanned)
        self._cleaned.usage.locked = self._cleaned.bytes_locked
        if scanned.is_blind:
            log.warning(
                "nothing is deleted: part of a backup's map cannot be read; run VERIFY or a repair"
            )

    def _unplaced(self, scanned: RepositoryScan) -> set[bytes]:
        """Packs that the index does not name.

        A pack whose directory cannot be read stays, because a damaged index file may have listed
        its groups.
        """
        unplaced = scanned.packs.keys() - scanned.index.packs() - scanned.closed
        self._note_locked(unplaced, scanned)
        return unplaced - self._locked

    def _scan_twice(self) -> RepositoryScan:
        """Scan the repository; after damage was found, scan again so that the second scan takes it
        into account.
        """
        scanned = self._scan()
        gone = len(scanned.index.packs() - scanned.packs.keys())
        if gone >= _MANY_GONE and gone > len(scanned.index.packs()) * _SHARE_GONE:
            why = f"{gone} of {len(scanned.index.packs())} packs are missing"
            self._repository.unreliable = why
            raise Unavailable(
                f"{why}: a part of the destination may not be mounted.  Nothing was deleted"
            )
        if scanned.mark.missing:
            self._note_absent(scanned)
        if not self._repository.findings:
            return scanned
        recorded = record_findings(self._repository, self._orders.by, self._orders.now())
        if recorded.unreliable:
            raise Unavailable(f"{recorded.unreliable}; nothing was deleted")
        return self._scan() if recorded.damaged else scanned

    def _note_absent(self, scanned: RepositoryScan) -> None:
        """Record missing packs that a backup may need as damage."""
        absent = scanned.index.packs() - scanned.packs.keys()
        for pack in absent:
            if DamagedPlace(pack) not in scanned.index.damage.damaged_places:
                self._repository.findings.note_pack(pack, 0, f"{name_of(pack)} is missing")

    def _scan(self, before: RepositoryScan | None = None) -> RepositoryScan:
        extent = ScanExtent(before, forgotten=self._forgotten, known=self._known)
        return scan_completing_index(self._repository, self._folder, self._resources, extent)

    def _look_back(self) -> None:
        """Leave out the manifests and index files that a listing may show without their data."""
        self._repository.objects.horizon = self._time.horizon()

    def _over(self, pending: Mapping[str, PendingDelete]) -> _EndedDeletes:
        """The pending deletes that wait for no task, without packs for which other pending deletes
        wait.
        """
        over = pending_deletes.ended(pending, self._pins())
        waiting = pending_deletes.waiting(
            {name: pending[name] for name in pending.keys() - over.keys()}
        )
        self._cleaned.packs_waiting = len(waiting)
        return _EndedDeletes(over, pending_deletes.waiting(over) - waiting)

    def _drop_dead(self, scanned: RepositoryScan, over: _EndedDeletes | None) -> bool:
        """Publish an index without dead data, and add a pending delete for the packs that leave the
        index.

        False when a new backup needs some of that data: then nothing has changed.
        """
        if scanned.is_blind:
            scanned.mark.live[:] = True
        plan = plan_compaction(scanned.mark)
        self._spare_locked(scanned, plan)
        superseded = scanned.superseded() - self._locked
        is_short = scanned.is_short and not scanned.mark.missing
        if not (plan.dead.any() or plan.thin.any() or superseded or is_short):
            return True
        copied, staged = self._copy(scanned.mark, plan)
        added = self._publish(staged)
        lost = plan.dead | copied
        packs = scanned.mark.segment.columns.packs
        doomed = {packs[row].tobytes() for row in np.flatnonzero(lost).tolist()} | superseded
        notice = self._announce(doomed | (over.packs if over else set()))
        if self._is_needed_again(scanned, plan, lost):
            self._remove_pending([notice])
            return False
        self._repository.check_owner()
        self._publish_generation(scanned, added, lost)
        self._add_pending_delete(doomed)
        # The announcement is old enough to delete the packs that earlier pending deletes name.
        if over:
            self._early = over._replace(notice=notice)
            self._cleaned.packs_waiting += len(doomed)
        else:
            self._remove_pending([notice])
        return True

    def _spare_locked(self, scanned: RepositoryScan, plan: CompactionPlan) -> None:
        """Take the packs that the store keeps under lock out of a plan."""
        packs = scanned.mark.segment.columns.packs
        rows = {packs[row].tobytes(): row for row in np.flatnonzero(plan.dead | plan.thin).tolist()}
        self._note_locked(rows.keys() | scanned.superseded(), scanned)
        for pack in rows.keys() & self._locked:
            plan.dead[rows[pack]] = plan.thin[rows[pack]] = False

    def _note_locked(self, packs: Set[bytes], scanned: RepositoryScan) -> None:
        self._locked |= self._repository.locks.held_packs(packs - self._locked)
        self._cleaned.packs_locked = len(self._locked)
        self._cleaned.bytes_locked = sum(scanned.packs.get(pack, 0) for pack in self._locked)
        if self._cleaned.usage:
            self._cleaned.usage.locked = self._cleaned.bytes_locked

    def _copy(self, mark: LiveChunks, plan: CompactionPlan) -> tuple[Array, Staged]:
        writer = Writer(self._keys, Index(), self._folder, self._resources)
        copier = Copier(mark, plan, writer, self._repository, self._resources)
        try:
            copied, staged = copier.copy(), writer.finish()
        except BaseException:
            writer.abandon()
            raise
        self._cleaned.groups_rewritten += copier.groups
        return copied, staged

    def _publish(self, staged: Staged) -> list[Segment]:
        """Publish the copies, so that live data is in the index twice before the old entries are
        removed.
        """
        for path in staged.packs:
            self._confirm()
            self._destination.adopt(name_of(bytes.fromhex(path.stem)), path)
        segments = [Segment.open(path, path.stem, self._keys) for path in staged.segments]
        for path in staged.segments:
            self._confirm()
            self._repository.index_folder.store(path)
        return segments

    def _is_needed_again(self, scanned: RepositoryScan, plan: CompactionPlan, lost: Array) -> bool:
        """Whether a backup that appeared since the scan refers to data that is about to be
        deleted.
        """
        mark, c = scanned.mark, scanned.mark.segment.columns
        known, unread = mark.live.copy(), mark.unread
        index = self._repository.index()
        load = Reader(self._destination, index, self._keys, self._repository.findings).chunk
        for backup in self._repository.objects.leaves("manifests") - set(scanned.backups):
            try:
                mark.add(self._repository.manifest(backup), load)
            except NotFound:
                continue
            except Damaged:
                return True
        gone = lost[c.packs_of] & (~plan.alive | plan.sparse)
        revived = gone[c.groups_of[np.flatnonzero(mark.live & ~known)]].any()
        return bool(revived) or mark.unread > unread

    def _publish_generation(
        self, scanned: RepositoryScan, added: list[Segment], lost: Array
    ) -> None:
        """Store an index file that replaces all index files of the scan and the index files `added`
        since.

        While a backup lacks data, index entries of missing packs are kept: the packs may reappear,
        and a page that is stored again heals that backup only if its map names the old group.
        """
        whole = scanned.mark.segment
        segments = [*scanned.index.segments, *added]
        names = {segment.name for segment in segments}
        names.update(name for segment in segments for name in segment.replaces)
        stored = sorted(names & self._repository.index_folder.names())
        kept = [np.ones(len(s.columns.sessions), bool) for s in added]
        kept.append(~lost[whole.columns.packs_of])
        sources = [*added, whole]
        if scanned.is_short and scanned.mark.missing:
            sources += scanned.index.segments
            kept += [~inside(segment, scanned.packs) for segment in scanned.index.segments]
        plan = MergePlan(sources, stored, kept, scanned.index.damage)
        path = merge(plan, self._folder, self._keys, self._disk)
        self._confirm()
        self._repository.index_folder.store(path)

    def _announce(self, packs: Iterable[bytes]) -> str:
        """Announce the deletion of packs, and wait until every writer can see it; returns the
        announcement's name.
        """
        self._confirm()
        notice = pending_deletes.add(self._destination, self._keys, packs, None)
        self._time.let_be_seen(notice)
        self._look_back()
        return notice

    def _add_pending_delete(self, packs: Set[bytes]) -> None:
        """Add a pending delete for packs outside the index; it waits for every task that runs
        now.
        """
        if packs:
            self._confirm()
            pending_deletes.add(self._destination, self._keys, packs, self._pins())

    def _remove_pending(self, names: Iterable[str]) -> None:
        for name in names:
            self._confirm()
            self._destination.delete(name)

    def _delete_pending(self, before: RepositoryScan) -> None:
        """Delete the packs whose pending delete no longer waits for a task, after one more scan."""
        ended = self._early
        if ended is None:
            ended = self._over(pending_deletes.read(self._repository.objects, self._keys))
        over, notice = ended.entries, ended.notice
        going = ended.packs - self._repository.index().packs()
        if going:
            notice = notice or self._announce(going)
            scanned = self._scan(before)
            # A damaged announcement warns no STORE, so that only a readable announcement allows a
            # deletion.
            if scanned.is_blind or notice not in pending_deletes.read(
                self._repository.objects, self._keys
            ):
                self._cleaned.packs_waiting += len(going)
                self._remove_pending([notice])
                return
            going -= scanned.index.packs() | scanned.closed | before.closed
            self._note_locked(going & scanned.packs.keys(), scanned)
            locked = going & self._locked
            going -= locked
            spared = self._packs_to_keep(going & scanned.packs.keys(), (before, scanned))
            self._delete(going - spared, scanned)
            # The pending deletes of these packs stay until the next clean-up.
            if not (spared or locked):
                self._remove_pending(over)
        else:
            self._remove_pending(over)
        self._remove_pending([notice] if notice else [])

    def _packs_to_keep(
        self, packs: Set[bytes], scans: tuple[RepositoryScan, RepositoryScan]
    ) -> set[bytes]:
        """Packs with a live chunk whose place in the index cannot be read.

        The index may refer to a damaged copy that no task has read yet; the copy in this pack is
        then the only good one.
        """
        resources = self._resources
        spared = unproved(self._repository, scans, packs, resources.pool, resources.meter)
        if spared:
            log.warning(
                "packs kept because they hold the only good copy of some chunks: %d", len(spared)
            )
            record_findings(self._repository, self._orders.by, self._orders.now())
            self._cleaned.packs_waiting += len(spared)
        return spared

    def _delete(self, packs: Iterable[bytes], scanned: RepositoryScan) -> None:
        for number, pack in enumerate(sorted(packs)):
            if number % _OWNER_EVERY == 0:
                self._repository.check_deletion()
            if pack in scanned.packs:
                self._confirm()
                self._destination.delete(name_of(pack))
                self._cleaned.packs_deleted += 1
                self._cleaned.bytes_freed += scanned.packs[pack]
