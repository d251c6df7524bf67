"""References inside records: names and beginnings of guids are replaced by guids, at any depth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from haulback.client.calls import ReadableCollection
from haulback.client.client import Client
from haulback.errors import Malformed, NotFound
from haulback.ids import is_guid

_Finder = Callable[[Client], tuple[ReadableCollection[Any], ...]]
# The members of records that refer to other records, and the collections of these records.
MEMBERS: Mapping[str, _Finder] = {
    "backupDestination": lambda client: (client.destinations,),
    "backupDestinations": lambda client: (client.destinations,),
    "channels": lambda client: (client.records.channels,),
    "clusters": lambda client: (client.records.clusters,),
    "hvClusters": lambda client: (client.records.clusters,),
    "hypervisor": lambda client: (client.hypervisors,),
    "hypervisorManager": lambda client: (client.records.managers,),
    "hypervisors": lambda client: (client.hypervisors,),
    "mailingList": lambda client: (client.records.mailing_lists,),
    "node": lambda client: (client.nodes,),
    "nodeConfig": lambda client: (client.records.node_configs,),
    "policies": lambda client: (client.records.backup_policies,),
    "policy": lambda client: (client.records.backup_policies, client.records.snapshot_policies),
    "protectedEntities": lambda client: (client.machines,),
    "protectedEntity": lambda client: (client.machines,),
    "rules": lambda client: (client.records.rules, client.records.snapshot_rules),
    "schedules": lambda client: (client.records.schedules,),
    "vms": lambda client: (client.machines,),
}
_LISTS = frozenset(name for name in MEMBERS if name.endswith("s")) | {"protectedEntities"}


def resolved(record: object, client: Client) -> Any:
    """A record, or a part of it, with whole guids in all its references.

    A reference is a text, several with commas if a member is a list, or an object with `guid` or
    with `name` alone; in a member `rules` such an object is a new rule.
    Raises NotFound, and Malformed with the candidates if a name fits several records.
    """
    if isinstance(record, list):
        return [resolved(part, client) for part in record]
    if not isinstance(record, dict):
        return record
    return {name: _member(name, value, client) for name, value in record.items()}


def _member(name: str, value: object, client: Client) -> object:
    finder = MEMBERS.get(name)
    if finder is None:
        return resolved(value, client)
    collections = finder(client)
    if name in _LISTS and isinstance(value, str):
        value = [word.strip() for word in value.split(",") if word.strip()]
    if name != "rules":  # a rule with a name alone is a new rule of its policy
        value = [_word(part) for part in value] if isinstance(value, list) else _word(value)
    if isinstance(value, list):
        return [_reference(part, collections, client) for part in value]
    return _reference(value, collections, client)


def _word(value: object) -> object:
    """The name in an object that has only a name; any other value unchanged."""
    if isinstance(value, dict) and list(value) == ["name"]:
        return value["name"]
    return value


def _reference(
    value: object, collections: tuple[ReadableCollection[object], ...], client: Client
) -> object:
    if isinstance(value, str) and value:
        return {"guid": _guid(value, collections)}
    if isinstance(value, dict):
        guid = value.get("guid")
        if isinstance(guid, str) and guid and not is_guid(guid.lower()):
            return {**value, "guid": _guid(guid, collections)}
    return resolved(value, client)


def _guid(word: str, collections: tuple[ReadableCollection[Any], ...]) -> str:
    """The guid of the record that a word names in any of the collections.

    Raises the error of the first collection if none knows the word, and Malformed if several do.
    """
    missing: NotFound | None = None
    hits: list[tuple[ReadableCollection[Any], str]] = []
    for collection in collections:
        try:
            hits.append((collection, str(collection.find(word).guid)))
        except NotFound as error:
            missing = missing or error
    if len(hits) > 1:
        named = " and ".join(f"the {collection.noun} {guid}" for collection, guid in hits)
        raise Malformed(f"{word!r} names {named}: write the guid")
    if missing and not hits:
        raise missing
    return hits[0][1]
