"""Errors of the operating system as errors of Haulback, each with the remedy."""

from __future__ import annotations

import errno
import os
import pwd

from haulback.errors import Forbidden, HaulbackError, Malformed, Unavailable

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_FOLDER = (errno.ENOTDIR, errno.EEXIST)
_MANY_FILES = (errno.EMFILE, errno.ENFILE)
_DENIED = (errno.EACCES, errno.EPERM)
_RIGHT = "give the user {} the right to use it"


def of_system(error: OSError) -> HaulbackError:
    """An error of a file or an address, with the path and the remedy."""
    place = _place(error)
    why = f"{place}{error.strerror or str(error)}"
    if error.errno in _DENIED:
        return Forbidden(f"{why}: {_RIGHT.format(user())}, or name another place")
    if error.errno == errno.EROFS:
        return Forbidden(f"{why}: mount it writable, or name another place")
    if error.errno == errno.ENOENT:
        return Malformed(f"{why}: check the path")
    if error.errno in _NO_FOLDER:
        return Malformed(f"{why}: a file is in the way; name a folder")
    if error.errno == errno.EISDIR:
        return Malformed(f"{why}: name a file")
    if error.errno == errno.ENAMETOOLONG:
        return Malformed(f"{why}: choose a shorter name")
    if error.errno in _FULL:
        return Unavailable(f"{why}: make room, or name another place")
    if error.errno in _MANY_FILES:
        return Unavailable(f"{why}: raise the limit of open files (ulimit -n)")
    return Unavailable(f"{why}: try again, and check the disk or address if the error persists")


def _place(error: OSError) -> str:
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if _is_name(name)]
    return f"{' and '.join(names)}: " if names else ""


def _is_name(name: object) -> bool:
    return isinstance(name, str | bytes) and bool(name)


def user() -> str:
    """The user of this process by name, or by number if the system does not know the user."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def denied(error: OSError) -> str:
    """The reason of a refused read, with the remedy if a right is missing."""
    why = error.strerror or str(error)
    return f"{why}; {_RIGHT.format(user())}" if error.errno in _DENIED else why
