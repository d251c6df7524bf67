"""The locations of a mounted backup: the first location that opens is read; the others supply data
that it lacks.
"""

from __future__ import annotations

from functools import partial

from haulback.destinations.add_only import AddOnly
from haulback.destinations.pass_through import close
from haulback.destinations.registry import open_destination
from haulback.errors import Conflict, Damaged, HaulbackError, NotFound
from haulback.mounts.damage_watch import DamageWatch, WatchedLocation
from haulback.mounts.lazy_opener import LazyOpener
from haulback.mounts.reopening_disk import Readers, ReopeningDisk
from haulback.mounts.spec import MountPlace, MountSpec
from haulback.repository.manifest import Manifest
from haulback.repository.openers import opener
from haulback.repository.repository import Repository
from haulback.repository.stored_disk import StoredDisk, stored_disks


class Locations:
    """The locations of an order; `watch` is told about every repository that is read."""

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
        self._locations = [MountedLocation(self, place) for place in (first, *order.others)]

    def disks(self) -> dict[str, ReopeningDisk]:
        """The disks of the backup, by name, at the first location that can be opened.

        Raises the error of the first location when none can be opened.
        """
        location = self._located()
        others = [other for other in self._locations if other is not location]
        repository, manifest = location.manifest()
        repository.others = [partial(other.of_family, repository) for other in others]
        readers = Readers(repository)
        return {
            disk.name: ReopeningDisk(
                disk.map, readers, [partial(other.disk, disk.name) for other in others]
            )
            for disk in manifest.disks
        }

    def _located(self) -> MountedLocation:
        failed = None
        for location in self._locations:
            try:
                location.manifest()
            except HaulbackError as error:
                failed = failed or error
                continue
            return location
        assert failed
        raise failed

    def read_manifest(
        self, repository: Repository, place: MountPlace
    ) -> tuple[Repository, Manifest]:
        """The repository of a location, and the manifest there."""
        watched = WatchedLocation(place.destination, repository, place.backup)
        try:
            manifest = repository.manifest(place.backup)
        except (NotFound, Damaged):
            self._watch.missed(watched)
            raise
        self._watch.has_manifest(watched)
        return repository, manifest

    def open_repository(self, place: MountPlace) -> Repository:
        """The repository of a location, opened now.  Raises Conflict for another repository."""
        store = open_destination(place.driver, place.config, self._attempt)
        try:
            repository = Repository.open(AddOnly(store), opener(place.key))
            if place.repository not in (None, repository.guid):
                raise Conflict(
                    "the destination now holds another repository; mount the original one"
                )
        except BaseException:
            close(store)
            raise
        self._watch.reads(WatchedLocation(place.destination, repository, place.backup))
        return repository


class MountedLocation:
    """A location, which is opened once, for its first reader."""

    def __init__(self, locations: Locations, place: MountPlace) -> None:
        self.repository = LazyOpener(lambda: locations.open_repository(place))
        self.manifest = LazyOpener(lambda: locations.read_manifest(self.repository(), place))
        self._disks = LazyOpener(self._all_disks)

    def of_family(self, repository: Repository) -> Repository:
        """The repository of the location.  Raises NotFound where it has another key."""
        other = self.repository()
        if not other.is_of_family(repository):
            raise NotFound("the other location has a different key")
        return other

    def disk(self, name: str) -> StoredDisk:
        """A disk of the location.  Raises NotFound, or the error of its opening."""
        disks = self._disks()
        if name not in disks:
            raise NotFound(f"the other location has no disk {name}")
        return disks[name]

    def _all_disks(self) -> dict[str, StoredDisk]:
        repository, manifest = self.manifest()
        return stored_disks(manifest, repository.reader())
