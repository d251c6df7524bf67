"""Reading chunks: groups are fetched, authenticated and decoded once, and cached.

A chunk is damaged only if every place of every group that holds it fails to read.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from threading import Event, Lock

import msgspec

from haulback.destinations.protocol import ObjectStore
from haulback.errors import BaseGone, Damaged, HaulbackError, NotFound
from haulback.repository.damage import DamagedPlace
from haulback.repository.expected_groups import ExpectedGroups
from haulback.repository.group import Group, decode
from haulback.repository.group_cache import NearGroups
from haulback.repository.index import Index
from haulback.repository.keys import Keys
from haulback.repository.pack import GroupLocation, name_of
from haulback.repository.pack_lookup import UnindexedCopies
from haulback.repository.pages import HOLE, ChunkRef

LoadChunk = Callable[[ChunkRef], memoryview]
_GROUPS_KEPT = 48  # groups of at most 1 MiB each
_PASSED_KEPT = 8  # groups among these that a sequential reader has finished
_FAILED_KEPT = 4096  # failed groups whose reason is remembered


class Finding(msgspec.Struct, frozen=True):
    """A place that could not be read; without a group it is the whole pack."""

    pack: bytes
    group: bytes | None
    offset: int
    length: int
    reason: str


class Findings:
    """The places that could not be read, with the reasons; threads may share one collection."""

    def __init__(self) -> None:
        self._found: dict[DamagedPlace, tuple[GroupLocation, str]] = {}
        # guards `_found`, since readers of several threads record what they find
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._found)

    def note(self, group: bytes, place: GroupLocation, reason: str) -> None:
        """Record that a group could not be read at this place."""
        with self._lock:
            self._found.setdefault(DamagedPlace(place.pack, group), (place, reason))

    def note_pack(self, pack: bytes, least: int, reason: str) -> None:
        """Record that a pack is missing, or shorter than the `least` bytes that the index
        implies.
        """
        with self._lock:
            self._found.setdefault(DamagedPlace(pack), (GroupLocation(pack, 0, least), reason))

    def all(self) -> dict[DamagedPlace, tuple[GroupLocation, str]]:
        """A copy of all findings so far."""
        with self._lock:
            return dict(self._found)

    def reported(self, most: int) -> list[Finding]:
        """At most `most` findings, as structs for another process."""
        found = [
            Finding(spot.pack, spot.group, place.offset, place.length, reason)
            for spot, (place, reason) in self.all().items()
        ]
        return found[:most]

    def hear(self, findings: Iterable[Finding]) -> None:
        """Record the findings of another process."""
        with self._lock:
            for one in findings:
                place = GroupLocation(one.pack, one.offset, one.length)
                self._found.setdefault(DamagedPlace(one.pack, one.group), (place, one.reason))

    def __contains__(self, spot: object) -> bool:
        return spot in self._found

    def clear(self, recorded: Iterable[DamagedPlace]) -> None:
        """Remove findings that were recorded; a reader may have noted others meanwhile."""
        with self._lock:
            for spot in recorded:
                self._found.pop(spot, None)


class Reader:
    """Random access to stored chunks and pages; threads may share one reader.

    `elsewhere` finds copies that the index does not list; without it only the index is searched.
    `others` load a chunk that cannot be read here from other repositories of the family.  `near`
    has copies of groups on this machine.
    """

    def __init__(
        self,
        destination: ObjectStore,
        index: Index,
        keys: Keys,
        findings: Findings | None = None,
        elsewhere: UnindexedCopies | None = None,
    ) -> None:
        self.others: Sequence[LoadChunk] = ()
        self.near: NearGroups | None = None
        self._destination, self._index, self._keys = destination, index, keys
        self.findings = Findings() if findings is None else findings
        self._elsewhere = elsewhere
        self._expected = ExpectedGroups(destination, index)
        self._kept: OrderedDict[bytes, Group] = OrderedDict()
        self._passed: deque[bytes] = deque()
        self._failed: OrderedDict[bytes, str] = OrderedDict()
        self._coming: dict[bytes, Event] = {}  # groups that a thread is fetching now
        # guards the four collections; one thread fetches a group, without holding the lock
        self._lock = Lock()

    def expect(self, refs: Iterable[ChunkRef], before: int = 0) -> None:
        """Announce the chunks that are read next, so that neighbours are loaded together, with
        `before` bytes in front of them.
        """
        groups = {ref.group for ref in refs if ref != HOLE}
        with self._lock:
            groups -= self._kept.keys()
        if self.near:
            groups = {group for group in groups if not self.near.has(group)}
        self._expected.announce(groups, before)

    def place_of(self, group: bytes) -> GroupLocation | None:
        """The place at which a group is read first; None if no index file lists the group."""
        return self._index.place(group)

    def group(self, group: bytes) -> Group:
        """A decoded group.  Raises BaseGone if no index file lists it, Damaged if unreadable."""
        while (here := self._kept_or_claimed(group)) is None:
            continue
        if isinstance(here, Group):
            return here
        try:
            fetched = self.fetch(group)
            with self._lock:
                self._kept[group] = fetched
                while len(self._kept) > _GROUPS_KEPT:
                    self._kept.popitem(last=False)
            return fetched
        finally:
            with self._lock:
                del self._coming[group]
            here.set()

    def passed(self, group: bytes) -> None:
        """Note that a reader in order has the bytes of a group: only the last of these groups are
        kept, because the memory of others is used again without page faults.
        """
        with self._lock:
            self._passed.append(group)
            if len(self._passed) > _PASSED_KEPT:
                self._kept.pop(self._passed.popleft(), None)

    def _kept_or_claimed(self, group: bytes) -> Group | Event | None:
        """A group in memory; the event to set by this thread, which must fetch the group; or None
        after another thread has fetched it.  Raises Damaged.
        """
        with self._lock:
            if kept := self._kept.get(group):
                self._kept.move_to_end(group)
                return kept
            if failed := self._failed.get(group):
                raise Damaged(failed)
            coming = self._coming.get(group)
            if coming is None:
                self._coming[group] = coming = Event()
                return coming
        coming.wait()
        return None

    def fetch(self, group: bytes) -> Group:
        """A group from the first place where it can be read; failed places are recorded."""
        failed: HaulbackError | None = None
        for place in self._index.places(group):
            try:
                return self._read(group, place)
            except (NotFound, Damaged) as error:
                name = name_of(place.pack)
                gone = isinstance(error, NotFound)
                failed = Damaged(f"{name} is missing", name=name) if gone else error
                self.findings.note(group, place, failed.message)
        if failed is None:
            raise BaseGone(f"group {group.hex()} is in no index file", group=group.hex())
        with self._lock:
            self._failed[group] = str(failed)
            while len(self._failed) > _FAILED_KEPT:
                self._failed.popitem(last=False)
        raise failed

    def _read(self, group: bytes, place: GroupLocation) -> Group:
        if self.near and (copy := self.near.get(group, self._keys)):
            return copy
        record = self._expected.take(group, place)
        if record is not None:
            with suppress(Damaged):  # the group is read again separately
                return self._opened(record, group)
        return self._opened(load_record(self._destination, place), group)

    def _opened(self, record: bytes, group: bytes) -> Group:
        result = decode(record, group, self._keys)
        if self.near:
            self.near.keep(result, record)
        return result

    def chunk(self, ref: ChunkRef) -> memoryview:
        """The bytes of a chunk, checked against its id.  Raises BaseGone or Damaged."""
        first: HaulbackError | None = None
        for group in self._groups(ref):
            try:
                return self._checked(ref.id, group)
            except (BaseGone, Damaged) as error:
                # The group in a map may be outdated: a clean-up moves chunks into other groups.
                first = error if first is None or isinstance(first, BaseGone) else first
        assert first is not None
        if other := self._of_others(ref):
            return other
        if copy := self._found_elsewhere(ref.id):
            return copy
        raise first

    def _of_others(self, ref: ChunkRef) -> memoryview | None:
        """A chunk from another repository of the family."""
        for load in self.others:
            try:
                return load(ref)
            except HaulbackError:
                continue
        return None

    def _found_elsewhere(self, chunk: bytes) -> memoryview | None:
        """A chunk from a place that the index does not list."""
        for group, place in self._elsewhere.places(chunk) if self._elsewhere else ():
            try:
                result = read_group(self._destination, group, place, self._keys)
                data = result.chunk(chunk)
            except (NotFound, Damaged):
                continue
            if self._keys.chunk_id(data) == chunk:
                with self._lock:
                    self._kept[group] = result
                return data
        return None

    def _groups(self, ref: ChunkRef) -> Iterator[bytes]:
        """The group that the map names, then all other groups that hold the chunk.

        The group that the map names comes last if it is recorded as damaged, because the chunk may
        have been stored again.
        """
        is_damaged = self._index.is_damaged and not self._is_sound(ref.group)
        if not is_damaged:
            yield ref.group
        for group in self._index.groups_of(ref.id):
            if group != ref.group:
                yield group
        if is_damaged:
            yield ref.group

    def _is_sound(self, group: bytes) -> bool:
        damage = self._index.damage
        return any(not damage.covers(group, place) for place in self._index.places(group))

    def checked(self, group: bytes, chunks: Iterable[bytes]) -> Group | None:
        """A decoded group whose `chunks` match their ids; None where the index records damage, so
        that another group may have to be read.  Raises BaseGone or Damaged.
        """
        if self._index.is_damaged:
            return None
        held = self.group(group)
        for chunk in chunks:
            self._check(held, chunk)
        return held

    def _checked(self, chunk: bytes, group: bytes) -> memoryview:
        return self._check(self.group(group), chunk)

    def _check(self, group: Group, chunk: bytes) -> memoryview:
        """A chunk of a group, which is compared with its id once while the group is in memory."""
        data = group.chunk(chunk)
        if chunk not in group.checked:
            if self._keys.chunk_id(data) != chunk:
                raise Damaged(f"chunk {chunk.hex()} does not match its id")
            group.checked.add(chunk)
        return data


class LazyReader:
    """The chunks of another repository, which is opened when its first chunk is needed."""

    def __init__(self, open_it: Callable[[], Reader]) -> None:
        self._open = open_it
        self._reader: Reader | None = None
        self._failed: HaulbackError | None = None
        # held while the repository is opened, because other threads need the same reader
        self._lock = Lock()

    def __call__(self, ref: ChunkRef) -> memoryview:
        with self._lock:
            if self._failed:
                raise self._failed
            if self._reader is None:
                try:
                    self._reader = self._open()
                except HaulbackError as error:
                    self._failed = error
                    raise
        return self._reader.chunk(ref)


def read_group(destination: ObjectStore, group: bytes, place: GroupLocation, keys: Keys) -> Group:
    """The group at a place, authenticated.  Raises NotFound or Damaged."""
    return decode(load_record(destination, place), group, keys)


def load_record(destination: ObjectStore, place: GroupLocation) -> bytes:
    """The bytes at the place of a group.  Raises NotFound or Damaged."""
    return destination.load(name_of(place.pack), place.offset, place.length)
