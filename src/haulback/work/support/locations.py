"""Reading a backup at one of its locations, with the other locations as alternatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import msgspec

from haulback.contract.node_tasks import READ, SourceLocation
from haulback.contract.order_records import BackupDestination, BackupPlace
from haulback.drivers.source import Source
from haulback.errors import (
    BaseGone,
    Cancelled,
    Conflict,
    Damaged,
    Fenced,
    HaulbackError,
    NotFound,
    OutOfSpace,
    OwnerChanged,
    Unavailable,
)
from haulback.mounts.lazy_opener import LazyOpener
from haulback.mounts.reopening_disk import Readers, ReopeningDisk
from haulback.repository.manifest import Manifest
from haulback.repository.repository import Repository
from haulback.repository.stored_disk import stored_disks
from haulback.wire import Named
from haulback.work.context import Results, TaskContext
from haulback.work.support.recent_backup import let_be_readable

T = TypeVar("T")
# Errors after which another location may be good.
_AWAY = (BaseGone, Damaged, NotFound, Unavailable)
_OVER = (Fenced, OwnerChanged)  # errors of the attempt itself, which would occur at any location


class OpenLocation(NamedTuple):
    """A location of a backup: its open repository, its manifest, and its description."""

    repository: Repository
    manifest: Manifest
    place: BackupPlace

    def read_from(self) -> Results:
        """The member of the results that names the location that the task has read."""
        to = self.place.destination
        return read_from(SourceLocation(self.place.backup, Named(to.guid, to.name)))


def read_from(location: SourceLocation) -> Results:
    """The member of the results for a location; empty if an earlier attempt read the backup."""
    return {READ: msgspec.to_builtins(location)}


def read_at_any(
    context: TaskContext,
    first: tuple[str, BackupDestination],
    others: Sequence[BackupPlace],
    read: Callable[[OpenLocation], T],
) -> T:
    """The result of `read` at the first location where it succeeds.

    A chunk that cannot be read at a location is read from another location of its family; if the
    keys differ, or a location cannot be opened, the reading starts again at the next location.
    Raises the error of the first location if all of them fail; raises Fenced, OwnerChanged,
    OutOfSpace and a Conflict of `read` at once.
    """
    places = [BackupPlace(*first), *others]
    failed: HaulbackError | None = None
    for number, place in enumerate(places):
        rest = places[number + 1 :] + places[:number]
        location: OpenLocation | None = None
        try:
            location = _opened(context, place, rest)
            return read(location)
        except HaulbackError as error:
            if not _is_of_place(error, is_open=location is not None):
                raise
            context.log(f"{place.destination.name}: {error.message}")
            if number + 1 < len(places):
                context.log(f"the backup is read from {places[number + 1].destination.name}")
            failed = failed or error
    assert failed
    raise failed


def disks_at_any(
    context: TaskContext, location: OpenLocation, others: Sequence[BackupPlace]
) -> dict[str, Source]:
    """The disks of an open location; a disk that cannot be read there is read from another
    location.
    """
    readers = Readers(location.repository)
    here = location.place.backup
    rest = [_OtherDisks(context, place) for place in others if place.backup != here]
    return {
        disk.name: ReopeningDisk(disk.map, readers, [partial(o.disk, disk.name) for o in rest])
        for disk in location.manifest.disks
    }


class _OtherDisks:
    """The disks of another location, which is opened once, when the first disk is read there."""

    def __init__(self, context: TaskContext, place: BackupPlace) -> None:
        self._context, self._name = context, place.destination.name
        self._repository = LazyOpener(lambda: context.repositories.open(place.destination))
        self._location = LazyOpener(lambda: _located(context, self._repository(), place))
        self._disks = LazyOpener(self._all_disks)

    def disk(self, name: str) -> Source:
        """A disk of the location.  Raises NotFound, or the error if the location does not open."""
        disks = self._disks()
        if name not in disks:
            raise NotFound(f"{self._name} has no disk {name} of the backup")
        return disks[name]

    def _all_disks(self) -> dict[str, Source]:
        repository, manifest, _ = self._location()
        self._context.log(f"the remaining data of unreadable disks is read from {self._name}")
        return dict(stored_disks(manifest, repository.reader()))


def opened_family(location: OpenLocation) -> list[Repository]:
    """The other repositories of a location's family that hold the backup and can be opened."""
    family = []
    for opened in location.repository.others:
        try:
            family.append(opened())
        except HaulbackError as error:
            if isinstance(error, (*_OVER, Cancelled)):
                raise
    return family


def _is_of_place(error: HaulbackError, *, is_open: bool) -> bool:
    """Whether another location may be good; a Conflict concerns the location only before it is
    open, and a disk that is full after that is the target of the restore.
    """
    if isinstance(error, OutOfSpace):
        return not is_open
    if isinstance(error, Conflict):
        return not is_open and not isinstance(error, _OVER)
    return isinstance(error, _AWAY)


def _opened(context: TaskContext, place: BackupPlace, rest: Sequence[BackupPlace]) -> OpenLocation:
    repository = context.repositories.open(place.destination)
    repository.others = [_family_of(context, repository, other) for other in rest]
    return _located(context, repository, place)


def _located(context: TaskContext, repository: Repository, place: BackupPlace) -> OpenLocation:
    context.repositories.damaged.append(place.backup)
    manifest = read_manifest(context, repository, place)
    let_be_readable(context, repository, manifest)
    return OpenLocation(repository, manifest, place)


def read_manifest(context: TaskContext, repository: Repository, place: BackupPlace) -> Manifest:
    """The manifest of a backup at a location.

    Raises NotFound or Damaged; the end of the task reads the manifest again and reports the damage.
    """
    try:
        return repository.manifest(place.backup)
    except (NotFound, Damaged):
        context.repositories.unread.append((place.destination.guid, place.backup))
        raise


def _family_of(
    context: TaskContext, repository: Repository, other: BackupPlace
) -> Callable[[], Repository]:
    """A function that opens the repository of another location if it belongs to the family."""

    def opened() -> Repository:
        result = context.repositories.open(other.destination)
        if not result.is_of_family(repository):
            raise NotFound(f"{other.destination.name} has a different key")
        context.log(f"{other.destination.name} supplies data that the first location lacks")
        return result

    # Opened once, because each new reader of the first location asks for this repository.
    return LazyOpener(opened)
