"""The network cards of a backup, as portals name them when they say where each one goes."""

from __future__ import annotations

import uuid
from typing import Any, NamedTuple

from haulback.drivers.libvirt.domain import XML, parse
from haulback.errors import Malformed


class Card(NamedTuple):
    """A network card: its guid in this backup, its place in the machine from 0, and how it was."""

    guid: str
    number: int
    mac: str
    network: str


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
