"""The message about a repository that another server made."""

from __future__ import annotations

import shlex


def strangers(path: str) -> str:
    """The reason why a destination cannot use the repository in its folder, and the remedies."""
    return (
        f"this repository is another one's: attach it with its own key file (haulback repository "
        f"ls {shlex.quote(path)} --key-file KEY reads it without a server), put back the database "
        "and the server.key of the server that made it, or give the destination an empty folder; "
        f"the key that this server has does not open what lies in {path}"
    )
