"""Policies, rules and schedules as portals send, read and change them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from haulback.ids import new_guid
from tests.contract.conftest import Served
from tests.contract.portals import Portal, logged_in
from tests.contract.test_transport import is_error

DAY = 86_400_000
KEEP = {
    "keepLastBackupWhenSourceStillExists": True,
    "retentionKeepLastNFull": "4",
    "retentionKeepFullNewerThan": 30 * DAY,
    "retentionKeepLastNIncremental": 30,
    "retentionKeepIncrementalNewerThan": 30 * DAY,
}
KEPT = {**KEEP, "retentionKeepLastNFull": 4}
NOT_CHOSEN: dict[str, Any] = {
    "nodeConfigs": [],
    "defaultBackupDestination": False,
    "projects": [],
    "visibleForAllVms": True,
}
TO = "ruleBackupDestinations"
EVERY_DAY = [
    {"name": name, "shortName": name.capitalize()[:3]}
    for name in ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
]


@pytest.fixture
def portal(served: Served) -> Any:
    yield from logged_in(served)
    served.rest()


def schedule_of(portal: Portal, **more: Any) -> Any:
    body = {
        "name": new_guid(),
        "type": {"name": "VM_BACKUP", "description": "veBackup"},
        "active": True,
        "backupType": {"name": "FULL", "description": "Full"},
        "executionType": {"name": "TIME", "description": "Time"},
        "hour": 3_600_000,
        "interval": None,
        "daysOfWeek": EVERY_DAY[:2],
        "months": [{"name": "JUNE", "shortName": "Jun"}],
        "dayOfWeekOccurrences": [{"name": "FIRST_IN_MONTH"}],
        "startWindowLength": 21_600_000,
        "rules": [],
        **more,
    }
    return portal("POST", "/schedules", body)


def rule_of(to: Any, schedules: list[Any], **more: Any) -> dict[str, Any]:
    return {
        "name": "Default",
        "active": True,
        "position": 0,
        "isNotSaved": True,
        "backupDestinations": [],
        "schedules": schedules,
        "ruleBackupDestinations": [
            {
                "roleType": {"name": "PRIMARY", "description": "Primary"},
                "daysToKeepRetentionLock": None,
                "backupDestination": to,
                "backupRetentionSettings": KEEP,
            },
            {
                "roleType": {"name": "SECONDARY", "description": "Secondary"},
                "daysToKeepRetentionLock": "3",
                "backupDestination": NOT_CHOSEN,
                "backupRetentionSettings": KEEP,
            },
        ],
        **more,
    }


def policy_of(served: Served, portal: Portal, **more: Any) -> Any:
    """The body that the vendor's portal sends for a new policy."""
    machine = portal("GET", f"/virtual-machines/{served.machines[served.new_machine()]}")
    body = {
        "vms": [machine],
        "autoAssignSettings": {
            "mode": {"name": "ASSIGN_ONLY", "description": "Assign only"},
            "includeTags": ["gold"],
            "excludeTags": [],
            "includeRegExps": ["^gold-"],
            "excludeRegExps": [],
            "hvClusters": [],
        },
        "autoRemoveNonPresent": True,
        "active": True,
        "backupRetryCount": "2",
        "name": new_guid(),
        "priority": "60",
        "failRemainingBackupTasksExportThreshold": 50,
        "failRemainingBackupTasksStoreThreshold": None,
        "dailyReportEnabled": False,
        "executeAutoAssignmentAfterSavingPolicy": True,
        "rules": [rule_of(served.destination, [schedule_of(portal)])],
        **more,
    }
    return portal("POST", "/policies/vm-backup", body)


def without_warnings(shown: Any) -> Any:
    return {key: value for key, value in shown.items() if key != "warnings"}


