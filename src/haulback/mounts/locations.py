"""The locations of a mounted backup: the first that opens is read, the others stand behind it."""

from __future__ import annotations

from functools import partial
from threading import Lock

from haulback.destinations.add_only import AddOnly
from haulback.destinations.registry import open_destination
from haulback.errors import Conflict, Damaged, HaulbackError, NotFound
from haulback.mounts.damage_watch import DamageWatch, WatchedLocation
from haulback.mounts.reopening_disk import Readers, ReopeningDisk
from haulback.mounts.spec import MountPlace, MountSpec
from haulback.repository.manifest import Manifest
from haulback.repository.openers import opener
from haulback.repository.repository import Repository
from haulback.repository.stored_disk import StoredDisk


class Locations:
    """The locations of an order; `watch` learns of every repository that is read."""

    def __init__(self, order: MountSpec, watch: DamageWatch) -> None:
        self._attempt, self._watch = order.guid, watch
        first = MountPlace(
            destination=order.destination,
            driver=order.driver,
            config=order.config,
            repository=order.repository,
            key=order.key,
            backup=order.backup,
        )
        self._places = [first, *order.others]

    def disks(self) -> dict[str, ReopeningDisk]:
        """The disks of the backup, by name, at the first location that can be opened.

        Raises the error of the first location when none can be opened.
        """
        repository, manifest = self._located()
        readers = Readers(repository)
        spares = [OtherLocation(self, place) for place in self._places[1:]]
        return {
            disk.name: ReopeningDisk(
                disk.map, readers, [partial(spare.disk, disk.name) for spare in spares]
            )
            for disk in manifest.disks
        }

    def _located(self) -> tuple[Repository, Manifest]:
        failed = None
        for place in self._places:
            try:
                repository, manifest = self.open(place)
            except HaulbackError as error:
                failed = failed or error
                continue
            repository.others = [
                partial(self._of_family, other, repository)
                for other in self._places
                if other is not place
            ]
            return repository, manifest
        assert failed
        raise failed

    def open(self, place: MountPlace) -> tuple[Repository, Manifest]:
        """The repository of a location, and the manifest there."""
        repository = self._repository(place)
        try:
            manifest = repository.manifest(place.backup)
        except (NotFound, Damaged):
            self._watch.missed(WatchedLocation(place.destination, repository, place.backup))
            raise
        return repository, manifest

    def _repository(self, place: MountPlace) -> Repository:
        store = open_destination(place.driver, place.config, self._attempt)
        repository = Repository.open(AddOnly(store), opener(place.key))
        if place.repository not in (None, repository.guid):
            raise Conflict("the destination now holds another repository; mount the original one")
        self._watch.reads(WatchedLocation(place.destination, repository, place.backup))
        return repository

    def _of_family(self, place: MountPlace, repository: Repository) -> Repository:
        """The repository of another location.  Raises NotFound where it has another key."""
        other = self._repository(place)
        if not other.is_of_family(repository):
            raise NotFound("the other location has another key")
        return other


class OtherLocation:
    """The disks of another location, which is opened when the first of them is read."""

    def __init__(self, locations: Locations, place: MountPlace) -> None:
        self._locations, self._place = locations, place
        self._disks: dict[str, StoredDisk] = {}
        # held while the location is opened: other threads need the same disks
        self._lock = Lock()

    def disk(self, name: str) -> StoredDisk:
        """A disk of the location.  Raises NotFound, or the error of its opening."""
        with self._lock:
            if not self._disks:
                repository, manifest = self._locations.open(self._place)
                reader = repository.reader()
                self._disks = {disk.name: StoredDisk(disk.map, reader) for disk in manifest.disks}
        if name not in self._disks:
            raise NotFound(f"the other location has no disk {name}")
        return self._disks[name]
