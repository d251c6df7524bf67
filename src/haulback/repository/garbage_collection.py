"""The clean-up of a repository: unreferenced data leaves the index, then the destination.

docs/design/locking.md explains why a clean-up loses no backup, whatever runs or fails beside it and
whichever part of the repository is unreachable.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from haulback.durable_files import DurableFiles
from haulback.errors import Damaged, NotFound, Unavailable
from haulback.repository import pending_deletes
from haulback.repository.backup import Meter, unmetered
from haulback.repository.catalogue_check import Agreement, Expected, agree
from haulback.repository.compaction import Copier, Worth, weigh
from haulback.repository.damage import Spot
from haulback.repository.damage_report import record_findings
from haulback.repository.deletion_check import unproved
from haulback.repository.index import Index, inside
from haulback.repository.live_chunks import LiveChunks
from haulback.repository.merge import merge
from haulback.repository.pack import name_of
from haulback.repository.reader import Reader
from haulback.repository.repository import Repository
from haulback.repository.scan import RepositoryScan, look_around
from haulback.repository.segment import Array, Segment
from haulback.repository.writer import Staged, Writer

_TRIES = 3
# this many packs missing at once point to an unmounted folder, not to damage
_MANY_GONE, _SHARE_GONE = 8, 1 / 4
log = logging.getLogger(__name__)


class Cleaned(msgspec.Struct):
    """The results of a clean-up; `bytes_freed` in bytes.

    `backups` are the kept backups, `unknown` how many of them the catalogue does not know,
    `damaged` the guids of backups that lack data, `given_up` the guids of lost backups.
    `packs_waiting` are dead packs that a running task may still use.  `held`: nothing was deleted,
    because a part of some map cannot be read.
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


def _unasked() -> None:
    """The default confirmation: no attempt can have ended."""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Orders:
    """The instructions of a clean-up.

    `forget` are guids of backups to delete, `expected` guids that must exist (None: only the last
    roll is checked), `given_up` guids whose loss a person has confirmed.  `by` and `now` (epoch ms)
    sign damage records.
    """

    forget: list[str] = field(default_factory=list)
    expected: Expected | None = None
    given_up: list[str] = field(default_factory=list)
    by: str = "a clean-up"
    now: Callable[[], int] = _now_ms


def clean_up(
    repository: Repository,
    folder: Path,
    pins: Callable[[], Set[str]],
    pool: ThreadPoolExecutor,
    disk: DurableFiles | None = None,
    meter: Meter = unmetered,
    confirm: Callable[[], None] = _unasked,
    orders: Orders | None = None,
) -> Cleaned:
    """Delete the data that no present backup needs; needs the right to delete.

    `folder` is empty and belongs to the caller: new packs and index files are written there first.
    `pins` returns the names of everything that reads or writes this repository now: exports, stores
    (as long as they may be tried again), restores, checks, other clean-ups.  `confirm` raises when
    this attempt has ended; it is called before every step that others see.  `meter` gets the number
    of bytes copied.

    Safe to repeat after a failure at any point.  Raises Missing, having deleted nothing, when an
    expected backup is missing, and Unavailable when the destination does not show its objects.
    """
    told = orders or Orders()
    return _CleanUp(
        repository, folder, pins, pool, disk or DurableFiles(), meter, confirm, told
    ).run()


