"""What the definition of a machine says besides its disks: network cards and tags."""

from __future__ import annotations

import uuid
from typing import Any, NamedTuple

import msgspec

from haulback.drivers.libvirt.domain import XML, parse
from haulback.errors import Malformed


class Card(NamedTuple):
    """A network card: its guid in this backup, its place in the machine from 0, and how it was."""

    guid: str
    number: int
    mac: str
    network: str


class CardSeen(msgspec.Struct):
    """A network card of a machine that is there."""

    mac: str = ""
    network: str = ""


class ApartSeen(msgspec.Struct):
    """A part of a machine that no backup holds, and why."""

    name: str
    reason: str


class Hardware(msgspec.Struct):
    """What a platform says of a machine besides its disks."""

    cards: list[CardSeen] = []
    tags: list[str] = []
    apart: list[ApartSeen] = []


_TAGS = "{urn:haulback:tags:1}tags"
_MOST = 100


def hardware_of(definition: dict[str, Any]) -> Hardware:
    """Cards from a libvirt domain, tags from its metadata or from the member `tags`."""
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


def cards_of(backup: str, definition: dict[str, Any]) -> list[Card]:
    """The cards of a backup's machine; none where the definition does not tell."""
    text = definition.get(XML)
    if not isinstance(text, str):
        return []
    try:
        found = parse(text).findall("devices/interface")
    except Malformed:
        return []
    return [
        Card(str(uuid.uuid5(uuid.UUID(backup), f"card/{number}")), number, mac, network)
        for number, one in enumerate(found)
        for mac, network in [_seen(one)]
    ]


def _seen(interface: Any) -> tuple[str, str]:
    mac, source = interface.find("mac"), interface.find("source")
    said = source.attrib if source is not None else {}
    network = said.get("network") or said.get("bridge") or said.get("dev") or ""
    return (mac.get("address", "") if mac is not None else ""), network
