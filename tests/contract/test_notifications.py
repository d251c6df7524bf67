"""Notifications over HTTP: from a request to the receiver, without further requests."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from haulback.cli.main import app as commands
from haulback.errors import NotFound, TaskFailed
from haulback.ids import new_guid
from haulback.server.services import host_addresses
from tests.contract.conftest import Served
from tests.contract.scene import watch
from tests.contract.test_access import user
from tests.contract.test_transport import is_error
from tests.docs.test_how_to import DOCS, blocks
from tests.receivers import WebServer, mail_server, web_server

PAGE = DOCS / "howto" / "notifications.md"
KEY = "whsec_" + base64.b64encode(b"k" * 32).decode()


@pytest.fixture
def web(served: Served) -> Iterator[WebServer]:
    served.app.notify_networks = host_addresses.networks(["127.0.0.0/8"])
    with web_server() as made:
        yield made


def add(served: Served, path: str, token: str | None = "", **body: Any) -> dict[str, Any]:
    answer = served.call("POST", f"/api/{path}", {"name": new_guid(), **body}, token=token)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def hook(served: Served, web: WebServer, token: str | None = "") -> dict[str, Any]:
    channels = "notification-channels"
    return add(served, channels, token, type="WEBHOOK", url=f"{web.url}/hook", secret=KEY)


def test_a_failed_backup_reaches_a_webhook_by_itself(served: Served, web: WebServer):
    served.rest()
    channel = hook(served, web)
    rule = add(served, "notification-rules", channels=[channel], events=["TASK_ENDED"])
    failed = served.taken()
    served.state(failed, {"state": "FAILED", "statusInfo": "no space"})
    told = [json.loads(call.body) for call in web.wait(1)]
    assert told[0]["data"]["subject"]["guid"] == failed
    assert "no space" in told[0]["data"]["text"]
    rows = served.call("GET", f"/api/deliveries?channel={channel['guid']}").json()
    assert rows[-1]["rule"]["guid"] == rule["guid"]
    guid = rows[-1]["guid"]
    for text, guids in ((guid[:8].upper(), [guid]), ("no such name", [])):
        listed = served.call("GET", f"/api/deliveries?filter={text}").json()
        assert [row["guid"] for row in listed] == guids
    assert served.call("DELETE", f"/api/notification-rules/{rule['guid']}").status_code == 204


def test_a_channel_is_shown_in_full_without_its_secrets(served: Served, web: WebServer):
    made = hook(served, web)
    path = f"/api/notification-channels/{made['guid']}"
    shown = served.call("GET", path).json()
    assert (shown["type"]["name"], shown["url"]) == ("WEBHOOK", f"{web.url}/hook")
    assert (shown["secrets"], "secret" in shown, KEY in json.dumps(shown)) == (
        ["secret"],
        False,
        False,
    )
    viewer = user(served, "viewer")
    for seen in (
        served.call("GET", path, token=viewer).json(),
        *served.call("GET", "/api/notification-channels?size=1000", token=viewer).json(),
    ):
        assert seen.get("url", "").count("/") <= 3
    assert served.call("GET", path, token=viewer).json()["url"] == "http://127.0.0.1/…"
    changed = {**shown, "url": f"{web.url}/other"}
    assert served.call("PUT", path, changed).status_code == 200
    tested = served.call("POST", f"{path}/test").json()
    assert (tested["state"]["name"], web.paths()) == ("DELIVERED", ["/other"])
    assert served.call("GET", f"/api/deliveries/{tested['guid']}").json()["attempts"] == 1
    again = served.call("POST", f"/api/deliveries/{tested['guid']}/redeliver")
    assert again.status_code == 200
    calls = web.wait(2)
    assert len({call.headers["webhook-id"] for call in calls}) == 1
    removed = served.call("PUT", path, {**shown, "remove": ["secret"]})
    assert is_error(removed, 400)
    assert removed.json()["details"]["field"] == "secret"


def test_a_channel_in_use_cannot_be_removed(served: Served, web: WebServer):
    channel = hook(served, web)
    rule = add(served, "notification-rules", channels=[channel["guid"]])
    path = f"/api/notification-channels/{channel['guid']}"
    assert is_error(served.call("DELETE", path), 409)
    served.call("DELETE", f"/api/notification-rules/{rule['guid']}")
    assert served.call("DELETE", path).status_code == 204


def test_a_tenants_rule_tells_its_own_events_only(served: Served, web: WebServer):
    served.rest()
    mine, theirs = (served.new_machine_of(project) for project in ("pa", "pb"))
    admin = user(served, "administrator", projects=["pa"])
    channel = hook(served, web, admin)
    rule = {"channels": [channel], "events": ["TASK_ENDED"], "states": ["FAILED"]}
    add(served, "notification-rules", admin, **rule)
    guids = []
    for machine in (theirs, mine):
        guid = served.export(protectedEntities=[served.machines[machine]])["guid"]
        served.state(guid, "RUNNING")
        served.state(guid, "FAILED")
        guids.append(guid)
    [call] = web.wait(1)
    assert json.loads(call.body)["data"]["subject"]["guid"] == guids[1]
    other = user(served, "administrator", projects=["pb"])
    path = f"/api/notification-channels/{channel['guid']}"
    assert is_error(served.call("GET", path, token=other), 404)
    assert is_error(served.call("POST", f"{path}/test", token=other), 404)
    assert served.call("GET", "/api/deliveries", token=other).json() == []
    assert len(served.call("GET", "/api/deliveries", token=admin).json()) == 1


def test_the_credential_of_all_projects_goes_to_no_host_of_a_tenants_choice(served: Served):
    shared = add(served, "credential", username="ops", password="secret")
    admin = user(served, "administrator", projects=["pa"])
    own = add(served, "credential", admin, username="ops", password="secret")
    mail = {"name": new_guid(), "type": "MAIL", "host": "mail.example.org"}
    mail |= {"sender": "h@example.org", "recipients": ["a@example.org"]}
    for credential, status in ((shared, 403), (own, 201)):
        body = {**mail, "credential": {"guid": credential["guid"]}}
        answer = served.call("POST", "/api/notification-channels", body, token=admin)
        assert answer.status_code == status, answer.text


def test_commands_add_try_and_remove_notifications(
    served: Served, web: WebServer, monkeypatch: pytest.MonkeyPatch, capsys: Any
):
    monkeypatch.setenv("HAULBACK_SERVER", served.server.url)
    monkeypatch.setenv("HAULBACK_TOKEN", served.person)
    asked = watch(monkeypatch)
    policy = add(served, "policies/vm-backup", name=f"p-{new_guid()}")

    def run(line: str) -> str:
        commands(line.split(), exit_on_error=False, result_action="return_value")
        return str(capsys.readouterr().out)

    hooked, watched = f"h-{new_guid()}", f"w-{new_guid()}"
    assert "secret: whsec_" in run(f"notify channel webhook {hooked} --url {web.url}/h")
    assert "answered 204" in run(f"notify channel test {hooked}")
    urls = f"--success {web.url}/good --start {web.url}/start"
    run(f"notify channel monitor {watched} {urls} --policy {policy['name']}")
    run(f"notify rule add {hooked} --channel {hooked} {watched} --event node_down --digest 5m")
    mail = "--host 127.0.0.1 --sender h@example.org --to a@example.org --port 1"
    run(f"notify channel mail m-{hooked} {mail}")
    with pytest.raises(TaskFailed, match="cannot be reached"):
        run(f"notify channel test m-{hooked}")
    assert hooked in run("notify channel ls")
    assert "DELIVERED" in run(f"notify log --channel {hooked}")
    for name in (hooked, watched):
        run(f"notify rule rm {name} -y")
        run(f"notify channel rm {name} -y")
    asked.close()


def test_the_page_about_notifications_runs_as_written(
    served: Served, web: WebServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    served.rest()
    monkeypatch.setenv("HAULBACK_SERVER", served.server.url)
    monkeypatch.setenv("HAULBACK_TOKEN", served.person)
    asked = watch(monkeypatch)
    policy = add(served, "policies/vm-backup", name="gold")
    done = []
    with mail_server(tmp_path, "STARTTLS") as box:
        (tmp_path / "ca.pem").write_text(box.certificate)
        here = f"127.0.0.1 --port {box.port} --certificate {tmp_path}/ca.pem"
        for line in "".join(blocks(PAGE, "sh")).splitlines():
            line = line.replace("mail.example.org", here)
            line = line.replace("https://hooks.example.org", web.url)
            with suppress(NotFound):  # no run of the policy has ended yet
                words = shlex.split(line)[1:]
                commands(words, exit_on_error=False, result_action="return_value")
            done.append(words[1])
        assert [mail["Subject"] for mail in box.mails] == ["Haulback: test"]
    asked.close()
    assert done.count("channel") == 4
    assert "POST /notification-rules" in asked
    rules = served.call("GET", "/api/notification-rules").json()
    names = {rule["name"]: rule for rule in rules}
    assert names["gold"]["policies"][0]["guid"] == policy["guid"]
    assert [kind["name"] for kind in names["chat"]["events"]] == [
        "WORKFLOW_ENDED",
        "NODE_DOWN",
        "NODE_UP",
    ]
    for name in ("failures", "stores", "chat", "gold"):
        served.call("DELETE", f"/api/notification-rules/{names[name]['guid']}")
