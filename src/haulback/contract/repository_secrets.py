"""Secrets that open a repository, as the server seals them and nodes receive them.

A key file is its 32 bytes; the text of a recovery kit or a passphrase has a head.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

from haulback.contract.catalogue import AttachedDestination
from haulback.errors import Malformed

_KEY = re.compile(r"[0-9a-f]{64}")
_LONGEST = 4096  # characters of a kit or a passphrase


class SecretKind(Enum):
    """Kinds of secrets; the value is the head of the sealed bytes."""

    KEY_FILE = b""
    KIT = b"haulback recovery kit\0"
    PASSPHRASE = b"haulback passphrase\0"


class RepositorySecret(NamedTuple):
    """A secret: the bytes of a key file, or the text of a kit or a passphrase."""

    kind: SecretKind
    value: bytes


def packed(secret: RepositorySecret) -> bytes:
    """The bytes that the server seals."""
    return secret.kind.value + secret.value


def unpacked(raw: bytes) -> RepositorySecret:
    """The secret in sealed bytes."""
    for kind in (SecretKind.KIT, SecretKind.PASSPHRASE):
        if raw.startswith(kind.value):
            return RepositorySecret(kind, raw.removeprefix(kind.value))
    return RepositorySecret(SecretKind.KEY_FILE, raw)


def secret_of(wanted: AttachedDestination) -> RepositorySecret:
    """The only secret of a request.  Raises Malformed naming the member."""
    given = {
        name: value
        for name in ("keyFile", "kit", "passphrase")
        if (value := getattr(wanted, name)) not in (None, "")
    }
    if len(given) != 1:
        why = "name one of keyFile, kit and passphrase, which opens the repository"
        raise Malformed(f"keyFile: {why}", field="keyFile")
    [(name, text)] = given.items()
    if len(text) > _LONGEST:
        raise Malformed(f"{name}: at most {_LONGEST} characters", field=name)
    if name != "keyFile":
        kind = SecretKind.KIT if name == "kit" else SecretKind.PASSPHRASE
        return RepositorySecret(kind, text.encode())
    if not _KEY.fullmatch(text.strip()):
        raise Malformed("keyFile: send the 64 hex digits of the key file", field="keyFile")
    return RepositorySecret(SecretKind.KEY_FILE, bytes.fromhex(text.strip()))
