"""Machines join and leave policies automatically, as previews announce."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from haulback.contract.machines import VirtualDisk
from haulback.ids import new_guid
from haulback.inventory.records import Entity
from haulback.server.services import maintenance
from haulback.server.store.event_tables import event
from tests.contract.conftest import Served
from tests.contract.portals import Portal, logged_in
from tests.contract.test_transport import is_error

KINDS = {"vm-backup": "vmBackupPolicy", "vm-snapshot": "snapshotMgmtPolicy"}


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def portal(served: Served) -> Iterator[Portal]:
    yield from logged_in(served)
    for kind in KINDS:
        for policy in served.call("GET", f"/api/policies/{kind}").json():
            served.call("DELETE", f"/api/policies/{kind}/{policy['guid']}")
    served.rest()


class Fleet:
    """Machines on a separate hypervisor, as inventories show them."""

    def __init__(self, served: Served) -> None:
        self.served = served
        body = {"name": new_guid(), "path": f"/{new_guid()}"}
        self.host = served.call("POST", "/api/hypervisors", body).json()["guid"]
        self.mark = new_guid()[:8]
        self.machines: dict[str, Entity] = {}

    def shows(self, *names: str, tags: tuple[str, ...] = ()) -> None:
        """Run an inventory with further machines besides those that it showed before."""
        for name in names:
            self.machines[name] = Entity(
                guid=new_guid(),
                uuid=new_guid(),
                name=f"{self.mark}-{name}",
                hypervisor=self.host,
                disks=[VirtualDisk("root", 10)],
                hardware={"tags": [f"{self.mark}-{tag}" for tag in tags]},
            )
        self.scanned()

    def scanned(self) -> None:
        now = self.served.app.clock.now_ms()
        with self.served.app.store.write() as sql:
            self.served.seen(sql).inventory.scanned(
                self.host, self.machines.values(), complete_since=now, by=new_guid()
            )
        maintenance.tick(self.served.app)

    def settings(self, **more: Any) -> dict[str, Any]:
        """Settings of auto-assignment as a portal sends them."""
        return {
            "mode": {"name": "ASSIGN_ONLY", "description": "Assign only"},
            "includeTags": [],
            "excludeTags": [],
            "includeRegExps": [],
            "excludeRegExps": [],
            "hvClusters": [],
            **more,
        }

    def policy(self, *, now: bool = True, **more: Any) -> dict[str, Any]:
        """The body of a policy that takes the machines of the fleet by their names."""
        wanted = {"includeRegExps": [f"{self.mark}-.*"], **more.pop("settings", {})}
        body = {
            "name": new_guid(),
            "autoAssignSettings": self.settings(**wanted),
            "executeAutoAssignmentAfterSavingPolicy": now,
        }
        return {**body, **more}

    def short(self, rows: Any) -> list[str]:
        return sorted(row["name"].removeprefix(f"{self.mark}-") for row in rows)


@pytest.fixture
def fleet(served: Served) -> Fleet:
    return Fleet(served)


def test_a_saved_policy_takes_the_machines_that_match_and_exclude_wins(
    portal: Portal, fleet: Fleet, kind: str
):
    fleet.shows("web1", "db1")
    fleet.shows("web2", tags=("gold", "test"))
    fleet.shows("db2", tags=("gold",))
    wanted = {
        "includeRegExps": [f"{fleet.mark}-web[0-9]"],
        "includeTags": [f"{fleet.mark}-gold"],
        "excludeTags": [f"{fleet.mark}-test"],
    }
    made = portal("POST", f"/policies/{kind}", fleet.policy(settings=wanted))
    assert fleet.short(made["vms"]) == ["db2", "web1"]
    assert made["executeAutoAssignmentAfterSavingPolicy"] is True
    machine = portal("GET", f"/virtual-machines/{made['vms'][0]['guid']}")
    assert machine[KINDS[kind]] == {"guid": made["guid"], "name": made["name"]}


def test_a_machine_that_comes_later_is_taken_by_the_next_inventory(
    portal: Portal, fleet: Fleet, kind: str
):
    made = portal("POST", f"/policies/{kind}", fleet.policy(now=False))
    assert made["vms"] == []
    fleet.shows("one")
    fleet.shows("two")
    after = portal("GET", f"/policies/{kind}/{made['guid']}")
    assert fleet.short(after["vms"]) == ["one", "two"]
    assert after["vmCount"] == 2


def test_assign_and_remove_lets_machines_go_and_assign_only_keeps_them(
    portal: Portal, fleet: Fleet, kind: str
):
    fleet.shows("a1", "a2")
    body = fleet.policy(settings={"mode": "ASSIGN_ONLY"})
    made = portal("POST", f"/policies/{kind}", body)
    path = f"/policies/{kind}/{made['guid']}"
    narrow = {"includeRegExps": [f"{fleet.mark}-a1"], "mode": "ASSIGN_ONLY"}
    sent = {**made, "autoAssignSettings": fleet.settings(**narrow)}
    assert portal("PUT", path, sent)["vmCount"] == 2
    sent["autoAssignSettings"]["mode"] = {"name": "ASSIGN_AND_REMOVE"}
    told = portal("POST", f"{path}/auto-assignment-preview", sent)
    assert (fleet.short(told["assigned"]), fleet.short(told["removed"])) == ([], ["a2"])
    after = portal("PUT", path, sent)
    assert fleet.short(after["vms"]) == ["a1"]
    assert after["autoAssignMode"]["name"] == "ASSIGN_AND_REMOVE"


def test_a_machine_goes_to_another_policy_only_from_one_that_removes(portal: Portal, fleet: Fleet):
    fleet.shows("m")
    first = portal("POST", "/policies/vm-backup", fleet.policy())
    other = portal("POST", "/policies/vm-backup", fleet.policy(priority=99))
    assert other["vms"] == []  # the machine has a policy
    gone = fleet.settings(mode="ASSIGN_AND_REMOVE", includeRegExps=["nothing-like-that"])
    path = f"/policies/vm-backup/{first['guid']}"
    assert portal("PUT", path, {**first, "autoAssignSettings": gone})["vms"] == []
    assert portal("GET", f"/policies/vm-backup/{other['guid']}")["vmCount"] == 1


def test_of_several_policies_the_highest_priority_wins_then_the_first_name(
    portal: Portal, fleet: Fleet
):
    names = {}
    for name, priority in (("b", 60), ("a", 60), ("c", 50)):
        body = fleet.policy(now=False, name=f"{fleet.mark}{name}", priority=priority)
        names[name] = portal("POST", "/policies/vm-backup", body)["guid"]
    fleet.shows("m")
    counts = {name: portal("GET", f"/policies/vm-backup/{guid}")["vmCount"]
              for name, guid in names.items()}  # fmt: skip
    assert counts == {"a": 1, "b": 0, "c": 0}


def test_clusters_without_other_conditions_take_all_their_machines(portal: Portal, fleet: Fleet):
    fleet.shows("m")
    [host] = [item for item in portal("GET", "/hypervisors") if item["guid"] == fleet.host]
    cluster = host["cluster"]
    told = portal(
        "POST",
        "/policies/vm-backup/auto-assignment-preview",
        {"name": "x", "autoAssignSettings": fleet.settings(hvClusters=[cluster])},
    )
    assert "m" in fleet.short(told["assigned"])
    none = {"name": "x", "autoAssignSettings": fleet.settings(hvClusters=[new_guid()])}
    assert is_error(portal.raw("POST", "/policies/vm-backup/auto-assignment-preview", none), 404)


def test_a_preview_changes_nothing_and_says_what_saving_does(
    portal: Portal, fleet: Fleet, kind: str
):
    fleet.shows("m1", "m2")
    body = fleet.policy()
    told = portal("POST", f"/policies/{kind}/auto-assignment-preview", body)
    assert (fleet.short(told["assigned"]), told["removed"]) == (["m1", "m2"], [])
    assert told["assigned"][0]["hypervisor"]["guid"] == fleet.host
    assert portal("GET", f"/policies/{kind}") == []
    made = portal("POST", f"/policies/{kind}", body)
    assert [item["guid"] for item in made["vms"]] == [item["guid"] for item in told["assigned"]]
    again = portal("POST", f"/policies/{kind}/{made['guid']}/auto-assignment-preview", made)
    assert again == {"assigned": [], "removed": []}
    assert is_error(
        portal.raw("POST", f"/policies/{kind}/{new_guid()}/auto-assignment-preview", body), 404
    )


@pytest.mark.parametrize("leaves", [True, False])
def test_a_machine_that_is_absent_leaves_a_policy_that_says_so(
    portal: Portal, fleet: Fleet, leaves: bool
):
    fleet.shows("a", "b", "c")
    made = portal("POST", "/policies/vm-backup", fleet.policy(autoRemoveNonPresent=leaves))
    assert made["autoRemoveNonPresent"] is leaves
    del fleet.machines["b"]
    fleet.scanned()
    after = portal("GET", f"/policies/vm-backup/{made['guid']}")
    assert fleet.short(after["vms"]) == (["a", "c"] if leaves else ["a", "b", "c"])
    fleet.shows("d")
    assert portal("GET", f"/policies/vm-backup/{made['guid']}")["vmCount"] == 4 - leaves


def test_a_machine_in_doubt_stays_in_its_policy(portal: Portal, fleet: Fleet):
    fleet.shows("a", "b", "c")
    made = portal("POST", "/policies/vm-backup", fleet.policy(autoRemoveNonPresent=True))
    fleet.machines.clear()
    fleet.scanned()  # an inventory without any machine is not believed
    assert portal("GET", f"/policies/vm-backup/{made['guid']}")["vmCount"] == 3


def test_an_instant_restore_is_never_taken_and_refused_by_name(
    served: Served, portal: Portal, fleet: Fleet
):
    kvm = served.kvm()
    mount = served.living_off(kvm)
    [copy] = [
        item for item in portal("GET", "/virtual-machines") if item["hypervisor"]["guid"] == kvm
    ]
    wanted = fleet.policy(settings={"includeRegExps": [".*"]})
    made = portal("POST", "/policies/vm-backup", wanted)
    assert copy["guid"] not in [item["guid"] for item in made["vms"]]
    path = f"/policies/vm-backup/{made['guid']}"
    answer = portal.raw("PUT", path, {**made, "vms": [*made["vms"], copy]})
    assert is_error(answer, 409)
    assert answer.json()["details"]["field"] == "vms"
    answer = portal.raw(
        "PUT", f"/virtual-machines/{copy['guid']}/settings", {"vmBackupPolicy": made}
    )
    assert is_error(answer, 409)
    assert mount["guid"]


def test_a_change_of_assignment_is_an_event(served: Served, portal: Portal, fleet: Fleet):
    fleet.shows("a", "b")
    made = portal("POST", "/policies/vm-backup", fleet.policy())
    with served.app.store.read() as sql:
        rows = sql.execute(event.select().where(event.c.subject == made["guid"])).all()
    [row] = [row for row in rows if row.kind == "ASSIGNMENT_CHANGED"]
    assert "2 machines assigned" in row.text
    assert f"{fleet.mark}-a" in row.data


@pytest.mark.parametrize("member", ["includeRegExps", "excludeRegExps"])
@pytest.mark.parametrize("text", ["(", "a(?!b)", "x" * 501])
def test_an_expression_that_cannot_be_read_is_refused_before_it_is_saved(
    portal: Portal, fleet: Fleet, member: str, text: str
):
    body = fleet.policy(settings={member: ["fine", text]})
    for path in ("/policies/vm-backup", "/policies/vm-snapshot/auto-assignment-preview"):
        answer = portal.raw("POST", path, body)
        assert is_error(answer, 400)
        assert answer.json()["details"]["field"] == f"autoAssignSettings.{member}[1]"
    assert portal("GET", "/policies/vm-backup") == []


def test_an_expression_that_would_never_end_ends(portal: Portal, fleet: Fleet):
    fleet.shows("a" * 200 + "!")
    body = fleet.policy(settings={"includeRegExps": [f"{fleet.mark}-(a+)+$"]})
    assert portal("POST", "/policies/vm-backup", body)["vms"] == []


def test_the_mode_that_a_portal_changes_counts(portal: Portal, fleet: Fleet):
    made = portal("POST", "/policies/vm-backup", fleet.policy(settings={"mode": "DISABLED"}))
    path = f"/policies/vm-backup/{made['guid']}"

    def sent(outer: str | None, inner: str | None) -> dict[str, Any]:
        return {**made, "autoAssignMode": outer, "autoAssignSettings": fleet.settings(mode=inner)}

    def shown(outer: str | None, inner: str | None) -> set[str]:
        after = portal("PUT", path, sent(outer, inner))
        return {after["autoAssignMode"]["name"], after["autoAssignSettings"]["mode"]["name"]}

    assert shown("DISABLED", "ASSIGN_ONLY") == {"ASSIGN_ONLY"}
    assert shown("ASSIGN_AND_REMOVE", "ASSIGN_ONLY") == {"ASSIGN_AND_REMOVE"}
    assert shown("ASSIGN_ONLY", None) == {"ASSIGN_ONLY"}
    answer = portal.raw("PUT", path, sent("DISABLED", "ASSIGN_AND_REMOVE"))
    assert is_error(answer, 400)
    assert answer.json()["details"]["field"] == "autoAssignMode"


def test_a_policy_that_is_not_active_takes_no_machine(portal: Portal, fleet: Fleet):
    fleet.shows("m")
    made = portal("POST", "/policies/vm-backup", fleet.policy(active=False))
    assert made["vms"] == []
    path = f"/policies/vm-backup/{made['guid']}"
    assert portal("PUT", path, {**made, "active": True})["vmCount"] == 1
