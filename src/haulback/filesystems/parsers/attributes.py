"""Extended attributes and POSIX access control lists, in the formats of Linux."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from haulback.filesystems.parsers.filesystem import FileAttributes
from haulback.filesystems.records import MOST_ATTRIBUTES, MOST_NAME

_TAGS = {1: "user::", 2: "user:{}:", 4: "group::", 8: "group:{}:", 0x10: "mask::", 0x20: "other::"}
_MOST = 10_000  # attributes of a file


class AclEntry(NamedTuple):
    """An entry of an access control list, by its tag in Linux."""

    tag: int
    rights: int
    id: int = 0


def acl_text(entries: Iterable[AclEntry]) -> str:
    """An access control list as acl(5) writes it, with numbers. Raises ValueError."""
    lines = []
    for entry in entries:
        if entry.tag not in _TAGS:
            raise ValueError(f"an access control list has the unknown tag {entry.tag:#x}")
        rights = "".join(letter if entry.rights & bit else "-"
                         for letter, bit in (("r", 4), ("w", 2), ("x", 1)))  # fmt: skip
        lines.append(_TAGS[entry.tag].format(entry.id) + rights)
    return "".join(f"{line}\n" for line in lines)


def short_acl(raw: bytes) -> str:
    """An access control list as ext stores it: entries without an id are four bytes long."""
    (version,) = struct.unpack_from("<I", raw)
    if version != 1:
        raise ValueError(f"an access control list has the unknown version {version}")
    at, entries = 4, list[AclEntry]()
    while at < len(raw):
        tag, rights = struct.unpack_from("<HH", raw, at)
        named = tag in (2, 8)
        id_ = struct.unpack_from("<I", raw, at + 4)[0] if named else 0
        entries.append(AclEntry(tag, rights, id_))
        at += 8 if named else 4
    return acl_text(entries)


def long_acl(raw: bytes) -> str:
    """An access control list as XFS stores it: a count, and entries of 12 bytes."""
    (count,) = struct.unpack_from(">I", raw)
    if 4 + 12 * count > len(raw):
        raise ValueError("an access control list exceeds its attribute")
    entries = struct.iter_unpack(">IIH2x", raw[4 : 4 + 12 * count])
    return acl_text(AclEntry(tag, rights, id_) for tag, id_, rights in entries)


class AttributeCollector:
    """Extended attributes of a node, collected up to the limit; further attributes are left out."""

    def __init__(self) -> None:
        self._attributes: dict[bytes, bytes] = {}
        self._lists = {"access": "", "default": ""}
        self._left, self._reason = MOST_ATTRIBUTES, ""

    def add(self, name: bytes, value: bytes) -> None:
        """Add an attribute by its name in Linux, such as `user.comment`."""
        self._left -= len(name) + len(value)
        if self._left < 0 or len(self._attributes) >= _MOST:
            self.failed(f"it has more than {MOST_ATTRIBUTES} bytes of extended attributes")
        elif not name or b"\0" in name:
            self.failed("an extended attribute with an impossible name is left out")
        elif len(name) > MOST_NAME:
            self.failed(f"an extended attribute with a name of {len(name)} bytes is left out")
        else:
            self._attributes[name] = value

    def add_list(self, which: str, text: str) -> None:
        """Add the access control list `access` or `default`."""
        self._lists[which] = text

    def failed(self, reason: str) -> None:
        """Record why attributes are missing."""
        self._reason = self._reason or reason

    def extras(self, features: tuple[str, ...]) -> FileAttributes:
        """The collected attributes, and the reason why some are missing."""
        return FileAttributes(
            self._attributes, **self._lists, features=features, reason=self._reason
        )
