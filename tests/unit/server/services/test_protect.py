"""A request protects machines with policy, rule, schedule and mails, or changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from haulback.contract.protect import Protecting, ProtectRequest
from haulback.errors import Conflict, Malformed, NotFound
from haulback.ids import new_guid
from haulback.inventory.records import Entity, Record
from haulback.server.services import configuration, maintenance
from haulback.server.services.protect import protect
from haulback.server.services.record_kinds import RECORD_KINDS
from haulback.server.store import rows, tables
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.ledger import SqlLedger
from haulback.wire import Choice, Ref, read
from tests.unit.server.conftest import House

KINDS = ("vm-backup", "rule", "schedule", "notification-rule", "notification-channel")
DAY, HOUR = 86_400_000, 3_600_000


def protected(house: House, **more: Any) -> Protecting:
    wanted = {"nightly": "22:00 Europe/Berlin", **more}
    return protect(house.app, house.user, read(wanted, ProtectRequest, ""))


def records(house: House, kind: str) -> list[Record]:
    with house.app.store.read() as sql:
        return SqlCatalogue(sql).records.of_kind(kind)


def test_one_request_makes_everything_and_says_when_it_runs_first(house: House):
    made = protected(
        house, all=True, keep="7d,4w,12m", to=house.destination.guid, mail=["ops@example.org"]
    )
    [policy], [rule], [schedule] = (records(house, kind) for kind in KINDS[:3])
    assert made.policy.guid == policy.guid
    assert (rule.parent, made.rule.guid) == (policy.guid, rule.guid)
    assert schedule.body["rules"] == [{"guid": rule.guid}]
    [place] = rule.body["ruleBackupDestinations"]
    assert place["backupDestination"]["guid"] == house.destination.guid
    kept = place["backupRetentionSettings"]
    assert (kept["keepDaily"], kept["keepWeekly"], kept["keepMonthly"]) == (7, 4, 12)
    assert kept["retentionKeepLastNFull"] is None
    [told] = records(house, "notification-rule")
    assert told.body["policies"] == [{"guid": policy.guid}]
    assert told.body["recipients"] == ["ops@example.org"]
    assert made.machines == 3
    first = datetime.fromtimestamp((made.firstRun or 0) / 1000, UTC)
    assert house.clock.now < (made.firstRun or 0) <= house.clock.now + DAY
    assert (first.hour, first.minute) == (21, 0)  # in January
    assert made.timeZone == "Europe/Berlin"
    assert made.rpo == DAY + 6 * HOUR


def test_machines_that_come_later_are_protected_too(house: House):
    made = protected(house, match=["we?", "db*.example"], exclude=["*-test"], days="mon-fri")
    assert made.machines == 1
    names = ("web2", "db1.example", "db1xexample", "wex", "db-test.example")
    with house.app.store.write() as sql:
        new = [
            Entity(guid=new_guid(), uuid=new_guid(), name=name, hypervisor=house.hypervisor.guid)
            for name in names
        ]
        SqlLedger(sql, house.clock.now).inventory.scanned(
            house.hypervisor.guid, new, complete_since=None
        )
    maintenance.tick(house.app)
    with house.app.store.read() as sql:
        machines = SqlCatalogue(sql).machines.on_hypervisor(house.hypervisor.guid)
    taken = {
        machine.name
        for machine in machines
        if machine.settings.get("backupPolicy") == made.policy.guid
    }
    assert taken == {"web", "wex", "db1.example", "db-test.example"}
    assert records(house, "schedule")[0].body["daysOfWeek"][0] == "MONDAY"


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({}, "match"),
        ({"all": True, "match": ["x"]}, "all"),
        ({"all": True, "nightly": ""}, "nightly"),
        ({"all": True, "every": "4h"}, "nightly"),
        ({"all": True, "nightly": "25:00"}, "nightly"),
        ({"all": True, "nightly": "22:00 Mars/Olympus"}, "nightly"),
        ({"all": True, "nightly": "", "every": "30s"}, "every"),
        ({"all": True, "nightly": "", "every": "2d"}, "every"),
        ({"all": True, "days": "someday"}, "days"),
        ({"all": True, "keep": "0d"}, "keep"),
        ({"all": True, "keep": "7x"}, "keep"),
        ({"all": True, "rpo": "soon"}, "rpo"),
        ({"all": True, "window": "1ms"}, "window"),
        ({"all": True, "prove": "sometimes"}, "prove"),
        ({"all": True, "mail": ["no address"]}, "mail[0]"),
        ({"all": True, "mail": ["a@example.org\nBcc: b@example.org"]}, "mail[0]"),
        ({"match": [""]}, "match"),
        ({"tags": ["x"] * 51}, "tags"),
    ],
)
def test_a_request_that_makes_no_sense_adds_nothing(house: House, wanted: Any, field: str):
    with pytest.raises(Malformed) as caught:
        protected(house, **wanted)
    assert caught.value.details["field"] == field
    assert [len(records(house, kind)) for kind in KINDS] == [0] * len(KINDS)


def test_a_second_destination_gets_copies_that_are_kept_as_long(house: House):
    far = msgspec.structs.replace(house.destination, guid=new_guid(), name="far")
    with house.app.store.write() as sql:
        rows.add(sql, tables.destination, far, sealed_key=house.app.vault.seal(far.guid, b"k" * 32))
    made = protected(house, all=True, keep="7d", to=house.destination.guid, copyTo=far.guid)
    [rule] = records(house, "rule")
    places = rule.body["ruleBackupDestinations"]
    assert [(place["roleType"], place["backupDestination"]["guid"]) for place in places] == [
        ("PRIMARY", house.destination.guid),
        ("SECONDARY", far.guid),
    ]
    assert [place["backupRetentionSettings"]["keepDaily"] for place in places] == [7, 7]
    assert made.copyDestination is not None
    assert made.copyDestination.name == "far"
    with pytest.raises(Malformed, match="copyTo: far already stores the backups"):
        protected(house, match=["x"], to=far.guid, copyTo=far.guid)
    assert len(records(house, "vm-backup")) == 1


def test_a_taken_name_and_an_unknown_destination_add_nothing(house: House):
    protected(house, match=["web*"])
    with pytest.raises(Conflict):
        protected(house, match=["web*"])
    with pytest.raises(NotFound):
        protected(house, match=["db*"], to=Choice(new_guid()).guid)
    assert [len(records(house, kind)) for kind in KINDS] == [1, 1, 1, 0, 0]
    assert Ref(records(house, "vm-backup")[0].guid)


def test_a_removed_policy_is_protected_again_under_its_name(house: House):
    protected(house, match=["db"], name="gold", mail=["a@example.org"])
    [policy] = records(house, "vm-backup")
    configuration.remove(house.app, house.user, RECORD_KINDS["vm-backup"], policy.guid)
    protected(house, match=["db"], name="gold", mail=["a@example.org"])
    [policy], [rule] = (records(house, kind) for kind in KINDS[:2])
    assert rule.parent == policy.guid
    uses = {item.name: item.body["rules"] for item in records(house, "schedule")}
    assert uses == {
        "gold: 22:00 Europe/Berlin": [],
        "gold: 22:00 Europe/Berlin (2)": [{"guid": rule.guid}],
    }
    names = {item.name for item in records(house, "notification-rule")}
    assert names == {"gold: failures", "gold: failures (2)"}


def test_the_rule_has_the_name_of_its_policy(house: House):
    protected(house, match=["web*"], keep="7d")
    protected(house, match=["db"], name="gold")
    assert {rule.name for rule in records(house, "rule")} == {"web*", "gold"}


def test_notes_tell_what_a_user_would_not_expect(house: House):
    made = protected(house, tags=["nowhere"], mail=["a@example.org"])
    told = " / ".join(made.notes)
    channel = "`haulback notify channel set mail host=HOST` changes it"
    for part in ("no machine was assigned", "no backup is ever removed", "localhost", channel):
        assert part in told
    again = protected(house, match=["db"], keep="7d", mail=["a@example.org"])
    assert again.notes == []


def test_proofs_are_activated_once_with_a_share_for_each_night(house: House):
    made = protected(house, match=["db"], keep="7d", prove="weekly")
    [proofs] = [item for item in records(house, "system-schedule") if item.body["task"] == "PROVE"]
    assert (proofs.body["active"], proofs.body["most"]) == (True, 5)
    assert "up to 5 machines a night" in made.notes[0]
    again = protected(house, match=["web"], keep="7d", prove="daily")
    assert "runs proofs already" in again.notes[0]
