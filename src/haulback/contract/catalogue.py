"""The catalogue on a destination: owners, facts of extracts, and backups that a node found.

Times are epoch milliseconds, sizes bytes.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from haulback.contract.destinations import NewDestination
from haulback.contract.order_records import Owner
from haulback.wire import Amount, Guid, JsonObject, Name

ITEMS = 1000  # items in a page of the catalogue, at most
FOUND = 200  # backups in a page that a node sends, at most


class CatalogueItem(msgspec.Struct, omit_defaults=True):
    """Facts about a backup or an entity (see `kind`); `gone` is true if the object was removed."""

    kind: str
    guid: str
    facts: JsonObject = {}
    gone: bool = False


class CataloguePage(msgspec.Struct):
    """A page of the catalogue of a destination; `after` is the cursor of the next page, "" at the
    end.
    """

    items: list[CatalogueItem]
    after: str = ""


class FoundDisk(msgspec.Struct):
    """A disk of a stored backup."""

    name: Name
    size: Amount
    format: Name = "raw"


class FoundBackup(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A backup on a destination as its manifest describes it, with the facts of the extracts.

    `isHere` is false if an extract names the backup, but its manifest is not there.  `facts`
    describe the backup, `about` describes its entity; both are empty if no extract has facts.
    `damaged` is true if the manifest does not open, or its STORE failed for good and its data is
    missing.
    """

    guid: Guid
    entity: Guid
    name: Name
    type: Annotated[str, msgspec.Meta(max_length=20)] = "FULL"
    snapshotTime: Amount = 0
    disks: list[FoundDisk] = []
    parent: Guid | None = None
    definition: JsonObject = {}
    labels: dict[str, str] = {}
    read: Amount = 0
    stored: Amount = 0
    facts: JsonObject = {}
    about: JsonObject = {}
    isHere: bool = True
    damaged: bool = False


class FoundPage(msgspec.Struct):
    """Backups that a node found on a destination."""

    backups: Annotated[list[FoundBackup], msgspec.Meta(max_length=FOUND)]


class PageReceipt(msgspec.Struct):
    """The number of backups of a page that were new to the catalogue."""

    added: int


class OwnerReport(msgspec.Struct):
    """The newest owner record that a task read on a destination: `owner` of its results."""

    destination: str
    owner: Owner


class AttachedDestination(NewDestination, kw_only=True):
    """Request to attach an initialised destination, with one of its keys.

    `keyFile` is the content of the key file (64 hex digits), `kit` the text of the recovery kit.
    Without `takeOver` the destination is read-only.  `oldCredentialRevoked` is true if the deleting
    credential of the old owner was revoked, so that the new owner may delete at once.
    """

    keyFile: str | None = None
    kit: str | None = None
    passphrase: str | None = None
    takeOver: bool = False
    oldCredentialRevoked: bool = False


class TakeOver(msgspec.Struct, kw_only=True):
    """Request to become the owner of a destination, as in AttachedDestination."""

    oldCredentialRevoked: bool = False
