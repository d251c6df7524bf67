"""Errors of commands, including errors of the system, each as one line with the remedy."""

from __future__ import annotations

import errno
import getpass
import logging
import os
import ssl

from cyclopts import CycloptsError

from haulback.cli.usage import refused
from haulback.errors import Forbidden, HaulbackError, Malformed, Unavailable, Unsupported

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_FOLDER = (errno.ENOTDIR, errno.EEXIST)
_MANY_FILES = (errno.EMFILE, errno.ENFILE)


def as_haulback_error(error: Exception) -> HaulbackError:
    """The Haulback error, with the remedy, for any error that ended a command."""
    if isinstance(error, HaulbackError):
        return error
    if isinstance(error, CycloptsError):
        return refused(error)
    if isinstance(error, ssl.SSLError):
        return Malformed(
            f"a certificate or key cannot be used: {getattr(error, 'reason', None) or error}"
        )
    if isinstance(error, OSError):
        return _of_system(error)
    if isinstance(error, ImportError):
        return _of_import(error)
    if isinstance(error, EOFError):
        return Malformed("standard input ended before the answer; give it by a file or an option")
    if isinstance(error, UnicodeError):
        return Malformed(f"a text cannot be read or printed in this encoding: {error}")
    logging.debug("the command failed", exc_info=error)
    return HaulbackError(
        f"internal error: {type(error).__name__}: {_line(error)}; this is a defect, please report "
        "it with the traceback that HAULBACK_LOG=DEBUG shows"
    )


def _of_system(error: OSError) -> HaulbackError:
    """An error of a file or an address, with the path and the remedy."""
    place = _place(error)
    why = f"{place}{error.strerror or _line(error)}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return Forbidden(
            f"{why}: give the user {_user()} the right to use it, or name another place"
        )
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


def _of_import(error: BaseException) -> Unsupported:
    """The error for a missing or broken package, named by the first of the causes."""
    while isinstance(error.__cause__ or error.__context__, ImportError):
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    name = getattr(error, "name", None) or "a package"
    return Unsupported(
        f"the Python package {name} cannot be loaded: {_line(error)}; install Haulback with all "
        "its packages (docs/howto/install.md)"
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
