"""Delivery of messages: due messages are claimed by a lease, sent, and logged.

A server that dies while it sends a message leaves a lease that ends, after which the message is
sent again with the same id.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from haulback.contract.events import Event, EventKind, EventRecord
from haulback.contract.notifications import (
    ChannelType,
    DeliveryAttempt,
    MailSecurity,
    Message,
    NotificationChannel,
)
from haulback.errors import HaulbackError, NotFound
from haulback.inventory.delivery import WAITING, Delivery
from haulback.inventory.records import Record
from haulback.policy.delivery_times import next_attempt
from haulback.policy.notification_match import state_of
from haulback.server.caller import Caller
from haulback.server.queries import ListQuery
from haulback.server.scope import Scope
from haulback.server.services import (
    credentials,
    host_addresses,
    mail_server,
    mail_text,
    mailing_lists,
    notifications,
    web_posts,
)
from haulback.server.services.app import App
from haulback.server.services.mail_server import MailServer
from haulback.server.services.web_posts import GONE, WebRequest
from haulback.server.store import events, outbox
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.tasks.record import HOUR_MS
from haulback.units import DAY_MS, counted
from haulback.wire import dump

LEASE_MS = 600_000  # longer than an attempt can take: LONGEST_SECONDS of mails and requests
KEPT_MS = 30 * DAY_MS  # time for which ended messages stay in the log
_CHANCE = random.Random()
log = logging.getLogger(__name__)


class Result(NamedTuple):
    """The result of an attempt.

    `is_final` is true if no other attempt can succeed; `is_quiet` is true if the result causes no
    event; `delay` (ms) is the delay that the receiver requests; `is_silent` is true if the receiver
    did not answer.
    """

    is_good: bool
    text: str
    status: int | None = None
    is_final: bool = False
    delay: int = 0
    is_quiet: bool = False
    is_silent: bool = False


class _Parcel(NamedTuple):
    """All data of an attempt, read before the attempt begins."""

    delivery: Delivery
    channel: NotificationChannel
    secrets: dict[str, str]
    events: Sequence[EventRecord]
    message: Message
    recipients: list[str]
    project: str | None


def claim(app: App, busy: Sequence[str] = (), most: int = 4) -> list[Delivery]:
    """Claim due messages for LEASE_MS; only an index look-up if none is due."""
    now = app.clock.now_ms()
    with app.store.read() as sql:
        if not outbox.has_due(sql, now):
            return []
    with app.store.write() as sql:
        return outbox.claim(sql, now, now + LEASE_MS, busy, most)


def attempt(app: App, taken: Delivery) -> Delivery:
    """Send a claimed message once, and write the result."""
    begun = time.monotonic()
    try:
        result = _send(app, _packed(app, taken))
    except NotFound as error:  # the removal of a channel causes no event
        result = Result(False, error.message, is_final=True, is_quiet=True)
    except HaulbackError as error:
        result = Result(False, error.message, is_silent=True)
    except Exception:
        log.exception("delivery %s", taken.guid)
        result = Result(False, "an internal error of Haulback; the server's log has the details")
    return _settle(app, taken, result, int((time.monotonic() - begun) * 1000))


def post(sql: Connection, channel: Record, message: Message, now: int) -> Delivery:
    """Add a message without an event to the outbox, in the caller's transaction."""
    made = Delivery(
        channel=channel.guid,
        channel_name=channel.name,
        type=channel.body["type"],
        project=channel.project,
        created=now,
        due=now,
        title=message.title,
        message=msgspec.json.encode(message).decode(),
    )
    outbox.add(sql, made)
    return made


def try_channel(app: App, who: Caller, guid: str) -> Delivery:
    """Send a test message through a channel at once; the returned message has the result.

    Raises NotFound, and Forbidden if the channel belongs to all projects and the caller is
    restricted.
    """
    with app.change(who, "test notification channel", guid) as change:
        channel = SqlCatalogue(change.sql, who.scope).records.changeable(
            notifications.CHANNEL, guid
        )
        text = f"This message tests the notification channel {channel.name} of Haulback."
        message = Message(title="Haulback: test", text=text, once=True)
        made = post(change.sql, channel, message, change.now)
        made.state, made.attempts, made.due = outbox.SENDING, 1, change.now + LEASE_MS
        outbox.write(change.sql, made)
    return attempt(app, made)


def again(app: App, who: Caller, guid: str) -> Delivery:
    """Queue a message for another delivery at once.  Raises NotFound."""
    with app.change(who, "deliver again", guid) as change:
        queued = outbox.again(change.sql, guid, who.scope, change.now)
        change.after = {"channel": queued.channel_name, "title": queued.title}
    app.event_hub.next_step()
    return queued