def test_a_policy_is_read_back_as_a_portal_sent_it(served: Served, portal: Portal):
    made = policy_of(served, portal)
    shown = portal("GET", f"/policies/vm-backup/{made['guid']}?extended=true")
    assert shown == made
    assert (shown["priority"], shown["backupRetryCount"], shown["vmCount"]) == (60, 2, 1)
    assert shown["autoAssignSettings"]["includeTags"] == ["gold"]
    assert shown["autoAssignMode"]["name"] == "ASSIGN_ONLY"
    assert shown["autoRemoveNonPresent"] is True
    assert shown["dailyReportEnabled"] is False
    [rule] = shown["rules"]
    primary, secondary = rule["ruleBackupDestinations"]
    assert primary["backupDestination"]["name"] == "bd"
    assert primary["backupRetentionSettings"] == KEPT
    assert secondary["roleType"]["name"] == "SECONDARY"
    assert "guid" not in secondary["backupDestination"]
    assert secondary["daysToKeepRetentionLock"] == 3
    [fired] = rule["schedules"]
    assert [item["name"] for item in fired["months"]] == ["JUNE"]
    assert fired["rules"] == [{"guid": rule["guid"], "name": "Default"}]
    listed = portal("GET", f"/policies/vm-backup?filter={made['name']}")
    assert listed == [made]


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("description", "nightly"),
        ("priority", "70"),
        ("active", False),
        ("backupRetryCount", 0),
        ("dailyReportEnabled", True),
        ("failRemainingBackupTasksStoreThreshold", 25),
        ("autoRemoveNonPresent", False),
    ],
)
def test_one_member_of_a_policy_is_changed_and_the_rest_stays(
    served: Served, portal: Portal, member: str, value: Any
):
    made = policy_of(served, portal)
    portal("PUT", f"/policies/vm-backup/{made['guid']}", {**made, member: value})
    after = portal("GET", f"/policies/vm-backup/{made['guid']}")
    assert str(after[member]) == str(value)
    changed = {member, "warnings"}
    assert {k: v for k, v in after.items() if k not in changed} == {
        k: v for k, v in made.items() if k not in changed
    }


def test_rules_sent_with_a_policy_replace_those_it_had(served: Served, portal: Portal):
    made = policy_of(served, portal)
    [old] = made["rules"]
    fresh = rule_of(served.destination, [], name="Weekly", guid=new_guid())
    path = f"/policies/vm-backup/{made['guid']}"
    both = portal("PUT", path, {**made, "rules": [old, None, fresh]})
    assert [item["name"] for item in both["rules"]] == ["Default", "Weekly"]
    assert both["rules"][0] == old
    renamed = {"guid": old["guid"], "name": "Nightly"}
    after = portal("PUT", path, {**both, "rules": [renamed]})
    [rule] = after["rules"]
    assert rule["name"] == "Nightly"
    assert rule["ruleBackupDestinations"] == old["ruleBackupDestinations"]
    assert portal.raw("GET", f"/rules/vm-backup/{both['rules'][1]['guid']}").status_code == 404
    strange = {"guid": new_guid(), "name": "x"}
    answer = portal.raw("PUT", path, {**after, "rules": [strange]})
    assert is_error(answer, 400)
    assert "rules[0].guid" in answer.json()["message"]
    assert portal("GET", path) == after
    kept = portal("PUT", path, {"name": made["name"]})
    assert (kept["rules"], kept["vms"]) == (after["rules"], made["vms"])


def test_the_machines_of_a_policy_are_those_that_were_sent(served: Served, portal: Portal):
    made = policy_of(served, portal)
    path, [first] = f"/policies/vm-backup/{made['guid']}", made["vms"]
    assert portal("GET", f"/virtual-machines/{first['guid']}")["vmBackupPolicy"] == {
        "guid": made["guid"],
        "name": made["name"],
    }
    other = served.machines[served.new_machine()]
    portal("PUT", path, {**made, "vms": [{"guid": other}]})
    assert "vmBackupPolicy" not in portal("GET", f"/virtual-machines/{first['guid']}")
    assert portal("GET", f"/virtual-machines/{other}")["vmBackupPolicy"]["guid"] == made["guid"]
    [shown] = portal("POST", "/policies/vm-backup/list-by-entities", {"protectedEntities": [other]})
    assert shown["rules"][0]["ruleBackupDestinations"]
    answer = portal.raw("PUT", path, {**made, "vms": [{"guid": new_guid()}]})
    assert is_error(answer, 404)
    assert portal("GET", path)["vms"] == [{"guid": other, "name": shown["vms"][0]["name"]}]
    assert portal("PUT", path, {**made, "vms": []})["vmCount"] == 0


