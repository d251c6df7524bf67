"""Settings of rules and destinations as retention terms; settings that keep no backup are
refused.
"""

from __future__ import annotations

from typing import Any

import pytest

from haulback.contract.destinations import Retention
from haulback.contract.retention import RuleRetention
from haulback.errors import Malformed
from haulback.policy import terms
from haulback.policy.retention import Limits, Terms
from haulback.units import DAY_MS
from haulback.wire import JsonObject

FIELD = "backupRetentionSettings"
AGE = 7_200_000
CENTURY = 36_500


def rule(**members: Any) -> RuleRetention:
    return RuleRetention(**members)


def target(**members: Any) -> dict[str, Any]:
    return {"ruleBackupDestinations": [{"roleType": "SECONDARY"}, members]}


def test_a_destination_without_retention_settings_has_the_usual_ones():
    for settings in ({}, {"retention": None}, {"retention": {}}):
        assert terms.of(settings) == Retention()
    assert terms.of({"retention": {"keepLastNFull": 3}}) == Retention(keepLastNFull=3)


def test_a_rule_has_retention_settings_for_the_destinations_of_each_role():
    body = target(roleType="PRIMARY", backupRetentionSettings={"keepDaily": 7})
    assert terms.of_role(body, "PRIMARY") == rule(keepDaily=7)
    assert terms.of_role(body, "SECONDARY") is None
    assert terms.of_role({}, "PRIMARY") is None
    assert terms.of_role({"ruleBackupDestinations": None}, "PRIMARY") is None


def test_a_destination_of_a_rule_without_a_role_is_a_primary_one():
    body = target(backupRetentionSettings={"keepDaily": 7})
    assert terms.of_role(body, "PRIMARY") == rule(keepDaily=7)
    assert terms.of_role(body, "SECONDARY") is None


def _seconds(*places: tuple[str, JsonObject | None, int | None]) -> JsonObject:
    """A rule with SECONDARY destinations: guid, retention, days of the lock."""
    targets = [
        {
            "roleType": "SECONDARY",
            "backupDestination": {"guid": guid},
            "backupRetentionSettings": settings,
            "daysToKeepRetentionLock": days,
        }
        for guid, settings, days in places
    ]
    primary = {"roleType": "PRIMARY", "backupDestination": None}
    return {"ruleBackupDestinations": [primary, *targets]}


