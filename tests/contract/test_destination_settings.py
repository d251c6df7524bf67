"""Settings of destinations over HTTP and by command: an optional one is removed by its name."""

from __future__ import annotations

from typing import Any

import pytest

from haulback.errors import Malformed
from haulback.ids import new_guid
from haulback.server.services import destination_secrets
from haulback.server.store.catalogue import SqlCatalogue
from tests.contract.conftest import Command, Served
from tests.contract.test_transport import is_error

PAIR = {"deleteAccessKeyId": "id2", "deleteSecretAccessKey": "shark-2"}


@pytest.fixture
def bucket(served: Served) -> str:
    """The guid of a bucket with two optional secrets and two other optional settings."""
    settings = {"bucket": f"b-{new_guid()}", "accessKeyId": "id", "secretAccessKey": "shark-1"}
    more = {"partSize": 5 << 20, "proxy": "http://proxy:3128"}
    body = {"name": new_guid(), "type": "S3", "settings": {**settings, **PAIR, **more}}
    answer = served.call("POST", "/api/backup-destinations", body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["guid"])


def stored(served: Served, guid: str) -> tuple[dict[str, Any], set[str]]:
    """The settings that answers show, and the names of the secrets."""
    shown = served.call("GET", f"/api/backup-destinations/{guid}").json()["settings"]
    with served.app.store.read() as sql:
        record = SqlCatalogue(sql).places.destination(guid)
    return shown, set(destination_secrets.opened(served.app.vault, record))


def test_a_command_removes_an_optional_setting_and_a_pair_of_secrets(
    served: Served, bucket: str, said: Command
):
    said("destination", "set", bucket, "--unset", "partSize")
    shown, secrets = stored(served, bucket)
    assert "partSize" not in shown
    assert secrets == {"accessKeyId", "secretAccessKey", *PAIR}
    removed = [word for name in PAIR for word in ("--unset", name)]
    said("destination", "set", bucket, *removed)
    shown, secrets = stored(served, bucket)
    assert shown["proxy"] == "http://proxy:3128"
    assert secrets == {"accessKeyId", "secretAccessKey"}


@pytest.mark.parametrize(
    ("removed", "field"),
    [
        (["secretAccessKey"], "secretAccessKey"),
        (["proxy", "bucket"], "bucket"),
        (["proxy", "sasToken"], "sasToken"),
        (["deleteAccessKeyId"], "deleteAccessKeyId"),
    ],
)
def test_a_setting_that_cannot_be_removed_is_named_and_nothing_changes(
    served: Served, bucket: str, said: Command, removed: list[str], field: str
):
    before = stored(served, bucket)
    answer = served.call("PUT", f"/api/backup-destinations/{bucket}", {"removedSettings": removed})
    assert is_error(answer, 400)
    assert answer.json()["details"]["field"] == field
    assert answer.json()["message"].startswith(f"{field}: ")
    with pytest.raises(Malformed, match=f"^{field}: "):
        said("destination", "set", bucket, *(f"--unset={name}" for name in removed))
    assert stored(served, bucket) == before