@pytest.mark.parametrize("kind", ["vm-backup", "vm-snapshot"])
def test_a_policy_takes_its_rules_with_it(served: Served, portal: Portal, kind: str):
    machine = served.machines[served.new_machine()]
    sort = {"vm-backup": "VM_BACKUP", "vm-snapshot": "VM_SNAPSHOT"}[kind]
    schedule = schedule_of(portal, type=sort)
    body = {
        "name": new_guid(),
        "vms": [machine],
        "rules": [{"schedules": [schedule]}, {"schedules": [schedule]}],
    }
    made = portal("POST", f"/policies/{kind}", body)
    assert [item["name"] for item in made["rules"]] == ["Default", "Default 2"]
    other = portal("POST", f"/policies/{kind}", {**body, "name": new_guid(), "vms": []})
    portal("DELETE", f"/policies/{kind}/{made['guid']}")
    for rule in made["rules"]:
        assert portal.raw("GET", f"/rules/{kind}/{rule['guid']}").status_code == 404
    after = portal("GET", f"/schedules/{schedule['guid']}")
    assert {item["guid"] for item in after["rules"]} == {item["guid"] for item in other["rules"]}
    shown = portal("GET", f"/virtual-machines/{machine}")
    assert not {"vmBackupPolicy", "snapshotMgmtPolicy"} & shown.keys()
    assert not {"backupPolicy", "snapshotPolicy"} & shown.get("settings", {}).keys()


def test_a_rule_that_goes_is_named_by_no_schedule(served: Served, portal: Portal):
    made = policy_of(served, portal)
    [rule] = made["rules"]
    portal("DELETE", f"/rules/vm-backup/{rule['guid']}")
    assert portal("GET", f"/schedules/{rule['schedules'][0]['guid']}")["rules"] == []
    portal("DELETE", f"/policies/vm-backup/{made['guid']}")


def test_a_policy_in_two_steps_is_the_same_as_in_one(served: Served, portal: Portal):
    policy = portal("POST", "/policies/vm-backup", {"name": new_guid(), "priority": 50})
    schedule = schedule_of(portal)
    sent = rule_of(served.destination, [schedule], policy={"guid": policy["guid"]})
    rule = portal("POST", "/rules/vm-backup", sent)
    shown = portal("GET", f"/policies/vm-backup/{policy['guid']}")
    inside = {key: value for key, value in rule.items() if key != "policy"}
    [listed] = shown["rules"]
    assert {key: value for key, value in listed.items() if key != "policy"} == inside
    again = portal("PUT", f"/rules/vm-backup/{rule['guid']}", {**rule, "active": False})
    assert without_warnings(again) == without_warnings({**rule, "active": False})


