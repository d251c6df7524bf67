"""Inventory and catalogue records, and the Protocols by which kinds ask for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from haulback.wire import Named, label


class Hypervisor(msgspec.Struct, kw_only=True):
    """A place where machines live; `driver` names the product, `config` is its own.

    `node` is the only node that can reach it, None when any can.
    """

    guid: str
    name: str
    driver: str
    config: dict[str, Any]
    node: str | None = None


class Destination(msgspec.Struct, kw_only=True):
    """Where backups go.  `repository` is the repository's guid once it is initialised."""

    guid: str
    name: str
    driver: str
    config: dict[str, Any]
    repository: str | None = None
    node: str | None = None


class Disk(msgspec.Struct):
    """A disk of an entity, size in bytes."""

    name: str
    size: int
    format: str = "raw"


class Entity(msgspec.Struct, kw_only=True):
    """What is protected.  `present` is false when the platform no longer shows it."""

    guid: str
    uuid: str
    name: str
    type: str = "VM"
    hypervisor: str
    present: bool = True
    disks: list[Disk] = []

    def named(self) -> Named:
        """As a typed reference."""
        return Named(self.guid, self.name, label(self.type))


class Backup(msgspec.Struct, kw_only=True):
    """A point in time of an entity.  Times in epoch milliseconds, sizes in bytes.

    `status` is RUNNING until its bytes are stored, then SUCCESS, or FAILED.
    """

    guid: str
    entity: str
    entity_name: str
    destination: str
    location: str
    type: str
    status: str = "RUNNING"
    status_info: str | None = None
    created: int = 0
    snapshot_time: int | None = None
    stored_time: int | None = None
    size: int = 0
    read: int = 0
    stored: int = 0
    parent: str | None = None


class Base(msgspec.Struct):
    """What the next increment of an entity builds on in one repository."""

    entity: str
    destination: str
    backup: str
    checkpoint: str | None = None


class Catalogue(Protocol):
    """What planning and preparing may read.  All raise NotFound for an unknown guid."""

    def entity(self, guid: str) -> Entity: ...

    def entities(self, hypervisor: str) -> list[Entity]:
        """The machines of one hypervisor."""

    def hypervisor(self, guid: str) -> Hypervisor: ...

    def hypervisors(self) -> list[Hypervisor]: ...

    def destination(self, guid: str) -> Destination: ...

    def destinations(self) -> list[Destination]: ...

    def default_destination(self) -> Destination:
        """The one for requests that name none.  Raises Malformed when that is ambiguous."""

    def backup(self, guid: str) -> Backup: ...

    def location(self, guid: str) -> Backup:
        """The backup that a backup location belongs to."""

    def base(self, entity: str, destination: str) -> Base | None: ...

    def bases(self, entity: str) -> list[Base]:
        """What increments of an entity still build on, in any repository."""

    def node(self, guid: str) -> Named: ...


class Ledger(Protocol):
    """What finishing a task may change, all in the finishing transaction."""

    def exported(self, backup: str, kind: str, snapshot_time: int, size: int, read: int) -> None:
        """An export is complete in staging."""

    def stored(self, backup: str, stored: int, parent: str | None) -> None:
        """A backup exists on its destination."""

    def backup_failed(self, backup: str, reason: str) -> None: ...

    def promote(self, base: Base) -> None:
        """From now on increments build on `base`."""

    def initialised(self, destination: str, repository: str) -> None: ...

    def inventory(
        self, hypervisor: str, machines: Iterable[Entity], *, complete_since: int | None
    ) -> None:
        """Upsert by platform uuid.

        `complete_since`: when the look began that saw all there are; those that nobody has seen
        since then are no longer present.
        """
