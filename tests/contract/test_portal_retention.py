"""Retention hints as portals set them: an array of locations, with a preview first."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from haulback.ids import new_guid
from haulback.server.store import tables
from haulback.units import utc
from tests.contract.conftest import Served
from tests.contract.portals import Portal, logged_in
from tests.contract.test_transport import is_error

PATH = "/retention/mark-backups"
LATER = 4_000_000_000_000


@pytest.fixture
def portal(served: Served) -> Any:
    yield from logged_in(served)
    served.rest()


def locations_of(served: Served, portal: Portal, count: int) -> list[dict[str, Any]]:
    """The backup locations, newest first."""
    number = served.new_machine()
    for _ in range(count):
        served.stored(machine=number)
    query = f"protected-entity={served.machines[number]}&location-status=PRESENT"
    return list(portal("GET", f"/backup-locations?{query}"))


def wish(location: dict[str, Any], hint: str, **more: Any) -> dict[str, Any]:
    """A location as a portal sends it: the whole record, with the guid of the backup in place of
    its own guid.
    """
    told = {"name": hint, "description": hint.capitalize()}
    return {**location, "guid": location["backup"]["guid"], "retentionHint": told, **more}


def now(portal: Portal, location: dict[str, Any]) -> dict[str, Any]:
    return dict(portal("GET", f"/backup-locations/{location['guid']}"))


def test_each_location_gets_its_own_hint(served: Served, portal: Portal):
    item, two, three = locations_of(served, portal, 3)
    body = [wish(item, "STANDARD_RETENTION"), wish(two, "ARCHIVE", archiveExpire=LATER)]
    # the location's own guid works too
    body.append({**wish(three, "TO_REMOVE"), "guid": three["guid"]})
    shown = portal("POST", f"{PATH}/preview", [*body, None])
    assert [row["retentionHint"]["name"] for row in shown] == [
        "STANDARD_RETENTION",
        "ARCHIVE",
        "TO_REMOVE",
    ]
    assert [row["previousHint"]["name"] for row in shown] == ["STANDARD_RETENTION"] * 3
    assert [row["toBeRemoved"] for row in shown] == [False, False, True]
    assert shown[1]["archiveExpire"] == LATER
    assert now(portal, three) == three  # a preview changes nothing
    portal("POST", PATH, body)
    assert now(portal, item) == item
    assert now(portal, two)["archiveExpire"] == LATER
    assert now(portal, three)["retentionHint"]["name"] == "TO_REMOVE"
    portal("POST", PATH, [wish(now(portal, two), "STANDARD_RETENTION", archiveExpire=LATER)])
    assert now(portal, two)["retentionHint"]["name"] == "STANDARD_RETENTION"


def test_the_preview_names_others_that_stay_or_go_because_of_it(served: Served, portal: Portal):
    path = f"/backup-destinations/{served.destination['guid']}"
    portal("PUT", path, {"retention": {"keepLastNFull": 1}})
    try:
        newest, older = locations_of(served, portal, 2)
        shown = portal("POST", f"{PATH}/preview", [wish(newest, "TO_REMOVE")])
        fates = {row["backup"]["guid"]: row["toBeRemoved"] for row in shown}
        assert fates == {newest["backup"]["guid"]: True, older["backup"]["guid"]: False}
        knocked = shown[1]
        assert knocked["previousHint"] == knocked["retentionHint"]
    finally:
        portal("PUT", path, {"retention": {}})


DATES = (
    "2096-10-02T07:06:40Z",
    "2096-10-02T07:06:40.000Z",
    "2096-10-02T09:06:40+02:00",
    "4000000000000",
    LATER,
)


@pytest.mark.parametrize("given", DATES)
def test_the_end_of_an_archive_is_a_number_or_a_date(served: Served, portal: Portal, given: Any):
    [one] = locations_of(served, portal, 1)
    portal("POST", PATH, [wish(one, "ARCHIVE", archiveExpire=given)])
    assert now(portal, one)["archiveExpire"] == LATER


def test_an_archive_without_an_end_stays(served: Served, portal: Portal):
    [one] = locations_of(served, portal, 1)
    portal("POST", PATH, [wish(one, "ARCHIVE", archiveExpire=None)])
    assert "archiveExpire" not in now(portal, one)
    portal("POST", PATH, [])
    assert portal("POST", f"{PATH}/preview", []) == []


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"retentionHint": {"name": "RECREATE"}}, 400),
        ({"retentionHint": None}, 400),
        ({"guid": None}, 400),
        ({"guid": "x"}, 400),
        ({"guid": "00000000-0000-4000-8000-000000000000"}, 404),
        ({"archiveExpire": "tomorrow"}, 400),
        ({"archiveExpire": "2096-13-45"}, 400),
        ({"archiveExpire": -5}, 400),
        ({"archiveExpire": {}}, 400),
        ({"backup": {"guid": "00000000-0000-4000-8000-000000000000"}}, 400),
    ],
)
def test_one_wish_that_makes_no_sense_changes_no_location(
    served: Served, portal: Portal, more: Any, status: int
):
    one, two = locations_of(served, portal, 2)
    body = [wish(one, "TO_REMOVE"), {**wish(two, "ARCHIVE"), **more}]
    for path in (PATH, f"{PATH}/preview"):
        answer = portal.raw("POST", path, body)
        assert is_error(answer, status), answer.text
    assert now(portal, one) == one


def test_a_locked_backup_is_not_marked_for_removal(served: Served, portal: Portal):
    path = f"/backup-destinations/{served.destination['guid']}"
    portal("PUT", path, {"retention": {"daysToKeepRetentionLock": 1}})
    try:
        [item] = locations_of(served, portal, 1)
        for where in (PATH, f"{PATH}/preview"):
            assert is_error(portal.raw("POST", where, [wish(item, "TO_REMOVE")]), 409)
        portal("POST", PATH, [wish(item, "STANDARD_RETENTION", archiveExpire=1)])
        assert now(portal, item) == item
    finally:
        portal("PUT", path, {"retention": {}})


def test_the_older_body_is_previewed_too(served: Served, portal: Portal):
    [one] = locations_of(served, portal, 1)
    body = {"backupLocations": [{"guid": one["guid"]}], "retentionHint": "TO_REMOVE"}
    [shown] = portal("POST", f"{PATH}/preview", body)
    assert shown["retentionHint"]["name"] == "TO_REMOVE"
    portal("POST", PATH, body)
    assert now(portal, one)["retentionHint"]["name"] == "TO_REMOVE"
    assert is_error(portal.raw("POST", PATH, [{"guid": new_guid()}]), 400)


def test_an_archive_without_an_end_outlasts_the_lock_and_gives_it_back(
    served: Served, portal: Portal
):
    path = f"/backup-destinations/{served.destination['guid']}"
    portal("PUT", path, {"retention": {"daysToKeepRetentionLock": 1}})
    try:
        [item] = locations_of(served, portal, 1)
        lock = now(portal, item)["archiveExpire"]
        portal("POST", PATH, [wish(item, "ARCHIVE", archiveExpire=None)])
        assert "archiveExpire" not in now(portal, item)
        assert is_error(portal.raw("POST", PATH, [wish(item, "TO_REMOVE")]), 409)
        portal("POST", PATH, [wish(item, "STANDARD_RETENTION")])
        assert now(portal, item)["archiveExpire"] == lock
    finally:
        portal("PUT", path, {"retention": {}})


def test_the_end_of_an_archive_only_moves_forward(served: Served, portal: Portal):
    [one] = locations_of(served, portal, 1)
    portal("POST", PATH, [wish(one, "ARCHIVE", archiveExpire=LATER)])
    sooner = portal.raw("POST", PATH, [wish(one, "ARCHIVE", archiveExpire=LATER - 1)])
    assert f"is kept until {utc(LATER)} ({LATER} epoch ms)" in sooner.text
    assert is_error(sooner, 409)
    portal("POST", PATH, [wish(one, "ARCHIVE", archiveExpire=LATER + 1)])
    assert now(portal, one)["archiveExpire"] == LATER + 1


@pytest.mark.parametrize("state", ["MISSING", "GIVEN_UP"])
def test_a_backup_that_is_missing_is_not_marked_for_removal(
    served: Served, portal: Portal, state: str
):
    [one] = locations_of(served, portal, 1)
    with served.app.store.write() as sql:
        here = tables.backup.c.guid == one["backup"]["guid"]
        sql.execute(sa.update(tables.backup).where(here).values(location_status=state))
    answer = portal.raw("POST", PATH, [wish(one, "TO_REMOVE")])
    assert is_error(answer, 409)
    assert "confirm-missing" in answer.json()["message"]
