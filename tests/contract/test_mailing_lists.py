"""Mailing lists and credentials as portals add, read and change them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa

from haulback.ids import new_guid
from haulback.server.services import credentials
from haulback.server.store import tables
from haulback.server.store.catalogue import SqlCatalogue
from tests.contract.conftest import Served
from tests.contract.portals import Portal, logged_in
from tests.contract.test_transport import is_error

CANARY = "swordfish-77e1"


@pytest.fixture
def portal(served: Served) -> Any:
    yield from logged_in(served)


def a_list(portal: Portal, *recipients: str) -> Any:
    body = {"name": new_guid(), "recipients": list(recipients)}
    return portal("POST", "/mailing-lists", body)


def test_a_mailing_list_is_kept_in_full(portal: Portal):
    made = a_list(portal, "ops@example.org", " a.b+c@mail.example.org ")
    path = f"/mailing-lists/{made['guid']}"
    assert portal("GET", path)["recipients"] == ["ops@example.org", "a.b+c@mail.example.org"]
    changed = {**made, "recipients": ["o@example.org", None], "isDefault": "true", "x": 1}
    portal("PUT", path, changed)
    shown = portal("GET", path)
    assert (shown["recipients"], shown["isDefault"]) == (["o@example.org"], True)
    assert path.rpartition("/")[2] in [row["guid"] for row in portal("GET", "/mailing-lists")]
    portal("DELETE", path)
    assert portal.raw("GET", path).status_code == 404


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ops",
        "ops@",
        "@example.org",
        "a@b@example.org",
        "ops@example.org\nBcc: all@example.org",
        "ops@example.org\r",
        "ops@exa mple.org",
        "<ops@example.org>",
        "a..b@example.org",
        f"{'a' * 65}@example.org",
        f"a@{'b' * 250}.org",
        "ops@-example.org",
        "öps@example.org",
    ],
)
def test_an_address_that_is_none_is_refused_by_its_place(portal: Portal, address: str):
    body = {"name": new_guid(), "recipients": ["ops@example.org", address]}
    answer = portal.raw("POST", "/mailing-lists", body)
    is_error(answer, 400)
    assert answer.json()["details"]["field"] == "recipients[1]"


def test_a_list_without_recipients_is_refused(portal: Portal):
    is_error(portal.raw("POST", "/mailing-lists", {"name": new_guid()}), 400)


def test_a_policy_shows_its_list_by_name_and_holds_it(portal: Portal):
    made = a_list(portal, "ops@example.org")
    body = {"name": new_guid(), "rules": [], "vms": [], "mailingList": made}
    policy = portal("POST", "/policies/vm-backup", body)
    assert policy["mailingList"] == {"guid": made["guid"], "name": made["name"]}
    path = f"/mailing-lists/{made['guid']}"
    is_error(portal.raw("DELETE", path), 409)
    portal("PUT", f"/policies/vm-backup/{policy['guid']}", {**body, "mailingList": None})
    portal("DELETE", path)


def test_a_policy_names_a_list_that_exists(portal: Portal):
    body = {"name": new_guid(), "mailingList": {"guid": new_guid()}}
    answer = portal.raw("POST", "/policies/vm-backup", body)
    is_error(answer, 400)
    assert answer.json()["details"]["field"] == "mailingList"


def stored(served: Served, guid: str) -> dict[str, str]:
    with served.app.store.read() as sql:
        record = SqlCatalogue(sql).records.get("credential", guid)
    return credentials.opened(served.app.vault, record)


def test_a_secret_is_written_and_never_shown(portal: Portal, served: Served):
    body = {"name": new_guid(), "username": "ops", "password": CANARY, "type": {"name": "SSH"}}
    made = portal("POST", "/credential", body)
    path = f"/credential/{made['guid']}"
    assert (made["username"], made["secrets"]) == ("ops", ["password"])
    assert stored(served, made["guid"]) == {"password": CANARY}
    portal("PUT", path, {**made, "username": "other", "password": ""})  # as an edit page does
    assert stored(served, made["guid"]) == {"password": CANARY}
    portal("PUT", path, {**made, "privateKey": "PEM", "remove": ["password"]})
    assert stored(served, made["guid"]) == {"privateKey": "PEM"}
    assert portal("GET", path)["secrets"] == ["privateKey"]
    shown = [portal("GET", where) for where in (path, "/credential", "/audit-log?size=20")]
    assert CANARY not in json.dumps(shown)
    assert "sealed" not in json.dumps(shown)
    with served.app.store.read() as sql:
        texts = sql.scalars(
            sa.select(tables.record.c.body).where(tables.record.c.kind == "credential")
        )
        assert CANARY not in "".join(texts)
    portal("DELETE", path)


def test_a_change_that_is_refused_keeps_the_secret(portal: Portal, served: Served):
    made = portal("POST", "/credential", {"name": new_guid(), "token": CANARY})
    path = f"/credential/{made['guid']}"
    for wrong in ({"token": "x" * 20_000}, {"remove": ["pasword"]}, {"username": "a\nb"}):
        is_error(portal.raw("PUT", path, {**made, **wrong}), 400)
    assert stored(served, made["guid"]) == {"token": CANARY}
