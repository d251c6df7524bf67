"""Mailing lists: checks of a list, and the policies that use a list."""

from __future__ import annotations

from haulback.contract.mailing_lists import MailingList
from haulback.contract.policies import AnyPolicy
from haulback.errors import Conflict, Malformed, NotFound
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import Record
from haulback.texts import check_address

KIND = "mailing-list"
_MOST_RECIPIENTS, _LONGEST_TEXT = 500, 1000
_CHANNEL = "notification-channel"
_POLICIES = ("vm-backup", "vm-snapshot")


def check(wanted: MailingList, _: Catalogue) -> None:
    """Raises Malformed for a list without recipients or with an invalid address."""
    if not 1 <= len(wanted.recipients) <= _MOST_RECIPIENTS:
        raise Malformed(
            f"recipients: send 1 to {_MOST_RECIPIENTS} mail addresses", field="recipients"
        )
    wanted.recipients = [
        check_address(address, f"recipients[{place}]")
        for place, address in enumerate(wanted.recipients)
    ]
    if len(wanted.description) > _LONGEST_TEXT:
        raise Malformed(
            f"description: send at most {_LONGEST_TEXT} characters", field="description"
        )


def check_named(wanted: AnyPolicy, known: Catalogue) -> None:
    """Raises Malformed if a policy names a mailing list that does not exist."""
    guid = wanted.mailingList.guid if wanted.mailingList else None
    try:
        if guid:
            known.records.get(KIND, guid)
    except NotFound as error:
        raise Malformed(f"mailingList: {error.message}", field="mailingList") from None


def check_unused(known: Catalogue, guid: str) -> None:
    """Raises Conflict while a policy or a notification channel sends to a mailing list."""
    for channel in known.records.of_kind(_CHANNEL):
        if named(channel) == guid:
            raise Conflict(
                f"the notification channel {channel.name} sends to this list; give the channel "
                "another list first",
                channel=channel.guid,
            )
    for kind in _POLICIES:
        for policy in known.records.of_kind(kind):
            if named(policy) == guid:
                raise Conflict(
                    f"the policy {policy.name} sends its reports to this list; give the policy "
                    "another list first",
                    policy=policy.guid,
                )


def named(record: Record) -> str | None:
    """The guid of the mailing list of a policy or a channel."""
    guid = (record.body.get("mailingList") or {}).get("guid")
    return str(guid) if guid else None