def test_copies_of_a_policy_act_and_a_rule_without_a_destination_is_told(
    served: Served, portal: Portal
):
    other = served.call("POST", "/api/backup-destinations", {"name": new_guid(), "path": "/e"})
    quiet = portal("POST", "/policies/vm-backup", {"name": new_guid()})
    assert quiet["warnings"] == []
    rule = rule_of(served.destination, [])
    rule["ruleBackupDestinations"][1]["backupDestination"] = other.json()
    made = policy_of(served, portal, rules=[rule])
    assert made["warnings"] == []
    rule["ruleBackupDestinations"].append(
        {"roleType": "ARCHIVE", "backupDestination": other.json()["guid"]}
    )
    answer = portal.raw("POST", "/policies/vm-backup", {"name": new_guid(), "rules": [rule]})
    assert is_error(answer, 400)
    assert "named twice" in answer.json()["message"]
    bare = policy_of(served, portal, autoAssignSettings=None, rules=[{"name": "bare"}])
    assert "names no backup destination" in bare["warnings"][0]
    empty = policy_of(served, portal, autoAssignSettings=None, autoRemoveNonPresent=False,
                      rules=[{"ruleBackupDestinations": [
                          {"roleType": "PRIMARY", "backupDestination": served.destination},
                          {"roleType": "SECONDARY", "backupDestination": NOT_CHOSEN},
                      ]}])  # fmt: skip
    assert empty["warnings"] == []
    assert schedule_of(portal)["warnings"] == []


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        ({TO: [{"roleType": "SECONDARY", "backupDestination": "T"}]}, "PRIMARY"),
        ({"ruleBackupDestinations": [{"backupDestination": NOT_CHOSEN}]}, "PRIMARY"),
        ({TO: [{"backupDestination": "T"}, {"backupDestination": "T"}]}, "one"),
        ({"ruleBackupDestinations": [{"backupDestination": "not a guid"}]}, "backupDestination"),
        ({"ruleBackupDestinations": [{"backupDestination": "T", "backupRetentionSettings":
            {"retentionKeepLastNFull": -1}}]}, "retentionKeepLastNFull"),
        ({"schedules": [{"name": "no guid"}]}, "schedules"),
        ({"name": ""}, "name"),
        ({"active": "perhaps"}, "active"),
        (5, "rules[0]"),
    ],
)  # fmt: skip
def test_a_rule_that_makes_no_sense_leaves_no_half_policy(
    served: Served, portal: Portal, rule: Any, word: str
):
    name, rule = new_guid(), deepcopy(rule)  # both databases share the test parameters
    if isinstance(rule, dict):
        for item in rule.get("ruleBackupDestinations", []):
            if item["backupDestination"] == "T":
                item["backupDestination"] = served.destination["guid"]
    answer = portal.raw("POST", "/policies/vm-backup", {"name": name, "rules": [rule]})
    assert is_error(answer, 400), answer.text
    assert word in answer.json()["message"]
    assert portal("GET", f"/policies/vm-backup?filter={name}") == []


def test_a_snapshot_policy_is_read_back_as_a_portal_sent_it(served: Served, portal: Portal):
    schedule = schedule_of(portal, type={"name": "VM_SNAPSHOT"}, months=[], dayOfWeekOccurrences=[])
    machine = served.machines[served.new_machine()]
    body = {
        "name": new_guid(),
        "priority": 50,
        "vms": [{"guid": machine}],
        "rules": [{"schedules": [schedule], "retentionVersions": "3", "retentionDays": "7"}],
    }
    made = portal("POST", "/policies/vm-snapshot", body)
    [rule] = made["rules"]
    assert (rule["name"], rule["retentionVersions"], rule["retentionDays"]) == ("Default", 3, 7)
    assert rule["schedules"][0]["guid"] == schedule["guid"]
    assert portal("GET", f"/virtual-machines/{machine}")["snapshotMgmtPolicy"]["guid"]
    path = f"/policies/vm-snapshot/{made['guid']}"
    after = portal("PUT", path, {**made, "priority": 51})
    assert {**after, "priority": 50} == made


@pytest.mark.parametrize(
    "more",
    [
        {"executionType": "INTERVAL", "hour": None,
         "interval": {"startHour": 0, "endHour": 3_600_000, "frequency": "600000"}},
        {"timeZone": "Europe/Vienna", "cron": "0 3 * * 1", "hour": None},
        {"months": [], "dayOfWeekOccurrences": [{"name": "LAST_IN_MONTH"}]},
        {"active": False, "backupType": {"name": "INCREMENTAL"}, "startWindowLength": None},
    ],
)  # fmt: skip
def test_a_schedule_is_read_back_as_it_was_sent(served: Served, portal: Portal, more: Any):
    made = schedule_of(portal, **more)
    path = f"/schedules/{made['guid']}"
    assert portal("GET", path) == made
    after = portal("PUT", path, {**made, "name": new_guid()})
    assert {**after, "name": made["name"]} == made
    assert made["daysOfWeek"][0] == {
        "name": "MONDAY",
        "description": "Monday",
        "shortName": "Mon",
    }


