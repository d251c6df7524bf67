"""A mail channel logs in with a credential, which cannot be removed meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from haulback.errors import Conflict, Malformed
from haulback.ids import new_guid
from haulback.inventory.records import Record
from haulback.server.services import configuration, delivery
from haulback.server.services.configuration import RequestRecord
from haulback.server.services.record_kinds import RECORD_KINDS
from haulback.wire import request
from tests import receivers
from tests.receivers import Mailbox, mail_server
from tests.unit.server.conftest import House


def add(house: House, kind: str, **body: Any) -> Record:
    sent, what = msgspec.json.encode({"name": new_guid(), **body}), RECORD_KINDS[kind]
    record = RequestRecord(what, lambda: request(sent, what.struct), sent)
    return configuration.add(house.app, house.user, record, lambda made, _: made)


def channel(house: House, box: Mailbox, **more: Any) -> Record:
    return add(
        house,
        "notification-channel",
        type="MAIL",
        host="127.0.0.1",
        port=box.port,
        sender="haulback@example.org",
        recipients=["ops@example.org"],
        certificate=box.certificate,
        **{"security": "STARTTLS", **more},
    )


def test_a_mail_channel_logs_in_by_a_credential(house: House, tmp_path: Path):
    with mail_server(tmp_path, "STARTTLS", login=True) as box:
        login = {"username": receivers.LOGIN, "password": receivers.PASSWORD}
        credential = add(house, "credential", **login)
        made = channel(house, box, credential={"guid": credential.guid})
        assert delivery.try_channel(house.app, house.user, made.guid).state == "DELIVERED"
    kind = RECORD_KINDS["credential"]
    with pytest.raises(Conflict, match=made.name):
        configuration.remove(house.app, house.user, kind, credential.guid)
    configuration.remove(house.app, house.user, RECORD_KINDS["notification-channel"], made.guid)
    configuration.remove(house.app, house.user, kind, credential.guid)


@pytest.mark.parametrize("more", [{"security": "NONE"}, {"login": "x", "password": "y"}])
def test_a_credential_that_cannot_act_is_refused(
    house: House, tmp_path: Path, more: dict[str, Any]
):
    credential = add(house, "credential", username="ops", password="secret")
    with mail_server(tmp_path) as box, pytest.raises(Malformed):
        channel(house, box, credential={"guid": credential.guid}, **more)
    with mail_server(tmp_path) as box, pytest.raises(Malformed):
        channel(house, box, credential={"guid": new_guid()})


def test_a_mailing_list_of_a_channel_is_held(house: House, tmp_path: Path):
    team = add(house, "mailing-list", recipients=["ops@example.org"])
    with mail_server(tmp_path) as box:
        channel(house, box, mailingList={"guid": team.guid})
    with pytest.raises(Conflict, match="channel"):
        configuration.remove(house.app, house.user, RECORD_KINDS["mailing-list"], team.guid)