def test_each_of_two_destinations_of_a_role_has_its_own_settings():
    body = _seconds(("a", {"keepDaily": 7}, 9), ("b", {"keepDaily": 30}, 2))
    wanted = [terms.of_role(body, "SECONDARY", place) for place in "ab"]
    assert wanted == [rule(keepDaily=7), rule(keepDaily=30)]
    assert [terms.lock_ms(body, "SECONDARY", at) // DAY_MS for at in "ab"] == [9, 2]
    assert terms.of_role(body, "SECONDARY", "removed from the rule") == rule(keepDaily=7)
    assert terms.lock_ms(body, "SECONDARY", "removed from the rule") == 9 * DAY_MS
    assert terms.of_role(body, "PRIMARY", "a") is None


@pytest.mark.parametrize("empty", [None, {}, {"keepDaily": 0}])
@pytest.mark.parametrize("days", [None, 0])
def test_a_destination_without_settings_of_its_own_has_those_of_its_role(
    empty: JsonObject | None, days: int | None
):
    body = _seconds(("a", {"keepDaily": 7}, 30), ("b", empty, days), ("c", {"keepDaily": 9}, 2))
    assert terms.of_role(body, "SECONDARY", "b") == rule(keepDaily=7)
    assert terms.lock_ms(body, "SECONDARY", "b") == 30 * DAY_MS


def test_settings_that_set_nothing_on_the_first_destination_of_a_role_are_its_settings():
    body = _seconds(("a", {"keepDaily": 0}, None), ("b", {"keepDaily": 9}, None), ("c", None, None))
    wanted = [terms.of_role(body, "SECONDARY", place) for place in "abc"]
    assert wanted == [None, rule(keepDaily=9), None]


def test_settings_of_a_rule_that_set_nothing_are_none():
    empty = {"keepDaily": 0, "keepLastBackupWhenSourceStillExists": True}
    assert terms.of_role(target(backupRetentionSettings=empty), "PRIMARY") is None


def test_the_longest_retention_lock_of_a_role_counts_in_days():
    primary = [{"daysToKeepRetentionLock": days} for days in (2, "5", None)]
    body = {"ruleBackupDestinations": [*primary, {"roleType": "COPY"}]}
    assert terms.lock_ms(body, "PRIMARY") == 5 * DAY_MS
    assert terms.lock_ms(body, "COPY") == 0
    assert terms.lock_ms(body, "SECONDARY") == 0
    one_day = {"ruleBackupDestinations": [{"daysToKeepRetentionLock": 1}]}
    assert terms.lock_ms(one_day, "PRIMARY") == DAY_MS


def test_counts_and_ages_of_a_rule_are_its_terms():
    settings = rule(
        retentionKeepLastNFull=1,
        retentionKeepFullNewerThan=2,
        retentionKeepLastNIncremental=3,
        retentionKeepIncrementalNewerThan=4,
        keepLastBackupWhenSourceStillExists=False,
        timeZone="Asia/Tokyo",
    )
    assert terms.of_rule(settings, "Europe/Berlin") == Terms(
        full=Limits(1, 2), incremental=Limits(3, 4), keep_last=False
    )


@pytest.mark.parametrize(("own", "zone"), [("Asia/Tokyo", "Asia/Tokyo"), (None, "Europe/Berlin")])
def test_keeps_of_a_rule_count_by_its_own_zone_or_that_of_its_schedule(own: str | None, zone: str):
    settings = rule(keepDaily=1, keepWeekly=2, keepMonthly=3, keepYearly=4, timeZone=own)
    assert terms.of_rule(settings, "Europe/Berlin") == Terms(
        keeps=(1, 2, 3, 4), others=False, zone=zone
    )


@pytest.mark.parametrize("last", [True, None])
def test_a_rule_keeps_the_last_backup_unless_it_says_no(last: bool | None):
    assert terms.of_rule(rule(keepLastBackupWhenSourceStillExists=last), "UTC").keep_last


@pytest.mark.parametrize(
    ("members", "others"),
    [
        ({}, True),
        ({"keepDaily": 7}, False),
        ({"keepDaily": 7, "retentionKeepLastNFull": 3}, True),
        ({"retentionKeepLastNFull": 3}, True),
        ({"keepDaily": 7, "keepOthers": True}, True),
        ({"keepDaily": 7, "retentionKeepLastNFull": 3, "keepOthers": False}, False),
    ],
)
def test_backups_that_no_keep_chooses_are_judged_by_limits_or_go(
    members: dict[str, Any], others: bool
):
    assert terms.of_rule(rule(**members), "UTC").others is others


def test_counts_and_ages_of_a_destination_are_its_terms():
    settings = Retention(
        keepLastNFull=1,
        keepFullNewerThan=2,
        keepLastNIncremental=3,
        keepIncrementalNewerThan=4,
        keepLastBackupWhenSourceStillExists=False,
    )
    assert terms.of_destination(settings) == Terms(
        full=Limits(1, 2), incremental=Limits(3, 4), keep_last=False
    )
    assert terms.of_destination(Retention()) == Terms()


def test_equal_terms_have_one_text_and_one_key():
    body = terms.body_of(Terms(keeps=(7, 0, 0, 0), full=Limits(3, 9), others=False))
    assert body == '{"full":{"count":3,"age":9},"keeps":[7,0,0,0],"others":false}'
    assert terms.body_of(Terms()) == "{}"
    assert terms.key_of("{}") == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


MOST = {
    "retentionKeepLastNFull": 1_000_000,
    "retentionKeepLastNIncremental": 1_000_000,
    "retentionKeepFullNewerThan": CENTURY * DAY_MS,
    "retentionKeepIncrementalNewerThan": CENTURY * DAY_MS,
    "keepDaily": CENTURY,
    "keepWeekly": CENTURY,
    "keepMonthly": CENTURY,
    "keepYearly": CENTURY,
}


@pytest.mark.parametrize("name", MOST)
def test_a_number_out_of_range_is_refused_with_its_member(name: str):
    most = MOST[name]
    terms.check(rule(**{"keepDaily": 1, name: most}), FIELD)
    terms.check(rule(**{"keepYearly": 1, name: 0}), FIELD) if name != "keepYearly" else None
    for wrong in (-1, most + 1):
        with pytest.raises(Malformed) as told:
            terms.check(rule(**{"keepDaily": 1, name: wrong}), FIELD)
        assert told.value.message == f"{FIELD}.{name}: send a number from 0 to {most}"
        assert told.value.details == {"field": f"{FIELD}.{name}"}


def test_a_zone_that_does_not_exist_is_refused():
    terms.check(rule(keepDaily=1, timeZone="Europe/Berlin"), FIELD)
    with pytest.raises(Malformed) as told:
        terms.check(rule(keepDaily=1, timeZone="Europe/Atlantis"), FIELD)
    field = f"{FIELD}.timeZone"
    assert told.value.message == f"{field}: name an IANA time zone, like Europe/Berlin"
    assert told.value.details == {"field": field}


def test_settings_that_remove_all_others_and_keep_none_are_refused():
    terms.check(rule(keepOthers=False, keepDaily=1), FIELD)
    terms.check(rule(keepOthers=True), FIELD)
    with pytest.raises(Malformed, match=r"\.keepOthers: false keeps nothing without") as told:
        terms.check(rule(keepOthers=False), FIELD)
    assert told.value.details == {"field": f"{FIELD}.keepOthers"}


@pytest.mark.parametrize("name", ["retentionKeepLastNFull", "retentionKeepFullNewerThan"])
def test_settings_that_keep_no_full_backup_are_refused(name: str):
    terms.check(rule(**{name: 1}), FIELD)
    terms.check(rule(**{name: 0, "keepDaily": 1}), FIELD)
    with pytest.raises(Malformed) as told:
        terms.check(rule(**{name: 0}), FIELD)
    advice = "keep at least 1, or leave the member out for no limit"
    assert told.value.message == f"{FIELD}.{name}: 0 keeps nothing; {advice}"
    assert told.value.details == {"field": f"{FIELD}.{name}"}


@pytest.mark.parametrize(
    "name", ["retentionKeepLastNIncremental", "retentionKeepIncrementalNewerThan"]
)
def test_settings_that_keep_no_incremental_backup_are_allowed_and_warned_about(name: str):
    terms.check(rule(**{name: 0}), FIELD)
    assert list(terms.warnings(rule(**{name: 0}))) == [
        f"{name} is 0: every incremental backup is removed at the next clean-up"
    ]
    assert list(terms.warnings(rule(**{name: 0, "keepDaily": 1}))) == []


def test_settings_that_may_remove_the_last_backup_are_warned_about():
    name = "keepLastBackupWhenSourceStillExists"
    [warning] = terms.warnings(rule(**{name: False}))
    assert warning.startswith(f"{name} is false: retention may remove the last good backup")
    assert list(terms.warnings(rule(**{name: None}))) == []
    assert list(terms.warnings(rule(**{name: True}))) == []


def test_limits_that_have_no_effect_are_warned_about():
    limit = {"retentionKeepLastNFull": 3, "keepDaily": 1}
    [warning] = terms.warnings(rule(keepOthers=False, **limit))
    assert warning.startswith("counts and ages have no effect while keepOthers is false")
    assert list(terms.warnings(rule(keepOthers=None, **limit))) == []
    assert list(terms.warnings(rule(keepOthers=False, keepDaily=1))) == []


def test_keeps_that_have_no_effect_are_warned_about():
    [warning] = terms.warnings(rule(keepOthers=True, keepDaily=1))
    assert warning == "neither a count nor an age limits the backups: the keeps remove nothing"
    assert list(terms.warnings(rule(keepOthers=True))) == []
    assert list(terms.warnings(rule(keepDaily=1))) == []
    assert list(terms.warnings(rule(keepOthers=True, keepDaily=1, retentionKeepLastNFull=3))) == []


@pytest.mark.parametrize(
    "name", ["retentionKeepFullNewerThan", "retentionKeepIncrementalNewerThan"]
)
def test_an_age_below_an_hour_is_taken_for_another_unit(name: str):
    for age in (1, 3_599_999):
        assert list(terms.warnings(rule(**{name: age}))) == [
            f"{name} is {age} ms, less than an hour: give ages in milliseconds"
        ]
    assert list(terms.warnings(rule(**{name: 3_600_000}))) == []
    assert list(terms.warnings(rule(**{name: 0, "keepDaily": 1}))) == []
