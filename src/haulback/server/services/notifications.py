"""Notification channels and rules: their checks, and a rule with its mail server in one step."""

from __future__ import annotations

import base64
import binascii
import ssl
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

import msgspec

from haulback.contract.notifications import (
    CHANNEL_SECRETS,
    ChannelType,
    MailSecurity,
    NotificationChannel,
    NotificationRule,
)
from haulback.errors import Conflict, Malformed, NotFound
from haulback.ids import new_guid
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import Record
from haulback.kinds.registry import KINDS
from haulback.server.services import credentials, mailing_lists
from haulback.server.store import configuration
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.tasks.record import CONTRACT_TYPES
from haulback.texts import check_address
from haulback.units import DAY_MS
from haulback.wire import JsonObject, Ref

CHANNEL, RULE = "notification-channel", "notification-rule"
PORTS = {MailSecurity.NONE: 25, MailSecurity.STARTTLS: 587, MailSecurity.TLS: 465}
_STATES = frozenset(
    ("FINISHED", "FINISHED_WITH_WARNINGS", "PARTIALLY_FINISHED", "FAILED", "CANCELLED")
)
_POLICIES = ("vm-backup", "vm-snapshot", "recovery-plan")
_SCHEMES = ("http", "https")
_LONGEST_URL, _LONGEST_HOST, _LONGEST_LOGIN = 2000, 253, 200
_MOST_RECIPIENTS, _MOST_CHANNELS = 500, 50
_SHORTEST_KEY, _LONGEST_KEY = 24, 64  # bytes


def check_channel(wanted: NotificationChannel, known: Catalogue) -> None:
    """Raises Malformed for a channel that could reach no receiver."""
    {
        ChannelType.MAIL: _check_mail,
        ChannelType.WEBHOOK: _check_webhook,
        ChannelType.MONITOR: _check_monitor,
    }[wanted.type](wanted)
    guid = wanted.mailingList.guid if wanted.mailingList else None
    if guid and all(record.guid != guid for record in known.records.of_kind(mailing_lists.KIND)):
        raise Malformed(f"mailingList: there is no mailing list {guid}", field="mailingList")
    for name in wanted.remove:
        if name not in CHANNEL_SECRETS:
            raise Malformed(
                f"remove: {name[:40]!r} is not one of {', '.join(CHANNEL_SECRETS)}", field="remove"
            )
    if wanted.certificate:
        _check_certificate(wanted.certificate)
    if wanted.credential and wanted.credential.guid:
        _check_credential(wanted, wanted.credential.guid, known)


def _check_credential(wanted: NotificationChannel, guid: str, known: Catalogue) -> None:
    try:
        # The channel sends login and password to a host of the caller's choice, so that a
        # credential of all projects is only for callers of all projects.
        known.records.changeable(credentials.KIND, guid)
    except NotFound:
        raise Malformed(f"credential: there is no credential {guid}", field="credential") from None
    if wanted.type is not ChannelType.MAIL or wanted.login:
        raise Malformed(
            "credential: belongs to a MAIL channel; leave the member out", field="credential"
        )
    if wanted.security is MailSecurity.NONE:
        raise Malformed("security: a login needs STARTTLS or TLS", field="security")


def _check_mail(wanted: NotificationChannel) -> None:
    host = wanted.host
    if not host or len(host) > _LONGEST_HOST or not host.isascii() or not _is_host(host):
        raise Malformed("host: name the mail server, like mail.example.org", field="host")
    if wanted.port is not None and not 1 <= wanted.port <= 65_535:
        raise Malformed("port: send a number from 1 to 65535", field="port")
    wanted.sender = check_address(wanted.sender, "sender")
    wanted.recipients = checked_recipients(wanted.recipients)
    if len(wanted.login) > _LONGEST_LOGIN or (wanted.login and not wanted.login.isprintable()):
        raise Malformed(f"login: send at most {_LONGEST_LOGIN} printable characters", field="login")
    if wanted.password is not None and not wanted.password.isprintable():
        raise Malformed("password: send printable characters only", field="password")
    if wanted.login and wanted.security is MailSecurity.NONE:
        raise Malformed("security: a login needs STARTTLS or TLS", field="security")


def _is_host(host: str) -> bool:
    return all(letter.isalnum() or letter in "-._:" for letter in host)


def checked_recipients(recipients: list[str]) -> list[str]:
    """Mail addresses without spaces around them, each once.  Raises Malformed."""
    if len(recipients) > _MOST_RECIPIENTS:
        raise Malformed(
            f"recipients: send at most {_MOST_RECIPIENTS} mail addresses", field="recipients"
        )
    checked = [check_address(text, f"recipients[{at}]") for at, text in enumerate(recipients)]
    return list(dict.fromkeys(checked))


def _check_webhook(wanted: NotificationChannel) -> None:
    checked_url(wanted.url, "url")
    if wanted.secret:
        webhook_key(wanted.secret)


def _check_monitor(wanted: NotificationChannel) -> None:
    urls = {name: getattr(wanted, name) for name in ("startUrl", "successUrl", "failureUrl")}
    if not any(urls.values()):
        raise Malformed("successUrl: name a URL of the monitor", field="successUrl")
    for name, url in urls.items():
        if url:
            checked_url(url, name)


def checked_url(url: str, field: str) -> SplitResult:
    """The parts of an http or https URL.  Raises Malformed."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or len(url) > _LONGEST_URL or not url.isascii() or not url.isprintable():
        raise Malformed(
            f"{field}: write a URL like https://hooks.example.org/haulback", field=field
        )
    if " " in url or parts.username is not None or parts.password is not None:
        raise Malformed(f"{field}: send a URL without spaces, login and password", field=field)
    return parts


def webhook_key(secret: str) -> bytes:
    """The key in the secret of a webhook, in the format of Standard Webhooks.  Raises Malformed."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not _SHORTEST_KEY <= len(key) <= _LONGEST_KEY:
        raise Malformed(
            f"secret: send whsec_ and {_SHORTEST_KEY} to {_LONGEST_KEY} bytes in base64",
            field="secret",
        )
    return key