class _CleanUp:
    """A run of the clean-up."""

    def __init__(
        self,
        repository: Repository,
        folder: Path,
        pins: Callable[[], Set[str]],
        pool: ThreadPoolExecutor,
        disk: DurableFiles,
        meter: Meter,
        confirm: Callable[[], None],
        orders: Orders,
    ) -> None:
        self._repository, self._folder, self._disk = repository, folder, disk
        self._destination, self._keys = repository.destination, repository.keys
        self._pins, self._pool, self._meter, self._confirm = pins, pool, meter, confirm
        self._orders = orders
        self._cleaned = Cleaned()
        self._forgotten: Set[str] = frozenset()

    def run(self) -> Cleaned:
        self._confirm()
        self._repository.begin_writing()
        self._forget(agree(self._repository, self._orders.expected, self._orders.given_up))
        rotten: dict[str, str] = {}
        dug = pending_deletes.read(self._repository.objects, self._keys, rotten)
        self._repository.index_folder.mend(self._folder, self._disk)
        for _ in range(_TRIES):
            look = self._look_twice()
            if self._renew(look):
                break
            log.info("a new backup needs data that was to be deleted; the clean-up scans again")
        self._report(look)
        self._dig(self._unplaced(look) - pending_deletes.waiting(dug))
        self._close(name for name, grave in dug.items() if grave.pins is None)
        self._close(rotten)
        self._bury(look)
        self._confirm()
        self._repository.sweep_index()
        self._repository.rolls.sweep()
        return self._cleaned

    def _forget(self, agreed: Agreement) -> None:
        """Delete the backups that the order names; the roll then lists the backups that remain."""
        gone = {*agreed.lost, *self._orders.forget}
        for backup in sorted(gone):
            self._confirm()
            self._repository.forget(backup)
        self._cleaned.given_up = sorted(agreed.lost)
        self._cleaned.unknown = len(agreed.unknown - gone)
        self._confirm()
        rolls = self._repository.rolls
        rolls.write(agreed.listed - gone)
        if self._orders.expected:  # a STORE gave up, and a later attempt of it succeeded
            rolls.revive(set(agreed.listed - agreed.unknown - gone))
        self._forgotten = rolls.forgotten(set(agreed.listed - gone))

    def _report(self, look: RepositoryScan) -> None:
        self._cleaned.backups, self._cleaned.damaged = len(look.backups), look.damaged
        self._cleaned.unreadable, self._cleaned.held = look.unreadable, look.is_blind
        if look.is_blind:
            log.warning(
                "nothing is deleted: a part of some map cannot be read; run VERIFY or repair"
            )

    def _unplaced(self, look: RepositoryScan) -> set[bytes]:
        """Packs that the index does not name.

        A pack whose directory cannot be read stays: a damaged index file may have listed its
        groups.
        """
        return look.packs.keys() - look.index.packs() - look.closed

    def _look_twice(self) -> RepositoryScan:
        """Scan the repository; scan again when damage was met, so that the second scan takes it
        into account.
        """
        look = self._look()
        gone = len(look.index.packs() - look.packs.keys())
        if gone >= _MANY_GONE and gone > len(look.index.packs()) * _SHARE_GONE:
            why = f"{gone} of {len(look.index.packs())} packs are not there"
            self._repository.unreliable = why
            raise Unavailable(
                f"{why}: a part of the destination may not be mounted.  Nothing was deleted"
            )
        if look.mark.missing:
            self._note_absent(look)
        if not self._repository.findings:
            return look
        recorded = record_findings(self._repository, self._orders.by, self._orders.now())
        if recorded.unreliable:
            raise Unavailable(f"{recorded.unreliable}; nothing was deleted")
        return self._look() if recorded.damaged else look

    def _note_absent(self, look: RepositoryScan) -> None:
        """Record missing packs that a backup may need as damage."""
        absent = look.index.packs() - look.packs.keys()
        for pack in absent:
            if Spot(pack) not in look.index.damage.spots:
                self._repository.findings.note_pack(pack, 0, f"{name_of(pack)} is missing")

    def _look(self, before: RepositoryScan | None = None) -> RepositoryScan:
        repository, folder, disk = self._repository, self._folder, self._disk
        return look_around(repository, folder, disk, self._confirm, before, self._forgotten)

    def _renew(self, look: RepositoryScan) -> bool:
        """Publish an index without dead data, and add a pending delete for the packs that leave the
        index.

        False when a new backup needs some of that data: then nothing has changed.
        """
        if look.is_blind:
            look.mark.live[:] = True
        worth = weigh(look.mark)
        superseded = look.superseded()
        is_short = look.is_short and not look.mark.missing
        if not (worth.dead.any() or worth.thin.any() or superseded or is_short):
            return True
        copied, staged = self._copy(look.mark, worth)
        added = self._publish(staged)
        lost = worth.dead | copied
        packs = look.mark.segment.columns.packs
        doomed = {packs[row].tobytes() for row in np.flatnonzero(lost).tolist()} | superseded
        notice = self._announce(doomed)
        if self._revived(look, worth, lost):
            self._close([notice])
            return False
        self._publish_generation(look, added, lost)
        self._dig(doomed)
        self._close([notice])
        return True

    def _copy(self, mark: LiveChunks, worth: Worth) -> tuple[Array, Staged]:
        writer = Writer(self._keys, Index(), self._folder, self._disk, self._pool)
        copier = Copier(mark, worth, writer, self._destination, self._keys, self._pool, self._meter)
        try:
            copied, staged = copier.copy(), writer.finish()
        except BaseException:
            writer.abandon()
            raise
        self._cleaned.groups_rewritten += copier.groups
        return copied, staged

    def _publish(self, staged: Staged) -> list[Segment]:
        """Publish the copies: living data is in the index twice before the old entries go."""
        for path in staged.packs:
            self._confirm()
            self._destination.adopt(name_of(bytes.fromhex(path.stem)), path)
        segments = [Segment.open(path, path.stem, self._keys) for path in staged.segments]
        for path in staged.segments:
            self._confirm()
            self._destination.adopt(f"index/{path.stem}", path)
        return segments

    def _revived(self, look: RepositoryScan, worth: Worth, lost: Array) -> bool:
        """Whether a backup that appeared since the scan refers to data that is about to go."""
        mark, c = look.mark, look.mark.segment.columns
        known, unread = mark.live.copy(), mark.unread
        index = self._repository.index()
        load = Reader(self._destination, index, self._keys, self._repository.findings).chunk
        for backup in self._repository.objects.leaves("manifests") - set(look.backups):
            try:
                mark.add(self._repository.manifest(backup), load)
            except NotFound:
                continue
            except Damaged:
                return True
        gone = lost[c.packs_of] & (~worth.alive | worth.sparse)
        revived = gone[c.groups_of[np.flatnonzero(mark.live & ~known)]].any()
        return bool(revived) or mark.unread > unread

    def _publish_generation(self, look: RepositoryScan, added: list[Segment], lost: Array) -> None:
        """Store an index file that replaces all index files of the scan and those `added` since.

        While a backup lacks data, index entries of missing packs are kept: the packs may come back,
        and a new copy of a page replaces the old copy only under the old hint.
        """
        whole = look.mark.segment
        segments = [*look.index.segments, *added]
        names = {segment.name for segment in segments}
        names.update(name for segment in segments for name in segment.replaces)
        stored = sorted(names & self._repository.index_folder.names())
        kept = [np.ones(len(s.columns.sessions), bool) for s in added]
        kept.append(~lost[whole.columns.packs_of])
        damage = look.index.damage
        sources = [*added, whole]
        if look.is_short and look.mark.missing:
            sources += look.index.segments
            kept += [~inside(segment, look.packs) for segment in look.index.segments]
        path = merge(sources, stored, self._folder, self._keys, self._disk, kept, damage)
        self._confirm()
        self._repository.index_folder.store(path)

    def _announce(self, packs: Iterable[bytes]) -> str:
        self._confirm()
        return pending_deletes.dig(self._destination, self._keys, packs, None)

    def _dig(self, packs: Set[bytes]) -> None:
        """Add a pending delete for packs outside the index; it waits for every task that runs
        now.
        """
        if packs:
            self._confirm()
            pending_deletes.dig(self._destination, self._keys, packs, self._pins())

    def _close(self, names: Iterable[str]) -> None:
        for name in names:
            self._confirm()
            self._destination.delete(name)

    def _bury(self, before: RepositoryScan) -> None:
        """Delete the packs whose pending delete waits for nothing any more, after one more scan."""
        alive = self._pins()
        dug = pending_deletes.read(self._repository.objects, self._keys)
        over = pending_deletes.ended(dug, alive)
        waiting = pending_deletes.waiting({name: dug[name] for name in dug.keys() - over.keys()})
        self._cleaned.packs_waiting = len(waiting)
        going = pending_deletes.waiting(over) - waiting - self._repository.index().packs()
        if going:
            notice = self._announce(going)
            look = self._look(before)
            # A damaged announcement warns no STORE: only an announcement that can be read allows a
            # deletion.
            if look.is_blind or notice not in pending_deletes.read(
                self._repository.objects, self._keys
            ):
                self._cleaned.packs_waiting += len(going)
                self._close([notice])
                return
            going -= look.index.packs() | look.closed | before.closed
            spared = self._spared(going & look.packs.keys(), (before, look))
            self._delete(going - spared, look)
            if not spared:  # their pending delete stays until the next clean-up
                self._close(over)
            self._close([notice])
        else:
            self._close(over)

    def _spared(
        self, packs: Set[bytes], looks: tuple[RepositoryScan, RepositoryScan]
    ) -> set[bytes]:
        """Packs with a living chunk whose place in the index cannot be read.

        The index may lead to a damaged copy that nobody has read yet: the copy in this pack is then
        the only good one.
        """
        spared = unproved(self._repository, looks, packs, self._pool, self._meter)
        if spared:
            log.warning(
                "%d packs are kept: they hold the only good copy of some chunks", len(spared)
            )
            record_findings(self._repository, self._orders.by, self._orders.now())
            self._cleaned.packs_waiting += len(spared)
        return spared

    def _delete(self, packs: Iterable[bytes], look: RepositoryScan) -> None:
        for pack in sorted(packs):
            if pack in look.packs:
                self._confirm()
                self._destination.delete(name_of(pack))
                self._cleaned.packs_deleted += 1
                self._cleaned.bytes_freed += look.packs[pack]
