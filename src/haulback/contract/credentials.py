"""Requests of /credential."""

from __future__ import annotations

from typing import Final

from haulback.contract.records import PolicyRecord
from haulback.wire import Word

SECRETS: Final = ("password", "privateKey", "passphrase", "token")


class Credential(PolicyRecord, kw_only=True):
    """A login with its secrets, for services that Haulback logs in to.

    `password`, `privateKey`, `passphrase` and `token` are write-only: answers list the names of
    the stored secrets in `secrets`.  An absent, null or empty secret keeps the stored secret;
    `remove` names stored secrets to delete.
    """

    type: Word | None = None
    username: str = ""
    domain: str = ""
    description: str = ""
    password: str | None = None
    privateKey: str | None = None
    passphrase: str | None = None
    token: str | None = None
    remove: list[str] = []
