"""Secrets that open a repository, as the server seals them and nodes receive them.

A key file is stored as its 32 bytes; the text of a recovery kit or a passphrase follows a prefix.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

from haulback.contract.catalogue import AttachedDestination
from haulback.errors import Malformed

_KEY = re.compile(r"[0-9a-f]{64}")
_LONGEST = 4096  # maximum length of a kit or a passphrase, in characters


class SecretKind(Enum):
    """Kinds of secrets that open a repository."""

    KEY_FILE = "KEY_FILE"
    KIT = "KIT"
    PASSPHRASE = "PASSPHRASE"


# Prefixes of the sealed bytes; the 32 random bytes of a key file practically never begin with a
# prefix.
_HEADS = {
    SecretKind.KIT: b"haulback recovery kit\0",
    SecretKind.PASSPHRASE: b"haulback passphrase\0",
}


class RepositorySecret(NamedTuple):
    """A secret: the bytes of a key file, or the text of a kit or a passphrase."""

    kind: SecretKind
    value: bytes


def packed(secret: RepositorySecret) -> bytes:
    """The bytes that the server seals."""
    return _HEADS.get(secret.kind, b"") + secret.value


def unpacked(raw: bytes) -> RepositorySecret:
    """The secret in sealed bytes."""
    for kind, head in _HEADS.items():
        if raw.startswith(head):
            return RepositorySecret(kind, raw.removeprefix(head))
    return RepositorySecret(SecretKind.KEY_FILE, raw)


def secret_of(wanted: AttachedDestination) -> RepositorySecret:
    """The only secret of a request.  Raises Malformed naming the member."""
    given = {
        name: value
        for name in ("keyFile", "kit", "passphrase")
        if (value := getattr(wanted, name)) not in (None, "")
    }
    if len(given) != 1:
        why = "send one of keyFile, kit and passphrase to open the repository"
        raise Malformed(f"keyFile: {why}", field="keyFile")
    [(name, text)] = given.items()
    if len(text) > _LONGEST:
        raise Malformed(f"{name}: send at most {_LONGEST} characters", field=name)
    if name != "keyFile":
        kind = SecretKind.KIT if name == "kit" else SecretKind.PASSPHRASE
        return RepositorySecret(kind, text.encode())
    if not _KEY.fullmatch(text.strip()):
        raise Malformed("keyFile: send the 64 hex digits of the key file", field="keyFile")
    return RepositorySecret(SecretKind.KEY_FILE, bytes.fromhex(text.strip()))
