"""Verifying that backups can be restored, at three depths; every finding names an object."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from haulback.errors import Damaged, HaulbackError, NotFound
from haulback.repository import config, pending_deletes
from haulback.repository.backup_loss import Assessor, BackupLoss
from haulback.repository.damage import DamagedPlace
from haulback.repository.damage_report import RecordedDamage, tell_findings
from haulback.repository.index import Index
from haulback.repository.manifest import name_of as manifest_name
from haulback.repository.names import exists
from haulback.repository.pack import GroupLocation, check_magic, name_of, read_directory
from haulback.repository.reader import read_group
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.scan import RepositoryScan, ScanExtent, in_turn, scan

_GROUPS_AHEAD = 16  # groups that are read while others are checked
_FIRST = bytes(16)
_PACKS_TIME = 3 / 4  # the share of `seconds` for packs; the remainder is for the maps of backups
PackId = bytes


class Depth(IntEnum):
    """The depth of a check: objects exist; maps refer to stored chunks; every byte is correct."""

    OBJECTS = 1
    MAPS = 2
    DATA = 3


@dataclass
class Share:
    """The packs to read: the packs after the id `after` in order, or all packs if none follows.

    `budget` limits the bytes read, `seconds` the time; None means no limit.  At least one pack is
    read, and the map of at least one backup, the next after the guid `after_backup`. `done` is
    called with each pack that was read.
    """

    after: PackId | None = None
    budget: int | None = None
    seconds: float | None = None
    done: Callable[[PackId], None] | None = None
    after_backup: str = ""


@dataclass
class CheckOrder:
    """The instructions of a check.

    `folder` holds a merged index temporarily.  With `record` (a name and epoch ms), damage is
    recorded, and damage that can be read again is cleared; otherwise nothing is written.  `believe`
    as in `tell_findings`.
    """

    share: Share = field(default_factory=Share)
    folder: Path | None = None
    record: Callable[[], tuple[str, int]] | None = None
    believe: bool = False


@dataclass
class VerifyReport:
    """Counts, stored bytes read, and the findings.

    `findings` are sentences that name an object, `losses` the data that backups lack, `unreadable`
    guids of backups whose manifest does not open, `listed` the guids of all others.  `recorded` is
    the damage written into the repository, None when nothing was to be written.  `cursor` is the
    last pack read; `is_round` is true if the run read the last pack, and the next run begins with
    the first pack. `unlooked` are guids of backups that were not checked in the time given;
    `looked` is the last checked backup, "" when all were checked.
    """

    backups: int = 0
    packs: int = 0
    groups: int = 0
    bytes: int = 0
    total: int = 0
    findings: list[str] = field(default_factory=list)
    losses: list[BackupLoss] = field(default_factory=list)
    listed: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    recorded: RecordedDamage | None = None
    cursor: PackId | None = None
    is_round: bool = False
    unlooked: list[str] = field(default_factory=list)
    looked: str = ""

    @property
    def ok(self) -> bool:
        """Whether the check found no fault."""
        return not self.findings


def verify(
    repository: Repository,
    depth: Depth,
    resources: Resources,
    order: CheckOrder | None = None,
) -> VerifyReport:
    """Check a repository, or a share of its packs.

    Damage becomes a finding, never an exception. The meter of `resources` gets the number of stored
    bytes read. Raises Unavailable when the destination does not answer.
    """
    return _Verify(repository, depth, resources, order or CheckOrder()).run()


class _CheckedGroup(NamedTuple):
    """A group that the pool checks; the result is a sentence about its fault, or ""."""

    place: GroupLocation
    group: bytes
    result: Future[str]


class _PackEnd(NamedTuple):
    """Marks the end of a pack in the queue; a pack that vanished was not read."""

    pack: PackId
    is_read: bool


class _Verify:
    """A run of VERIFY."""

    def __init__(
        self, repository: Repository, depth: Depth, resources: Resources, order: CheckOrder
    ) -> None:
        self._repository, self._depth, self._resources = repository, depth, resources
        self._order, self._share, self._record = order, order.share, order.record
        self._report = VerifyReport()
        self._read = 0
        self._readable: set[DamagedPlace] = set()
        self._unreadable: set[DamagedPlace] = set()
        self._opened: set[PackId] = set()
        self._missing: set[PackId] = set()
        # Groups that the pool checks, and packs whose groups are all earlier in the queue, so that
        # the pool continues while the directory of the next pack is read.
        self._queue: deque[_CheckedGroup | _PackEnd] = deque()
        self._has_pack = False
        self._began = time.monotonic()

    def _is_over(self, part: float = 1) -> bool:
        """Whether this share of the time is used up."""
        seconds = self._share.seconds
        return seconds is not None and time.monotonic() - self._began > seconds * part

    def run(self) -> VerifyReport:
        self._small_objects()
        self._packs()
        self._record_damage()
        if self._order.folder:
            self._backups(self._order.folder)
        else:
            with TemporaryDirectory() as made:
                self._backups(Path(made))
        self._report.strangers = sorted(self._repository.objects.strangers)
        return self._report

    def _packs(self) -> None:
        """Check the chosen packs, and the packs with recorded damage."""
        self._repository.objects.survey()
        index = self._repository.index()
        sizes = self._repository.objects.packs()
        self._report.packs, self._report.total = len(sizes), sum(sizes.values())
        self._missing_packs(index, sizes)
        chosen = self._chosen(sizes)
        read = [self._pack(pack, index) for pack in chosen]
        self._settle(0)
        self._read = sum(read)
        self._report.is_round = all(read) and (not sizes or chosen[-1] == max(sizes))
        self._read_damaged_again(index, set(chosen))

    def _find(self, text: str) -> None:
        self._report.findings.append(text)

    def _find_in(self, name: str, text: str) -> None:
        """Report a fault of an object, which the text may name already."""
        self._find(text if name in text else f"{name}: {text}")

    def _small_objects(self) -> None:
        """Check the configuration, key slots, index files, pending deletes, rolls and records."""
        repository = self._repository
        for text in repository.problems.values():
            self._find(text)
        rotten: dict[str, str] = {}
        pending_deletes.read(repository.objects, repository.keys, rotten)
        repository.damage()
        repository.index_folder.segments()
        for problems in (
            repository.index_folder.damaged,
            rotten,
            config.revision_problems(repository.destination, repository.keys),
            config.slot_problems(repository.destination, repository.guid, repository.keys),
            repository.rolls.problems(),
            repository.damage_log.problems,
            repository.extracts.problems(),
            repository.owners.problems(),
            repository.locks.hidden(),
        ):
            for text in problems.values():
                self._find(text)

    def _missing_packs(self, index: Index, sizes: dict[bytes, int]) -> None:
        short = [(pack, end) for pack, end in index.ends().items() if sizes.get(pack, -1) < end]
        placed = self._repository.index().packs() if short else set()
        for pack, end in short:
            size = sizes.get(pack, -1)
            if size < 0:  # a listing may lag
                size = self._size(pack)
            if size >= end:
                continue
            if pack in placed:  # otherwise a clean-up deleted it between the two listings
                fault = "is missing" if size < 0 else f"ends at byte {size}, before its last group"
                text = f"{name_of(pack)} {fault}"
                self._repository.findings.note_pack(pack, end, text)
                self._find(text)
                if size < 0:
                    self._missing.add(pack)

    def _size(self, pack: bytes) -> int:
        """Size of a pack in bytes, looked up by its name; -1 for a missing pack."""
        try:
            return self._repository.destination.info(name_of(pack)).size
        except (NotFound, Damaged):
            return -1

    def _chosen(self, sizes: dict[bytes, int]) -> list[bytes]:
        """The packs to read; the time left is checked again at each pack."""
        after = self._share.after or _FIRST
        later = sorted(pack for pack in sizes if pack > after)
        order = later or sorted(sizes)
        if self._share.budget is None:
            return order
        chosen: list[bytes] = []
        size = 0
        for pack in order:
            if chosen and size + sizes[pack] > self._share.budget:
                break
            chosen.append(pack)
            size += sizes[pack]
        return chosen

    def _pack(self, pack: bytes, index: Index) -> bool:
        """Check a pack: magic, directory, its index entries, and by depth every group.

        False if no time was left for the pack.
        """
        if self._has_pack and self._is_over(_PACKS_TIME):
            return False
        self._has_pack = True
        name, repository = name_of(pack), self._repository
        placed = {place: group for s in index.segments for group, place in s.groups_in(pack)}
        held: dict[bytes, list[bytes]] = {}
        try:
            check_magic(repository.destination, pack)
            for entry in read_directory(repository.destination, pack, repository.keys):
                held[entry.group] = entry.chunks
                placed[entry.place] = entry.group
            self._opened.add(pack)
        except NotFound:
            if pack in repository.index().packs():  # otherwise a clean-up deleted it since
                self._find(f"{name} disappeared before the check read it")
            self._queue.append(_PackEnd(pack, is_read=False))
            return True
        except Damaged as error:
            self._find_in(name, error.message)
        if held:
            for group in set(placed.values()) - held.keys():
                self._find(f"the index has a wrong position of group {group.hex()} in {name}")
        if self._depth >= Depth.DATA:
            self._groups(placed, held)
        self._queue.append(_PackEnd(pack, is_read=True))
        return True

    def _groups(self, placed: dict[GroupLocation, bytes], held: dict[bytes, list[bytes]]) -> None:
        """Read, authenticate, decompress and re-hash groups in the pool."""
        for place in sorted(placed):
            group = placed[place]
            future = self._resources.pool.submit(_check_group, self._repository, group, place, held)
            self._queue.append(_CheckedGroup(place, group, future))
            self._settle(_GROUPS_AHEAD)

    def _settle(self, left: int) -> None:
        """Take results from the queue until `left` entries are left."""
        while len(self._queue) > left:
            entry = self._queue.popleft()
            if isinstance(entry, _CheckedGroup):
                self._judge(*entry)
                continue
            self._report.cursor = entry.pack
            if entry.is_read and self._share.done:
                self._share.done(entry.pack)

    def _judge(self, place: GroupLocation, group: bytes, future: Future[str]) -> None:
        problem = future.result()
        if place.pack not in self._missing:  # a missing pack is one finding, and is not read
            self._count(place, problem)
        if problem:
            self._repository.findings.note(group, place, problem)
            self._unreadable.add(DamagedPlace(place.pack, group))
        else:
            self._readable.add(DamagedPlace(place.pack, group))

    def _count(self, place: GroupLocation, problem: str) -> None:
        self._report.groups += 1
        self._report.bytes += place.length
        self._resources.meter(place.length)
        if problem:
            self._find_in(name_of(place.pack), problem)

    def _read_damaged_again(self, index: Index, chosen: set[bytes]) -> None:
        """Read recorded damaged places again in each run, since there are few of them."""
        for number, spot in enumerate(index.damage.damaged_places):
            if spot.group is None:
                continue
            if number and self._is_over():
                return
            for place in index.places(spot.group):
                if place.pack == spot.pack and place.pack not in chosen:
                    self._judge_now(place, spot.group)

    def _judge_now(self, place: GroupLocation, group: bytes) -> None:
        future: Future[str] = Future()
        future.set_result(_check_group(self._repository, group, place, {}))
        self._judge(place, group, future)

    def _record_damage(self) -> None:
        """Record damage, and clear records of places that are readable again or no longer used."""
        if self._record is None:
            return
        by, now = self._record()
        looked = self._read
        recorded = tell_findings(self._repository, by, now, looked, believe=self._order.believe)
        if recorded.unreliable:
            self._find(recorded.unreliable)
        if recorded.refused:
            self._find(f"the damage cannot be recorded on the destination: {recorded.refused}")
        self._report.recorded = recorded
        try:
            self._clear(by, now, recorded)
        except HaulbackError as error:
            self._find(
                f"damage records of data that can be read again cannot be removed: {error.message}"
            )

    def _clear(self, by: str, now: int, found: RecordedDamage) -> None:
        known = self._repository.index().damage.damaged_places
        over = {spot for spot in known if spot in self._readable} | self._irrelevant_places(known)
        over -= found.damaged.keys() | self._unreadable
        if over and not found.unreliable:
            self._repository.damage_log.add(by, now, (), over)

    def _irrelevant_places(self, known: Iterable[DamagedPlace]) -> set[DamagedPlace]:
        """Damaged places in packs whose length is that in the index, or that the index does not
        name.

        A damaged index file, or a directory that cannot be read, may hide such a pack.
        """
        repository = self._repository
        index, sizes = repository.index(), repository.objects.packs()
        if repository.index_folder.damaged:
            return set()
        ends = index.ends()
        read = self._opened if self._depth >= Depth.DATA else set()
        hidden = sizes.keys() - read
        unnamed = {spot for spot in known if spot.pack not in ends and spot.pack not in hidden}
        named = [spot for spot in known if not spot.group and spot.pack in ends]
        whole = {spot for spot in named if sizes.get(spot.pack, -1) >= ends[spot.pack]}
        return unnamed | whole

    def _backups(self, folder: Path) -> None:
        """Check manifests, and by depth the maps of all backups."""
        repository = self._repository
        self._missing_backups()
        if self._depth < Depth.MAPS:
            manifests = sorted(repository.objects.leaves("manifests"))
            self._report.backups = len(manifests)
            self._manifests(manifests)
            return
        walk = ScanExtent(
            noted=self._record is None or bool(self._repository.unrecorded),
            after=self._share.after_backup,
            is_over=self._is_over,
        )
        scanned = scan(repository, folder, self._resources.disk, walk)
        self._report.backups = len(scanned.backups)
        self._report.unreadable = scanned.unreadable
        for backup in scanned.unreadable:
            self._find(f"the manifest of backup {backup} is damaged")
        late = set(scanned.unlooked)
        out = late | set(scanned.unreadable)
        self._report.listed = [backup for backup in scanned.backups if backup not in out]
        self._manifests(scanned.unlooked)
        self._note_unread(
            scanned.unlooked, [b for b in in_turn(scanned.backups, walk.after) if b not in late]
        )
        self._losses(scanned)

    def _note_unread(self, unlooked: list[str], looked: list[str]) -> None:
        """Record the backups that were not checked in time, and the last checked backup."""
        if unlooked:
            self._report.unlooked += unlooked
            self._report.looked = looked[-1]

    def _missing_backups(self) -> None:
        rolls = self._repository.rolls
        try:
            for backup in sorted(rolls.missing(self._repository.objects.leaves("manifests"))):
                if not self._is_left_out(backup):
                    self._find(f"backup {backup} is missing: the last clean-up saw its manifest")
        except Damaged as error:
            self._find(error.message)

    def _is_left_out(self, backup: str) -> bool:
        """Whether a backup exists, and the listing left it out because it is young."""
        repository = self._repository
        is_limited = repository.objects.horizon is not None
        return is_limited and exists(repository.destination, manifest_name(backup))

    def _manifests(self, backups: Iterable[str]) -> None:
        for backup in backups:
            try:
                self._repository.manifest(backup)
                self._report.listed.append(backup)
            except NotFound:
                self._report.backups -= 1  # deleted since the listing
            except HaulbackError as error:
                self._report.unreadable.append(backup)
                self._find(error.message)

    def _losses(self, scanned: RepositoryScan) -> None:
        assessor = Assessor(self._repository) if scanned.damaged else None
        for number, backup in enumerate(scanned.damaged):
            if number and self._is_over():
                self._note_unread(scanned.damaged[number:], scanned.damaged[:number])
                return
            try:
                loss = assessor and assessor.loss(self._repository.manifest(backup))
            except HaulbackError as error:
                self._find(error.message)
                continue
            if loss:
                self._report.losses.append(loss)
                self._find(str(loss))
            else:
                self._find(
                    f"the index lacks chunks of backup {backup} that are in packs: the next "
                    "clean-up, or `haulback repository repair`, completes the index"
                )


def _check_group(
    repository: Repository, group: bytes, place: GroupLocation, held: dict[bytes, list[bytes]]
) -> str:
    """The fault of a group at a place; "" for a sound group."""
    try:
        result = read_group(repository.destination, group, place, repository.keys)
    except HaulbackError as error:
        return error.message
    if group in held and list(result.places) != held[group]:
        return f"group {group.hex()} differs from the pack's directory"
    for chunk in result.places:
        if repository.keys.chunk_id(result.chunk(chunk)) != chunk:
            return f"chunk {chunk.hex()} does not match its id"
    return ""
