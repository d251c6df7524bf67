"""Names of objects: parts of small letters, digits, dots, hyphens and underscores, separated by
slashes.
"""

from __future__ import annotations

import re

from haulback.errors import Malformed

_PART = r"[a-z0-9][a-z0-9._-]*"
_NAME = re.compile(rf"{_PART}(/{_PART})*")


def checked(name: str) -> str:
    """The name itself.  Raises Malformed for a name that no object can have."""
    if not _NAME.fullmatch(name):
        raise Malformed(f"{name!r} is not an object name")
    return name
