"""Network cards and tags in a machine's definition."""

from __future__ import annotations

import uuid
from typing import NamedTuple
from xml.etree.ElementTree import Element

from haulback.contract.inventory_sync import Hardware, ScannedNetworkCard
from haulback.errors import Malformed
from haulback.libvirt_xml import XML, interfaces, parse, tags
from haulback.wire import JsonObject


class NetworkCard(NamedTuple):
    """A network card of a backed-up machine; `number` is the index of the card, from 0."""

    guid: str
    number: int
    mac: str
    network: str


_MOST = 100  # largest numbers of cards and tags, and of characters of a tag


def hardware_of(definition: JsonObject) -> Hardware:
    """Read cards and tags of a libvirt domain, or the member `tags` of other definitions."""
    root = _domain(definition)
    if root is None:
        named = definition.get("tags")
        texts = [tag for tag in named if isinstance(tag, str)] if isinstance(named, list) else []
        return Hardware(tags=_clean(texts))
    cards = [ScannedNetworkCard(card.mac, card.network) for card in interfaces(root)]
    return Hardware(cards[:_MOST], _clean(tags(root)))


def _clean(names: list[str]) -> list[str]:
    stripped = (name.strip()[:_MOST] for name in names)
    return list(dict.fromkeys(name for name in stripped if name and name.isprintable()))[:_MOST]


def cards_of(backup: str, definition: JsonObject) -> list[NetworkCard]:
    """The network cards of a backup's machine; none without a readable libvirt domain."""
    root = _domain(definition)
    if root is None:
        return []
    return [
        NetworkCard(str(uuid.uuid5(uuid.UUID(backup), f"card/{number}")), number, *card)
        for number, card in enumerate(interfaces(root))
    ]


def _domain(definition: JsonObject) -> Element | None:
    """The libvirt domain of a definition; None for a definition without a readable domain."""
    text = definition.get(XML)
    try:
        return parse(text) if isinstance(text, str) else None
    except Malformed:
        return None
