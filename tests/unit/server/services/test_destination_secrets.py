"""Secret settings of a destination are write-only: sealed at rest, sent only to nodes."""

from __future__ import annotations

import base64

import msgspec
import pytest
import sqlalchemy as sa
from msgspec import Struct

from haulback.contract import destination_types as contract
from haulback.contract.destination_types import (
    SEALED,
    Capabilities,
    DeletingSecret,
    DestinationType,
    Secret,
)
from haulback.contract.destinations import ChangedDestination, NewDestination
from haulback.errors import Fenced, Forbidden, Malformed, WrongKey
from haulback.node.destination_settings import settings_of
from haulback.server.services import destination_secrets, destinations, node_tasks
from haulback.server.store import tables
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.ledger import SqlLedger
from haulback.wire import Ref, Word

CANARY = "swordfish-5f1d3c1e"


class AtticSettings(Struct, frozen=True, forbid_unknown_fields=True):
    bucket: str
    accessKey: Secret
    deleteKey: DeletingSecret = ""


class LoftSettings(Struct, frozen=True, forbid_unknown_fields=True):
    word: Secret = ""


@pytest.fixture(autouse=True)
def with_attic(monkeypatch: pytest.MonkeyPatch) -> None:
    attic = DestinationType("ATTIC", "attic", AtticSettings, Capabilities())
    monkeypatch.setattr(contract, "TYPES", (*contract.TYPES, attic))


@pytest.fixture
def attic(house):
    node = house.node()
    settings = {"bucket": "tower", "accessKey": CANARY}
    wanted = NewDestination(name="at", type=Word("ATTIC"), settings=settings, node=Ref(node.guid))
    record, _ = destinations.add_destination(house.app, wanted, house.user)
    return record


def stored(house, guid):
    with house.app.store.read() as sql:
        return SqlCatalogue(sql).places.destination(guid)


def everything_in(house) -> str:
    """All rows of the database as text."""
    with house.app.store.read() as sql:
        found = [sql.execute(sa.select(table)).all() for table in tables.metadata.sorted_tables]
    return repr(found)


def test_no_row_holds_a_secret_and_no_audit_record_its_sealed_form(house, attic):
    renamed = ChangedDestination(name="up")
    destinations.change_destination(house.app, attic.guid, renamed, house.user)
    sealed = stored(house, attic.guid).config[SEALED]
    destinations.remove_destination(house.app, attic.guid, house.user)
    rows = everything_in(house)
    assert "tower" in rows
    assert CANARY not in rows
    assert sealed not in rows


def test_the_record_shows_the_settings_without_the_secret(house, attic):
    assert attic.config == {"bucket": "tower"}
    shown = destination_secrets.shown(stored(house, attic.guid))
    assert (shown.driver, shown.config) == ("attic", {"bucket": "tower"})


def test_a_change_of_the_name_keeps_the_secret(house, attic):
    renamed = ChangedDestination(name="up")
    destinations.change_destination(house.app, attic.guid, renamed, house.user)
    record = stored(house, attic.guid)
    assert destination_secrets.opened(house.app.vault, record) == {"accessKey": CANARY}


def test_the_node_of_the_destination_gets_the_secret_and_no_other_node(house, attic):
    keys = node_tasks.destination_keys(house.app, house.node(), attic.guid)
    assert keys.secrets == {"accessKey": CANARY}
    assert len(base64.b64decode(keys.key)) == 32
    with pytest.raises(Forbidden):
        node_tasks.destination_keys(house.app, house.node("n2"), attic.guid)