def _check_certificate(text: str) -> None:
    try:
        ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError, TypeError):
        raise Malformed(
            "certificate: send a certificate as PEM text", field="certificate"
        ) from None


def check_stored(record: Record) -> None:
    """Check a channel with its stored secrets.  Raises Malformed."""
    secrets = record.body.get("secrets", [])
    if record.body["type"] == ChannelType.WEBHOOK.value and "secret" not in secrets:
        raise Malformed("secret: name the secret that signs the messages", field="secret")
    if record.body.get("login") and "password" not in secrets:
        raise Malformed("password: name the password of the login", field="password")


def check_rule(wanted: NotificationRule, known: Catalogue) -> None:
    """Raises Malformed or NotFound for a rule without channels or events."""
    if not 1 <= len(wanted.channels) <= _MOST_CHANNELS:
        raise Malformed(f"channels: send 1 to {_MOST_CHANNELS} channels", field="channels")
    for ref in wanted.channels:
        known.records.get(CHANNEL, ref.guid)
    _check_words(wanted.taskTypes, CONTRACT_TYPES | KINDS.keys(), "taskTypes")
    _check_words(wanted.states, _STATES, "states")
    for ref in wanted.policies:
        if not any(_exists(known, kind, ref.guid) for kind in _POLICIES):
            raise Malformed(f"policies: there is no policy {ref.guid}", field="policies")
    wanted.recipients = checked_recipients(wanted.recipients)
    if wanted.digest is not None and not 0 <= wanted.digest <= DAY_MS:
        raise Malformed("digest: send ms, at most a day", field="digest")


def _exists(known: Catalogue, kind: str, guid: str) -> bool:
    try:
        known.records.get(kind, guid)
    except NotFound:
        return False
    return True


def _check_words(words: list[str], allowed: frozenset[str], field: str) -> None:
    for word in words:
        if word not in allowed:
            known = ", ".join(sorted(allowed))
            raise Malformed(f"{field}: {word[:40]!r} is not one of {known}", field=field)


def check_unused(known: Catalogue, guid: str) -> None:
    """Raises Conflict while a rule uses a channel."""
    for rule in known.records.of_kind(RULE):
        if guid in {ref["guid"] for ref in rule.body.get("channels", ())}:
            raise Conflict(
                f"the notification rule {rule.name} uses this channel; change the rule first",
                rule=rule.guid,
            )


class MailRule(NamedTuple):
    """A rule to add: its name, its recipients, and the policy that it is limited to, if any."""

    name: str
    recipients: list[str]
    policy: str | None = None
    project: str | None = None


class AddedMail(NamedTuple):
    """The rule, its channel, and whether the channel for a mail server on this machine is new."""

    rule: Record
    channel: Record
    is_new_channel: bool


def add_mail(sql: Connection, now: int, wanted: MailRule) -> AddedMail:
    """Add a rule that mails failures and problems, within a transaction of the caller.

    The oldest active MAIL channel names the mail server; without such a channel, a channel for the
    mail server of this machine is added (localhost, port 25).  Raises Malformed, Conflict.
    """
    recipients = checked_recipients(wanted.recipients)
    if not recipients:
        raise Malformed("recipients: name at least one mail address", field="recipients")
    channel = mail_channel(sql, wanted.project)
    is_new = channel is None
    if channel is None:
        channel = _local_mail(now, recipients[0], wanted.project)
        configuration.add(sql, channel)
    rule = NotificationRule(
        name=wanted.name,
        channels=[Ref(channel.guid)],
        policies=[Ref(wanted.policy)] if wanted.policy else [],
        recipients=recipients,
    )
    check_rule(rule, SqlCatalogue(sql))
    record = _record(RULE, rule.name, msgspec.to_builtins(rule), now)
    record.project = wanted.project
    configuration.add(sql, record)
    return AddedMail(record, channel, is_new)


def mail_channel(sql: Connection, project: str | None) -> Record | None:
    """The oldest active MAIL channel of a project, or of all projects."""
    channels = [
        record
        for record in SqlCatalogue(sql).records.of_kind(CHANNEL)
        if record.body.get("type") == ChannelType.MAIL.value
        and record.body.get("active", True)
        and record.project in (None, project)
    ]
    channels.sort(key=lambda record: (record.project is None, record.created, record.guid))
    return channels[0] if channels else None


def _local_mail(now: int, recipient: str, project: str | None) -> Record:
    """A channel for the mail server of this machine."""
    channel = NotificationChannel(
        name="mail",
        type=ChannelType.MAIL,
        host="localhost",
        security=MailSecurity.NONE,
        sender=f"haulback@{recipient.rpartition('@')[2]}",
    )
    made = _record(CHANNEL, channel.name, msgspec.to_builtins(channel), now)
    made.project = project
    return made


def _record(kind: str, name: str, body: JsonObject, now: int) -> Record:
    plain = {k: v for k, v in body.items() if k not in ("name", "project") and v is not None}
    made = Record(guid=new_guid(), kind=kind, name=name, parent="", project=None, body=plain)
    made.created = made.modified = now
    return made


def disable(sql: Connection, guid: str, reason: str) -> Record | None:
    """Deactivate a channel whose receiver no longer exists; None if the channel was removed."""
    for record in SqlCatalogue(sql).records.of_kind(CHANNEL):
        if record.guid == guid:
            record.body |= {"active": False, "disabledReason": reason}
            configuration.change(sql, record)
            return record
    return None
