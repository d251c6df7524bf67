"""Guids: lower-case UUID text, created and validated here."""

from __future__ import annotations

import re
import uuid

from haulback.errors import Malformed

_GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
LEAST = 6  # shortest beginning of a guid that names a record
_BEGINNING = re.compile(rf"[0-9a-f-]{{{LEAST},36}}")


def new_guid() -> str:
    """A new random guid (UUID version 4)."""
    return str(uuid.uuid4())


def is_guid(text: str) -> bool:
    """Whether `text` is a guid in the only accepted spelling: lower-case, with hyphens."""
    return _GUID.fullmatch(text) is not None


def is_beginning(text: str) -> bool:
    """Whether `text` may be the beginning of a guid: at least its first six characters, in any
    case.
    """
    return _BEGINNING.fullmatch(text.lower()) is not None


def fits(text: str | None, guid: str, name: str) -> bool:
    """Whether a text finds a record: it is a part of the record's name, or the beginning of its
    guid.
    """
    if not text:
        return True
    begins = is_beginning(text) and guid.startswith(text.lower())
    return begins or text.lower() in name.lower()


def guid_of(text: str, field: str) -> str:
    """Parse `text` as a guid, ignoring case and surrounding white space.

    Raises Malformed with the name of the `field`.
    """
    lowered = text.strip().lower()
    if not is_guid(lowered):
        raise Malformed(f"{field}: {text[:60]!r} is not a guid (lower-case UUID)", field=field)
    return lowered
