"""Paths within a volume: absolute, as bytes, without `.` and `..`."""

from __future__ import annotations

from haulback.errors import Malformed
from haulback.filesystems.records import MOST_NAME, MOST_PATH, raw


def parts(path: bytes) -> list[bytes]:
    """Names in a path; repeated slashes count as one."""
    return [part for part in path.split(b"/") if part]


def sound(name: bytes) -> bool:
    """Whether a name from a disk is valid: not empty, not too long, without slash and NUL."""
    return 0 < len(name) <= MOST_NAME and name not in (b".", b"..") and not set(name) & {0, 47}


def checked(path: str) -> bytes:
    """Check a path from a user and return it as bytes. Raises Malformed."""
    try:
        given = raw(path)
    except UnicodeEncodeError:
        raise Malformed("path: contains characters that are not allowed", field="path") from None
    if not given.startswith(b"/"):
        raise Malformed(f"path: {path[:40]!r} is not absolute; begin the path with /", field="path")
    if b"\0" in given:
        raise Malformed("path: must not contain NUL", field="path")
    if len(given) > MOST_PATH:
        raise Malformed(f"path: must not be longer than {MOST_PATH} bytes", field="path")
    names = parts(given)
    if b"." in names or b".." in names:
        raise Malformed("path: must not contain . or ..; give the direct path", field="path")
    if any(len(part) > MOST_NAME for part in names):
        raise Malformed(f"path: no name may be longer than {MOST_NAME} bytes", field="path")
    return b"/" + b"/".join(names)
