"""Objects of any type by name or by the beginning of a guid, as in `audit` and `alarm ls`."""

from __future__ import annotations

from itertools import chain
from typing import cast

from haulback.client.calls import DatedCollection, ReadableCollection
from haulback.client.client import Client
from haulback.client.record_names import latest_of
from haulback.errors import Malformed, NotFound
from haulback.ids import is_beginning, is_guid

_TRAIL = 1_000  # newest audit entries, which are searched for removed objects


def subject_guid(client: Client, word: str) -> str:
    """The guid of the object, of any type, that a word names; a whole guid is returned unchecked.

    The beginning of a guid also names an object that was removed, if a recent audit entry is
    about it.  Raises NotFound, and Malformed with the candidates when several objects fit.
    """
    if is_guid(word):
        return word
    hits: dict[str, str] = {}
    for collection in _collections(client, word):
        try:
            hits[str(getattr(collection.find(word), "guid"))] = collection.noun  # noqa: B009
        except NotFound:
            continue
    if not hits and is_beginning(word):
        entries = client.users.audit(size=_TRAIL)
        trail = {row.subject for row in entries if row.subject}
        hits = {guid: "object" for guid in trail if guid.startswith(word.lower())}
    if not hits:
        raise NotFound(
            f"there is no object {word!r}: write its name, or six characters of its guid"
        )
    if len(hits) > 1:
        named = " and ".join(f"the {noun} {guid}" for guid, noun in hits.items())
        raise Malformed(f"{word!r} names {named}: write the guid")
    return next(iter(hits))


def _collections(client: Client, word: str) -> list[ReadableCollection[object]]:
    """The lists of the API in which a word may name the subject of an entry or an alarm.

    A name means a machine, not its backups and mounts; a backup is named by its guid or `latest`.
    """
    if latest_of(word) is not None:
        return [cast("ReadableCollection[object]", client.backups)]
    parts = chain(vars(client).values(), vars(client.records).values())
    named: dict[str, ReadableCollection[object]] = {
        part.path: part for part in parts if isinstance(part, ReadableCollection) and part.path
    }
    del named[client.alarms.path]
    if is_beginning(word):
        return list(named.values())
    dated = (DatedCollection, type(client.workflows))
    return [part for part in named.values() if not isinstance(part, dated)]