def test_a_time_zone_that_is_none_is_refused(served: Served, portal: Portal):
    for zone in ("Mars/Olympus", "../../etc/passwd", "", "x" * 300):
        answer = portal.raw("POST", "/schedules", {"name": new_guid(), "timeZone": zone, "hour": 0})
        assert is_error(answer, 400), zone


def test_schedules_are_restricted_by_type_and_by_machine(served: Served, portal: Portal):
    backup = schedule_of(portal)
    snapshot = schedule_of(portal, type="VM_SNAPSHOT")
    made = policy_of(served, portal, rules=[rule_of(served.destination, [backup])])
    [machine] = made["vms"]
    other = served.machines[served.new_machine()]

    def found(query: str) -> list[str]:
        rows = portal("GET", f"/schedules?size=1000&{query}")
        return [row["guid"] for row in rows if row["guid"] in (backup["guid"], snapshot["guid"])]

    assert found("type=VM_BACKUP") == [backup["guid"]]
    assert found("type=VM_SNAPSHOT") == [snapshot["guid"]]
    assert len(found("type=VM_BACKUP&type=VM_SNAPSHOT")) == 2
    assert found(f"protected-entity={machine['guid']}") == [backup["guid"]]
    assert found(f"type=VM_SNAPSHOT&protected-entity={machine['guid']}") == []
    assert found(f"protected-entity={other}") == []
    assert found(f"protected-entity={new_guid()}") == []
    assert is_error(portal.raw("GET", "/schedules?type=WHENEVER"), 400)
    policy = {"name": new_guid(), "vms": [other], "rules": [{"schedules": [snapshot]}]}
    portal("POST", "/policies/vm-snapshot", policy)
    assert found(f"protected-entity={other}") == [snapshot["guid"]]
    answer = portal.raw("GET", f"/schedules?protected-entity={machine['guid']}&page=0&size=1")
    assert answer.headers["x-total-count"] == "1"


def rule(served: Served, name: str, **more: Any) -> dict[str, Any]:
    to = [{"roleType": "PRIMARY", "backupDestination": served.destination}]
    return {"name": name, "ruleBackupDestinations": to, **more}


def test_a_rule_keeps_its_guid_by_its_name_and_two_may_swap_their_names(
    served: Served, portal: Portal
):
    made = policy_of(served, portal, vms=[], rules=[rule(served, "a"), rule(served, "b")])
    first = {item["name"]: item["guid"] for item in made["rules"]}
    path = f"/policies/vm-backup/{made['guid']}"
    by_name = portal("PUT", path, {**made, "rules": [rule(served, "b"), rule(served, "a")]})
    assert {item["name"]: item["guid"] for item in by_name["rules"]} == first
    swapped = [rule(served, "b", guid=first["a"]), rule(served, "a", guid=first["b"])]
    after = portal("PUT", path, {**made, "rules": swapped})
    result = {item["name"]: item["guid"] for item in after["rules"]}
    assert result == {"a": first["b"], "b": first["a"]}


def test_null_clears_a_member_of_a_rule_and_absence_keeps_it(served: Served, portal: Portal):
    body = {"name": new_guid(), "rules": [{"name": "r", "retentionDays": 7}]}
    made = portal("POST", "/policies/vm-snapshot", body)
    path, guid = f"/policies/vm-snapshot/{made['guid']}", made["rules"][0]["guid"]
    kept = portal("PUT", path, {**body, "rules": [{"guid": guid}]})
    assert kept["rules"][0]["retentionDays"] == 7
    cleared = portal("PUT", path, {**body, "rules": [{"guid": guid, "retentionDays": None}]})
    assert cleared["rules"][0].get("retentionDays") is None


@pytest.mark.parametrize("guid", [{"a": 1}, ["x"], 5])
def test_a_guid_of_a_rule_that_is_no_text_is_refused(served: Served, portal: Portal, guid: Any):
    made = policy_of(served, portal, vms=[], rules=[rule(served, "a")])
    wanted = {**made, "rules": [rule(served, "a", guid=guid)]}
    assert is_error(portal.raw("PUT", f"/policies/vm-backup/{made['guid']}", wanted), 400)


