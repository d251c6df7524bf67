"""Screens with a password in a machine's XML; loads no libvirt.

libvirt lets no viewer in on a screen whose password is empty.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from haulback.libvirt_xml import parse

_WITH_PASSWORD = ("vnc", "spice")  # types of screens that libvirt protects by a password


def has_any(text: str) -> bool:
    """Whether a machine has a screen that may have a password. Raises Malformed."""
    return bool(_screens(parse(text)))


def locked(text: str, secret: str | None) -> str:
    """XML without secrets (`text`), in which a screen with a password has an empty password.

    `secret` is the XML of the same machine with secrets, None if nothing is known of its
    passwords: then each screen is locked. Raises Malformed.
    """
    root = parse(text)
    wanted = _screens(root)
    known = _screens(parse(secret)) if secret is not None else []
    # If the screens changed between the two requests, the second answer does not describe them.
    if [screen.get("type") for screen in known] == [screen.get("type") for screen in wanted]:
        pairs = zip(wanted, known, strict=True)
        wanted = [screen for screen, now in pairs if "passwd" in now.attrib]
    for screen in wanted:
        screen.set("passwd", "")
    return ET.tostring(root, encoding="unicode") if wanted else text


def _screens(root: ET.Element) -> list[ET.Element]:
    return [one for one in root.findall("devices/graphics") if one.get("type") in _WITH_PASSWORD]
