"""The check before a clean-up: catalogue, last roll and repository must list the same backups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from typing import NamedTuple

from haulback.errors import Damaged, Missing, NotFound
from haulback.repository.repository import Repository
from haulback.units import counted

Expected = Callable[[], Iterable[str]]  # guids of the backups that are PRESENT in the catalogue
_NAMED = 20  # number of guids that an error message lists


class CatalogueComparison(NamedTuple):
    """Guids of all manifests on the destination, and of the backups that the catalogue does not
    know.

    `lost` are the given-up backups whose manifest is missing or does not open.
    """

    listed: Set[str]
    unknown: Set[str]
    lost: Set[str] = frozenset()


def agree(
    repository: Repository, expected: Expected | None, given_up: Iterable[str] = ()
) -> CatalogueComparison:
    """Check that every expected backup is listed and that its manifest opens.

    Raises Missing, with the guids in its details, and Damaged when the last roll cannot be read.
    """
    listed = repository.objects.leaves("manifests")
    asked = {guid for guid in repository.rolls.last() - listed if not _problem(repository, guid)}
    listed |= asked  # a listing may lag, but the object itself is up to date
    # A given-up backup whose manifest exists again is no longer lost.
    lost = {guid for guid in given_up if _problem(repository, guid)}
    missing = repository.rolls.missing(listed | lost)
    unreadable: dict[str, str] = {}
    unknown = set(listed)
    for backup in expected() if expected else ():
        if backup in lost:
            continue
        unknown.discard(backup)
        if problem := _problem(repository, backup):
            unreadable[backup] = problem
        else:
            listed.add(backup)
    # A manifest that vanished during the check was deleted by its own task, or is lost.
    missing |= {backup for backup, problem in unreadable.items() if problem == "missing"}
    unreadable = {backup: p for backup, p in unreadable.items() if backup not in missing}
    if missing or unreadable:
        raise Missing(_message(missing, unreadable), sorted(missing), unreadable)
    return CatalogueComparison(listed, unknown if expected else frozenset(), lost)


def _problem(repository: Repository, backup: str) -> str:
    try:
        repository.manifest(backup)
    except NotFound:
        return "missing"
    except Damaged as error:
        return error.message
    return ""


def _message(missing: set[str], unreadable: dict[str, str]) -> str:
    parts = []
    if missing:
        parts.append(f"the repository lacks {counted(len(missing), 'backup')}: {_some(missing)}")
    if unreadable:
        parts.append(f"{counted(len(unreadable), 'manifest')} cannot be read: {_some(unreadable)}")
    return (
        f"{'; '.join(parts)}.  Nothing was deleted.  Make the backups readable again "
        "(mount a missing folder), or confirm that the backups are lost"
    )


def _some(guids: Iterable[str]) -> str:
    found = sorted(guids)
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return ", ".join(found[:_NAMED]) + more
