"""Guids: lower-case UUID text, created and validated here."""

from __future__ import annotations

import re
import uuid

from haulback.errors import Malformed

_GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def new_guid() -> str:
    """A new random guid (UUID version 4)."""
    return str(uuid.uuid4())


def is_guid(text: str) -> bool:
    """Whether `text` is a guid in the only accepted spelling: lower-case, with hyphens."""
    return _GUID.fullmatch(text) is not None


def guid_of(text: str, field: str) -> str:
    """Parse `text` as a guid, ignoring case and surrounding white space.

    Raises Malformed with the name of the `field`.
    """
    lowered = text.strip().lower()
    if not is_guid(lowered):
        raise Malformed(f"{field}: {text[:60]!r} is not a guid (lower-case UUID)", field=field)
    return lowered
