"""The networks of a restored machine's network cards."""

from __future__ import annotations

from typing import Any

import pytest

from haulback.ids import new_guid
from tests.contract.conftest import EXPORTED, Served
from tests.contract.test_transport import is_error

DOMAIN = """<domain type='kvm'><devices>
<interface type='network'><mac address='52:54:00:00:00:01'/><source network='default'/></interface>
<interface type='bridge'><mac address='52:54:00:00:00:02'/><source bridge='br0'/></interface>
</devices></domain>"""


@pytest.fixture
def backup(served: Served) -> str:
    body = {"protectedEntities": served.machines[:1], **served.there}
    [task] = served.call("POST", "/api/tasks/export", body).json()
    served.run(task["guid"], {**EXPORTED, "definition": {"domain": DOMAIN}})
    [store] = served.task(task["guid"], "?extended=true")["followers"]
    served.run(store["guid"], {"stored": 5})
    return str(task["backup"]["guid"])


@pytest.fixture
def kvm(served: Served) -> str:
    nodes = served.call("GET", "/api/nodes").json()
    mine = next(one["guid"] for one in nodes if one["name"] == "n1")
    body = {"name": new_guid(), "url": "qemu:///system", "node": mine}
    return str(served.call("POST", "/api/hypervisors", body).json()["guid"])


def cards(served: Served, backup: str) -> list[dict[str, Any]]:
    found: dict[str, Any] = served.call("GET", f"/api/backups/{backup}").json()
    return list(found["networkInterfaceCards"])


def restore(served: Served, backup: str, to: str, networks: list[Any]) -> Any:
    body = {"backup": backup, "hypervisor": to, "restoredNetworks": networks}
    return served.call("POST", "/api/tasks/restore-and-import", body)


def test_cards_of_a_backup_are_shown_and_mapped(served: Served, backup: str, kvm: str):
    first, second = cards(served, backup)
    assert [first["network"]["name"], second["network"]["name"]] == ["default", "br0"]
    assert first["network"]["guid"] == ""  # no record has that name yet
    assert second["macAddress"] == "52:54:00:00:00:02"
    lab = served.call("POST", "/api/network", {"name": f"lab-{new_guid()}"}).json()
    wanted = [
        {"networkInterfaceCard": {"guid": first["guid"]}, "network": {"guid": lab["guid"]}},
        {"networkInterfaceCard": second["guid"], "macAddress": "52:54:00:AA:00:02",
         "macAddressSpecified": True},
    ]  # fmt: skip
    answer = restore(served, backup, kvm, wanted)
    assert answer.status_code == 201, answer.text
    served.run(answer.json()["guid"], {"checked": True})
    [follower] = served.task(answer.json()["guid"], "?extended=true")["followers"]
    assert served.state(follower["guid"], "RUNNING").status_code == 204
    order = served.as_node("GET", f"/api/nodes/self/orders/{follower['guid']}").json()
    assert order["order"]["cards"] == [
        {"number": 0, "network": lab["name"], "mac": ""},
        {"number": 1, "network": "", "mac": "52:54:00:aa:00:02"},
    ]
    served.rest()


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"networkInterfaceCard": new_guid()}, 404),
        ({"network": new_guid()}, 404),
        ({"macAddressSpecified": True}, 400),
        ({"macAddressSpecified": True, "macAddress": "53:54:00:00:00:01"}, 400),
        ({"securityGroups": ["web"]}, 400),
    ],
)
def test_what_cannot_be_connected_is_refused(
    served: Served, backup: str, kvm: str, more: Any, code: int
):
    card = {"networkInterfaceCard": {"guid": cards(served, backup)[0]["guid"]}, **more}
    assert is_error(restore(served, backup, kvm, [card]), code)


def test_a_folder_of_images_has_no_networks(served: Served, backup: str):
    card = {"networkInterfaceCard": {"guid": cards(served, backup)[0]["guid"]}}
    assert is_error(restore(served, backup, served.hypervisor["guid"], [card]), 400)
