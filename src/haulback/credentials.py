"""Passwords and tokens from files, standard input or the environment; child processes receive none.

Other users of the machine can read a process's arguments, and child processes inherit its
environment.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from haulback.errors import Malformed

_NAMED: Final = re.compile(r"HAULBACK_\w*(PASSWORD|PASSPHRASE|TOKEN|SECRET|KEY)(_FILE)?")
_DATABASE: Final = ("HAULBACK_DATABASE", "PGPASSWORD", "PGPASSFILE", "PGSERVICEFILE")
_IN_URL: Final = re.compile(
    r"[a-z0-9+.-]+://(?:[^/@\s:]*:[^@\s]+@|\S*[?&]password=)", re.IGNORECASE
)
_LONGEST: Final = 4096  # bytes of a password or token
_SHORTEST_NEW, _LONGEST_NEW = 8, 1000  # length of a new password, in characters
_taken: dict[str, str] = {}


def take(*, database: bool = True) -> None:
    """Move all secrets out of this process's environment, where a child would inherit them.

    `database`: also move the secrets of the database, which the driver of a server reads from the
    environment.
    """
    for name in list(os.environ):
        if _NAMED.fullmatch(name) or (database and name in _DATABASE):
            _taken[name] = os.environ.pop(name)


def get(name: str) -> str | None:
    """The secret in a variable, or in the file that `name`_FILE names; None without both."""
    if found := os.environ.get(name) or _taken.get(name):
        return found
    file = os.environ.get(f"{name}_FILE") or _taken.get(f"{name}_FILE")
    return read(Path(file), f"{name}_FILE") if file else None


def read(path: Path, field: str) -> str:
    """The first line of a file, "-" for standard input.  Raises Malformed naming `field`."""
    try:
        if str(path) == "-":
            line = sys.stdin.readline(_LONGEST + 1)
        else:
            with open(path, encoding="utf-8") as file:
                line = file.readline(_LONGEST + 1)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is no text"
        raise Malformed(f"{field}: {path} cannot be read: {why}", field=field) from None
    result = line.rstrip("\r\n")
    if not result and str(path) == "-":
        raise Malformed(
            f"{field}: standard input is empty and is not a terminal: pipe the secret in, "
            f"or name a file by {field}",
            field=field,
        )
    if not result or len(result) > _LONGEST:
        raise Malformed(f"{field}: the first line of {path} must have 1 to {_LONGEST} characters")
    return result


def check_new(password: str, field: str) -> None:
    """Check the length of a new password of a user.  Raises Malformed naming `field`."""
    if not _SHORTEST_NEW <= len(password) <= _LONGEST_NEW:
        raise Malformed(f"{field}: give {_SHORTEST_NEW} to {_LONGEST_NEW} characters", field=field)


def check_argument(value: str, option: str) -> None:
    """Refuse a secret in the command line.  Raises Malformed with the remedy."""
    if value != "-":
        raise Malformed(
            f"{option}: a command line can be read by every user of this machine: write the "
            f"secret to a file and say {option}-file FILE, or say {option} - and give the secret "
            "on standard input",
            field=option,
        )


def check_url(url: str, option: str, arguments: list[str]) -> None:
    """Refuse a URL with a password in the command line.  Raises Malformed with the remedy."""
    if has_password(url) and any(url in argument for argument in arguments):
        raise Malformed(
            f"{option}: a command line can be read by every user of this machine: put the URL "
            "into HAULBACK_DATABASE, or its password into ~/.pgpass",
            field=option,
        )


def has_password(url: str) -> bool:
    """Whether the URL of a database contains a password."""
    return _IN_URL.match(url) is not None


def for_children(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a child process: the environment of this process without secrets, and
    `more`.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not _NAMED.fullmatch(name) and name not in _DATABASE
    }
    return {**kept, **(more or {})}
