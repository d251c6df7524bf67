"""Backups of a repository without a server, by the words that people type."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator

from haulback.client.record_names import latest_of, quoted
from haulback.errors import Damaged, Malformed, NotFound
from haulback.hypervisor_types import OWN_SERVER
from haulback.ids import is_beginning, is_guid
from haulback.repository.manifest import Manifest
from haulback.repository.repository import Repository

_LS = "`haulback repository ls` lists the backups"


def backup_named(repository: Repository, word: str) -> Manifest:
    """The backup that a guid or its first six or more characters name, or the newest backup of a
    machine.

    `web` and `latest:web` name the newest backup of that machine, `latest` the newest of all
    machines.  Raises NotFound, Malformed with the candidates, and Damaged.
    """
    if not word.strip():
        raise Malformed(
            f"{word!r} names no backup: write its guid, or the name of a machine; {_LS}"
        )
    if is_guid(word):
        return repository.manifest(word)
    if guid := _begun(repository.objects.leaves("manifests"), word):
        return repository.manifest(guid)
    machine = latest_of(word)
    return _newest_of(repository, word if machine is None else machine)


def whole_guid(repository: Repository, word: str) -> str:
    """The guid that a guid or its first characters name; a whole guid may be of a missing backup.

    Names of machines and `latest` are refused, because with a damaged manifest they would name an
    older backup. Raises Malformed.
    """
    guid = word if is_guid(word) else _begun(repository.objects.leaves("manifests"), word)
    if guid is None:
        raise Malformed(
            f"{quoted(word)} is no guid of a backup, and not six or more of its first "
            f"characters; {_LS}"
        )
    return guid


def readable(repository: Repository, damaged: list[Damaged]) -> Iterator[Manifest]:
    """The manifests that open; the errors of the others are appended to `damaged`."""
    for backup in sorted(repository.objects.leaves("manifests")):
        try:
            yield repository.manifest(backup)
        except Damaged as error:
            print(f"haulback: {error.message}", file=sys.stderr)
            damaged.append(error)
        except NotFound:
            continue  # deleted since the listing


def _begun(stored: Collection[str], word: str) -> str | None:
    """The stored guid that begins with a word, None if no guid or several guids do.  Raises
    Malformed for several.
    """
    if not is_beginning(word):
        return None
    fitting = sorted(guid for guid in stored if guid.startswith(word.lower()))
    if len(fitting) > 1:
        raise Malformed(
            f"{word!r} begins several backups; use more of a guid: {', '.join(fitting)}"
        )
    return fitting[0] if fitting else None


def _newest_of(repository: Repository, name: str) -> Manifest:
    """The newest backup of a machine, or of all machines for an empty name."""
    rows = [
        manifest
        for manifest in readable(repository, [])
        if manifest.entity_name == name
        or (not name and manifest.definition.get("type") != OWN_SERVER.driver)
    ]
    if name and len({manifest.entity for manifest in rows}) > 1:
        guids = ", ".join(sorted(manifest.backup for manifest in rows))
        raise Malformed(f"several machines are named {name!r}: name a backup by its guid: {guids}")
    if not rows:
        about = f"no backup {quoted(name)}, and no machine of that name" if name else "no backup"
        raise NotFound(f"there is {about} here; {_LS}")
    return max(rows, key=lambda manifest: manifest.snapshot_time)
