"""The secret of a repository from the bytes that a server keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haulback.contract.repository_secrets import SecretKind, unpacked
from haulback.errors import Malformed
from haulback.repository import config
from haulback.repository.keys import Keys, Secret

if TYPE_CHECKING:  # programs that only read a key do not load the repository
    from haulback.repository.repository import Repository


def opener(raw: bytes) -> Secret | Keys:
    """The key file, passphrase or recovery kit in `raw`.  Raises Malformed for a mistyped kit."""
    secret = unpacked(raw)
    if secret.kind is SecretKind.KIT:
        try:
            return Keys.from_kit(secret.value.decode())
        except UnicodeDecodeError:
            raise Malformed(
                "the recovery kit is not text; send the text of the printed kit"
            ) from None
    return wrapper(raw)


def wrapper(raw: bytes) -> Secret:
    """The secret that a key slot of a new configuration wraps.

    A kit opens a repository without a slot; the slot for a kit only fills the configuration.
    """
    secret = unpacked(raw)
    if secret.kind is SecretKind.PASSPHRASE:
        return Secret("passphrase", secret.value)
    return Secret("keyfile", raw)


def let_open(repository: Repository, secret: Secret) -> bool:
    """Let a secret open a repository; False if the secret opens it already."""
    if config.opens(repository.destination, secret):
        return False
    repository.check_owner()
    config.add_slot(repository.destination, repository.guid, repository.keys, secret)
    return True
