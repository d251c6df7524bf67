"""The header with the file name under which a client saves a download."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

_KEPT = frozenset(" !#$&'()+,-.=@[]^_`{}~")


def attachment(name: str) -> str:
    """A Content-Disposition with a name for every client.

    `filename` is plain ASCII without quotes and separators, because some clients read no other
    parameter; `filename*` holds the full name (RFC 6266).
    """
    return f"attachment; filename=\"{_plain(name)}\"; filename*=UTF-8''{quote(name, safe='')}"


def _plain(name: str) -> str:
    """The name in plain ASCII letters; never empty, "." or ".."."""
    folded = unicodedata.normalize("NFKD", name)
    folded = "".join(letter for letter in folded if not unicodedata.combining(letter))
    plain = "".join(x if x.isascii() and (x.isalnum() or x in _KEPT) else "_" for x in folded)
    return plain if plain.strip(" .") else "download"
