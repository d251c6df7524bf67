"""Requests and answers of /notification-channels, /notification-rules and /deliveries."""

from __future__ import annotations

from enum import Enum
from typing import Final
from urllib.parse import urlsplit

import msgspec

from haulback.contract.events import EventKind
from haulback.contract.records import PolicyRecord
from haulback.wire import Choice, JsonObject, Label, Named, Ref

CHANNEL_SECRETS: Final = ("password", "secret")


class ChannelType(Enum):
    """Types of notification channels."""

    MAIL = "MAIL"
    WEBHOOK = "WEBHOOK"
    MONITOR = "MONITOR"


class MailSecurity(Enum):
    """Encryption of a connection to a mail server: none, by STARTTLS, or TLS from the start."""

    NONE = "NONE"
    STARTTLS = "STARTTLS"
    TLS = "TLS"


class NotificationChannel(PolicyRecord, kw_only=True):
    """A way to notify people or programs: a mail server, a webhook, or a monitor of heartbeats.

    MAIL uses `host`, `port` (by default the usual port for `security`), `login`, `password`,
    `sender`, and sends to `recipients` and `mailingList`, or, without both, to the default mailing
    lists.  WEBHOOK posts to `url`, signed with `secret` (`whsec_` and 24 to 64 bytes in base64).
    MONITOR calls `startUrl`, `successUrl` and `failureUrl`.  `password` and `secret` are
    write-only; an absent secret keeps the stored secret, `remove` deletes it.  `credential` names a
    stored credential in place of `login` and `password`.  `certificate` (PEM) is trusted besides
    the system's certificates.  Only administrators see whole URLs.
    """

    type: ChannelType
    active: bool = True
    host: str = ""
    port: int | None = None
    security: MailSecurity = MailSecurity.STARTTLS
    login: str = ""
    password: str | None = None
    credential: Choice | None = None
    sender: str = ""
    recipients: list[str] = []
    mailingList: Choice | None = None
    url: str = ""
    secret: str | None = None
    startUrl: str = ""
    successUrl: str = ""
    failureUrl: str = ""
    certificate: str = ""
    remove: list[str] = []


ADDRESSES = ("url", "startUrl", "successUrl", "failureUrl")  # members of a channel


def cut_address(url: str) -> str:
    """A URL without its path and query, which often contain a secret token."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}/…"


class NotificationRule(PolicyRecord, kw_only=True):
    """A rule that selects events, and the channels that report them.

    Without `events` the rule selects failures and other problems.  `taskTypes` and `states`
    restrict the events about ends of tasks, workflows and runs; `policies` and `projects` restrict
    all events.  Mails of the rule go to `recipients`, or else to the recipients of the channel.
    Events within `digest` ms after the first event are sent as one message; the default is 5
    minutes for mail and 0 for webhooks.
    """

    channels: list[Ref]
    active: bool = True
    events: list[EventKind] = []
    taskTypes: list[str] = []
    states: list[str] = []
    policies: list[Ref] = []
    projects: list[str] = []
    recipients: list[str] = []
    digest: int | None = None


class DeliveryAttempt(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An attempt to deliver a message: `time` in epoch ms, `duration` in ms, `status` is the HTTP
    status.
    """

    time: int
    duration: int
    delivered: bool
    text: str
    status: int | None = None


class DeliveryRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A message of the delivery log.  Times in epoch ms.

    States: COLLECTING (a digest), WAITING (until `nextAttempt`), SENDING, DELIVERED, FAILED.
    `events` counts the events of the message.
    """

    guid: str
    channel: Named
    type: Label
    state: Label
    creationTime: int
    events: int
    title: str
    attempts: int
    rule: Named | None = None
    nextAttempt: int | None = None
    finishTime: int | None = None
    statusInfo: str | None = None
    log: list[DeliveryAttempt] = []
    project: str | None = None


class MailAttachment(msgspec.Struct, kw_only=True):
    """A file of a mail: `data` in base64."""

    name: str
    type: str
    data: str


class Message(msgspec.Struct, kw_only=True):
    """A message that reports no event, such as a report or a test.

    `recipients` of a mail; empty: the recipients of the channel.  With `once` a failed attempt is
    not repeated.
    """

    title: str
    text: str
    html: str = ""
    recipients: list[str] = []
    attachments: list[MailAttachment] = []
    data: JsonObject = {}
    once: bool = False
