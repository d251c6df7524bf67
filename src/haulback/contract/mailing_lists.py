"""Requests of /mailing-lists."""

from __future__ import annotations

from haulback.contract.records import PolicyRecord


class MailingList(PolicyRecord, kw_only=True):
    """A named list of mail addresses, 1 to 500.

    `isDefault`: reports and notifications without a list of their own go to this list too.
    """

    recipients: list[str] = []
    isDefault: bool = False
    description: str = ""
