"""Notifications from an event to its receiver: real servers on loopback, and a moved clock."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from haulback.contract.events import Event, EventKind, EventRecord
from haulback.contract.notifications import Message, NotificationChannel, NotificationRule
from haulback.errors import Conflict, Malformed, NotFound
from haulback.ids import new_guid
from haulback.inventory.delivery import Delivery
from haulback.inventory.records import Record
from haulback.policy.delivery_times import DELAYS
from haulback.server.queries import EventQuery, ListQuery
from haulback.server.scope import EVERYTHING
from haulback.server.services import (
    configuration,
    delivery,
    host_addresses,
    maintenance,
    notification_outbox,
    notifications,
)
from haulback.server.services import events as event_service
from haulback.server.services.configuration import RequestRecord
from haulback.server.services.notifications import MailRule
from haulback.server.services.record_kinds import RECORD_KINDS
from haulback.server.store import events, outbox
from haulback.server.store.catalogue import SqlCatalogue
from haulback.units import DAY_MS
from haulback.wire import request
from tests import receivers
from tests.receivers import Mailbox, WebServer, mail_server, web_server
from tests.unit.server.conftest import House

KEY = "whsec_" + base64.b64encode(b"k" * 24).decode()
DIGEST = 300_000


def add(house: House, kind: str, body: dict[str, Any]) -> Record:
    sent = msgspec.json.encode(body)
    what = RECORD_KINDS[kind]
    record = RequestRecord(what, lambda: request(sent, what.struct), sent)
    return configuration.add(house.app, house.user, record, lambda made, _: made)


def channel(house: House, **body: Any) -> str:
    return add(house, "notification-channel", {"name": new_guid(), **body}).guid


def mail_channel(house: House, box: Mailbox, security: str = "NONE", **more: Any) -> str:
    body = {"type": "MAIL", "host": "127.0.0.1", "port": box.port, "security": security}
    body |= {"sender": "haulback@example.org", "recipients": ["ops@example.org"]}
    return channel(house, **body, certificate=box.certificate, **more)


def hook(house: House, web: WebServer, path: str = "/hook", **more: Any) -> str:
    return channel(house, type="WEBHOOK", url=web.url + path, secret=KEY, **more)


def rule(house: House, *channels: str, **body: Any) -> str:
    made = {"name": new_guid(), "channels": list(channels), **body}
    return add(house, "notification-rule", made).guid


def happen(
    house: House, kind: EventKind = EventKind.NODE_DOWN, text: str = "x", **more: Any
) -> None:
    event = Event(
        kind=kind, time=house.clock.now, subject=new_guid(), subject_name="n1", text=text, **more
    )
    with house.app.store.write() as sql:
        events.add(sql, event)
    house.app.event_hub.advance()


def log(house: House, **wanted: Any) -> list[Delivery]:
    return delivery.page(house.app, ListQuery(scope=EVERYTHING, **wanted))[0]


@pytest.fixture
def web(house: House) -> Iterator[WebServer]:
    house.app.notify_networks = host_addresses.networks(["127.0.0.0/8"])
    with web_server() as made:
        yield made


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.parametrize("security", ["NONE", "STARTTLS", "TLS"])
def test_a_failed_workflow_is_a_mail_with_text_and_html(
    house: House, tmp_path: Path, security: str
) -> None:
    login = {} if security == "NONE" else {"login": receivers.LOGIN, "password": receivers.PASSWORD}
    with mail_server(tmp_path, security, login=bool(login)) as box:
        rule(house, mail_channel(house, box, security, **login))
        node, [export] = house.node(), house.export()
        house.take(node, export)
        house.fail(node, export)
        house.app.event_hub.advance()
        assert delivery.run_due(house.app) == 0, "the digest collects"
        house.clock.now += DIGEST
        assert delivery.run_due(house.app) == 1
        [mail] = box.mails
        text, html = (mail.get_body((kind,)) for kind in ("plain", "html"))
    assert mail["Subject"] == "BACKUP of db: FAILED: it broke"
    assert (mail["To"], mail["From"]) == ("ops@example.org", "Haulback <haulback@example.org>")
    assert text is not None
    assert html is not None
    assert "it broke" in text.get_content()
    assert "<td" in html.get_content()
    assert box.secure == [security != "NONE"]
    [done] = log(house)
    assert (done.state, done.attempts, done.count) == ("DELIVERED", 1, 1)


def test_500_failures_are_one_mail(house: House, tmp_path: Path) -> None:
    with mail_server(tmp_path) as box:
        rule(house, mail_channel(house, box))
        for _ in range(5):
            with house.app.store.write() as sql:
                events.add_many(sql, [failure(house, f"m{nth}") for nth in range(100)])
            house.app.event_hub.advance()
            house.clock.now += 1000
        house.clock.now += DIGEST
        delivery.run_due(house.app)
        [mail] = box.mails
        body = mail.get_body(("plain",))
    assert body is not None
    assert mail["Subject"].startswith("500 events: 200 failed")
    assert "... and 300 more" in body.get_content()
    assert "m99" in body.get_content()
    happen(house)
    assert [item.count for item in log(house)] == [1, 500]


def failure(house: House, name: str) -> Event:
    data = {"state": "FAILED", "type": "EXPORT", "workflow": new_guid()}
    return Event(
        kind=EventKind.WORKFLOW_ENDED,
        time=house.clock.now,
        subject=new_guid(),
        subject_name=name,
        text=f"BACKUP of {name}: FAILED",
        data=data,
    )


def test_a_webhook_is_signed_as_standard_webhooks_say(house: House, web: WebServer) -> None:
    rule(house, hook(house, web))
    house.clock.now = time.time_ns() // 1_000_000
    happen(house, text="n1 is silent")
    delivery.run_due(house.app)
    [call] = web.calls
    told = Webhook(KEY).verify(call.body, call.headers)
    assert (told["type"], told["data"]["text"]) == ("NODE_DOWN", "n1 is silent")
    assert call.headers["webhook-id"] == log(house)[0].guid
    assert call.headers["host"] == web.host
    with pytest.raises(WebhookVerificationError):
        Webhook(KEY).verify(call.body + b" ", call.headers)


def test_a_receiver_that_is_down_gets_the_message_later_with_the_same_id(
    house: House, web: WebServer
) -> None:
    web.answers = [(500, {}), (503, {"retry-after": "600"}), (204, {})]
    rule(house, hook(house, web))
    happen(house)
    assert delivery.run_due(house.app) == 1
    assert delivery.run_due(house.app) == 0
    house.clock.now += 6000
    delivery.run_due(house.app)
    house.clock.now += 599_000
    assert delivery.run_due(house.app) == 0, "the receiver asked for ten minutes"
    house.clock.now += 1000
    delivery.run_due(house.app)
    [done] = log(house)
    assert [attempt.status for attempt in done.tried] == [500, 503, 204]
    assert (done.state, len({call.headers["webhook-id"] for call in web.calls})) == ("DELIVERED", 1)


def test_attempts_go_on_for_three_days_and_their_end_is_an_event(
    house: House, web: WebServer
) -> None:
    web.answers = [(500, {})] * 50
    start, guid = house.clock.now, hook(house, web)
    rule(house, guid)
    happen(house)
    while log(house)[0].finished is None:
        house.clock.now = max(house.clock.now, log(house)[0].due)
        delivery.run_due(house.app)
    [done] = log(house)
    assert (done.state, done.attempts) == ("FAILED", len(DELAYS) + 1)
    assert 2.8 * DAY_MS < house.clock.now - start < 3.6 * DAY_MS
    house.app.event_hub.advance()
    assert log(house)[0].guid == done.guid, "the channel itself is not told"
    kinds = [event.kind.name for event in listed(house)]
    assert kinds == ["NODE_DOWN", "DELIVERY_FAILED"]


def listed(house: House) -> list[EventRecord]:
    return event_service.page(house.app, EventQuery(after=0))


def test_a_receiver_that_is_gone_disables_its_channel(house: House, web: WebServer) -> None:
    web.answers = [(410, {})]
    gone, other = hook(house, web, "/gone"), hook(house, web, "/other")
    rule(house, gone)
    happen(house)
    delivery.run_due(house.app)
    rule(house, gone, other, events=["CHANNEL_DISABLED"])
    house.app.event_hub.advance()
    happen(house)
    delivery.run_due(house.app)
    assert web.paths() == ["/gone", "/other"]
    with house.app.store.read() as sql:
        body = SqlCatalogue(sql).records.get("notification-channel", gone).body
    assert (body["active"], "410" in body["disabledReason"]) == (False, True)


def test_a_message_that_was_given_up_can_be_delivered_again(house: House, web: WebServer) -> None:
    web.answers = [(410, {})]
    guid = hook(house, web)
    with house.app.store.write() as sql:
        record = SqlCatalogue(sql).records.get("notification-channel", guid)
        delivery.post(sql, record, Message(title="t", text="x"), house.clock.now)
    delivery.run_due(house.app)
    [failed] = log(house)
    assert failed.state == "FAILED"
    delivery.again(house.app, house.user, failed.guid)
    delivery.run_due(house.app)
    assert [log(house)[0].state, len(log(house)[0].tried)] == ["DELIVERED", 2]
    assert len({call.headers["webhook-id"] for call in web.calls}) == 1


def test_two_servers_send_a_message_once_and_a_dead_servers_message_is_sent_again(
    house: House, web: WebServer
) -> None:
    rule(house, hook(house, web))
    happen(house)
    [taken] = delivery.claim(house.app)
    assert delivery.claim(house.app) == []
    house.clock.now += delivery.LEASE_MS
    [second] = delivery.claim(house.app)
    assert (second.guid, second.attempts) == (taken.guid, 2)
    delivery.attempt(house.app, second)
    delivery.attempt(house.app, taken)  # the first server returns: its result no longer counts
    assert (log(house)[0].state, log(house)[0].attempts) == ("DELIVERED", 2)


def test_a_channel_sends_one_message_at_a_time(house: House, web: WebServer) -> None:
    first, second = hook(house, web, "/1"), hook(house, web, "/2")
    rule(house, first, second)
    happen(house)
    house.clock.now += 1
    happen(house)
    taken = delivery.claim(house.app)
    assert sorted(item.channel for item in taken) == sorted([first, second])
    assert delivery.claim(house.app, [first, second]) == []
    assert len(delivery.claim(house.app, [first])) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/x",
        "http://localhost:9/",
        "http://[::1]:9/",
        "http://169.254.169.254/latest",
        "http://[::ffff:127.0.0.1]:9/",
        "http://0.0.0.0:9/",
    ],
)
def test_a_webhook_cannot_reach_the_servers_own_machine(house: House, url: str) -> None:
    made = channel(house, type="WEBHOOK", url=url, secret=KEY)
    done = delivery.try_channel(house.app, house.user, made)
    assert done.state == "FAILED"
    assert "--notify-network" in (done.status_info or "")


def test_a_redirect_is_not_followed(house: House, web: WebServer) -> None:
    web.answers = [(302, {"location": f"{web.url}/elsewhere"})]
    done = delivery.try_channel(house.app, house.user, hook(house, web))
    assert (done.state, web.paths()) == ("FAILED", ["/hook"])
    assert "redirects are not followed" in (done.status_info or "")


def test_the_test_button_tells_why_a_channel_does_not_work(house: House, tmp_path: Path) -> None:
    with mail_server(tmp_path, "STARTTLS", login=True) as box:
        login = {"login": receivers.LOGIN, "password": "wrong"}
        wrong = delivery.try_channel(
            house.app, house.user, mail_channel(house, box, "STARTTLS", **login)
        )
        right = {**login, "password": receivers.PASSWORD}
        good = mail_channel(house, box, "STARTTLS", **right)
        done = delivery.try_channel(house.app, house.user, good)
        assert [mail["Subject"] for mail in box.mails] == ["Haulback: test"]
        plain = mail_channel(house, box, "NONE")
        untold = delivery.try_channel(house.app, house.user, plain)
    assert (wrong.state, done.state, untold.state) == ("FAILED", "DELIVERED", "FAILED")
    assert "refuses the login" in (wrong.status_info or "")
    away = delivery.try_channel(house.app, house.user, good)
    assert "cannot be reached" in (away.status_info or "")
    assert away.finished is not None, "a test is not repeated"


@pytest.mark.parametrize(
    ("offered", "wanted", "remedy"),
    [
        ("NONE", "STARTTLS", "offers no STARTTLS: set `security` to TLS or NONE"),
        ("NONE", "TLS", "does not speak TLS from the start: set `security` to STARTTLS or NONE"),
    ],
)
def test_a_mail_server_without_the_security_of_its_channel_is_told_with_the_remedy(
    house: House, tmp_path: Path, offered: str, wanted: str, remedy: str
) -> None:
    with mail_server(tmp_path, offered) as box:
        done = delivery.try_channel(house.app, house.user, mail_channel(house, box, wanted))
    assert remedy in (done.status_info or "")


def test_a_server_of_another_port_is_told_with_the_port(house: House, tmp_path: Path) -> None:
    with mail_server(tmp_path) as box:
        made = mail_channel(house, box)
    told = delivery.try_channel(house.app, house.user, made).status_info or ""
    assert f":{box.port} cannot be reached: Connection refused; check `host`, `port`" in told


def test_a_webhook_without_tls_or_without_its_page_is_told_by_its_url(
    house: House, web: WebServer
) -> None:
    secure = channel(
        house, type="WEBHOOK", url=web.url.replace("http:", "https:") + "/hook", secret=KEY
    )
    done = delivery.try_channel(house.app, house.user, secure)
    assert "does not speak TLS: write http:// in the URL" in (done.status_info or "")
    web.answers = [(404, {}), (410, {})]
    told = [
        delivery.try_channel(house.app, house.user, hook(house, web)).status_info or ""
        for _ in range(2)
    ]
    assert told[0].endswith("404; check the URL")
    assert told[1].endswith("so the channel is disabled until `active` is true")


def test_a_recipient_that_is_refused_does_not_stop_the_others(house: House, tmp_path: Path) -> None:
    with mail_server(tmp_path) as box:
        box.refused = {"ops@example.org"}
        rule(house, mail_channel(house, box), recipients=["ops@example.org", "b@example.org"])
        rule(house, mail_channel(house, box), digest=0)
        happen(house)
        house.clock.now += DIGEST
        delivery.run_due(house.app)
    assert box.recipients == [["b@example.org"]]
    by_count = {item.state: item.status_info or "" for item in log(house)}
    assert "not to ops@example.org (550" in by_count["DELIVERED"]
    assert "accepted no recipient" in by_count["FAILED"]


def test_a_mail_goes_to_the_mailing_list_of_its_channel(house: House, tmp_path: Path) -> None:
    listed = add(house, "mailing-list", {"name": "l", "recipients": ["l@example.org"]})
    usual = {"name": "d", "recipients": ["d@example.org"], "isDefault": True}
    add(house, "mailing-list", usual)
    with mail_server(tmp_path) as box:
        mailing = {"mailingList": {"guid": listed.guid}}
        delivery.try_channel(house.app, house.user, mail_channel(house, box, **mailing))
        body = {"type": "MAIL", "host": "127.0.0.1", "port": box.port, "security": "NONE"}
        bare = channel(house, **body, sender="h@example.org")
        delivery.try_channel(house.app, house.user, bare)
    assert box.recipients == [["ops@example.org", "l@example.org"], ["d@example.org"]]


def test_a_monitor_hears_of_start_success_and_failure_of_a_policys_runs(
    house: House, web: WebServer
) -> None:
    policy = add(house, "vm-backup", {"name": "gold"}).guid
    urls = {f"{name}Url": f"{web.url}/{name}" for name in ("start", "success", "failure")}
    rule(house, channel(house, type="MONITOR", **urls), policies=[policy])
    happen(house, EventKind.RUN_STARTED, policy=policy)
    happen(house, EventKind.RUN_ENDED, policy=policy, data={"states": {"FINISHED": 2}})
    happen(house, EventKind.RUN_ENDED, policy=policy, data={"states": {"FINISHED": 2, "FAILED": 1}})
    happen(house, EventKind.RUN_ENDED, policy=new_guid(), data={"states": {"FINISHED": 2}})
    happen(house, EventKind.NODE_DOWN)
    for _ in range(3):
        delivery.run_due(house.app)
    assert web.paths() == ["/start", "/success", "/failure"]
    assert {call.method for call in web.calls} == {"GET"}


def test_the_outbox_is_written_with_the_numbers_of_its_events(house: House, web: WebServer) -> None:
    rule(house, hook(house, web))
    with house.app.store.write() as sql:
        event = Event(
            kind=EventKind.NODE_DOWN, time=1, subject=new_guid(), subject_name="n", text="x"
        )
        events.add(sql, event)
    with suppress(RuntimeError), house.app.store.write() as sql:
        notification_outbox.enqueue(sql, events.number_some(sql), 1)
        raise RuntimeError  # a server dies before the commit
    assert log(house) == []
    house.app.event_hub.advance()
    house.app.event_hub.advance()
    assert len(log(house)) == 1


def test_secrets_of_a_channel_are_never_shown_and_stay_when_it_is_changed(
    house: House, web: WebServer
) -> None:
    guid = hook(house, web)
    with house.app.store.read() as sql:
        before = SqlCatalogue(sql).records.get("notification-channel", guid)
    assert KEY not in json.dumps(before.body)
    sent = msgspec.json.encode(
        {"name": "other", "type": "WEBHOOK", "url": f"{web.url}/new", "active": True}
    )
    kind = RECORD_KINDS["notification-channel"]
    record = RequestRecord(kind, lambda: request(sent, kind.struct), sent)
    configuration.change(house.app, house.user, guid, record, lambda made, _: made)
    assert delivery.try_channel(house.app, house.user, guid).state == "DELIVERED"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"type": "MAIL"}, "host"),
        ({"type": "MAIL", "host": "a b"}, "host"),
        ({"type": "MAIL", "host": "m", "sender": "no address"}, "sender"),
        ({"type": "MAIL", "host": "m", "sender": "a@b.example", "port": 70000}, "port"),
        ({"type": "MAIL", "host": "m", "sender": "a@b.example", "login": "x"}, "password"),
        (
            {"type": "MAIL", "host": "m", "sender": "a@b.example", "recipients": ["a@b\r\nBcc: c"]},
            "recipients[0]",
        ),
        ({"type": "WEBHOOK", "url": "ftp://x", "secret": KEY}, "url"),
        ({"type": "WEBHOOK", "url": "https://u:p@x.example/", "secret": KEY}, "url"),
        ({"type": "WEBHOOK", "url": "https://x.example/a b", "secret": KEY}, "url"),
        ({"type": "WEBHOOK", "url": "https://x.example/"}, "secret"),
        ({"type": "WEBHOOK", "url": "https://x.example/", "secret": "short"}, "secret"),
        ({"type": "MONITOR"}, "successUrl"),
        ({"type": "MONITOR", "startUrl": "x"}, "startUrl"),
        ({"type": "PIGEON"}, "type"),
        ({"type": "MONITOR", "startUrl": "https://x.example", "certificate": "x"}, "certificate"),
    ],
)
def test_a_channel_that_cannot_work_is_refused(
    house: House, body: dict[str, Any], field: str
) -> None:
    with pytest.raises(Malformed) as caught:
        channel(house, **body)
    assert caught.value.details["field"] == field


def test_a_rule_names_channels_and_policies_that_exist(house: House, web: WebServer) -> None:
    made = hook(house, web)
    for body, kind in (
        ({"channels": []}, Malformed),
        ({"channels": [new_guid()]}, NotFound),
        ({"channels": [made], "policies": [new_guid()]}, Malformed),
        ({"channels": [made], "taskTypes": ["X"]}, Malformed),
        ({"channels": [made], "states": ["X"]}, Malformed),
        ({"channels": [made], "events": ["X"]}, Malformed),
        ({"channels": [made], "digest": -1}, Malformed),
        ({"channels": [made], "recipients": ["x"]}, Malformed),
    ):
        with pytest.raises(kind):
            add(house, "notification-rule", {"name": "r", **body})
    rule(house, made)
    kind_of_channel = RECORD_KINDS["notification-channel"]
    house.refuses(Conflict, configuration.remove, house.app, house.user, kind_of_channel, made)


def test_mail_for_a_policy_is_one_call_within_a_transaction(house: House, tmp_path: Path) -> None:
    policy = add(house, "vm-backup", {"name": "gold"}).guid
    wanted = MailRule("gold", ["ops@example.org"], policy)
    with house.app.store.write() as sql:
        made = notifications.add_mail(sql, house.clock.now, wanted)
    assert (made.is_new_channel, made.channel.body["host"]) == (True, "localhost")
    with house.app.store.write() as sql:
        again = notifications.add_mail(sql, house.clock.now, wanted._replace(name="gold 2"))
        with pytest.raises(Malformed):
            notifications.add_mail(sql, house.clock.now, wanted._replace(recipients=["a\nb"]))
    assert (again.is_new_channel, again.channel.guid) == (False, made.channel.guid)
    body = made.rule.body
    assert msgspec.convert({**body, "name": "gold"}, NotificationRule).recipients == [
        "ops@example.org"
    ]
    assert msgspec.convert({**made.channel.body, "name": "m"}, NotificationChannel).active
    happen(house, EventKind.FIRE_MISSED, policy=policy)
    assert sorted(str(item.rule_name) for item in log(house)) == ["gold", "gold 2"]


def test_a_digest_keeps_its_length_when_the_clock_is_set_back(house: House, tmp_path: Path) -> None:
    with mail_server(tmp_path) as box:
        rule(house, mail_channel(house, box))
        happen(house)
        house.clock.drift = -DAY_MS
        maintenance.follow_the_clock(house.app)
        house.clock.now += DIGEST
        assert delivery.run_due(house.app) == 1


def test_messages_of_a_channel_that_was_removed_or_disabled_end_in_silence(
    house: House, web: WebServer
) -> None:
    web.answers = [(410, {})]
    rule(house, hook(house, web))
    for _ in range(3):
        happen(house)
    delivery.run_due(house.app)
    assert sorted(item.state for item in log(house)) == ["FAILED"] * 3
    kinds = [event.kind.name for event in listed(house)]
    assert kinds == ["NODE_DOWN"] * 3 + ["CHANNEL_DISABLED"]


def test_old_messages_are_deleted(house: House, web: WebServer) -> None:
    delivery.try_channel(house.app, house.user, hook(house, web))
    assert delivery.forget(house.app) == 0
    house.clock.now += 31 * DAY_MS
    assert (delivery.forget(house.app), log(house)) == (1, [])
    assert outbox.MOST_EVENTS == 200
