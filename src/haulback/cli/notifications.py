"""`haulback notify`: channels, rules, and the log of deliveries."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from haulback import credentials
from haulback.cli.arguments import DeliveryWord, NewName, RecordWord, Rows
from haulback.cli.connection import PasswordFile, connect
from haulback.cli.output import Output, dump, moment, named, show, text
from haulback.cli.records import noun
from haulback.client.client import Client
from haulback.client.notifications import DeliveryFilter
from haulback.contract.events import EventKind
from haulback.contract.notifications import (
    ChannelType,
    MailSecurity,
    NotificationChannel,
    NotificationRule,
)
from haulback.errors import Malformed, TaskFailed
from haulback.wire import Ref, read

app = App(name="notify")
channel = noun("channel", "channels", "type", "active", adds=False)
rule = noun("rule", "notification_rules", "active", adds=False)
channel.help = "Mail servers, webhooks and monitors."
rule.help = "The events that channels report."
app.command(channel)
app.command(rule)
_COLUMNS = (
    text("guid"),
    moment("creationTime"),
    named("channel"),
    named("state"),
    text("events"),
    text("attempts"),
    text("title"),
    text("statusInfo"),
)
Words = Annotated[list[str], Parameter(consume_multiple=True)]
Certificate = Annotated[
    Path | None, Parameter(help="File of a certificate (PEM) to trust besides the system's.")
]


@channel.command(name="mail")
def add_mail(
    name: NewName,
    *,
    host: Annotated[str, Parameter(help="Name or address of the mail server.")],
    sender: Annotated[str, Parameter(help="Address of the sender.")],
    to: Annotated[Words, Parameter(help="Addresses of the recipients.")] = [],  # noqa: B006 - read only
    port: Annotated[
        int | None, Parameter(help="Port of the mail server; the default fits --security.")
    ] = None,
    security: Annotated[
        Literal["none", "starttls", "tls"], Parameter(help="Encryption of the connection.")
    ] = "starttls",
    login: Annotated[str, Parameter(help="Login at the mail server.")] = "",
    password_file: PasswordFile = None,
    certificate: Certificate = None,
) -> None:
    """Add a mail server, and the recipients of its mails."""
    made = NotificationChannel(
        name=name,
        type=ChannelType.MAIL,
        host=host,
        port=port,
        security=MailSecurity[security.upper()],
        login=login,
        password=credentials.read(password_file, "--password-file") if password_file else None,
        sender=sender,
        recipients=to,
        certificate=certificate.read_text() if certificate else "",
    )
    print(connect().records.channels.add(made).guid)


@channel.command(name="webhook")
def add_webhook(
    name: NewName,
    *,
    url: Annotated[str, Parameter(help="URL that gets a POST for each message.")],
    secret_file: Annotated[
        Path | None,
        Parameter(help="File with the secret (whsec_...); without it a secret is made."),
    ] = None,
    certificate: Certificate = None,
) -> None:
    """Add a webhook.  A generated secret is printed once, for the receiver."""
    secret = credentials.read(secret_file, "--secret-file") if secret_file else _secret()
    made = NotificationChannel(
        name=name,
        type=ChannelType.WEBHOOK,
        url=url,
        secret=secret,
        certificate=certificate.read_text() if certificate else "",
    )
    print(connect().records.channels.add(made).guid)
    if not secret_file:
        print(f"secret: {secret}")


def _secret() -> str:
    return "whsec_" + base64.b64encode(os.urandom(32)).decode()


@channel.command(name="monitor")
def add_monitor(
    name: NewName,
    *,
    success: Annotated[str, Parameter(help="URL that is called after a good run.")] = "",
    start: Annotated[str, Parameter(help="URL that is called at the start of a run.")] = "",
    failure: Annotated[str, Parameter(help="URL that is called after a failure.")] = "",
    policy: Annotated[
        Words, Parameter(help="Policies whose runs count: names, guids or their beginnings.")
    ] = [],  # noqa: B006 - read only
) -> None:
    """Add a monitor of heartbeats; with --policy, also the rule that reports their runs to it."""
    client = connect()
    policies = [_policy(client, word) for word in policy]
    made = NotificationChannel(
        name=name, type=ChannelType.MONITOR, startUrl=start, successUrl=success, failureUrl=failure
    )
    guid = client.records.channels.add(made).guid
    print(guid)
    if policies:
        heartbeat = NotificationRule(name=name, channels=[Ref(guid)], policies=policies)
        print(client.records.notification_rules.add(heartbeat).guid)


@channel.command(name="test")
def try_channel(name: RecordWord) -> None:
    """Send a test message; ends with an error when it is not delivered."""
    client = connect()
    done = client.notifications.test(client.records.channels.find(name).guid)
    if done.state.name != "DELIVERED":
        raise TaskFailed(f"the test message was not delivered: {done.statusInfo}")
    print(done.statusInfo)


@rule.command(name="add")
def add_rule(
    name: NewName,
    *,
    channel: Annotated[
        Words, Parameter(help="Channel of the rule: name, guid or its beginning; may be repeated.")
    ],
    event: Annotated[
        Words, Parameter(help="Kind of event, such as TASK_ENDED; may be repeated.")
    ] = [],  # noqa: B006 - read only
    state: Annotated[
        Words, Parameter(help="State of a task, such as FAILED; may be repeated.")
    ] = [],  # noqa: B006 - read only
    type: Annotated[Words, Parameter(help="Type of task, such as EXPORT; may be repeated.")] = [],  # noqa: A002, B006 - read only
    policy: Annotated[
        Words,
        Parameter(help="Policy whose events count: name, guid or its beginning; may be repeated."),
    ] = [],  # noqa: B006 - read only
    to: Annotated[Words, Parameter(help="Addresses in place of the channel's recipients.")] = [],  # noqa: B006 - read only
    digest: Annotated[str, Parameter(help="Time to collect events, like 90s, 5m or 1h.")] = "",
) -> None:
    """Add a rule that reports events to channels: without --event, failures and problems."""
    client = connect()
    made = NotificationRule(
        name=name,
        channels=[Ref(client.records.channels.find(word).guid) for word in channel],
        events=read([word.upper() for word in event], list[EventKind], "event"),
        states=[word.upper() for word in state],
        taskTypes=[word.upper() for word in type],
        policies=[_policy(client, word) for word in policy],
        recipients=to,
        digest=_milliseconds(digest) if digest else None,
    )
    print(client.records.notification_rules.add(made).guid)


def _policy(client: Client, word: str) -> Ref:
    return Ref(client.records.backup_policies.find(word).guid)


def _milliseconds(word: str) -> int:
    unit = {"s": 1000, "m": 60_000, "h": 3_600_000}.get(word[-1:])
    if unit is None or not word[:-1].isdigit():
        raise Malformed(f"--digest: {word!r} is not a duration like 90s, 5m or 1h")
    return int(word[:-1]) * unit


@app.command(name="log")
def show_log(
    *,
    channel: Annotated[str, Parameter(help="Channel: name, guid or its beginning.")] = "",
    state: Annotated[Words, Parameter(help="State of a delivery, such as FAILED.")] = [],  # noqa: B006 - read only
    size: Rows = 50,
    output: Output = "table",
) -> None:
    """List the newest messages with their states."""
    client = connect()
    query: DeliveryFilter = {"size": size, "state": [word.upper() for word in state]}
    if channel:
        query["channel"] = client.records.channels.find(channel).guid
    show(client.notifications.page(**query).rows, _COLUMNS, output)


@app.command(name="show")
def show_delivery(guid: DeliveryWord) -> None:
    """Show a message with its attempts."""
    notifications = connect().notifications
    dump(notifications.get(notifications.guid(guid)))


@app.command
def redeliver(guid: DeliveryWord) -> None:
    """Deliver a message again, with the same id."""
    notifications = connect().notifications
    dump(notifications.redeliver(notifications.guid(guid)))
