"""Errors of commands, including errors of the system, each as one line with the remedy."""

from __future__ import annotations

import logging
import ssl

from cyclopts import CycloptsError

from haulback.cli.usage import refused
from haulback.errors import HaulbackError, Malformed, Unsupported
from haulback.system_errors import of_system


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
        return of_system(error)
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


def _of_import(error: BaseException) -> Unsupported:
    """The error for a missing or broken package, named by the first of the causes."""
    while isinstance(error.__cause__ or error.__context__, ImportError):
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    name = getattr(error, "name", None) or "a package"
    return Unsupported(
        f"the Python package {name} cannot be loaded: {_line(error)}; install Haulback with all "
        "its packages (docs/howto/install.md)"
    )


def _line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