def test_a_secret_that_deletes_goes_to_a_task_that_may_delete_and_to_no_other(house, attic):
    secret = ChangedDestination(settings={"deleteKey": "shark-1"})
    destinations.change_destination(house.app, attic.guid, secret, house.user)
    with house.app.store.write() as sql:
        SqlLedger(sql, house.clock.now).destinations.initialised(attic.guid, attic.guid)
    node = house.node()
    [clean] = house.submit("remove-old-backups", {"backupDestinations": [attic.guid]})
    [test] = house.submit("connectivity-test", {"backupDestinations": [attic.guid]})
    for task in (clean, test):
        house.take(node, task)

    def secrets(task):
        return node_tasks.destination_keys(house.app, node, attic.guid, task).secrets

    assert secrets(clean.guid) == {"accessKey": CANARY, "deleteKey": "shark-1"}
    assert secrets(test.guid) == secrets("") == {"accessKey": CANARY}
    house.fail(node, clean)
    with pytest.raises(Fenced):
        secrets(clean.guid)


def test_a_driver_on_the_node_gets_all_settings(house, attic):
    class Link:
        def secrets(self, guid, task):
            return node_tasks.destination_keys(house.app, house.node(), guid).secrets

    record = stored(house, attic.guid)
    whole = settings_of(record, Link())  # type: ignore[arg-type]
    assert msgspec.convert(whole, AtticSettings) == AtticSettings("tower", CANARY)
    plain = stored(house, house.destination.guid)
    assert settings_of(plain, None) == plain.config  # type: ignore[arg-type]


def test_a_change_gives_a_secret_a_new_value_and_shows_neither(house, attic):
    new = "halibut-77aa"
    wanted = ChangedDestination(settings={"accessKey": new, "bucket": "tower"})
    after = destinations.change_destination(house.app, attic.guid, wanted, house.user)
    assert destination_secrets.shown(after).config == {"bucket": "tower"}
    record = stored(house, attic.guid)
    assert destination_secrets.opened(house.app.vault, record) == {"accessKey": new}
    assert (
        node_tasks.destination_keys(house.app, house.node(), attic.guid).secrets["accessKey"] == new
    )
    rows = everything_in(house)
    assert new not in rows
    assert CANARY not in rows


def test_a_record_that_is_sent_back_as_it_was_shown_keeps_its_secret(house, attic):
    wanted = ChangedDestination(settings={"bucket": "tower", "accessKey": None})
    destinations.change_destination(house.app, attic.guid, wanted, house.user)
    record = stored(house, attic.guid)
    assert destination_secrets.opened(house.app.vault, record) == {"accessKey": CANARY}


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"bucket": "cellar"}, "bucket"),
        ({"accessKey": ""}, "accessKey"),
        ({"colour": "red"}, "colour"),
        ({"accessKey": "new", "bucket": "cellar"}, "bucket"),
    ],
)
def test_a_change_of_another_setting_is_refused_by_its_name_and_changes_nothing(
    house, attic, settings, field
):
    wanted = ChangedDestination(name="renamed", settings=settings)
    with pytest.raises(Malformed, match=f"^{field}: "):
        destinations.change_destination(house.app, attic.guid, wanted, house.user)
    record = stored(house, attic.guid)
    assert record.name == "at"
    assert destination_secrets.opened(house.app.vault, record) == {"accessKey": CANARY}


def test_a_secret_is_removed_by_its_name_and_the_others_stay(house, attic):
    secret = ChangedDestination(settings={"deleteKey": "shark-1"})
    destinations.change_destination(house.app, attic.guid, secret, house.user)
    for _ in range(2):  # a repetition changes nothing
        wanted = ChangedDestination(removedSettings=["deleteKey"])
        destinations.change_destination(house.app, attic.guid, wanted, house.user)
        record = stored(house, attic.guid)
        assert destination_secrets.opened(house.app.vault, record) == {"accessKey": CANARY}
        assert record.config["bucket"] == "tower"


