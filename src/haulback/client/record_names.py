"""Names of records: guids, their first six characters or more, names, and the newest record."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TypeVar

from haulback.errors import Malformed, NotFound
from haulback.ids import LEAST, is_beginning
from haulback.units import plural

T = TypeVar("T")
_LATEST = "latest"
_LISTED = 8  # candidates that an error lists
_LONGEST = 200  # characters of a word by which the server searches a list
_SHOWN = 60  # characters of a longer word that an error shows
# The nouns of records whose path says another one.
_NOUNS = {
    "/api-tokens": "API token",
    "/backup-destinations": "destination",
    "/hypervisor-clusters": "cluster",
    "/hypervisor-managers": "manager",
    "/hypervisor-storages": "storage",
    "/mounted-backups": "mounted backup",
    "/policies/recovery-plan": "recovery plan",
    "/policies/vm-backup": "policy",
    "/policies/vm-snapshot": "snapshot policy",
    "/restore-jobs": "restore job",
    "/rules/vm-backup": "rule",
    "/rules/vm-snapshot": "snapshot rule",
    "/virtual-machine-flavors": "flavor",
    "/virtual-machines": "machine",
    "/workflow-executions": "workflow",
}
# The commands that list records, where the command is not the noun with `ls`.
_LISTS = {
    "API token": "token ls",
    "delivery": "notify log",
    "disk": "backup files BACKUP",
    "file system": "mount found BACKUP",
    "mounted backup": "mount ls",
    "mounted file system": "mount volumes MOUNT",
    "notification channel": "notify channel ls",
    "notification rule": "notify rule ls",
    "recovery plan": "plan ls",
    "restore job": "restore ls",
    "system schedule": "schedule ls --system",
}


def noun_of(path: str) -> str:
    """The noun of the records at a path of the API, as messages name them."""
    return _NOUNS.get(path) or path.rpartition("/")[2].replace("-", " ").removesuffix("s")


def missing(noun: str, word: str, machine: str = "") -> NotFound:
    """The error for a word that names no record; it names the command that lists the records."""
    command = _LISTS.get(noun) or f"{noun.replace(' ', '-')} ls"
    lists = f"`haulback {command}` lists them"
    if latest_of(word) is not None:
        return NotFound(f"{word}: there is no {noun}{f' of {machine}' * bool(machine)}; {lists}")
    return NotFound(f"there is no {noun} {quoted(word)}: {lists}{_hint(word)}")


def searched(noun: str, word: str) -> str:
    """A word by which a list is searched.  Raises NotFound for a word longer than any name."""
    if len(word) > _LONGEST or "\0" in word:
        raise missing(noun, word)
    return word


def quoted(word: str) -> str:
    """A word as errors show it: in quotes, a very long word by its beginning and its length."""
    if len(word) <= _LONGEST:
        return repr(word)
    return f"{word[:_SHOWN]!r}… ({len(word)} characters)"


def latest_of(word: str) -> str | None:
    """The name after `latest:`, "" for `latest` alone, and None for any other word."""
    first, sign, name = word.partition(":")
    if first != _LATEST or (sign and not name):
        return None
    return name


def chosen(rows: Iterable[T], word: str, noun: str, name: Callable[[T], str], more: str = "") -> T:
    """The record among `rows` with this name, or whose guid or uuid begins with this word.

    Raises NotFound, or Malformed with the candidates if several records fit; `more` describes
    another way to choose.
    """
    begins = is_beginning(word)

    def fits(row: T) -> bool:
        ids = [str(getattr(row, member, "")).lower() for member in ("guid", "uuid")]
        return name(row) == word or (begins and any(i.startswith(word.lower()) for i in ids))

    matches = list(islice(filter(fits, rows), _LISTED + 1))
    if not matches:
        raise missing(noun, word)
    if len(matches) > 1:
        shown = [_candidate(row, name(row)) for row in matches[:_LISTED]]
        rest = " and more" if len(matches) > _LISTED else ""
        raise Malformed(
            f"there are several {plural(noun)} named {word!r}; use more of a guid{more}: "
            f"{', '.join(shown)}{rest}"
        )
    return matches[0]


def _candidate(row: object, name: str) -> str:
    """The guid and the name of a record, and whether its machine is absent."""
    absent = ", absent" if getattr(row, "present", True) is False else ""
    return f"{getattr(row, 'guid', '')} ({name}{absent})"


def _hint(word: str) -> str:
    """A hint about the length of a guid's beginning, for a word that contains a digit."""
    short = re.fullmatch(rf"(?=.*[0-9])[0-9a-f]{{1,{LEAST - 1}}}", word.lower())
    return f"; a guid needs {LEAST} characters or more" if short else ""