def page(app: App, wanted: ListQuery) -> tuple[list[Delivery], int]:
    """A page of the delivery log, the newest first, and the number of all messages."""
    with app.store.read() as sql:
        return outbox.page(sql, wanted)


def delivery(app: App, guid: str, scope: Scope) -> Delivery:
    """A message of the delivery log.  Raises NotFound."""
    with app.store.read() as sql:
        return outbox.get(sql, guid, scope)


def run_due(app: App) -> int:
    """Send all due messages, one after the other; returns the number of attempts."""
    total = 0
    while claimed := claim(app):
        for taken in claimed:
            attempt(app, taken)
            total += 1
    return total


def _packed(app: App, taken: Delivery) -> _Parcel:
    """Raises NotFound for a message whose channel was removed or is inactive."""
    with app.store.read() as sql:
        known = SqlCatalogue(sql)
        record = known.records.get(notifications.CHANNEL, taken.channel)
        channel = channel_of(record)
        if not channel.active and taken.rule is not None:
            raise NotFound(f"the channel {record.name} is not active")
        told = outbox.events_of(sql, taken.guid)
        message = taken.inline() or mail_text.of_events(told, taken.count)
        recipients = message.recipients or _recipients(known, taken, record, channel)
        login = record
        if channel.credential and channel.credential.guid:
            login = known.records.get(credentials.KIND, channel.credential.guid)
            channel.login = login.body.get("username", "")
    secrets = credentials.opened(app.vault, login)
    return _Parcel(taken, channel, secrets, told, message, recipients, record.project)


def channel_of(record: Record) -> NotificationChannel:
    """A stored channel as its struct, without secrets."""
    known = NotificationChannel.__struct_fields__
    body = {name: value for name, value in record.body.items() if name in known}
    return msgspec.convert({**body, "name": record.name}, NotificationChannel)


def _recipients(
    known: SqlCatalogue, taken: Delivery, record: Record, channel: NotificationChannel
) -> list[str]:
    """The recipients of the rule, or of the channel and its list, or of the default lists."""
    if channel.type is not ChannelType.MAIL:
        return []
    rules = [rule for rule in known.records.of_kind(notifications.RULE) if rule.guid == taken.rule]
    if own := [address for rule in rules for address in rule.body.get("recipients", [])]:
        return own
    return usual_recipients(known, record)


def usual_recipients(known: SqlCatalogue, record: Record) -> list[str]:
    """The recipients of a mail channel and its list, else of the default lists."""
    channel = channel_of(record)
    lists = known.records.of_kind(mailing_lists.KIND)
    chosen = [
        item for item in lists if channel.mailingList and item.guid == channel.mailingList.guid
    ]
    if not chosen and not channel.recipients:
        shared = (None, record.project)
        chosen = [item for item in lists if item.body.get("isDefault") and item.project in shared]
    listed = [address for item in chosen for address in item.body.get("recipients", [])]
    return list(dict.fromkeys([*channel.recipients, *listed]))


def _send(app: App, parcel: _Parcel) -> Result:
    return {
        ChannelType.MAIL: _mail,
        ChannelType.WEBHOOK: _webhook,
        ChannelType.MONITOR: _monitor,
    }[parcel.channel.type](app, parcel)


def _mail(app: App, parcel: _Parcel) -> Result:
    channel, guid = parcel.channel, parcel.delivery.guid
    if not parcel.recipients:
        return Result(
            False, "the mail has no recipients: name some, or make a mailing list default"
        )
    port = channel.port or notifications.PORTS[MailSecurity(channel.security)]
    # A mail server on this machine is usual, but a channel of one project must not reach this
    # machine.
    address = (
        host_addresses.resolved(channel.host, port)
        if parcel.project is None
        else host_addresses.checked(channel.host, port, app.notify_networks)
    )
    server = MailServer(
        channel.host,
        address,
        port,
        channel.security,
        channel.login,
        parcel.secrets.get("password", ""),
        channel.certificate,
    )
    mail = mail_text.mail(parcel.message, channel.sender, parcel.recipients, guid)
    answer = mail_server.send(server, mail, parcel.recipients)
    return Result(answer.is_good, answer.text, is_final=answer.is_final, is_silent=answer.is_silent)


def _webhook(app: App, parcel: _Parcel) -> Result:
    delivery, seconds = parcel.delivery, app.clock.now_ms() // 1000
    body = dump(_payload(parcel))
    headers = web_posts.signed(parcel.secrets["secret"], delivery.guid, seconds, body)
    headers["content-type"] = "application/json"
    wanted = WebRequest(parcel.channel.url, body, headers, parcel.channel.certificate)
    return _of_web(app, wanted)


