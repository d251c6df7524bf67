"""XML of libvirt machines, parsed as untrusted input; loads no libvirt.

Old database rows hold definitions in this XML; the server reads network cards and tags from them
without a driver.
"""

from __future__ import annotations

from typing import NamedTuple
from xml.etree import ElementTree as ET

from haulback.errors import Malformed

LARGEST = 4 * 1024 * 1024  # maximum length of a machine's XML, in characters
XML = "domain"  # member of a definition that holds libvirt's XML
_TAGS = "{urn:haulback:tags:1}tags"


class Interface(NamedTuple):
    """A network card of a machine: its MAC address, and its network, bridge or host device.

    Address and network are "" if the XML does not name them.
    """

    mac: str
    network: str


def parse(text: str) -> ET.Element:
    """Parse a machine's XML.

    Raises Malformed for malformed or too large XML, and for XML that defines entities: entity
    expansion can exhaust memory.
    """
    if len(text) > LARGEST or "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise Malformed("the machine's XML is too large or defines entities")
    try:
        return ET.fromstring(text)
    except ET.ParseError as error:
        raise Malformed(f"the machine's XML cannot be read: {error}") from None


def interfaces(root: ET.Element) -> list[Interface]:
    """Network cards of a machine, in the order of its XML."""
    return [_interface(element) for element in root.findall("devices/interface")]


def _interface(element: ET.Element) -> Interface:
    mac, source = element.find("mac"), element.find("source")
    named = source.attrib if source is not None else {}
    network = named.get("network") or named.get("bridge") or named.get("dev") or ""
    return Interface(mac.get("address", "") if mac is not None else "", network)


def tags(root: ET.Element) -> list[str]:
    """Tags in the metadata of a machine's XML, unchanged; a tag may have blanks around it."""
    return (root.findtext(f"metadata/{_TAGS}") or "").split(",")
