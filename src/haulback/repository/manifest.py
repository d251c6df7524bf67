"""The manifest: the complete record of one backup.  A backup exists when its manifest does."""

from __future__ import annotations

import re

import msgspec
from cryptography.exceptions import InvalidTag

from haulback.errors import Damaged, Malformed
from haulback.repository.keys import Keys
from haulback.repository.pages import DiskMap
from haulback.wire import JsonObject

FORMAT_VERSION = 1  # other versions are refused
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class ManifestDisk(msgspec.Struct, frozen=True):
    """A disk of a backup.  `name` is unique in the backup; `definition` is the platform's
    description.
    """

    name: str
    map: DiskMap
    format: str = "raw"
    definition: JsonObject = {}


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """The catalogue's facts about a backup, from which the catalogue can be rebuilt.

    `snapshot_time` in epoch milliseconds of the server's clock; `read`, `stored` in bytes.
    """

    backup: str
    entity: str
    entity_name: str
    type: str
    snapshot_time: int
    disks: tuple[ManifestDisk, ...]
    parent: str | None = None
    definition: JsonObject = {}
    labels: dict[str, str] = {}
    read: int = 0
    stored: int = 0
    version: int = FORMAT_VERSION


def name_of(backup: str) -> str:
    """The object name of a manifest.  Raises Malformed when `backup` is no guid."""
    if not _GUID.fullmatch(backup):
        raise Malformed(f"{backup!r} is not a backup guid")
    return f"manifests/{backup}"


def encode(manifest: Manifest, keys: Keys) -> bytes:
    return keys.seal("manifest", manifest.backup.encode(), msgspec.json.encode(manifest))


def decode(sealed: bytes, backup: str, keys: Keys) -> Manifest:
    """The manifest of `backup`, authenticated.  Raises Damaged when the bytes are not that
    manifest.
    """
    try:
        plain = keys.unseal("manifest", backup.encode(), sealed)
        manifest = msgspec.json.decode(plain, type=Manifest)
    except (InvalidTag, msgspec.DecodeError) as error:
        raise Damaged(f"the manifest of backup {backup} is damaged", backup=backup) from error
    if manifest.backup != backup:
        raise Damaged(f"the manifest of backup {backup} names another backup", backup=backup)
    if manifest.version > FORMAT_VERSION:
        raise Damaged(
            f"backup {backup} was written by a newer version; update Haulback to read it",
            backup=backup,
        )
    return manifest