def test_a_rule_that_is_changed_by_itself_stays_with_its_policy(served: Served, portal: Portal):
    made = policy_of(served, portal, vms=[], rules=[rule(served, "a")])
    portal("PUT", f"/rules/vm-backup/{made['rules'][0]['guid']}", rule(served, "renamed"))
    after = portal("GET", f"/policies/vm-backup/{made['guid']}")
    assert [one["name"] for one in after["rules"]] == ["renamed"]


@pytest.mark.parametrize("count", [-5, 1000])
def test_retries_without_end_are_refused(served: Served, portal: Portal, count: int):
    body = {"name": new_guid(), "backupRetryCount": count}
    assert is_error(portal.raw("POST", "/policies/vm-backup", body), 400)


def test_a_destination_that_a_rule_names_and_a_cluster_in_use_stay(served: Served, portal: Portal):
    policy_of(served, portal, vms=[], rules=[rule(served, "a")])
    place = served.destination["guid"]
    assert is_error(portal.raw("DELETE", f"/backup-destinations/{place}", None), 409)
    [host] = [one for one in portal("GET", "/hypervisors") if one.get("cluster")][:1]
    cluster = host["cluster"]["guid"]
    assert is_error(portal.raw("DELETE", f"/hypervisor-clusters/{cluster}", None), 409)
    assert portal("GET", "/hypervisors")


def test_a_policy_is_not_handed_over_with_machines_of_another_project(
    served: Served, portal: Portal
):
    made = policy_of(served, portal)
    wanted = {**made, "project": "elsewhere"}
    path = f"/policies/vm-backup/{made['guid']}"
    assert is_error(portal.raw("PUT", path, wanted), 409)
    assert portal("GET", path).get("project") is None


def test_a_rule_is_the_old_one_by_guid_else_by_name_else_by_position(
    served: Served, portal: Portal
):
    rules = [rule(served, name, position=place) for place, name in enumerate("abc")]
    made = policy_of(served, portal, vms=[], rules=rules)
    first = {item["name"]: item["guid"] for item in made["rules"]}
    path = f"/policies/vm-backup/{made['guid']}"
    sent = [
        rule(served, "renamed", position="1"),  # the rule b, found by its position
        # Found by its name, which takes precedence over its position.
        rule(served, "a", position=2),
        rule(served, "d", guid=first["c"], position=0),
        rule(served, "new", position=1, isNotSaved=True, guid=new_guid()),
    ]
    after = portal("PUT", path, {**made, "rules": sent})
    result = {item["name"]: item["guid"] for item in after["rules"]}
    assert {name: result[name] for name in ("renamed", "a", "d")} == {
        "renamed": first["b"],
        "a": first["a"],
        "d": first["c"],
    }
    assert result["new"] not in first.values()
    assert [item["name"] for item in after["rules"]] == ["d", "new", "renamed", "a"]
    twice = [{"guid": first["a"], "name": "x"}, {"guid": first["a"], "name": "y"}]
    answer = portal.raw("PUT", path, {**after, "rules": twice})
    assert is_error(answer, 400)
    assert answer.json()["details"]["field"] == "rules[1].guid"


@pytest.mark.parametrize(
    ("kind", "sort"), [("vm-backup", "VM_SNAPSHOT"), ("vm-snapshot", "VM_BACKUP")]
)
def test_a_schedule_of_another_type_is_refused(
    served: Served, portal: Portal, kind: str, sort: str
):
    other = schedule_of(portal, type=sort, months=[], dayOfWeekOccurrences=[])
    body = {"name": new_guid(), "rules": [{"name": "r", "schedules": [other]}]}
    answer = portal.raw("POST", f"/policies/{kind}", body)
    assert is_error(answer, 400)
    assert answer.json()["details"]["field"] == "schedules"
    assert portal("GET", f"/policies/{kind}?filter={body['name']}") == []


