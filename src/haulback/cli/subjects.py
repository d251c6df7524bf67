"""Objects of any type by name or by the beginning of a guid, as in `audit` and `alarm ls`."""

from __future__ import annotations

from itertools import chain

from haulback.client.calls import ReadableCollection
from haulback.client.client import Client
from haulback.errors import Malformed, NotFound
from haulback.ids import is_beginning, is_guid

_TRAIL = 1_000  # newest audit entries, among which removed objects are looked for


def subject_guid(client: Client, word: str) -> str:
    """The guid of the object that a word names, of whatever type; a whole guid stays unchecked.

    The beginning of a guid also names an object that was removed, if a recent audit entry is
    about it.  Raises NotFound, and Malformed with the candidates when several objects fit.
    """
    if is_guid(word):
        return word
    hits: dict[str, str] = {}
    for collection in _collections(client):
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


def _collections(client: Client) -> list[ReadableCollection[object]]:
    """The lists of the API whose records may be the subject of an entry or an alarm."""
    parts = chain(vars(client).values(), vars(client.records).values())
    named: dict[str, ReadableCollection[object]] = {
        part.path: part for part in parts if isinstance(part, ReadableCollection) and part.path
    }
    return [part for path, part in named.items() if path != "/alarms"]
