"""A week of a policy: the mails, webhooks and pings that arrive are exactly the expected ones.

Two servers share the database and take turns; the clock is set from night to night, over a clock
change, a night without a server, a failure, and a destination that fills up.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from haulback.kinds.registry import KINDS
from haulback.server.caller import Node
from haulback.server.key_vault import KeyVault
from haulback.server.services import delivery, fires, host_addresses, runs
from haulback.server.services.app import App
from haulback.server.store.ledger import SqlLedger
from tests.receivers import Mailbox, WebServer, mail_server, web_server
from tests.unit.server.conftest import EXPORTED, House
from tests.unit.server.services.test_fires import HOUR, MINUTE, Site
from tests.unit.server.services.test_notifications import KEY

BERLIN = ZoneInfo("Europe/Berlin")
FIRST = datetime(2027, 3, 26, 2, 30, tzinfo=BERLIN)  # the clocks change two nights later


def at(night: int, **later: int) -> int:
    """The due time of a night in epoch ms: local 02:30, on 28 March 03:00 as 02:30 is missing."""
    local = FIRST.replace(tzinfo=None) + timedelta(days=night, **later)
    if local.date() == datetime(2027, 3, 28).date() and local.hour == 2:
        local = local.replace(hour=3, minute=0)
    return int(local.replace(tzinfo=BERLIN).timestamp() * 1000)


class Week:
    """A policy with a mail, a webhook and a monitor, and two servers that take turns."""

    def __init__(self, house: House, box: Mailbox, web: WebServer) -> None:
        house.clock.now = at(0) - 12 * HOUR
        self.house, self.box, self.web, self.site = house, box, web, Site(house)
        app = house.app
        other = App(app.store, KINDS, KeyVault(bytes(32)), clock=app.clock)
        self.servers = [app, other]
        for server in self.servers:
            server.notify_networks = host_addresses.networks(["127.0.0.0/8"])
        app.store.on_events = lambda: None  # the test itself runs the maintenance of the servers
        self._tell()
        self.site.schedule(hour=2 * HOUR + 30 * MINUTE, timeZone="Europe/Berlin")
        self.node: Node = house.node()
        self.read = (0, 0)
        self.settle()

    def _tell(self) -> None:
        add, policy = self.site.add, {"guid": self.site.policy}
        mail = {"type": "MAIL", "host": "127.0.0.1", "port": self.box.port, "security": "NONE"}
        mail |= {"sender": "h@example.org", "recipients": ["ops@example.org"]}
        hook = {"type": "WEBHOOK", "url": f"{self.web.url}/hook", "secret": KEY}
        urls = {f"{word}Url": f"{self.web.url}/{word}" for word in ("start", "success", "failure")}
        people = [add("notification-channel", name="mail", **mail)]
        people.append(add("notification-channel", name="hook", **hook))
        monitor = add("notification-channel", name="monitor", type="MONITOR", **urls)
        add("notification-rule", name="people", channels=[{"guid": guid} for guid in people])
        watched = {"channels": [{"guid": monitor}], "policies": [policy]}
        add("notification-rule", name="heartbeat", **watched)

    def tick(self, moment: int) -> None:
        """Set the clock; both servers fire due schedules, the other server first."""
        self.house.clock.now = moment
        for server in reversed(self.servers):
            fires.run_due(server)

    def work(self, *failing: str) -> None:
        """Run all queued backups; those of some machines fail."""
        for row in self.site.tasks():
            if row.state == "QUEUED":
                self._back_up(row.guid, failing)
        self.tick(self.house.clock.now + 1000)

    def _back_up(self, export: str, failing: tuple[str, ...]) -> None:
        house = self.house
        house.take(self.node, export)
        if house.row(export).refs["protectedEntity"].name in failing:
            house.fail(self.node, export)
            return
        house.finish(self.node, export, **EXPORTED)
        store = house.follower(house.row(export))
        house.take(self.node, store)
        house.finish(self.node, store, stored=5)

    def settle(self) -> None:
        """Both servers number events and send messages, until the digests have ended too."""
        for later in (0, 6 * MINUTE):
            self.house.clock.now += later
            for server in (*self.servers, *self.servers):
                server.event_hub.advance()
                delivery.run_due(server)

    def news(self) -> tuple[list[str], list[str], list[str]]:
        """Subjects of mails, types of webhooks and pings since the last call."""
        self.settle()
        mails, calls = self.read
        self.read = (len(self.box.mails), len(self.web.calls))
        fresh = self.web.calls[calls:]
        hooks = [json.loads(call.body)["type"] for call in fresh if call.path == "/hook"]
        pings = [call.path for call in fresh if call.path != "/hook"]
        return [mail["Subject"] for mail in self.box.mails[mails:]], sorted(hooks), pings

    def night(self, number: int, *failing: str) -> tuple[list[str], list[str], list[str]]:
        self.tick(at(number) + 500)
        self.work(*failing)
        return self.news()


@pytest.fixture
def week(house: House, tmp_path: Path) -> Iterator[Week]:
    with mail_server(tmp_path) as box, web_server() as web:
        yield Week(house, box, web)


GOOD = ["/start", "/success"]


def test_a_week_sends_exactly_the_expected_messages(week: Week) -> None:
    assert week.news() == ([], [], [])
    mails, hooks, pings = week.night(0)  # the first run is reported although it succeeded
    assert (len(mails), hooks, pings) == (1, ["RUN_ENDED"], GOOD)
    assert "tasks 6 finished" in mails[0]
    mails, hooks, pings = week.night(1, "db", "web")
    expected = ["RUN_ENDED", "WORKFLOW_ENDED", "WORKFLOW_ENDED"]
    assert (hooks, pings) == (expected, ["/start", "/failure"])
    assert [subject.startswith("3 events: 3 failed") for subject in mails] == [True]
    again = runs.retry(week.house.app, week.house.user, _last_run(week)["run"])
    assert len(again) == 2
    week.work()
    assert week.news() == ([], [], [])
    assert week.night(2) == ([], [], GOOD)  # 02:30 does not exist in this night
    week.tick(at(3, hours=9))  # no server ran until the window of the fire had closed
    mails, hooks, pings = week.news()
    assert (len(mails), hooks, pings) == (1, ["FIRE_MISSED"], [])
    with week.house.app.store.write() as sql:
        ledger = SqlLedger(sql, week.house.clock.now)
        ledger.destinations.space(week.house.destination.guid, 100, 4)
    full = ["bd is 96 % full: 4 B are free"]
    assert week.night(4) == (full, ["DESTINATION_FILLING"], GOOD)
    assert week.night(5) == ([], [], GOOD)
    assert week.night(6) == ([], [], GOOD)


def _last_run(week: Week) -> dict[str, str]:
    """The data of the last run that ended."""
    calls = [json.loads(call.body) for call in week.web.calls if call.path == "/hook"]
    data: dict[str, str] = next(
        call["data"]["data"] for call in reversed(calls) if call["type"] == "RUN_ENDED"
    )
    return data
