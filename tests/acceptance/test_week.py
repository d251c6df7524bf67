"""A week of nights in a minute: a failure, a missed night, a clock change, a full disk.

Two servers, a node and images are real, and so are the receivers of mails, webhooks and pings; the
test moves only the clock of the servers.  All received messages are compared with the complete list
of expected messages.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import shutil
import subprocess
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests import databases
from tests.acceptance.frozen_site import FrozenClock, FrozenSite
from tests.images import raw_machine
from tests.receivers import Call, Mailbox, WebServer, mail_server, web_server

BERLIN = ZoneInfo("Europe/Berlin")
MINUTE = 60_000
KEY = "whsec_" + base64.b64encode(b"k" * 24).decode()
NEEDS = pytest.mark.skipif(os.geteuid() != 0, reason="a small file system is mounted by root only")


def at(text: str) -> int:
    """Epoch ms of a local time in Berlin."""
    return int(datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp() * 1000)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB for the repository."""
    folder = tmp_path / "repository"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(folder)], check=False
    )
    if mounted.returncode:
        pytest.skip("this machine mounts no file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def site(
    small_disk: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[FrozenSite]:
    database = databases.new_database(request.getfixturevalue("cluster"), uuid.uuid4().hex)
    clock = FrozenClock(at("2027-03-21T12:00"), tmp_path / "clock", monkeypatch)
    made = FrozenSite(tmp_path, clock, database)
    try:
        made.open()
        yield made
    finally:
        made.close()


class Week:
    """The machines, the policy of all of them, and the receivers of its notifications."""

    def __init__(self, site: FrozenSite, box: Mailbox, web: WebServer) -> None:
        self.site, self.box, self.web = site, box, web
        for number, name in enumerate(("db", "web")):
            raw_machine(site.machines, name, f"{number}" * 8 + "-2222-4333-8444-555555555555")
        self.machines = site.sync()

    def furnish(self) -> None:
        """The settings of an administrator: receivers, machines and times of backups."""
        post = self.site.api.post
        team = post("/mailing-lists", {"name": "team", "recipients": ["team@example.org"]})
        mail = {
            "name": "mail",
            "type": "MAIL",
            "host": "127.0.0.1",
            "port": self.box.port,
            "security": "NONE",
            "sender": "haulback@example.org",
            "recipients": ["ops@example.org"],
        }
        hook = {"name": "hook", "type": "WEBHOOK", "url": f"{self.web.url}/hook", "secret": KEY}
        beats = {f"{word}Url": f"{self.web.url}/{word}" for word in ("start", "success", "failure")}
        channels = [
            post("/notification-channels", body)["guid"]
            for body in (mail, hook, {"name": "monitor", "type": "MONITOR", **beats})
        ]
        policy = {
            "name": "gold",
            "vms": list(self.machines.values()),
            "dailyReportEnabled": True,
            "mailingList": team["guid"],
            "rules": [
                {
                    "name": "nightly",
                    "ruleBackupDestinations": [
                        {"roleType": "PRIMARY", "backupDestination": self.site.destination["guid"]}
                    ],
                }
            ],
        }
        self.policy = post("/policies/vm-backup", policy)
        rule = self.policy["rules"][0]["guid"]
        for name, channel in zip(("mails", "hooks", "beats"), channels, strict=True):
            body = {"name": name, "channels": [channel]}
            post("/notification-rules", body)
        schedule = {
            "name": "at night",
            "type": "VM_BACKUP",
            "backupType": "FULL",
            "executionType": "TIME",
            "hour": 150 * MINUTE,
            "timeZone": "Europe/Berlin",
            "startWindowLength": 60 * MINUTE,
            "rules": [rule],
        }
        self.schedule = post("/schedules", schedule)["guid"]
        self.site.rest()

    def fires(self) -> list[tuple[str, str, int]]:
        """Nominal time, state and number of workflows of each fire, the oldest first."""
        found = self.site.api.get(f"/schedules/{self.schedule}/fires?past=50")["past"]
        rows = [(row["nominal"], row["state"]["name"], row["workflows"]) for row in found]
        return rows[::-1]

    def night(self, day: str, begin: str = "02:30") -> None:
        """The clock reaches the time of the schedule, then of the digest, then of the report."""
        self.site.move_to(at(f"{day}T{begin}:01"))
        self.morning(day)

    def morning(self, day: str) -> None:
        self.site.move_to(max(at(f"{day}T03:10"), self.site.clock.now + 6 * MINUTE))
        self.site.move_to(at(f"{day}T06:50"))
        self.site.move_to(at(f"{day}T07:00:01"))

    def change(self, megabytes: int) -> None:
        """Write a number of MiB that no other disk contains to each machine."""
        for name in self.machines:
            (self.site.machines / name / "root.raw").write_bytes(os.urandom(megabytes << 20))

    def mails(self, recipient: str) -> list[str]:
        """The subjects of the mails to a recipient, in their order."""
        return [
            sorted_kinds(str(mail["subject"]).strip())
            for mail, recipients in zip(self.box.mails, self.box.recipients, strict=True)
            if recipients == [recipient]
        ]

    def pings(self) -> list[str]:
        return [path for path in self.web.paths() if path != "/hook"]

    def hooks(self) -> Counter[tuple[str, str, str]]:
        """Local date, type and subject of the events that came by webhook, each signed."""
        told: Counter[tuple[str, str, str]] = Counter()
        for call in self.web.calls:
            if call.path == "/hook":
                check_signature(call)
                sent = json.loads(call.body)
                if sent["type"] == "ALARM_RAISED":
                    continue  # see sorted_kinds
                day = datetime.fromisoformat(sent["timestamp"]).astimezone(BERLIN).date()
                told[day.isoformat(), sent["type"], sent["data"]["subject"]["name"]] += 1
        return told

    def good_backups(self) -> Counter[tuple[str, str]]:
        """Machine and local date of the backups that can be restored."""
        return Counter(
            (row["protectedEntity"]["name"], str(local(row["snapshotTime"]).date()))
            for row in self.site.api.get("/backups", {"status": "SUCCESS", "size": 100})
            if row["protectedEntity"]["guid"] in self.machines.values()
        )


def local(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, BERLIN)


def sorted_kinds(subject: str) -> str:
    """The subject of a digest with its kinds in alphabetical order, because those with equal counts
    vary.

    Alarms are left out, because an inventory at the same time may also report the broken folder.
    """
    head, sign, kinds = subject.rpartition("; " if "; " in subject else "events: ")
    if not sign:
        return subject
    alarms = [kind for kind in kinds.split(", ") if kind.endswith("alarm raised")]
    rest = sorted(kind for kind in kinds.split(", ") if kind not in alarms)
    count, _, more = head.partition(" ")
    left = int(count) - sum(int(kind.split()[0]) for kind in alarms)
    return f"{left} {more}{sign}{', '.join(rest)}"


def check_signature(call: Call) -> None:
    """Check a webhook as Standard Webhooks requires."""
    name, time = call.headers["webhook-id"], call.headers["webhook-timestamp"]
    signed = f"{name}.{time}.".encode() + call.body
    digest = hmac.new(b"k" * 24, signed, hashlib.sha256).digest()
    assert call.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


# The complete list of messages in this week.
FIRES = [
    ("2027-03-22T02:30:00", "DONE", 2),
    ("2027-03-23T02:30:00", "DONE", 2),
    ("2027-03-24T02:30:00", "DONE", 2),
    ("2027-03-25T02:30:00", "MISSED", 0),
    ("2027-03-26T02:30:00", "DONE", 2),
    ("2027-03-27T02:30:00", "DONE", 2),
    ("2027-03-28T02:30:00", "DONE", 2),  # at 03:00, because the clocks were put forward
]
PINGS = [f"/{word}" for end in "sfsfss" for word in ("start", {"s": "success"}.get(end, "failure"))]
REPORTS = [
    "gold: 2 backups good (2027-03-22)",
    "gold: 1 backup failed, 1 machine late, 1 backup good (2027-03-23)",
    "gold: 2 backups good (2027-03-24)",
    "gold: 2 machines late (2027-03-25)",
    "gold: 2 backups failed, 2 machines late (2027-03-26)",
    "gold: 2 backups good (2027-03-27)",
    "gold: 2 backups good (2027-03-28)",
]
NEWS = [
    # The first run, although it succeeded.
    "gold, due 2027-03-22T02:30:00 by at night: tasks 4 finished",
    "2 events: 2 failed; 1 run ended, 1 workflow ended",
    "web is late: its last good backup is older than its policy allows (1d 01h)",
    "3 events: 1 fire missed, 2 protection changed",
    "4 events: 3 failed; 1 destination filling, 1 run ended, 2 workflow ended",
]
HOOKS = {
    "2027-03-22": ["RUN_ENDED gold"],
    "2027-03-23": [
        *("WORKFLOW_ENDED web", "RUN_ENDED gold", "PROTECTION_CHANGED web"),
    ],
    "2027-03-25": ["FIRE_MISSED at night", "PROTECTION_CHANGED db", "PROTECTION_CHANGED web"],
    "2027-03-26": [
        *("DESTINATION_FILLING bd", "RUN_ENDED gold"),
        *("WORKFLOW_ENDED db", "WORKFLOW_ENDED web"),
    ],
}


@NEEDS
def test_seven_nights_are_told_exactly_as_they_were(site: FrozenSite, tmp_path: Path):
    with mail_server(tmp_path) as box, web_server() as web:
        week = Week(site, box, web)
        week.furnish()
        week.change(1)
        week.night("2027-03-22")
        definition = site.machines / "web" / "machine.json"
        whole = definition.read_text()
        definition.write_text(whole[:-1])
        site.move_to(at("2027-03-23T02:30:01"))
        definition.write_text(whole)  # before the inventory of the morning
        week.morning("2027-03-23")
        week.night("2027-03-24")
        site.sleep_until(at("2027-03-25T06:00"))
        week.morning("2027-03-25")
        week.change(3)
        filler = site.repository / "filler"
        filler.write_bytes(b"x" * (shutil.disk_usage(site.repository).free - (1 << 20)))
        week.night("2027-03-26")
        filler.unlink()
        week.change(1)
        week.night("2027-03-27")
        week.night("2027-03-28", "03:00")
        assert week.fires() == FIRES
        assert week.mails("team@example.org") == REPORTS
        assert week.mails("ops@example.org") == NEWS
        assert len(box.mails) == len(REPORTS) + len(NEWS)
        assert week.pings() == PINGS
        assert week.hooks() == {
            (day, *line.split(" ", 1)): lines.count(line)
            for day, lines in HOOKS.items()
            for line in lines
        }
        days = [f"2027-03-{day}" for day in (22, 23, 24, 27, 28)]
        good = [("db", day) for day in days] + [("web", day) for day in days if day != days[1]]
        assert week.good_backups() == Counter(good)