def test_the_last_secret_leaves_no_sealed_text(house, monkeypatch):
    loft = DestinationType("LOFT", "loft", LoftSettings, Capabilities())
    monkeypatch.setattr(contract, "TYPES", (*contract.TYPES, loft))
    wanted = NewDestination(
        name="loft", type=Word("LOFT"), settings={"word": CANARY}, node=Ref(house.node().guid)
    )
    record, _ = destinations.add_destination(house.app, wanted, house.user)
    assert SEALED in stored(house, record.guid).config
    without = ChangedDestination(removedSettings=["word"])
    destinations.change_destination(house.app, record.guid, without, house.user)
    assert stored(house, record.guid).config == {}


def test_a_removal_that_breaks_a_pair_is_refused_and_changes_nothing(house):
    pair = {"deleteAccessKeyId": "id2", "deleteSecretAccessKey": "shark-2"}
    settings = {"bucket": "shop", "accessKeyId": "id", "secretAccessKey": CANARY, **pair}
    wanted = NewDestination(
        name="s3", type=Word("S3"), settings=settings, node=Ref(house.node().guid)
    )
    record, _ = destinations.add_destination(house.app, wanted, house.user)
    for removed, field in (
        (["deleteAccessKeyId"], "deleteAccessKeyId"),
        (["secretAccessKey"], "secretAccessKey"),
        ([*pair, "bucket"], "bucket"),
    ):
        without = ChangedDestination(name="renamed", removedSettings=removed)
        with pytest.raises(Malformed, match=f"^{field}: "):
            destinations.change_destination(house.app, record.guid, without, house.user)
    record = stored(house, record.guid)
    assert record.name == "s3"
    assert destination_secrets.opened(house.app.vault, record).keys() == {
        "accessKeyId", "secretAccessKey", *pair
    }  # fmt: skip
    both = ChangedDestination(removedSettings=[*pair])
    destinations.change_destination(house.app, record.guid, both, house.user)
    opened = destination_secrets.opened(house.app.vault, stored(house, record.guid))
    assert opened == {"accessKeyId": "id", "secretAccessKey": CANARY}


def test_one_secret_of_azure_replaces_the_other(house):
    settings = {"account": "shop", "container": "vault", "accountKey": "a2V5"}
    wanted = NewDestination(
        name="cloud", type=Word("AZURE"), settings=settings, node=Ref(house.node().guid)
    )
    record, _ = destinations.add_destination(house.app, wanted, house.user)
    both = ChangedDestination(settings={"sasToken": "sv=1"})
    with pytest.raises(Malformed, match=r"^sasToken: name only one"):
        destinations.change_destination(house.app, record.guid, both, house.user)
    instead = ChangedDestination(settings={"sasToken": "sv=1"}, removedSettings=["accountKey"])
    destinations.change_destination(house.app, record.guid, instead, house.user)
    opened = destination_secrets.opened(house.app.vault, stored(house, record.guid))
    assert opened == {"sasToken": "sv=1"}


def test_an_empty_secret_names_the_way_to_remove_it(house, attic):
    wanted = ChangedDestination(settings={"deleteKey": ""})
    with pytest.raises(Malformed, match=r"^deleteKey: .*name it in `removedSettings`"):
        destinations.change_destination(house.app, attic.guid, wanted, house.user)


def test_an_order_carries_no_sealed_setting(house, attic):
    node = house.node()
    [init] = house.offered(node)
    house.take(node, init)
    order = node_tasks.order(house.app, node, init).order
    assert order.destination.config == {"bucket": "tower"}
    assert stored(house, attic.guid).config.keys() == {"bucket", SEALED}


def test_sealed_settings_open_for_their_destination_only(house, attic):
    record = stored(house, attic.guid)
    other = msgspec.structs.replace(record, guid=house.destination.guid)
    with pytest.raises(WrongKey):
        destination_secrets.opened(house.app.vault, other)


def test_the_answer_for_a_folder_is_as_it_was(house):
    keys = node_tasks.destination_keys(house.app, house.node(), house.destination.guid)
    assert msgspec.json.encode(keys) == b'{"key":"%s"}' % base64.b64encode(b"k" * 32)
