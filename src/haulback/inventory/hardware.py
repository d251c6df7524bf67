"""Network cards and tags in a machine's definition."""

from __future__ import annotations

import uuid
from typing import Any, NamedTuple

from haulback.contract.inventory_sync import CardSeen, Hardware
from haulback.drivers.libvirt.domain import XML, parse
from haulback.errors import Malformed


class NetworkCard(NamedTuple):
    """A network card of a backed-up machine; `number` is the index of the card, from 0."""

    guid: str
    number: int
    mac: str
    network: str


_TAGS = "{urn:haulback:tags:1}tags"
_MOST = 100


def hardware_of(definition: dict[str, Any]) -> Hardware:
    """Read cards and tags of a libvirt domain, or the member `tags` of other definitions."""
    text = definition.get(XML)
    try:
        root = parse(text) if isinstance(text, str) else None
    except Malformed:
        root = None
    if root is None:
        said = definition.get("tags")
        named = [one for one in said if isinstance(one, str)] if isinstance(said, list) else []
        return Hardware(tags=_clean(named))
    tags = (root.findtext(f"metadata/{_TAGS}") or "").split(",")
    cards = [CardSeen(*_seen(one)) for one in root.findall("devices/interface")]
    return Hardware(cards[:_MOST], _clean(tags))


def _clean(tags: list[str]) -> list[str]:
    found = (tag.strip()[:_MOST] for tag in tags)
    return list(dict.fromkeys(tag for tag in found if tag and tag.isprintable()))[:_MOST]


def cards_of(backup: str, definition: dict[str, Any]) -> list[NetworkCard]:
    """The network cards of a backup's machine; none without a readable libvirt domain."""
    text = definition.get(XML)
    if not isinstance(text, str):
        return []
    try:
        found = parse(text).findall("devices/interface")
    except Malformed:
        return []
    return [
        NetworkCard(str(uuid.uuid5(uuid.UUID(backup), f"card/{number}")), number, mac, network)
        for number, one in enumerate(found)
        for mac, network in [_seen(one)]
    ]


def _seen(interface: Any) -> tuple[str, str]:
    mac, source = interface.find("mac"), interface.find("source")
    said = source.attrib if source is not None else {}
    network = said.get("network") or said.get("bridge") or said.get("dev") or ""
    return (mac.get("address", "") if mac is not None else ""), network