def test_a_recovery_plan_is_read_back_member_by_member(served: Served, portal: Portal):
    machines = [{"guid": served.machines[served.new_machine()], "name": "x"} for _ in range(3)]
    night = schedule_of(portal, type="VM_RESTORE", months=[], dayOfWeekOccurrences=[])
    sent = {
        "name": new_guid(),
        "description": "drill",
        "active": True,
        "priority": "70",
        "backupRetryCount": "1",
        "schedules": [night],
        "rules": [
            {"name": "first", "protectedEntities": machines[:2], "order": "1", "prefix": "t-"},
            {"name": "second", "protectedEntities": machines[2:], "active": False},
        ],
    }
    made = portal("POST", "/policies/recovery-plan", sent)
    assert (made["priority"], made["backupRetryCount"], made["description"]) == (70, 1, "drill")
    first, second = made["rules"]
    assert (first["order"], first["prefix"], second["active"]) == (1, "t-", False)
    assert [item["guid"] for item in first["protectedEntities"]] == [
        m["guid"] for m in machines[:2]
    ]
    assert made["ruleCount"] == 2
    assert made["rulesVmCount"] == {first["guid"]: 2, second["guid"]: 1}
    assert [item["guid"] for item in made["schedules"]] == [night["guid"]]
    assert made["warnings"] == []
    path = f"/policies/recovery-plan/{made['guid']}"
    assert portal("GET", path) == made
    changed = portal("PUT", path, {**made, "rules": [{**first, "guid": None}], "schedules": []})
    assert [item["guid"] for item in changed["rules"]] == [first["guid"]]
    assert changed["schedules"] == []
    portal("PUT", path, {**changed, "schedules": [night]})
    portal("DELETE", path)
    assert portal("GET", f"/schedules/{night['guid']}")["rules"] == []


def test_machines_are_listed_by_their_policy(served: Served, portal: Portal):
    made = policy_of(served, portal)
    [machine] = made["vms"]
    rows = portal("GET", f"/virtual-machines?vm-backup-policy={made['guid']}")
    assert [row["guid"] for row in rows] == [machine["guid"]]
    assert rows[0]["protectionState"]["name"] == "NEVER"
    assert portal("GET", f"/virtual-machines?vm-snapshot-policy={made['guid']}") == []
    never = portal("GET", "/virtual-machines?protection=NEVER&protection=LATE")
    assert machine["guid"] in [row["guid"] for row in never]
    assert is_error(portal.raw("GET", "/virtual-machines?protection=WRONG"), 400)


def test_the_counts_of_protection_add_up_and_agree_with_the_dashboard(
    served: Served, portal: Portal
):
    made = policy_of(served, portal)
    counts = portal("GET", "/protection")
    total = counts.pop("total")
    assert sum(counts.values()) == total == len(portal("GET", "/virtual-machines"))
    board = portal("GET", "/dashboard/protection")["vm"]
    assert sum(board.values()) == total
    assert board["notProtected"] == counts["late"] + counts["failing"] + counts["never"]
    for state, count in counts.items():
        listed = portal.raw("GET", f"/protection/machines?protection={state.upper()}&size=1")
        assert listed.headers["x-total-count"] == str(count)
    never = portal("GET", "/protection/machines?size=1000&protection=NEVER")
    assert {row["state"]["name"] for row in never} == {"NEVER"}
    [row] = [row for row in never if row.get("policy", {}).get("guid") == made["guid"]]
    assert row["policy"]["name"] == made["name"]
    assert row["rpo"] > DAY


@pytest.mark.parametrize("named", [True, False])
def test_the_thresholds_of_a_policy_count_also_where_a_destination_is_named(
    served: Served, portal: Portal, named: bool
):
    machines = [served.machines[served.new_machine()] for _ in range(2)]
    policy_of(served, portal, vms=machines, backupRetryCount=0,
              failRemainingBackupTasksExportThreshold=40)  # fmt: skip
    body = {"protectedEntities": machines, **(served.there if named else {})}
    first, second = portal("POST", "/tasks/export", body)
    served.state(first["guid"], "RUNNING")
    served.state(first["guid"], {"state": "FAILED", "statusInfo": "no space"})
    assert served.task(second["guid"])["statusInfo"].startswith("THRESHOLD: 1 of 2")
