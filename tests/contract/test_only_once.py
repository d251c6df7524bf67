"""A second request that conflicts with the first is refused while the first waits or runs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from haulback.contract.machines import VirtualDisk
from haulback.ids import new_guid
from tests.contract.conftest import Answer, Served
from tests.contract.test_transport import is_error

Request = tuple[str, dict[str, Any]]


@pytest.fixture(autouse=True)
def at_rest(served: Served) -> None:
    served.rest()


def asked(served: Served, request: Request) -> Answer:
    path, body = request
    return served.call("POST", f"/api/tasks/{path}", body)


def mount_again(served: Served) -> Request:
    guid = served.mounted()["guid"]
    task = served.call("POST", "/api/tasks/unmount", {"mountedBackup": guid}).json()
    served.run(task["guid"], {})
    return "mount", {"mountedBackup": {"guid": guid, "name": "db"}}


def unmount(served: Served) -> Request:
    return "unmount", {"mountedBackup": {"guid": served.mounted()["guid"], "name": ""}}


def mount_first(served: Served) -> Request:
    place = [{"mountPath": f"/mnt/{new_guid()}"}]
    return "restore-and-mount", {
        "mode": "AUTO",
        "backup": served.stored(),
        "mountedFileSystems": place,
    }


def mount_disks(served: Served) -> Request:
    clients = ["iqn.2020-01.org.example:host"]
    return "restore-and-mount", {
        "mode": "ISCSI",
        "backup": served.stored(),
        "allowedClients": clients,
    }


def instant(served: Served) -> Request:
    body = {"backup": served.stored(), "hypervisor": served.kvm(), "mode": "INSTANT_RESTORE"}
    return "instant-restore", {**body, "restoredPeName": "twin"}


def migrate(served: Served) -> Request:
    mount = served.living_off(served.kvm())["guid"]
    return "live-migration", {"mountedBackup": {"guid": mount}}


def revert(served: Served) -> Request:
    entity = served.machines[served.new_machine(VirtualDisk("root", 10, "qcow2"))]
    return "revert", {"snapshot": {"guid": served.snapped(entity)["guid"]}}


REQUESTS = (mount_again, unmount, mount_first, mount_disks, instant, migrate, revert)


@pytest.mark.parametrize("made", REQUESTS)
def test_a_second_one_is_refused_while_the_first_waits_or_runs(
    served: Served, made: Callable[[Served], Request]
):
    request = made(served)
    first = asked(served, request)
    assert first.status_code == 201, first.text
    guid = first.json()["guid"]
    before = len(served.call("GET", "/api/tasks").json())
    for state in ("QUEUED", "RUNNING"):
        assert served.task(guid)["state"]["name"] == state
        second = asked(served, request)
        assert is_error(second, 409), second.text
        assert second.json()["details"]["field"]
        assert second.json()["details"]["task"]
        assert len(served.call("GET", "/api/tasks").json()) == before
        if state == "QUEUED":
            assert served.state(guid, "RUNNING").status_code == 204
    assert served.state(guid, {"state": "FAILED", "statusInfo": "a test"}).status_code == 204
    again = asked(served, request)  # finished tasks do not conflict
    assert again.status_code == 201, again.text


@pytest.mark.parametrize("made", [mount_again, unmount, mount_first, revert])
def test_two_requests_at_the_same_moment_make_one_task(
    served: Served, made: Callable[[Served], Request]
):
    request = made(served)
    with ThreadPoolExecutor(4) as pool:
        codes = sorted(a.status_code for a in pool.map(lambda _: asked(served, request), range(4)))
    assert codes == [201, 409, 409, 409]


def test_what_one_ends_another_does_not_begin(served: Served):
    path, body = unmount(served)
    assert asked(served, (path, body)).status_code == 201
    assert is_error(asked(served, ("mount", body)), 409)
    path, body = migrate(served)
    assert asked(served, (path, body)).status_code == 201
    assert is_error(asked(served, ("unmount", body)), 409)


def test_other_shares_of_the_same_backup_are_not_in_the_way(served: Served):
    path, body = mount_first(served)
    assert asked(served, (path, body)).status_code == 201
    elsewhere = {**body, "mountedFileSystems": [{"mountPath": f"/mnt/{new_guid()}"}]}
    assert asked(served, (path, elsewhere)).status_code == 201
    path, body = instant(served)
    assert asked(served, (path, body)).status_code == 201
    assert asked(served, (path, {**body, "restoredPeName": "other"})).status_code == 201


def test_a_repeated_request_with_its_key_is_answered_as_before(served: Served):
    path, body = mount_again(served)
    headers = {"idempotency-key": new_guid()}
    one, two = (served.call("POST", f"/api/tasks/{path}", body, headers=headers) for _ in range(2))
    assert (one.status_code, two.status_code) == (201, 201)
    assert one.json()["guid"] == two.json()["guid"]
