"""Key files of repositories for safekeeping: a key that opens no repository is never handed out."""

from __future__ import annotations

from pathlib import Path

from haulback.cli.repository_location import open_location
from haulback.contract.order_records import BackupDestination
from haulback.contract.repository_secrets import SecretKind, unpacked
from haulback.destinations.protocol import ObjectStore
from haulback.destinations.registry import open_destination
from haulback.errors import (
    Conflict,
    Damaged,
    HaulbackError,
    Malformed,
    NotFound,
    Unavailable,
    WrongKey,
)
from haulback.repository.config import open_identity
from haulback.repository.keys import Secret
from haulback.server.services.repository_keys import unsealed_key
from haulback.work.support.foreign_repository import strangers


def key_of(
    data: Path,
    database: str,
    destination: str,
    *,
    folder: Path | None = None,
    unchecked: bool = False,
) -> str:
    """The key file of a destination's repository, by its name: 64 hex digits.

    The key is read on the server's own machine, because the API never returns it, and checked on
    the repository in `folder` (by default the destination's own path).  With `unchecked` a key that
    cannot be checked on this machine is returned too, but never a key that failed the check. Raises
    NotFound; WrongKey for a repository of another server; Conflict before the destination has one;
    Unavailable when the key cannot be tried.
    """
    record, key = unsealed_key(data, database, destination)
    if (kind := unpacked(key).kind) is not SecretKind.KEY_FILE:
        word = kind.name.lower()
        raise Conflict(
            f"{destination} was attached with its {word}: only this {word} opens the repository"
        )
    try:
        _try(record, key, folder)
    except Unavailable:
        if not unchecked:
            raise
    return key.hex()


def _try(record: BackupDestination, key: bytes, folder: Path | None) -> None:
    """Open the repository's configuration; any failure is raised as Unavailable."""
    where = str(folder or record.config.get("path", record.name))
    try:
        result = open_identity(_opened(record, folder), Secret("keyfile", key)).guid
    except WrongKey:
        raise WrongKey(strangers(where)) from None
    except (Unavailable, NotFound, Damaged, Malformed, OSError) as error:
        if record.repository is None:
            raise Conflict(
                f"{record.name} has no repository yet, so its key opens nothing; see the "
                f"task BACKUP_DESTINATION_INIT of {record.name}"
            ) from None
        raise _untried(record.name, error) from None
    if record.repository not in (None, result):
        raise WrongKey(strangers(where))


def _opened(record: BackupDestination, folder: Path | None) -> ObjectStore:
    """The destination, or the folder where it is mounted on this machine."""
    if folder:
        return open_location(folder)
    return open_destination(record.driver, record.config, "by-hand")


def _untried(name: str, error: Exception) -> Unavailable:
    why = error.message if isinstance(error, HaulbackError) else str(error)
    return Unavailable(
        f"this machine cannot check that the key of {name} opens its repository: {why}; "
        "mount the folder, name its path on this machine by --folder, or print the "
        "unchecked key by --unchecked"
    )
