"""Giving space back: what no present backup refers to leaves the index, then the destination.

docs/design/locking.md says why no backup is lost to it, whatever runs or dies beside it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np

from haulback.disk import Disk
from haulback.errors import NotFound
from haulback.repository import graves
from haulback.repository.backup import Meter, unmetered
from haulback.repository.compact import Copier, Worth, weigh
from haulback.repository.index import Index
from haulback.repository.look import Look, look_around
from haulback.repository.mark import Mark
from haulback.repository.merge import merge
from haulback.repository.pack import name_of
from haulback.repository.reader import Reader
from haulback.repository.repository import Repository, leaf_of
from haulback.repository.segment import Array, Segment
from haulback.repository.writer import Staged, Writer

_TRIES = 3
log = logging.getLogger(__name__)


class Cleaned(msgspec.Struct):
    """What a clean-up found and did; `bytes_freed` in bytes.

    `backups` are those it kept, `damaged` the guids of those that refer to something not stored.
    `packs_waiting` are dead packs that something alive may still be using.
    """

    backups: int = 0
    damaged: list[str] = []
    packs_deleted: int = 0
    bytes_freed: int = 0
    groups_rewritten: int = 0
    packs_waiting: int = 0


def _unasked() -> None:
    """Where no attempt can be over."""


def clean_up(
    repository: Repository,
    folder: Path,
    pins: Callable[[], Set[str]],
    pool: ThreadPoolExecutor,
    disk: Disk | None = None,
    meter: Meter = unmetered,
    confirm: Callable[[], None] = _unasked,
) -> Cleaned:
    """Delete what no present backup needs; needs the right to delete.

    `folder` is empty and the caller's: it takes new packs and index files for a while.
    `pins` answers the names of everything that reads or writes this repository now: exports, stores
    (as long as they may be tried again), restores, checks, other clean-ups.  `confirm` raises when
    this attempt is over; it is called before every step that others see.  `meter` is told the bytes
    that are copied.

    Safe to repeat after it ended anywhere.  Raises Damaged, having deleted nothing more, when a
    manifest or a page of a map cannot be read.
    """
    return _CleanUp(repository, folder, pins, pool, disk or Disk(), meter, confirm).run()


class _CleanUp:
    """One run."""

    def __init__(
        self,
        repository: Repository,
        folder: Path,
        pins: Callable[[], Set[str]],
        pool: ThreadPoolExecutor,
        disk: Disk,
        meter: Meter,
        confirm: Callable[[], None],
    ) -> None:
        self._repository, self._folder, self._disk = repository, folder, disk
        self._destination, self._keys = repository.destination, repository.keys
        self._pins, self._pool, self._meter, self._confirm = pins, pool, meter, confirm
        self._cleaned = Cleaned()

    def run(self) -> Cleaned:
        dug = graves.read(self._destination, self._keys)
        for _ in range(_TRIES):
            look = self._look()
            if self._renew(look):
                break
            log.info("a backup appeared that needs what was to go; the clean-up looks again")
        self._cleaned.backups, self._cleaned.damaged = len(look.backups), look.damaged
        self._dig(look.packs.keys() - look.index.packs() - graves.waiting(dug))
        self._close(name for name, grave in dug.items() if grave.pins is None)
        self._bury(look)
        self._confirm()
        self._repository.sweep_index()
        return self._cleaned

    def _look(self, before: Look | None = None) -> Look:
        return look_around(self._repository, self._folder, self._disk, self._confirm, before)

    def _renew(self, look: Look) -> bool:
        """Publish an index without what is dead, if anything is, and dig a grave for its packs.

        False when a backup came meanwhile that needs some of it: then all is as it was.
        """
        worth = weigh(look.mark)
        superseded = look.superseded()
        if not (worth.dead.any() or worth.thin.any() or superseded or look.is_short):
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

    def _copy(self, mark: Mark, worth: Worth) -> tuple[Array, Staged]:
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
        """Add the copies, so that what lives is in the index twice before it is there once."""
        for path in staged.packs:
            self._confirm()
            self._destination.adopt(name_of(bytes.fromhex(path.stem)), path)
        segments = [Segment.open(path, path.stem, self._keys) for path in staged.segments]
        for path in staged.segments:
            self._confirm()
            self._destination.adopt(f"index/{path.stem}", path)
        return segments

    def _revived(self, look: Look, worth: Worth, lost: Array) -> bool:
        """Whether a backup that appeared since the look refers to what will be gone."""
        mark, c = look.mark, look.mark.segment.columns
        known = mark.live.copy()
        load = Reader(self._destination, self._repository.index(), self._keys).chunk
        for backup in self._backups() - set(look.backups):
            try:
                mark.add(self._repository.manifest(backup), load)
            except NotFound:
                continue
        gone = lost[c.packs_of] & (~worth.alive | worth.sparse)
        return bool(gone[c.groups_of[np.flatnonzero(mark.live & ~known)]].any())

    def _backups(self) -> set[str]:
        return {leaf_of(item.name) for item in self._destination.list("manifests")}

    def _publish_generation(self, look: Look, added: list[Segment], lost: Array) -> None:
        """One segment in the place of all that the look saw, and of those `added` since."""
        whole = look.mark.segment
        segments = [*look.index.segments, *added]
        names = {segment.name for segment in segments}
        names.update(name for segment in segments for name in segment.replaces)
        stored = names & {leaf_of(item.name) for item in self._destination.list("index")}
        kept = [np.ones(len(s.columns.sessions), bool) for s in added]
        kept.append(~lost[whole.columns.packs_of])
        path = merge([*added, whole], sorted(stored), self._folder, self._keys, self._disk, kept)
        self._confirm()
        self._destination.adopt(f"index/{path.stem}", path)

    def _announce(self, packs: Iterable[bytes]) -> str:
        self._confirm()
        return graves.dig(self._destination, self._keys, packs, None)

    def _dig(self, packs: Set[bytes]) -> None:
        """Let packs that the index does not place wait for everything that is alive now."""
        if packs:
            self._confirm()
            graves.dig(self._destination, self._keys, packs, self._pins())

    def _close(self, names: Iterable[str]) -> None:
        for name in names:
            self._confirm()
            self._destination.delete(name)

    def _bury(self, before: Look) -> None:
        """Delete the packs of graves that wait for nothing any more, after one more look."""
        alive = self._pins()
        dug = graves.read(self._destination, self._keys)
        over = graves.ended(dug, alive)
        waiting = graves.waiting({name: dug[name] for name in dug.keys() - over.keys()})
        self._cleaned.packs_waiting = len(waiting)
        going = graves.waiting(over) - waiting - self._repository.index().packs()
        if going:
            notice = self._announce(going)
            look = self._look(before)
            self._delete(going - look.index.packs(), look)
            self._close(over)
            self._close([notice])
        else:
            self._close(over)

    def _delete(self, packs: Iterable[bytes], look: Look) -> None:
        for pack in sorted(packs):
            if pack in look.packs:
                self._confirm()
                self._destination.delete(name_of(pack))
                self._cleaned.packs_deleted += 1
                self._cleaned.bytes_freed += look.packs[pack]