def _payload(parcel: _Parcel) -> dict[str, object]:
    """The body of a webhook: an event, a digest of several, or a message without events."""
    delivery, told = parcel.delivery, parcel.events
    if delivery.message is not None:
        data = {"title": parcel.message.title, "text": parcel.message.text, **parcel.message.data}
        return {"type": "MESSAGE", "timestamp": _iso(delivery.created), "data": data}
    if delivery.count == 1 and told:
        return {"type": told[0].kind.name, "timestamp": _iso(told[0].time), "data": told[0]}
    digest = {"count": delivery.count, "events": told}
    return {"type": "DIGEST", "timestamp": _iso(delivery.created), "data": digest}


def _iso(ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ms / 1000))


def _monitor(app: App, parcel: _Parcel) -> Result:
    """Call the URL for the start, the success or the failure of a run; a test calls all three."""
    channel = parcel.channel
    urls = {
        "start": channel.startUrl,
        "success": channel.successUrl,
        "failure": channel.failureUrl,
    }
    wanted = [_occasion(event) for event in parcel.events] or ["success"]
    chosen = [url for occasion in wanted if (url := urls[occasion])]
    result = Result(True, f"the channel has no URL for {wanted[0]}; set this URL")
    for url in chosen:
        result = _of_web(app, WebRequest(url, certificate=channel.certificate))
        if not result.is_good:
            break
    return result


def _occasion(event: EventRecord) -> str:
    if event.kind.name == EventKind.RUN_STARTED.value:
        return "start"
    return "success" if state_of(event) == "FINISHED" else "failure"


def _of_web(app: App, wanted: WebRequest) -> Result:
    answer = web_posts.send(wanted, app.notify_networks)
    is_final, is_silent = answer.status == GONE, answer.status is None
    return Result(
        answer.is_good, answer.text, answer.status, is_final, answer.delay, is_silent=is_silent
    )


def _settle(app: App, taken: Delivery, result: Result, duration: int) -> Delivery:
    """Write the result of an attempt, and the events that it causes."""
    with app.store.write() as sql:
        now, number = app.clock.now_ms(), taken.attempts
        outbox.logged(taken, _logged(result, now, duration))
        again = _again(taken, result, now)
        if result.is_good:
            taken.state, taken.finished = outbox.DELIVERED, now
        elif again is None:
            taken.state, taken.finished = outbox.FAILED, now
        else:
            taken.state, taken.due = WAITING, again
        if outbox.settle(sql, taken, number) and not (result.is_good or result.is_quiet):
            if again is not None and result.is_silent:
                # Without a pause each waiting message would occupy a sender until its time limit.
                outbox.put_off(sql, taken.channel, again)
            _complain(sql, taken, result, now)
    return taken


def _again(taken: Delivery, result: Result, now: int) -> int | None:
    """The time of the next attempt, or None."""
    inline = taken.inline()
    if result.is_final or (inline is not None and inline.once):
        return None
    return next_attempt(taken.attempts, now, _CHANCE, result.delay)


def _logged(result: Result, now: int, duration: int) -> DeliveryAttempt:
    return DeliveryAttempt(
        time=now,
        duration=duration,
        delivered=result.is_good,
        text=result.text[:500],
        status=result.status,
    )


def _complain(sql: Connection, taken: Delivery, result: Result, now: int) -> None:
    """Disable a channel whose receiver no longer exists; report a message that failed for good."""
    log.warning("notification by channel %s: %s", taken.channel_name, result.text)
    if result.status == GONE:
        notifications.disable(sql, taken.channel, result.text)
        _tell(sql, EventKind.CHANNEL_DISABLED, taken, (f"is disabled: {result.text}", now))
    elif taken.state == outbox.FAILED and taken.rule is not None:
        tries = counted(taken.attempts, "attempt")
        text = f"gave up {taken.title!r} after {tries}: {result.text}"
        # Many messages to one receiver may fail for good at once.
        once = f"DELIVERY_FAILED {taken.channel} {now // HOUR_MS}"
        _tell(sql, EventKind.DELIVERY_FAILED, taken, (text, now), once)


def _tell(
    sql: Connection,
    kind: EventKind,
    taken: Delivery,
    news: tuple[str, int],
    once: str | None = None,
) -> None:
    text, now = news
    event = Event(
        kind=kind,
        time=now,
        subject=taken.channel,
        subject_name=taken.channel_name,
        project=taken.project,
        text=f"the notification channel {taken.channel_name} {text}",
        data={"delivery": taken.guid},
        once=once,
    )
    events.add(sql, event)


def forget(app: App) -> int:
    """Delete some messages that ended more than 30 days ago; returns their number."""
    before = app.clock.now_ms() - KEPT_MS
    with app.store.read() as sql:
        if not outbox.has_old(sql, before):
            return 0
    with app.store.write() as sql:
        return outbox.forget(sql, before)
