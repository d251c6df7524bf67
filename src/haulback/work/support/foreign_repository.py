"""The message about a repository that another server made."""

from __future__ import annotations

import shlex


def strangers(path: str) -> str:
    """The reason why a destination cannot use the repository in its folder, with the remedies."""
    return (
        "another server made this repository: attach it with its own key file (haulback "
        f"repository ls {shlex.quote(path)} --key-file KEY reads it without a server), put back "
        "the database and the server.key of that server, or give the destination an empty folder; "
        f"the key of this server does not open the repository in {path}"
    )
